//! The target's own words for why a goroutine waits (`runtime/runtime2.go`, `waitReasonStrings`): the
//! numbers change from version to version.

use std::sync::Arc;

use super::code::references;
use super::program::Program;

/// Functions that refer to the table.
const READERS: [&str; 3] =
    ["runtime.waitReason.String", "runtime.(*waitReason).String", "runtime.goroutineheader"];
/// Most reasons that are read: they are numbered by a byte, and no version comes near this.
const MOST: u64 = 128;
/// Fewest; Go 1.19 has 30.
const FEWEST: usize = 20;
/// Longest text of a reason; what is longer is no list of reasons.
const LONGEST: u64 = 256;
/// The second one, since Go 1.11.
const SECOND: &str = "GC assist marking";

/// The table; empty if it is not found.
pub fn find(program: &Program) -> Vec<Arc<str>> {
    for reader in READERS {
        for address in references(program, reader) {
            let reasons = read(program, address);
            if reasons.len() >= FEWEST && &*reasons[1] == SECOND {
                return reasons;
            }
        }
    }
    Vec::new()
}

/// Strings from `address` on, as long as they look like reasons. The first one is empty.
fn read(program: &Program, address: u64) -> Vec<Arc<str>> {
    let plausible = |i: u64, text: &str| {
        text.bytes().all(|b| b.is_ascii_graphic() || b == b' ') && (i == 0) == text.is_empty()
    };
    (0..MOST)
        .map_while(|i| {
            program.memory().string(address.checked_add(16 * i)?, LONGEST).filter(|t| plausible(i, t))
        })
        .map(Arc::from)
        .collect()
}

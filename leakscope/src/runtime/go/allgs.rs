//! Finds the runtime's list of all goroutines (`runtime/proc.go`, `allgs`, `allgptr`, `allglen`).

use super::bytes::{u32_at, u64_at};
use super::code::references;
use super::memory::Piece;
use super::program::Program;

/// Most goroutines that are read.
pub const MOST: u64 = 1 << 24;
/// Functions that refer to the list.
pub const READERS: [&str; 3] = ["runtime.forEachGRace", "runtime.forEachG", "runtime.allgadd"];
/// Functions of goroutines that begin before any of the program's (`runtime/proc.go`).
const FIRST: [&str; 2] = ["runtime.main", "runtime.forcegchelper"];
/// Most places that are taken for the list and looked at more closely.
const MOST_CANDIDATES: usize = 1 << 16;
/// How many goroutines are looked at before a list is believed.
const LOOKED_AT: u64 = 16;
/// Highest `_G…` constant (`runtime/runtime2.go`): `_Gdeadextra` of Go 1.26.
const HIGHEST_STATUS: u32 = 11;
/// Bit that the garbage collector sets in a status (`_Gscan`).
pub const SCAN: u32 = 0x1000;
/// Largest stack (`runtime.maxstacksize` of 64-bit systems is 1 GB).
pub const LARGEST_STACK: u64 = 1 << 30;

/// Where the list's start and its length are kept.
pub fn find(program: &Program) -> Option<(u64, u64)> {
    for reader in READERS {
        let mut candidates = references(program, reader);
        candidates.retain(|a| program.parts.first().is_some_and(|part| part.is_variable(*a)));
        for start in &candidates {
            for length in candidates.iter().filter(|length| *length != start) {
                if is_list(program, *start, *length) {
                    return Some((*start, *length));
                }
            }
        }
    }
    // The slice itself: start, length, capacity.
    let mut candidates = 0;
    for (low, high) in program.parts.first()?.variables() {
        let Some(bytes) = program.memory().bytes(low, usize::try_from(high - low).ok()?) else { continue };
        for at in (0..bytes.len().saturating_sub(24)).step_by(8) {
            let word = |at| u64_at(&bytes, at).unwrap_or(0);
            let (start, length, capacity) = (word(at), word(at + 8), word(at + 16));
            if length == 0 || length > capacity || capacity > 2 * MOST || !is_pointer(start) {
                continue;
            }
            candidates += 1;
            if candidates > MOST_CANDIDATES {
                return None;
            }
            let address = low + at as u64;
            if is_list(program, address, address + 8) {
                return Some((address, address + 8));
            }
        }
    }
    None
}

fn is_pointer(word: u64) -> bool {
    word.is_multiple_of(8) && word >= 0x1000
}

/// Whether `start` and `length` are the addresses of a list of goroutines, one of the first of which the runtime has
/// begun itself.
///
/// The main one comes first, but not for good: in a library it ends at once (`runtime/proc.go`, `main`), and so it
/// does by `runtime.Goexit`; then its place is another's. The one that forces collections never ends.
fn is_list(program: &Program, start: u64, length: u64) -> bool {
    let memory = program.memory();
    let (Some(start), Some(length)) = (memory.u64(start), memory.u64(length)) else { return false };
    if !is_pointer(start) || length == 0 || length > MOST {
        return false;
    }
    let looked_at = length.min(LOOKED_AT) as usize;
    let Some(list) = memory.bytes(start, 8 * looked_at) else { return false };
    let pieces: Vec<Piece> =
        (0..looked_at).filter_map(|i| Some((u64_at(&list, 8 * i)?, program.layout.size))).collect();
    let read = memory.read_many(&pieces);
    let goroutines: Vec<&[u8]> = (0..pieces.len()).filter_map(|i| read.get(i)).collect();
    goroutines.len() == looked_at
        && goroutines.iter().all(|g| is_goroutine(program, g))
        && goroutines.iter().any(|g| is_runtimes_own(program, g))
}

/// Whether a goroutine, also one that has ended, is one of the first that every program has.
fn is_runtimes_own(program: &Program, g: &[u8]) -> bool {
    let Some(pc) = u64_at(g, program.layout.start) else { return false };
    let Some((part, function)) = program.function_at(pc) else { return false };
    function.entry == pc && FIRST.iter().any(|name| part.pclntab.is_named(function, name))
}

fn is_goroutine(program: &Program, g: &[u8]) -> bool {
    let layout = &program.layout;
    let word = |at| u64_at(g, at).unwrap_or(u64::MAX);
    let status = u32_at(g, layout.status).unwrap_or(u32::MAX) & !SCAN;
    let (low, high) = (word(layout.stack_low), word(layout.stack_high));
    let stack = low < high && high - low <= LARGEST_STACK || low == 0 && high == 0;
    let id = word(layout.id);
    status <= HIGHEST_STATUS && stack && (id > 0 && id < 1 << 48 || matches!(status, 0 | 6 | 11))
}

/// Leaves out goroutines that would lie within others, and says how many: the runtime's list has none, and
/// a list that is a lie would make more of them than there is memory.
pub(super) fn without_overlaps(addresses: &mut Vec<u64>, size: u64) -> u64 {
    let overlap = |earlier: u64, later: u64| later - earlier < size;
    let mut sorted = addresses.clone();
    sorted.sort_unstable();
    if !sorted.windows(2).any(|pair| overlap(pair[0], pair[1])) {
        return 0;
    }
    sorted.dedup_by(|later, earlier| overlap(*earlier, *later));
    let left_out = addresses.len() - sorted.len();
    *addresses = sorted;
    left_out as u64
}

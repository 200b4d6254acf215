//! The runtime's own objects on the heap, its goroutines, threads and processors: pointers of the program lead to them
//! (from a ticker's channel to the timers of a processor, and from there to all goroutines that have ended), but it is
//! the runtime that holds them.

use std::collections::HashSet;

use super::cells::Cells;
use super::variables::Variable;
use crate::runtime::go::allgs::MOST;
use crate::runtime::go::heap::areas::Areas;
use crate::runtime::go::memory::Piece;
use crate::runtime::go::program::Program;

/// Read at once.
const AT_ONCE: usize = 1 << 16;
/// The list of processors (`runtime/runtime2.go`).
const PROCESSORS: &str = "runtime.allp";

/// Those objects, which nobody reaches until they are shown. Processors without a thread are found by the name of
/// their list alone, which stripped programs lack.
#[derive(Debug, Default)]
pub(super) struct Scheduling {
    hidden: Vec<u64>,
}

impl Scheduling {
    /// Finds them, and hides them.
    pub(super) fn hide(program: &Program, variables: &[Variable], areas: &Areas, cells: &mut Cells) -> Self {
        let mut all: HashSet<u64> = HashSet::new();
        let goroutines = goroutines(program).unwrap_or_default();
        let threads = members(program, &goroutines, Some(program.layout.m));
        let processors = members(program, &threads, program.offsets.find("m", "p"));
        all.extend(goroutines.into_iter().chain(threads).chain(processors));
        let list = variables.iter().find(|variable| variable.name == PROCESSORS);
        all.extend(list.and_then(|list| super::pools::list(program, list.address)).unwrap_or_default());
        let mut hidden = Vec::new();
        for address in all {
            let Some((area, index)) = areas.find(address) else { continue };
            let number = areas.all()[area].first + index;
            if cells.hide(number) {
                hidden.push(number);
            }
        }
        Self { hidden }
    }

    /// Shows them.
    pub(super) fn show(self, cells: &mut Cells) {
        self.hidden.into_iter().for_each(|number| cells.show(number));
    }
}

fn goroutines(program: &Program) -> Option<Vec<u64>> {
    let memory = program.memory();
    let (start, length) = program.all_goroutines().ok()?;
    let length = memory.u64(length).filter(|length| *length <= MOST)?;
    let words = memory.bytes(memory.u64(start)?, 8 * usize::try_from(length).ok()?)?;
    Some(words.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect())
}

/// What is found at an offset in each of these.
fn members(program: &Program, all: &[u64], offset: Option<usize>) -> Vec<u64> {
    let Some(offset) = offset else { return Vec::new() };
    let mut found: HashSet<u64> = HashSet::new();
    for chunk in all.chunks(AT_ONCE) {
        let pieces: Vec<Piece> = chunk.iter().map(|at| (at.wrapping_add(offset as u64), 8)).collect();
        let read = program.memory().read_many(&pieces);
        let words = (0..pieces.len()).filter_map(|at| read.get(at)?.first_chunk());
        found.extend(words.map(|word| u64::from_le_bytes(*word)).filter(|word| *word != 0));
    }
    found.into_iter().collect()
}

//! What `sync.Pool`s keep for later: it points to what was used before, and would be charged with that.

use super::cells::Cells;
use crate::runtime::go::bytes::u64_at;
use crate::runtime::go::code::references;
use crate::runtime::go::heap::areas::Areas;
use crate::runtime::go::memory::Piece;
use crate::runtime::go::program::Program;

/// The function that goes through all pools that hold anything (`sync/pool.go`: `allPools`, `oldPools`).
const CLEANS: &str = "sync.poolCleanup";
/// Most pools.
const MOST: u64 = 1 << 16;
/// `sync.Pool`: where what it keeps is, and what it kept before the last collection (Go 1.13 to 1.27).
const LOCAL: usize = 0;
const VICTIM: usize = 16;
const POOL: usize = 40;

/// The objects in which pools keep theirs, which nobody reaches until they are shown.
#[derive(Debug, Default)]
pub(super) struct Pools {
    /// By number and address.
    hidden: Vec<(u64, u64)>,
}

impl Pools {
    /// Finds them, and hides them.
    pub(super) fn hide(program: &Program, areas: &Areas, cells: &mut Cells) -> Self {
        let mut pools = Self::default();
        let Some(part) = program.parts.first() else { return pools };
        let lists = references(program, CLEANS).into_iter().filter(|at| part.is_variable(*at));
        let addresses: Vec<u64> = lists.filter_map(|at| list(program, at)).flatten().collect();
        for chunk in addresses.chunks(1 << 10) {
            let pieces: Vec<Piece> = chunk.iter().map(|at| (*at, POOL)).collect();
            let read = program.memory().read_many(&pieces);
            for pool in (0..pieces.len()).filter_map(|n| read.get(n)) {
                for kept in [LOCAL, VICTIM].into_iter().filter_map(|at| u64_at(pool, at)) {
                    let Some((area, index)) = areas.find(kept) else { continue };
                    let number = areas.all()[area].first + index;
                    if cells.hide(number) {
                        pools.hidden.push((number, kept));
                    }
                }
            }
        }
        pools
    }

    /// Shows them. Returns where they lie.
    pub(super) fn show(&mut self, cells: &mut Cells) -> Vec<u64> {
        let hidden = std::mem::take(&mut self.hidden);
        hidden.iter().for_each(|(number, _)| cells.show(*number));
        hidden.into_iter().map(|(_, address)| address).collect()
    }
}

/// The addresses in a slice, if there is one.
pub(super) fn list(program: &Program, at: u64) -> Option<Vec<u64>> {
    let header = program.memory().bytes(at, 24)?;
    let [start, length, capacity] = [0, 8, 16].map(|at| u64_at(&header, at).unwrap_or(0));
    let sound = start != 0 && start.is_multiple_of(8) && length <= capacity && (1..=MOST).contains(&length);
    let words = program.memory().bytes(start, 8 * usize::try_from(length).ok().filter(|_| sound)?)?;
    Some(words.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect())
}

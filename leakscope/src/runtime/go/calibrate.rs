//! The layout of a goroutine by what must hold of all of them: for versions that neither the table
//! nor the program's DWARF tells of.
//!
//! Three members give themselves away: the saved registers hold the goroutine's own address, the first
//! function is always the first instruction of a function (of the first goroutine `runtime.main`), and
//! the numbers are small, distinct and begin with 1. The others lie at the same distances from these in
//! all versions that are known (`runtime/runtime2.go`).

use super::bytes::u64_at;
use super::code::references;
use super::offsets::GLayout;
use super::program::Program;

/// Bytes of a goroutine that are looked at: all the members that are needed lie in the first of them.
const LOOKED_AT: usize = 384;
/// Goroutines that are looked at.
const SAMPLE: usize = 512;

/// A goroutine's address and its first bytes.
type Sampled = (u64, Vec<u8>);

/// Finds the layout; `like` gives the members that cannot be told and the size.
pub fn layout(program: &Program, like: &GLayout) -> Option<GLayout> {
    let (_, main) = program.function("runtime.main")?;
    let goroutines = sample(program, main.entry).filter(|all: &Vec<_>| !all.is_empty())?;
    let share = |holds: &dyn Fn(&Sampled) -> bool| {
        goroutines.iter().filter(|g| holds(g)).count() * 100 / goroutines.len()
    };
    let word = |g: &[u8], at: usize| u64_at(g, at).unwrap_or(0);
    let words = || (0..LOOKED_AT - 8).step_by(8);
    let sched_g = words().find(|at| share(&|g| word(&g.1, *at) == g.0) >= 90)?;
    let is_entry = |pc: u64| program.function_at(pc).is_some_and(|(_, f)| f.entry == pc);
    let start = words().find(|at| {
        goroutines.first().is_some_and(|g| word(&g.1, *at) == main.entry)
            && share(&|g| is_entry(word(&g.1, *at))) >= 95
    })?;
    let id = words().filter(|at| *at > sched_g).find(|at| {
        let mut ids: Vec<u64> = goroutines.iter().map(|g| word(&g.1, *at)).collect();
        let plausible = ids.first() == Some(&1) && ids.iter().all(|id| *id > 0 && *id < 1 << 40);
        ids.sort_unstable();
        ids.dedup();
        plausible && ids.len() == goroutines.len()
    })?;
    derive(sched_g, start, id, like)
}

/// The layout in which the three members lie so: the others at their distances from these.
fn derive(sched_g: usize, start: usize, id: usize, like: &GLayout) -> Option<GLayout> {
    // `gobuf` begins with sp, pc, g. The system call's members, the status and the number follow it.
    let sched_sp = sched_g.checked_sub(16)?;
    let status = id.checked_sub(8)?;
    let shift = |at: usize, from: usize, to: usize| (at + to).checked_sub(from);
    Some(GLayout {
        size: like.size.max(LOOKED_AT),
        stack_low: 0,
        stack_high: 8,
        m: shift(like.m, like.sched_sp, sched_sp)?,
        sched_sp,
        sched_pc: sched_sp + 8,
        sched_g,
        syscall_sp: shift(like.syscall_sp, like.status, status)?,
        syscall_pc: shift(like.syscall_pc, like.status, status)?,
        status,
        id,
        wait_since: id + 16,
        wait_reason: id + 24,
        locked_m: shift(like.locked_m, like.id, id)?,
        parent: start.checked_sub(24).filter(|_| like.parent.is_some()),
        created_at: start.checked_sub(16)?,
        start,
        labels: start + 48,
        waiting: Some(start + 16),
        m_thread: like.m_thread,
    })
}

/// Goroutines with their addresses, found without a layout: a list whose first entry holds the address
/// of `runtime.main`.
fn sample(program: &Program, main: u64) -> Option<Vec<Sampled>> {
    let memory = program.memory();
    for reader in super::allgs::READERS {
        let candidates = references(program, reader);
        for start in &candidates {
            for length in candidates.iter().filter(|length| *length != start) {
                let (Some(list), Some(length)) = (memory.u64(*start), memory.u64(*length)) else { continue };
                if list % 8 != 0 || length == 0 || length > super::allgs::MOST {
                    continue;
                }
                let taken = usize::try_from(length).unwrap_or(SAMPLE).min(SAMPLE);
                let Some(list) = memory.bytes(list, 8 * taken) else { continue };
                let goroutine = |word: &[u8]| {
                    let address = u64_at(word, 0)?;
                    Some((address, memory.bytes(address, LOOKED_AT)?))
                };
                // The first one decides whether it is worth reading the others.
                let is_main = list
                    .first_chunk::<8>()
                    .and_then(|word| goroutine(word))
                    .is_some_and(|(_, g)| (0..LOOKED_AT).step_by(8).any(|at| u64_at(&g, at) == Some(main)));
                if is_main {
                    // Those that are free have neither stack nor number.
                    let goroutines = list.as_chunks::<8>().0.iter().filter_map(|word| goroutine(word));
                    return Some(goroutines.filter(|(_, g)| u64_at(g, 0) != Some(0)).collect());
                }
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::go::offsets::{Offsets, VERSIONS};

    #[test]
    fn distances_hold_from_version_to_version() {
        let layout = |minor| GLayout::new(&Offsets::of(minor)).expect("a layout");
        for minor in VERSIONS.into_iter().filter(|v| *v >= 23) {
            for like in VERSIONS.into_iter().filter(|v| *v >= 23) {
                let (truth, like) = (layout(minor), layout(like));
                let derived = derive(truth.sched_g, truth.start, truth.id, &like).expect("derived");
                let expected = GLayout { size: like.size, m_thread: like.m_thread, ..truth };
                assert_eq!(derived, expected, "{minor}");
            }
        }
    }

    #[test]
    fn impossible_places() {
        let like = GLayout::new(&Offsets::of(27)).expect("a layout");
        assert_eq!(derive(8, 300, 152, &like), None);
        assert_eq!(derive(72, 8, 152, &like), None);
        assert_eq!(derive(72, 300, 0, &like), None);
    }
}

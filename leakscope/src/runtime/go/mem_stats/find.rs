//! Finds the runtime's variables by what its functions refer to, and believes them by what must hold.

use std::collections::HashSet;

use super::super::code::references;
use super::super::error::GoError;
use super::super::heap::spans;
use super::super::program::Program;
use super::layout::Layout;
use super::reading::{CPU_STATS, Reading, Variables};

/// Functions that refer to `runtime.gcController` (`runtime/mgcpacer.go`) or to one of its members.
const CONTROLLER: [&str; 8] = [
    "runtime.gcControllerCommit",
    "runtime.(*mheap).allocSpan",
    "runtime.(*mheap).freeSpanLocked",
    "runtime.(*mheap).grow",
    "runtime.gcinit",
    "runtime.schedinit",
    "runtime.gcMarkTermination",
    "runtime.(*mcache).refill",
];
/// The same of `runtime.memstats` (`runtime/mstats.go`).
const STATS: [&str; 6] = [
    "runtime.(*mheap).allocSpan",
    "runtime.(*mheap).init",
    "runtime.(*mcache).refill",
    "runtime.gcMarkTermination",
    "runtime.persistentalloc1",
    "runtime.stackalloc",
];
/// The same of `runtime.work.cpuStats` (`runtime/mgc.go`), which there is since Go 1.20.
const CPU: [&str; 3] = ["runtime.gcMarkTermination", "runtime.gcStart", "runtime.gcMarkDone"];
/// The N of the first Go 1.N that has it.
const FIRST_CPU: u32 = 20;
/// How often all places are looked at, because the program goes on meanwhile.
const PASSES: usize = 4;
/// How often a place is looked at whose sums nearly agree.
const LOOKS: usize = 16;

/// Where the account is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    pub(super) layout: Layout,
    pub(super) at: Variables,
}

/// Finds the account, without symbols.
pub fn find(program: &Program) -> Result<Places, GoError> {
    let layout = Layout::new(&program.offsets)
        .ok_or(GoError::NotFound("the layout of the runtime's account of its memory (runtime.memstats)"))?;
    let heap = spans::find(program)?.address();
    let mut at = Variables { heap, controller: 0, stats: None, cpu: None };
    let controller = first_of(&candidates(program, &CONTROLLER, &layout.controller.at), |address| {
        let at = Variables { controller: address, ..at };
        Reading::of(program, &layout, &at).is_some_and(|reading| reading.has_controller())
    });
    at.controller =
        controller.ok_or(GoError::NotFound("the state of the garbage collector (runtime.gcController)"))?;
    let stats = stats(program, &layout, at);
    at.stats =
        Some(stats.ok_or(GoError::NotFound("the runtime's account of its memory (runtime.memstats)"))?);
    Ok(Places { layout, at })
}

/// Finds `runtime.memstats`: where all sums agree to the byte, else where they come nearest.
fn stats(program: &Program, layout: &Layout, at: Variables) -> Option<u64> {
    let mut nearest: Option<(u64, u64)> = None;
    for address in candidates(program, &STATS, &layout.stats.at) {
        let at = Variables { stats: Some(address), ..at };
        for _ in 0..LOOKS {
            let reading = Reading::of(program, layout, &at).filter(Reading::has_account);
            let Some(off) = reading.and_then(|reading| reading.off_by()) else { break };
            if off == 0 {
                return Some(address);
            }
            if nearest.is_none_or(|(least, _)| off < least) {
                nearest = Some((off, address));
            }
        }
    }
    nearest.map(|(_, address)| address)
}

impl Places {
    /// Finds what the collector says of the CPU time, once it has run.
    pub(super) fn find_cpu(&mut self, program: &Program) {
        if program.minor < FIRST_CPU {
            return;
        }
        let members: Vec<usize> = (0..CPU_STATS).step_by(8).collect();
        self.at.cpu = first_of(&candidates(program, &CPU, &members), |address| {
            let at = Variables { cpu: Some(address), ..self.at };
            let reading = Reading::of(program, &self.layout, &at);
            let both = reading.and_then(|reading| reading.cpu.zip(reading.stats));
            both.is_some_and(|(cpu, stats)| cpu.is_sound(stats.cpu_fraction))
        });
    }
}

/// The first place of which something holds, now or soon after.
fn first_of(places: &[u64], holds: impl Fn(u64) -> bool) -> Option<u64> {
    (0..PASSES).find_map(|_| places.iter().copied().find(|place| holds(*place)))
}

/// Where a structure may begin of which functions refer to a member.
fn candidates(program: &Program, readers: &[&str], members: &[usize]) -> Vec<u64> {
    let is_variable = |address: &u64| program.parts.first().is_some_and(|part| part.is_variable(*address));
    let mut found = Vec::new();
    let mut tried = HashSet::new();
    for reader in readers {
        for address in references(program, reader).into_iter().filter(is_variable) {
            let begins = std::iter::once(0).chain(members.iter().copied());
            let begins = begins.filter_map(|at| address.checked_sub(at as u64)).filter(is_variable);
            found.extend(begins.filter(|begin| tried.insert(*begin)));
        }
    }
    found
}

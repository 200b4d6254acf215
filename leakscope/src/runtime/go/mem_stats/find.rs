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
/// How often a place is looked at that does not hold, because the program goes on.
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
    at.controller = candidates(program, &CONTROLLER, &layout.controller.at)
        .find(|address| {
            let at = Variables { controller: *address, ..at };
            holds(program, &layout, &at, Reading::has_controller)
        })
        .ok_or(GoError::NotFound("the state of the garbage collector (runtime.gcController)"))?;
    let stats = stats(program, &layout, at);
    at.stats = Some(stats.ok_or(GoError::NotFound("the runtime's account of its memory (runtime.memstats)"))?);
    let mut places = Places { layout, at };
    places.find_cpu(program);
    Ok(places)
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
    pub fn find_cpu(&mut self, program: &Program) {
        if self.at.cpu.is_some() || program.minor < 20 {
            return;
        }
        let members: Vec<usize> = (0..CPU_STATS).step_by(8).collect();
        self.at.cpu = candidates(program, &CPU, &members).find(|address| {
            let at = Variables { cpu: Some(*address), ..self.at };
            holds(program, &self.layout, &at, |reading| {
                reading.cpu.zip(reading.stats).is_some_and(|(cpu, stats)| cpu.is_sound(stats.cpu_fraction))
            })
        });
    }
}

/// Whether something holds of a reading, or of one soon after.
fn holds(program: &Program, layout: &Layout, at: &Variables, of: impl Fn(&Reading) -> bool) -> bool {
    (0..LOOKS).any(|_| Reading::of(program, layout, at).is_some_and(|reading| of(&reading)))
}

/// Where a structure may begin, of which functions refer to a member.
fn candidates<'a>(
    program: &'a Program,
    readers: &'a [&str],
    members: &'a [usize],
) -> impl Iterator<Item = u64> + 'a {
    let mut tried = HashSet::new();
    let is_variable = |address: &u64| program.parts.first().is_some_and(|part| part.is_variable(*address));
    let referred = readers.iter().flat_map(|reader| references(program, reader)).filter(is_variable);
    let begins = referred.flat_map(move |address| {
        std::iter::once(0).chain(members.iter().copied()).filter_map(move |at| address.checked_sub(at as u64))
    });
    begins.filter(is_variable).filter(move |address| tried.insert(*address))
}

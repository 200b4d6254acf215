//! Where goroutines begin to wait, and where they are woken.
//!
//! Go's block profile counts waits of channels, `select`, semaphores (`sync.Mutex`, `sync.RWMutex`, `sync.WaitGroup`,
//! locks of files) and `sync.Cond`: calls of `blockevent` in `chan.go`, `select.go` and `sema.go` of `runtime`, from Go
//! 1.19 to 1.27. All of them park by a call of `gopark` in the same function. Sleep, network, timers and what the
//! collector waits for are parked by others, which no probe stands in: they cost nothing.

use leakscope_common::go_wait::{cookie, kind, slot};

use crate::runtime::go::probes::{calls, code, prologue};
use crate::runtime::go::program::Program;

/// The functions that wait.
const WAIT: [(&str, u64); 5] = [
    ("runtime.chanrecv", kind::RECEIVE),
    ("runtime.chansend", kind::SEND),
    ("runtime.selectgo", kind::SELECT),
    ("runtime.semacquire1", kind::SEMAPHORE),
    ("sync.runtime_notifyListWait", kind::CONDITION),
];
/// What they park by; `goparkunlock` is usually a part of them.
const PARK: [&str; 2] = ["runtime.gopark", "runtime.goparkunlock"];

/// What wakes waiters of semaphores and conditions, by a call that has their `sudog` as its first argument.
const WAKE_BY_SUDOG: [&str; 3] =
    ["runtime.semrelease1", "sync.runtime_notifyListNotifyAll", "sync.runtime_notifyListNotifyOne"];
/// What hands a value to or takes it from a goroutine that waits at a channel: its `sudog` is the second argument.
const PASS_ON: [&str; 2] = ["runtime.send", "runtime.recv"];

/// The N of the first Go 1.N in which a release is charged with the waits of all that still wait (`semrelease1`).
const FIRST_THAT_CHARGES_ALL: u32 = 22;

/// Where the probes stand: offset in the file, and cookie. Empty if one of them cannot be placed; functions that the
/// program does not have never wait.
pub fn places(program: &Program) -> Vec<(u64, u64)> {
    find(program).unwrap_or_default()
}

fn find(program: &Program) -> Option<Vec<(u64, u64)>> {
    let (begins, growth) = entry(program, "runtime.semacquire1")?;
    let mut all = vec![(begins, cookie::BEGINS | growth)];
    for (function, kind) in WAIT {
        all.extend(calls_of(program, function, &PARK, cookie::PARKS | kind << cookie::KIND)?);
    }
    // Where all is woken that wakes at all, sleepers included: what makes ready by other ways is not known.
    let ready = || {
        let (ready, growth) = entry(program, "runtime.ready")?;
        Some(vec![(ready, readied(cookie::IN_RAX) | growth)])
    };
    all.extend(wakes(program).or_else(ready)?);
    Some(all)
}

const fn readied(place: u64) -> u64 {
    cookie::READIED | place << cookie::KIND
}

/// The places that wake those who wait, and nobody else.
fn wakes(program: &Program) -> Option<Vec<(u64, u64)>> {
    let mut all = Vec::new();
    for function in WAKE_BY_SUDOG {
        all.extend(calls_of(program, function, &["runtime.readyWithTime"], readied(cookie::SUDOG_IN_RAX))?);
    }
    for function in PASS_ON {
        let (place, growth) = entry(program, function)?;
        all.push((place, readied(cookie::SUDOG_IN_RBX) | growth));
    }
    let close = "runtime.closechan";
    let goready = calls_of(program, close, &["runtime.goready"], readied(cookie::IN_RAX));
    let inlined = || calls_of(program, close, &["runtime.systemstack"], readied(cookie::CLOSURE_IN_RAX));
    all.extend(goready.or_else(inlined)?);
    Some(all)
}

/// Where a function begins, and what the cookie says of that.
fn entry(program: &Program, function: &str) -> Option<(u64, u64)> {
    let (address, growth) = prologue(&code(program, function)?)?;
    Some((program.file_offset(address)?, growth))
}

/// The calls of any of `targets` by a function, with this cookie: none if the program does not have the function, `None`
/// if it has it and the calls are not there.
fn calls_of(program: &Program, function: &str, targets: &[&str], cookie: u64) -> Option<Vec<(u64, u64)>> {
    let Some(code) = code(program, function) else { return Some(Vec::new()) };
    let targets = targets.iter().filter_map(|name| program.function(name));
    let targets: Vec<u64> = targets.map(|(_, function)| function.entry).collect();
    let found = calls(&code).into_iter().filter(|(_, target)| targets.contains(target));
    let offsets = found.map(|(at, _)| Some((program.file_offset(at)?, cookie)));
    offsets.collect::<Option<Vec<_>>>().filter(|offsets| !offsets.is_empty())
}

/// What the kernel side must know of the target.
pub fn settings(program: &Program) -> Option<Vec<(u32, u64)>> {
    let offset = |structure, member| Some(program.offsets.find(structure, member)? as u64);
    let layout = &program.layout;
    let sched = (layout.sched_sp as u64).checked_sub(offset("gobuf", "sp")?)?;
    Some(vec![
        (slot::M_CURG, offset("m", "curg")?),
        (slot::G_M, layout.m as u64),
        (slot::SCHED_SP, layout.sched_sp as u64),
        (slot::SCHED_PC, layout.sched_pc as u64),
        (slot::SCHED_BP, sched + offset("gobuf", "bp")?),
        (slot::CHARGES_ALL, u64::from(program.minor >= FIRST_THAT_CHARGES_ALL)),
    ])
}

//! The goroutines of the synthetic program.

use super::{CODE, FUNCTIONS, HEAP, INLINED_AT, STACK, Synthetic, code};
use crate::runtime::go::offsets::Offsets;

/// Between one goroutine and the next.
const ROOM: u64 = 0x400;
/// Where stacks, threads and labels lie.
const STACKS: u64 = HEAP + 0x100_0000;
const THREAD: u64 = HEAP + 0x300_0000;
const LABELS: u64 = HEAP + 0x400_0000;
/// The number of "chan receive".
const CHAN_RECEIVE: u8 = 14;
/// The thread of those that have one.
pub(crate) const TID: u64 = 4242;

/// What a goroutine does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Receives from a channel in the code that is inlined into this function.
    Waits(&'static str),
    /// Waits at a time that a garbage collection noted.
    WaitsSince(u64),
    /// The runtime's own.
    System,
    /// On a thread.
    Runs,
    /// In a system call.
    Calls,
    /// Has never run.
    New,
    /// Free for use.
    Dead,
    /// Called itself so many times.
    Recursed(usize),
}

/// Labels of a goroutine: names and values.
pub type Labels = &'static [(&'static str, &'static str)];

/// A goroutine that is to be written into the memory.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Its number.
    pub id: u64,
    /// What it does.
    pub kind: Kind,
    pub labels: Labels,
}

/// One of each kind; the main one first.
pub(super) fn typical() -> Vec<Spec> {
    let spec = |id, kind| Spec { id, kind, labels: &[] };
    vec![
        spec(1, Kind::Waits("main.main")),
        spec(2, Kind::System),
        Spec { id: 17, kind: Kind::Waits("main.(*Hub).run"), labels: &[("tenant", "a"), ("kind", "hub")] },
        spec(18, Kind::WaitsSince(5_000)),
        spec(0, Kind::Dead),
        spec(19, Kind::Runs),
        spec(20, Kind::Calls),
        spec(21, Kind::New),
        Spec { id: 22, kind: Kind::Waits("main.worker"), labels: &[("tenant", "b")] },
        spec(23, Kind::Recursed(10)),
        spec(24, Kind::Waits("main.(*Hub).run")),
    ]
}

/// The text of a reason to wait.
pub(super) fn reason(number: u8) -> String {
    match number {
        0 => String::new(),
        1 => "GC assist marking".to_owned(),
        CHAN_RECEIVE => "chan receive".to_owned(),
        _ => format!("waiting {number}"),
    }
}

/// Functions on the stack, innermost first, with the place in each.
fn stack(spec: &Spec) -> Vec<(&'static str, u64)> {
    let park = [("runtime.gopark", 33), ("runtime.chanrecv", 50)];
    let mut frames = match spec.kind {
        Kind::System => vec![park[0], ("runtime.bgsweep", 60)],
        Kind::Calls => vec![("syscall.read", 16), ("main.wrapped", 20), ("main.worker", 20)],
        Kind::New => vec![("main.worker", 0)],
        Kind::Dead | Kind::Runs => vec![],
        Kind::Waits(function) => vec![park[0], park[1], (function, INLINED_AT)],
        Kind::WaitsSince(_) => vec![park[0], park[1], ("main.worker", 20)],
        Kind::Recursed(times) => vec![("main.recurse", 30); times],
    };
    if spec.id == 1 {
        frames.push(("runtime.main", 50));
    }
    frames.push(("runtime.goexit", 1));
    frames
}

fn frame_size(function: &str, offset: u64) -> u64 {
    let known = FUNCTIONS.iter().find(|f| f.name == function).expect("a function of the program");
    if offset < 4 { 0 } else { u64::from(known.frame) }
}

/// Lays them out and makes the runtime's list of them.
pub(super) fn add(made: &mut Synthetic, goroutines: &[Spec]) {
    let layout = made.layout;
    let frame_pointer = Offsets::of(made.minor).find("gobuf", "bp").expect("known");
    let mut list = Vec::new();
    for (i, spec) in goroutines.iter().enumerate() {
        let i = i as u64;
        let at = HEAP + 0x1_0000 + i * ROOM;
        list.extend(at.to_le_bytes());
        let mut g = vec![0; layout.size];
        let mut set = |at: usize, value: u64| g[at..at + 8].copy_from_slice(&value.to_le_bytes());
        let alive = spec.kind != Kind::Dead;
        set(layout.sched_g, if alive { at } else { 0 });
        let frames = stack(spec);
        let mut used = Vec::new();
        for pair in frames.windows(2) {
            used.resize(used.len() + frame_size(pair[0].0, pair[0].1) as usize, 0u8);
            used.extend(code(pair[1].0, pair[1].1).to_le_bytes());
        }
        let low = STACKS + 4 * STACK * i;
        let size = STACK.max((used.len() as u64 + 256).next_power_of_two());
        let (high, pc) = (low + size, code(frames[0].0, frames[0].1));
        let sp = high - used.len() as u64 - 16;
        let status = match spec.kind {
            Kind::Waits(_) | Kind::WaitsSince(_) | Kind::System | Kind::Recursed(_) => 4u32,
            Kind::Runs => 2,
            Kind::Calls => 3,
            Kind::New => 1,
            Kind::Dead => 6,
        };
        if alive {
            set(layout.stack_low, low);
            set(layout.stack_high, high);
            set(layout.sched_sp, sp);
            set(layout.sched_pc, pc);
            // The frame pointer, which some versions have where others have what a system call saves.
            set(layout.sched_sp + frame_pointer, sp + 24);
            let mut bytes = vec![0; size as usize];
            let start = (sp - low) as usize;
            bytes[start..start + used.len()].copy_from_slice(&used);
            made.map("stack", low, bytes);
            set(layout.id, spec.id);
            let start = match (spec.id, spec.kind) {
                (1, _) => "runtime.main",
                (_, Kind::System) => "runtime.bgsweep",
                (_, Kind::Waits(function)) => function,
                (_, Kind::Recursed(_)) => "main.recurse",
                _ => "main.worker",
            };
            set(layout.start, code(start, 0));
            if spec.id > 2 {
                set(layout.created_at, code("main.main", CODE / 4));
                if let Some(parent) = layout.parent {
                    set(parent, 1);
                }
            }
        }
        if spec.kind == Kind::Calls {
            set(layout.syscall_sp, sp);
            set(layout.syscall_pc, pc);
            set(layout.locked_m, THREAD);
        }
        if matches!(spec.kind, Kind::Calls | Kind::Runs) {
            set(layout.m, THREAD);
        }
        if let Kind::WaitsSince(since) = spec.kind {
            set(layout.wait_since, since);
        }
        if !spec.labels.is_empty() {
            let address = LABELS + 0x1000 * i;
            set(layout.labels, address);
            for (what, at, bytes) in super::labels::build(made.minor, address, spec.labels) {
                made.map(what, at, bytes);
            }
        }
        g[layout.wait_reason] = CHAN_RECEIVE;
        g[layout.status..layout.status + 4].copy_from_slice(&status.to_le_bytes());
        made.map("g", at, g);
    }
    made.map("list", HEAP, list);
    let mut thread = vec![0; layout.m_thread + 8];
    thread[layout.m_thread..].copy_from_slice(&TID.to_le_bytes());
    made.map("m", THREAD, thread);
    let count = goroutines.len() as u64;
    for (what, value) in [("allgs", HEAP), ("allgptr", HEAP), ("allglen", count)] {
        let at = made.address_of(what);
        made.set(at, value);
    }
    let slice = made.address_of("allgs");
    made.set(slice + 8, count);
    made.set(slice + 16, count);
}

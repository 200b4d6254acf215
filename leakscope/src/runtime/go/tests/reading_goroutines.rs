//! Goroutines that lie, and goroutines that change while they are read.

use super::{goroutine, loss, nth, snapshot, take};
use crate::losses::{GO_DAMAGED, GO_UNSETTLED};
use crate::runtime::go::error::GoError;
use crate::runtime::go::goroutine::GoStackEnd;
use crate::runtime::go::synthetic::{HEAP, INLINED, Kind, Spec, Synthetic, code};

/// Place of goroutine 17 in the list.
const HUB: usize = 2;
/// Reads of a goroutine before the one that counts: as the list is looked for.
const LOOKED: u64 = 1;

fn hub(program: &Synthetic) -> u64 {
    nth(program, "g", HUB)
}

#[test]
fn a_list_of_all_memory() {
    let mut program = Synthetic::new(27);
    let opened = program.open().expect("a program");
    opened.all_goroutines().expect("the list");
    let length = program.address_of("allglen");
    program.set(length, u64::MAX);
    assert!(matches!(take(&opened), Err(GoError::TooMany(u64::MAX, _))));
    program.set(length, 1 << 24);
    assert_eq!(take(&opened), Err(GoError::Gone), "as many are allowed, but there is no memory");
    let slice = program.address_of("allgs");
    program.set(length, u64::MAX);
    program.set(slice + 8, u64::MAX);
    assert!(matches!(snapshot(&program), Err(GoError::NotFound(_))));
}

#[test]
fn a_list_of_itself() {
    let mut program = Synthetic::new(27);
    let opened = program.open().expect("a program");
    opened.all_goroutines().expect("the list");
    for entry in 0..11 {
        program.set(HEAP + 8 * entry, HEAP);
    }
    if let Ok(snapshot) = take(&opened) {
        assert!(snapshot.goroutines.len() <= 1);
        assert_eq!(loss(&snapshot, GO_DAMAGED), 10 + u64::from(snapshot.goroutines.is_empty()));
    }
}

#[test]
fn one_goroutine_many_times() {
    let mut program = Synthetic::new(27);
    let opened = program.open().expect("a program");
    opened.all_goroutines().expect("the list");
    let hub = hub(&program);
    for entry in 3..11 {
        program.set(HEAP + 8 * entry, hub + 8 * (entry - 3));
    }
    let snapshot = take(&opened).expect("goroutines");
    assert_eq!(snapshot.goroutines.len(), 3);
    assert_eq!(loss(&snapshot, GO_DAMAGED), 8);
}

#[test]
fn goroutines_nowhere() {
    for nowhere in [0, 8, u64::MAX, u64::MAX - 400, 1 << 63] {
        let mut program = Synthetic::new(27);
        let opened = program.open().expect("a program");
        opened.all_goroutines().expect("the list");
        program.set(HEAP + 8 * HUB as u64, nowhere);
        let snapshot = take(&opened).expect("the others");
        assert_eq!((snapshot.goroutines.len(), loss(&snapshot, GO_DAMAGED)), (9, 1), "{nowhere:#x}");
    }
}

#[test]
fn stacks_with_lying_bounds() {
    let layout = Synthetic::new(27).layout;
    let bounds = |low: u64, high: u64| (layout.stack_low, low, layout.stack_high, high);
    let lies = [
        bounds(0x2000, 0x1000),
        bounds(0x1000, 0x1000 + (1 << 30)),
        bounds(0, u64::MAX),
        bounds(0xdead_0000, 0xdead_2000),
    ];
    for (low, lowest, high, highest) in lies {
        let mut program = Synthetic::new(27);
        let opened = program.open().expect("a program");
        opened.all_goroutines().expect("the list");
        let g = hub(&program);
        program.set(g + low as u64, lowest);
        program.set(g + high as u64, highest);
        let snapshot = take(&opened).expect("goroutines");
        let stack = &snapshot.stacks[goroutine(&snapshot, 17).stack];
        assert_eq!((stack.frames.len(), stack.end), (0, GoStackEnd::Unreadable));
        assert_eq!(loss(&snapshot, GO_UNSETTLED), 1);
    }
}

#[test]
fn stack_pointers_outside_of_the_stack() {
    for pointer in [0, 8, u64::MAX, HEAP] {
        let mut program = Synthetic::new(27);
        let at = hub(&program) + program.layout.sched_sp as u64;
        program.set(at, pointer);
        let snapshot = snapshot(&program).expect("goroutines");
        assert_eq!(loss(&snapshot, GO_UNSETTLED), 1);
        assert_eq!(snapshot.stacks[goroutine(&snapshot, 17).stack].end, GoStackEnd::Unreadable);
    }
}

#[test]
fn a_stack_that_returns_to_itself_for_ever() {
    let specs = [
        Spec { id: 1, kind: Kind::Waits("main.main"), labels: &[] },
        Spec { id: 2, kind: Kind::Recursed(2000), labels: &[] },
    ];
    let mut program = Synthetic::with(27, &specs);
    let (_, at, size) = *program.structures.iter().filter(|s| s.0 == "stack").nth(1).expect("a stack");
    let again = code("main.recurse", 30).to_le_bytes();
    program.write(at, &again.repeat(size as usize / 8));
    let snapshot = snapshot(&program).expect("goroutines");
    let stack = &snapshot.stacks[goroutine(&snapshot, 2).stack];
    assert_eq!((stack.frames.len(), stack.end), (1024, GoStackEnd::TooDeep));
}

#[test]
fn inlined_into_itself() {
    let mut program = Synthetic::new(27);
    let tree = program.address_of("inline tree");
    program.write(tree + 8, &40u32.to_le_bytes());
    let snapshot = snapshot(&program).expect("goroutines");
    let stack = &snapshot.stacks[goroutine(&snapshot, 17).stack];
    assert_eq!(stack.end, GoStackEnd::Root);
    assert_eq!(stack.frames.iter().filter(|f| &*f.function == INLINED).count(), 100);
}

#[test]
fn changed_between_the_two_reads() {
    let program = Synthetic::new(27);
    let g = hub(&program);
    let at = g + program.layout.sched_sp as u64;
    let opened = program.open().expect("a program");
    let steady = take(&opened).expect("goroutines");
    program.space.change_after(g, 2 * LOOKED + 3, at, &0u64.to_le_bytes());
    // As the list is known by now, the next reads are the fourth and the fifth, then two of the retry.
    let sp = crate::runtime::go::memory::Memory::u64(&program.space, at).expect("mapped");
    program.space.change_after(g, 2 * LOOKED + 4, at, &sp.to_le_bytes());
    let snapshot = take(&opened).expect("goroutines");
    assert!(snapshot.retried >= steady.retried, "{} {}", snapshot.retried, steady.retried);
    assert_eq!(snapshot.losses, []);
    assert_eq!(snapshot.stacks[goroutine(&snapshot, 17).stack].end, GoStackEnd::Root);
}

#[test]
fn always_changing() {
    let program = Synthetic::new(27);
    let g = hub(&program);
    let at = g + program.layout.sched_pc as u64;
    for read in LOOKED + 1..100 {
        program.space.change_after(g, read, at, &code("main.worker", read % 8).to_le_bytes());
    }
    let snapshot = snapshot(&program).expect("goroutines");
    assert_eq!(loss(&snapshot, GO_UNSETTLED), 1);
    assert_eq!(snapshot.stacks[goroutine(&snapshot, 17).stack].end, GoStackEnd::Unreadable);
    assert!(snapshot.retried >= 4);
}

#[test]
fn ended_and_used_again_between_the_two_reads() {
    let program = Synthetic::new(27);
    let g = hub(&program);
    program.space.change_after(g, LOOKED + 1, g + program.layout.id as u64, &99u64.to_le_bytes());
    let snapshot = snapshot(&program).expect("goroutines");
    assert!(snapshot.goroutines.iter().all(|g| g.id != 17));
    assert_eq!(snapshot.stacks[goroutine(&snapshot, 99).stack].end, GoStackEnd::Root);
    assert_eq!(snapshot.losses, []);
}

#[test]
fn ended_between_the_two_reads() {
    let program = Synthetic::new(27);
    let g = hub(&program);
    program.space.change_after(g, LOOKED + 1, g + program.layout.status as u64, &6u32.to_le_bytes());
    let snapshot = snapshot(&program).expect("goroutines");
    assert_eq!(snapshot.goroutines.len(), 9);
    assert!(snapshot.goroutines.iter().all(|g| g.id != 17));
    assert_eq!(snapshot.losses, []);
}

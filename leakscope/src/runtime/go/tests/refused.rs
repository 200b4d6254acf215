//! Programs that are refused, with the check that failed; none is misread.

use super::{goroutine, nth, snapshot, take};
use crate::runtime::go::error::GoError;
use crate::runtime::go::goroutine::{GoFrame, GoStackEnd, GoroutineSnapshot};
use crate::runtime::go::memory::Memory as _;
use crate::runtime::go::offsets::{Offsets, VERSIONS};
use crate::runtime::go::program::LayoutSource;
use crate::runtime::go::synthetic::{Synthetic, code};

/// Damages goroutine 17 after the list was found, and tells the check that refuses the program.
fn refusal(damage: impl FnOnce(&mut Synthetic, u64)) -> &'static str {
    let mut program = Synthetic::new(27);
    let opened = program.open().expect("a program");
    opened.all_goroutines().expect("the list");
    let g = nth(&program, "g", 2);
    damage(&mut program, g);
    match take(&opened) {
        Err(GoError::SelfCheck { check, failed, .. }) if failed > 0 => check,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_check_that_failed() {
    let layout = Synthetic::new(27).layout;
    let check = refusal(|p, g| p.set(g + layout.sched_g as u64, g + 8));
    assert_eq!(check, "blocked goroutines name themselves in their saved registers");
    for id in [0, 18] {
        let check = refusal(|p, g| p.set(g + layout.id as u64, id));
        assert_eq!(check, "every goroutine has a number of its own");
    }
    for start in [0, 1, code("main.worker", 1)] {
        let check = refusal(|p, g| p.set(g + layout.start as u64, start));
        assert_eq!(check, "goroutines start at the first instruction of a function");
    }
    let check = refusal(|p, g| p.write(g + layout.wait_reason as u64, &[200]));
    assert_eq!(check, "reasons to wait are known ones");
    let stacks = "stacks lead to the goroutine's first function";
    assert_eq!(refusal(|p, g| p.set(g + layout.sched_pc as u64, 0x1234)), stacks);
    let zeros = refusal(|p, _| {
        let stack = nth(p, "stack", 2);
        p.write(stack, &[0; 2048]);
    });
    assert_eq!(zeros, stacks);
    // A function without a frame size: its record lies nowhere.
    let table = Synthetic::new(27).address_of("pclntab");
    let mut program = Synthetic::new(27);
    let records = program.space.u64(table + 64).expect("mapped");
    let index = (code("runtime.gopark", 0) - code("runtime.goexit", 0)) / 64;
    program.write(table + records + 8 * index + 4, &u32::MAX.to_le_bytes());
    assert!(matches!(snapshot(&program), Err(GoError::SelfCheck { check, .. }) if check == stacks));
}

#[test]
fn tables_that_are_not_there() {
    let table = Synthetic::new(27).address_of("pclntab");
    let module = Synthetic::new(27).address_of("moduledata");
    for (at, value) in [
        (table, 0),
        (table + 8, 1 << 24),
        (table + 8, (1 << 24) - 1),
        (table + 64, u64::MAX),
        (table + 32, 1 << 40),
        (module, module),
        (module + 112, u64::MAX),
        (module + 112, 1 << 29),
        (module + 136, 1 << 24),
        (module + 176, u64::MAX),
    ] {
        let mut program = Synthetic::new(27);
        program.set(at, value);
        assert!(matches!(program.open(), Err(GoError::NotFound(_))), "{at:#x} {value:#x}");
    }
    // The header and the description agree on functions that are not there.
    let mut program = Synthetic::new(27);
    program.set(table + 8, (1 << 24) - 1);
    program.set(module + 136, 1 << 24);
    assert!(matches!(program.open(), Err(GoError::NotFound(_))));
}

#[test]
fn parts_in_a_circle_and_without_end() {
    let mut program = Synthetic::new(27);
    let module = program.address_of("moduledata");
    let next = Offsets::of(27).find("moduledata", "next").expect("known");
    program.set(module + next as u64, module);
    assert_eq!(program.open().expect("a program").parts.len(), 1);

    let far = 0x7000_0000_0000;
    program.set(module + next as u64, far);
    let description = program.space.bytes(module, 640).expect("mapped");
    let mut chain = Vec::new();
    for i in 1..=10_000u64 {
        let at = chain.len();
        chain.extend(&description);
        chain[at + next..at + next + 8].copy_from_slice(&(far + 640 * i).to_le_bytes());
    }
    program.space.map(far, chain);
    let opened = program.open().expect("a program");
    assert_eq!(opened.parts.len(), 256);
    assert_eq!(take(&opened).expect("goroutines").goroutines.len(), 10);
    assert!(program.space.cost().0 < 10_000);
}

fn stack(snapshot: &GoroutineSnapshot, id: u64) -> &[GoFrame] {
    &snapshot.stacks[goroutine(snapshot, id).stack].frames
}

#[test]
fn another_version_is_refused_or_read_right() {
    let mut refused = 0;
    for minor in VERSIONS {
        let program = Synthetic::new(minor);
        let truth = snapshot(&program).expect("goroutines");
        for pretended in VERSIONS.into_iter().filter(|v| *v != minor) {
            let read = program
                .open_as(&format!("go1.{pretended}"), LayoutSource::Best)
                .and_then(|program| take(&program));
            let Ok(read) = read else {
                refused += 1;
                continue;
            };
            assert_eq!(read.goroutines.len(), truth.goroutines.len(), "{minor} as {pretended}");
            for g in &read.goroutines {
                let expected = goroutine(&truth, g.id);
                assert_eq!((g.state, &g.wait_reason), (expected.state, &expected.wait_reason));
                assert_eq!(g.start_function, expected.start_function);
                assert_eq!(g.created_by, expected.created_by);
                match read.stacks[g.stack].end {
                    GoStackEnd::Root => assert_eq!(stack(&read, g.id), stack(&truth, g.id)),
                    GoStackEnd::Running => {}
                    GoStackEnd::Unreadable => assert!(!read.losses.is_empty()),
                    end => panic!("{minor} as {pretended}: {end:?}"),
                }
            }
        }
    }
    assert!(refused > 30, "{refused}");
    for (minor, pretended) in [(19, 27), (27, 19), (24, 27), (27, 24), (25, 26)] {
        let read = Synthetic::new(minor)
            .open_as(&format!("go1.{pretended}"), LayoutSource::Best)
            .and_then(|program| take(&program));
        assert!(read.is_err(), "{minor} as {pretended}");
    }
}

//! The account of a sound program, and of programs that lie about it.

use crate::runtime::go::mem_stats::{CpuTime, MemStats, find, read};
use crate::runtime::go::offsets::VERSIONS;
use crate::runtime::go::synthetic::mem_stats::{COLLECTIONS, FREE, IN_USE, PART, RELEASED, STACKS};
use crate::runtime::go::synthetic::{Synthetic, exercise};

fn account(program: &Synthetic) -> Option<MemStats> {
    let opened = program.open().expect("a program");
    read(&opened, &mut find(&opened).ok()?, std::process::id()).ok()
}

#[test]
fn in_every_layout() {
    for minor in VERSIONS {
        let stats = account(&Synthetic::new(minor)).expect("an account");
        assert_eq!((stats.off_by_bytes, stats.heap_in_use_bytes), (0, IN_USE), "{minor}");
        assert_eq!((stats.heap_free_bytes, stats.heap_released_bytes), (FREE, RELEASED), "{minor}");
        assert_eq!((stats.stack_bytes, stats.other_bytes), (STACKS, PART), "{minor}");
        assert_eq!((stats.collections, stats.gc_percent, stats.limit_bytes), (COLLECTIONS, Some(100), None));
        assert_eq!((stats.heap_alloc_bytes, stats.marked_bytes), (10_000, Some(1000)), "{minor}");
        assert_eq!(stats.next_gc_bytes, Some(4 << 20), "{minor}");
        let ms = |ms: u64| ms * 1_000_000;
        let cpu = CpuTime { collector_ns: ms(250), used_ns: ms(750), all_ns: ms(1000) };
        assert_eq!(stats.cpu, (minor >= 20).then_some(cpu), "{minor}");
    }
}

#[test]
fn lies_are_refused_or_told() {
    let sound = Synthetic::new(27);
    for what in ["controller", "statistics", "CPU time"] {
        let (at, size) = sound.structures.iter().find(|s| s.0 == what).map(|s| (s.1, s.2)).expect("one");
        let last = at + (size & !7);
        for at in (at..last.min(at + 400)).chain(last.saturating_sub(120)..last).filter(|at| at % 8 == 0) {
            for word in [u64::MAX, 1 << 40] {
                let mut program = Synthetic::new(27);
                program.set(at, word);
                let stats = account(&program);
                assert!(stats.is_none_or(|stats| stats.cpu.is_none_or(|cpu| cpu.used_ns <= cpu.all_ns)));
            }
        }
    }
    let mut program = Synthetic::new(27);
    program.set(program.address_of("controller"), 0);
    exercise(&program);
    assert!(account(&program).is_some_and(|stats| stats.gc_percent == Some(0)));
    let mut program = Synthetic::new(27);
    program.write(program.address_of("statistics"), &[0xff; 4000]);
    exercise(&program);
    assert!(account(&program).is_none());
}

//! Programs on musl, whose code has no unwind tables: the account is exact, and stacks are whole.

use anyhow::{Context as _, Result};
use leakscope_tests::programs::{Allocator, BLOCKED, CASES, Program, STACKS, THREADS};
use leakscope_tests::server::find_program;
use leakscope_tests::snapshot::Snapshot;
use leakscope_tests::{Expect, Fixture, skip};

use crate::check_with;

const BOTH: [Allocator; 2] = [Allocator::Musl, Allocator::MuslStatic];

/// Shared and static: the truth is met, nothing is lost, and each stack reaches its root.
fn check_both(program: &Program, scenario: &str) -> Result<()> {
    if find_program("musl-gcc").is_none() {
        skip!("musl-gcc is not installed");
    }
    for allocator in BOTH {
        // Nothing lost says that each stack is whole. The shared library's first functions have no names.
        let expect = Expect { rooted: allocator == Allocator::MuslStatic, ..Expect::default() };
        check_with(&program.allocator(allocator), scenario, expect)
            .with_context(|| format!("{allocator:?}"))?;
    }
    Ok(())
}

macro_rules! cases {
    ($($name:ident: $program:expr, $scenario:literal;)*) => {$(
        #[test]
        fn $name() -> Result<()> {
            check_both(&$program, $scenario)
        }
    )*};
}

cases! {
    one_site: CASES, "one-site";
    // calloc calls malloc, and realloc calls malloc and free.
    nested_calls: CASES, "nested";
    realloc_in_place: CASES, "realloc-in-place";
    realloc_moved: CASES, "realloc-moved";
    realloc_failing_keeps_the_old_block: CASES, "realloc-failing";
    failed_allocations: CASES, "failed";
    // posix_memalign calls aligned_alloc, which calls malloc.
    posix_memalign: CASES, "posix-memalign";
    signal_handler: STACKS, "signal";
    signal_handler_on_an_alternate_stack_in_a_thread: STACKS, "signal-in-thread";
    through_a_function_of_libc: STACKS, "through-libc";
    hundred_frames_deep: STACKS, "deep100";
    frames_of_many_mib: STACKS, "huge-frames";
    three_hundred_threads: THREADS, "300";
    block_freed_by_another_thread: THREADS, "freed-by-another";
}

/// Blocked threads of several kinds: each is told by what it waits for, up to the thread's first function.
#[test]
fn blocked_threads() -> Result<()> {
    if find_program("musl-gcc").is_none() {
        skip!("musl-gcc is not installed");
    }
    for allocator in BOTH {
        for (scenario, function) in [
            ("mutex-dead-owner", "at_mutex"),
            ("condvar", "at_condvar"),
            ("semaphore", "at_semaphore"),
            ("barrier", "at_barrier"),
            ("pipe-read", "at_read"),
            ("poll", "at_poll"),
            ("signal-handler", "at_pause"),
        ] {
            let fixture = Fixture::start(&BLOCKED.allocator(allocator), &[scenario, "5"])?;
            let truth = fixture.blocked()?;
            let report = Snapshot::of(fixture.pid())?.report;
            assert_eq!(report.losses(), [], "{allocator:?}, {scenario}");
            let tids = truth.groups.values().flat_map(|group| group.tids());
            for tid in tids {
                let site =
                    report.wait_site_of(tid).with_context(|| format!("{scenario}: {tid} has no site"))?;
                let whole = site.text("stack_end") == "root" && site.passes(function);
                assert!(whole, "{allocator:?}, {scenario}: {}", site.describe());
            }
        }
    }
    Ok(())
}

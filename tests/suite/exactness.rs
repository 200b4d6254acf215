//! Live objects and bytes are exactly the truth: one test a case.

use anyhow::Result;
use leakscope_tests::fixture::Amount;
use leakscope_tests::programs::{
    Allocator, BAD_ALLOC, CASES, COROUTINES, ESCAPES, GLIBC_ONLY, Library, PROCESSES, Program, THREADS,
};
use leakscope_tests::{Expect, Fixture, Leakscope};

use crate::{check, check_with};

/// A call that never returns is counted as abandoned, and nothing else may go wrong.
const ABANDONED: Expect<'_> = Expect { exact: false, losses: &["heap.call_abandoned"], rooted: true };

/// Tests that are no more than a program and its scenario.
macro_rules! cases {
    ($($(#[$attribute:meta])* $name:ident: $program:expr, $scenario:literal;)*) => {$(
        $(#[$attribute])*
        #[test]
        fn $name() -> Result<()> {
            check(&$program, $scenario).map(drop)
        }
    )*};
}

cases! {
    one_site: CASES, "one-site";
    one_site_static: CASES.allocator(Allocator::GlibcStatic), "one-site";
    nested_calls_of_calloc_and_reallocarray: CASES, "nested";
    nested_calls_under_mimalloc: CASES.allocator(Allocator::Preloaded(Library::Mimalloc)), "nested";
    nested_calls_under_jemalloc: CASES.allocator(Allocator::Preloaded(Library::Jemalloc)), "nested";
    nested_calls_under_tcmalloc: CASES.allocator(Allocator::Preloaded(Library::Tcmalloc)), "nested";
    /// A wrapper's calloc calls the wrapper's malloc, which calls glibc's.
    nested_calls_of_a_wrapper: ESCAPES, "nested";
    signal_handler_that_allocates_inside_malloc: ESCAPES, "interrupted";
    realloc_in_place: CASES, "realloc-in-place";
    realloc_moved: CASES, "realloc-moved";
    realloc_shrinking: CASES, "realloc-shrinking";
    realloc_of_null: CASES, "realloc-of-null";
    realloc_to_zero: CASES, "realloc-to-zero";
    realloc_failing_keeps_the_old_block: CASES, "realloc-failing";
    failed_allocations: CASES, "failed";
    free_of_null: CASES, "free-of-null";
    posix_memalign_out_parameter: CASES, "posix-memalign";
    posix_memalign_failing: CASES, "posix-memalign-failing";
    pvalloc_valloc_and_reallocarray: GLIBC_ONLY, "all";
    frees_of_blocks_from_before_the_attach: CASES, "frees-from-before";
    block_freed_by_another_thread: THREADS, "freed-by-another";
    three_hundred_threads: THREADS, "300";
    coroutines_that_allocate: COROUTINES, "leak";
    /// They free each other's blocks, and start others inside themselves.
    coroutines_that_take_turns: COROUTINES, "alternate";
    /// As a thread ends, libc frees what is in its cache, and the cache: the program frees none of it.
    caches_of_a_thousand_threads: THREADS, "thousand-end";
    caches_of_a_thousand_threads_static: THREADS.allocator(Allocator::GlibcStatic), "thousand-end";
    /// The dynamic linker frees the tables of threads that began before the attach.
    threads_from_before_the_attach_end: THREADS, "early-end";
    /// Half of the blocks go in a child that must not touch the account.
    fork: PROCESSES, "fork";
    vfork: PROCESSES, "vfork";
    /// The child works in the parent's memory, so its calls are the parent's.
    vfork_child_that_frees_and_allocates: PROCESSES, "vfork-busy";
    posix_spawn: PROCESSES, "posix-spawn";
    bad_alloc_under_glibc: BAD_ALLOC, "all";
    bad_alloc_under_static_glibc: BAD_ALLOC.allocator(Allocator::GlibcStatic), "all";
    bad_alloc_under_jemalloc: BAD_ALLOC.allocator(Allocator::Preloaded(Library::Jemalloc)), "all";
    bad_alloc_under_tcmalloc: BAD_ALLOC.allocator(Allocator::Preloaded(Library::Tcmalloc)), "all";
    bad_alloc_under_linked_tcmalloc: BAD_ALLOC.allocator(Allocator::Linked(Library::Tcmalloc)), "all";
    bad_alloc_under_mimalloc: BAD_ALLOC.allocator(Allocator::Linked(Library::Mimalloc)), "all";
    bad_alloc_through_destructors_under_glibc: BAD_ALLOC, "destructors";
    bad_alloc_through_destructors_under_jemalloc:
        BAD_ALLOC.allocator(Allocator::Preloaded(Library::Jemalloc)), "destructors";
    bad_alloc_through_destructors_under_tcmalloc:
        BAD_ALLOC.allocator(Allocator::Preloaded(Library::Tcmalloc)), "destructors";
}

/// 8 threads at full speed: here also what was allocated and freed is compared.
#[test]
fn eight_threads_at_full_speed() -> Result<()> {
    churn(&THREADS)
}

#[test]
fn eight_threads_at_full_speed_under_jemalloc() -> Result<()> {
    churn(&THREADS.allocator(Allocator::Preloaded(Library::Jemalloc)))
}

fn churn(program: &Program) -> Result<()> {
    let report = check(program, "churn8")?;
    let churned: Vec<_> = report.sites_through("site_churned").collect();
    assert_eq!(churned.len(), 1, "one stack, one site");
    assert_eq!(churned[0].allocated(), Amount { objects: 800_000, bytes: 160_000_000 });
    Ok(())
}

#[test]
fn longjmp_out_of_malloc() -> Result<()> {
    check_with(&ESCAPES, "longjmp", ABANDONED).map(drop)
}

#[test]
fn thread_exit_during_malloc() -> Result<()> {
    check_with(&ESCAPES, "thread-exit", ABANDONED).map(drop)
}

#[test]
fn thread_exit_during_malloc_by_system_call() -> Result<()> {
    check_with(&ESCAPES, "thread-exit-raw", ABANDONED).map(drop)
}

/// Blocks of before the attach are not in the account, whatever is done with them.
#[test]
fn attach_in_the_middle_of_the_load() -> Result<()> {
    let mut fixture = Fixture::start(&leakscope_tests::programs::LOAD, &["4"])?;
    let scope = Leakscope::attach(fixture.pid()).start()?;
    let start = fixture.rounds()?;
    while fixture.rounds()? < start + 50_000 {}
    let report = scope.finish()?.report()?;
    assert!(report.heap_exact(), "lost: {:?}", report.losses());
    assert_eq!(report.losses(), []);
    let leaked = report.sites_through("site_load").map(|site| site.live()).max_by_key(|live| live.objects);
    // One block in 1024 rounds stays, 16 bytes each; at most one a thread is on its way.
    let leaked = leaked.expect("the leak is in the report");
    assert_eq!(leaked.bytes, leaked.objects * 16, "{leaked:?}");
    assert!(leaked.objects >= 50_000 / 1024 - 8, "{leaked:?}");
    assert!(report.sites().all(|site| site.live().objects >= 0 && site.live().bytes >= 0));
    Ok(())
}

/// When the map of live blocks is full, the loss is counted and the report no longer exact.
#[test]
fn a_full_map_is_counted_as_loss() -> Result<()> {
    let mut fixture = Fixture::start(&THREADS, &["300"])?;
    let scope = Leakscope::attach(fixture.pid()).args(["--max-live", "1000"]).start()?;
    let truth = fixture.go()?;
    let report = scope.finish()?.report()?;
    assert!(!report.heap_exact());
    let lost = report.losses().into_iter().find(|(name, _)| *name == "heap.live_full");
    let live: i64 = truth.live.values().map(|amount| amount.objects).sum();
    let (_, lost) = lost.expect("heap.live_full is in the report");
    assert!(lost >= live - 1000 - 300, "{lost} lost of {live}");
    Ok(())
}

/// Two instances see the same target, each exactly.
#[test]
fn two_leakscopes_on_one_target() -> Result<()> {
    let mut fixture = Fixture::start(&CASES, &["one-site"])?;
    let first = Leakscope::attach(fixture.pid()).start()?;
    let second = Leakscope::attach(fixture.pid()).start()?;
    let truth = fixture.go()?;
    first.finish()?.report()?.assert_exact(&truth);
    second.finish()?.report()?.assert_exact(&truth);
    Ok(())
}

/// The second attaches while the first detaches; its account begins at zero.
#[test]
fn one_leakscope_after_another() -> Result<()> {
    let mut fixture = Fixture::start(&PROCESSES, &["ended"])?;
    let mut first = Leakscope::attach(fixture.pid()).start()?;
    first.interrupt()?;
    let second = Leakscope::attach(fixture.pid()).start()?;
    first.wait()?.report()?;
    let truth = fixture.go()?;
    second.finish()?.report()?.assert_exact(&truth);
    Ok(())
}

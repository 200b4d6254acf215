//! The fixtures themselves, without leakscope: each variant builds, runs and tells a truth.

use anyhow::Result;
use leakscope_tests::fixture::Amount;
use leakscope_tests::programs::{
    Allocator, BAD_ALLOC, BLOCKED, CASES, CHURN, DEADLOCK_C, DEADLOCK_CPP, DEADLOCK_RUST, ESCAPES, HOSTILE,
    I386, LOAD, Library, PINGPONG, PROCESSES, Program, SITES_C, SITES_CPP, SITES_RUST, SITES_RUST_JEMALLOC,
    SPAWN, STACKS, THREADS, ZOMBIE,
};
use leakscope_tests::report::names;
use leakscope_tests::server::find_program;
use leakscope_tests::text::Text;
use leakscope_tests::{Fixture, Truth, gdb, skip};

fn truth_of(program: &Program, scenario: &str) -> Result<Truth> {
    let mut fixture = Fixture::start(program, &[scenario])?;
    let truth = fixture.go()?;
    assert!(!truth.live.is_empty(), "{program:?} has no site");
    assert!(truth.live.values().all(|live| live.objects >= 0 && live.bytes >= 0), "{truth:?}");
    assert!(fixture.end()?.success());
    Ok(truth)
}

#[test]
fn every_allocator_runs_the_sites() -> Result<()> {
    for library in [Library::Jemalloc, Library::Tcmalloc, Library::Mimalloc] {
        for allocator in [Allocator::Preloaded(library), Allocator::Linked(library)] {
            for program in [SITES_C, SITES_CPP, SITES_RUST] {
                truth_of(&program.allocator(allocator), if program.is_c() { "threaded" } else { "all" })?;
            }
        }
    }
    truth_of(&SITES_RUST_JEMALLOC, "all")?;
    Ok(())
}

/// What the sites ask for does not depend on how they were built.
#[test]
fn the_truth_is_the_same_in_every_variant() -> Result<()> {
    for (program, scenario) in [(SITES_C, "threaded"), (SITES_CPP, "all"), (SITES_RUST, "all")] {
        let reference = truth_of(&program, scenario)?.live;
        for allocator in [Allocator::Glibc, Allocator::GlibcStatic] {
            let variant = program.allocator(allocator).debug(false);
            assert_eq!(truth_of(&variant, scenario)?.live, reference, "{variant:?}");
        }
    }
    Ok(())
}

#[test]
fn scenarios_end_well() -> Result<()> {
    truth_of(&CASES.allocator(Allocator::Preloaded(Library::Mimalloc)), "nested")?;
    truth_of(&BAD_ALLOC.allocator(Allocator::Linked(Library::Mimalloc)), "all")?;
    truth_of(&ESCAPES, "longjmp")?;
    truth_of(&ESCAPES, "thread-exit")?;
    truth_of(&THREADS, "freed-by-another")?;
    truth_of(&STACKS, "dlopen")?;
    let truth = truth_of(&PROCESSES, "vfork-busy")?;
    assert_eq!(truth.live["site_parent"], Amount { objects: 98, bytes: 98 * 256 });
    Ok(())
}

#[test]
fn special_processes_start() -> Result<()> {
    let mut i386 = Fixture::start(&I386, &[])?;
    let zombie = Fixture::start(&ZOMBIE, &[])?;
    let state = std::fs::read_to_string(format!("/proc/{}/status", zombie.pid()))?;
    assert!(state.contains("Z (zombie)"), "{state}");
    assert!(i386.end()?.success());
    let mut load = Fixture::start(&LOAD, &["2"])?;
    assert!(Text::of(load.pid())?.changed()?.is_empty());
    let rounds = load.rounds()?;
    while load.rounds()? == rounds {}
    Ok(())
}

/// The kernel says of each thread what the truth says, before and after.
#[test]
fn blocked_threads_are_blocked() -> Result<()> {
    for (program, scenario) in [
        (BLOCKED, "zoo"),
        (BLOCKED, "page-fault"),
        (BLOCKED, "many-locks"),
        (BLOCKED, "signal-handler"),
        (BLOCKED, "deep"),
        (DEADLOCK_C, "queue"),
        (DEADLOCK_CPP, "primitives"),
        (DEADLOCK_RUST, "primitives"),
        (HOSTILE, "smashed"),
        (HOSTILE, "hole"),
    ] {
        let mut fixture = Fixture::start(&program, &[scenario, "20"])?;
        let truth = fixture.blocked()?;
        assert!(truth.impossible.is_none(), "{scenario}: {:?}", truth.impossible);
        let state = || -> Result<Vec<String>> {
            let tids = truth.groups.values().flat_map(|group| group.tids());
            tids.map(|tid| {
                Ok(std::fs::read_to_string(format!("/proc/{}/task/{tid}/syscall", fixture.pid()))?)
            })
            .collect()
        };
        let before = state()?;
        assert_eq!(before.len(), truth.threads());
        assert!(before.iter().all(|state| !state.contains("running")), "{scenario}: {before:?}");
        assert_eq!(state()?, before, "{scenario}: nothing moves");
        for lock in &truth.locks {
            let waiters = &truth.group(&lock.group).threads;
            let here = waiters.iter().filter(|thread| thread.argument == lock.address).count();
            assert_eq!(here as u64, lock.waiters, "{scenario}: {lock:?}");
        }
        fixture.go()?;
    }
    Ok(())
}

/// What the truth calls the blocking function is on the stack that gdb shows.
#[test]
fn gdb_sees_the_functions_of_the_truth() -> Result<()> {
    let Some(gdb) = find_program("gdb") else { skip!("gdb is not installed") };
    for (program, scenario) in [(BLOCKED, "zoo"), (DEADLOCK_CPP, "primitives"), (DEADLOCK_RUST, "primitives")]
    {
        let fixture = Fixture::start(&program, &[scenario, "3"])?;
        let truth = fixture.blocked()?;
        let stacks = gdb::backtraces(&gdb, fixture.pid())?;
        for group in truth.groups.values() {
            for tid in group.tids() {
                let stack = &stacks[&tid];
                assert!(
                    stack.iter().any(|frame| names(&frame.function, &group.function)),
                    "{group:?}: {stack:#?}"
                );
                assert!(stack[0].address != 0, "{stack:#?}");
            }
        }
    }
    Ok(())
}

/// The waits, as the program and the kernel count them, are nearly all that there should be.
#[test]
fn waits_are_counted_twice() -> Result<()> {
    let mut fixture = Fixture::start(&PINGPONG, &["play", "500"])?;
    let truth = fixture.go()?;
    for (function, waits) in [("wait_semaphore", 1000), ("wait_futex", 1000), ("hold_back", 2000)] {
        let number = |key: &str| truth.numbers[&format!("{function}.{key}")];
        assert_eq!(number("waits"), waits);
        // A sleeper whose time is over before it has gone to sleep does not wait.
        assert!((waits * 98 / 100..=waits * 101 / 100).contains(&number("switches")), "{truth:?}");
        assert!(number("wait_ns") >= waits * 500_000 * 98 / 100, "{truth:?}");
    }
    let mut spawn = Fixture::start(&SPAWN, &[])?;
    assert_eq!(spawn.go()?.numbers["spawn_leaked.created"], 30);
    let mut churn = Fixture::start(&CHURN, &[])?;
    let first = churn.rounds()?;
    while churn.rounds()? < first + 1000 {}
    assert!(churn.end()?.success());
    Ok(())
}

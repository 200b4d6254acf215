//! The fixtures themselves, without leakscope: each variant builds, runs and tells a truth.

use anyhow::Result;
use leakscope_tests::fixture::Amount;
use leakscope_tests::programs::{
    Allocator, BAD_ALLOC, CASES, ESCAPES, I386, LOAD, Library, PROCESSES, Program, SITES_C, SITES_CPP,
    SITES_RUST, SITES_RUST_JEMALLOC, STACKS, THREADS, ZOMBIE,
};
use leakscope_tests::text::Text;
use leakscope_tests::{Fixture, Truth};

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

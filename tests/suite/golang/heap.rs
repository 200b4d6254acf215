//! The heap of programs in Go.

use leakscope_tests::go::GARBAGE;
use leakscope_tests::go::compare::compare_heap;
use serde_json::Value;

use super::fixtures::truth;
use super::*;

/// Sites of the report whose allocator is Go's.
pub(super) fn go_sites(report: &Report) -> Vec<&Value> {
    let sites = report.at("/heap/sites").as_array();
    sites.into_iter().flatten().filter(|site| site["source"] == "go").collect()
}

/// Compares what is live by site with the program's own heap profile, every allocation sampled. The
/// collector is off, so that the profile stays that of the last collection.
pub(super) fn profiled(program: Program) -> Result<()> {
    let mut fixture = program.start(&["-rate", "1", "-gc-percent", "-1"])?;
    fixture.collect()?;
    let report = Leakscope::attach(fixture.pid()).start()?.finish()?.report()?;
    let own = fixture.dump()?.heap.context("its own profile")?;
    ensure!(own.rate == 1, "its rate is {}", own.rate);
    compare_heap(&go_sites(&report), &own).with_context(|| program.to_string())
}

#[test]
fn heap_as_in_its_own_profile() -> Result<()> {
    for (toolchain, variant) in
        [(OLDEST, Variant::Normal), (NEWEST, Variant::Normal), (NEWEST, Variant::Stripped)]
    {
        need!(toolchain);
        profiled(STORY.with(toolchain).variant(variant))?;
    }
    Ok(())
}

/// Where the program does not profile: within 25 % at each site that leaks, and no garbage.
#[test]
fn heap_without_the_profiler() -> Result<()> {
    need!(NEWEST);
    let mut fixture = GARBAGE.variant(Variant::Stripped).start(&[])?;
    let scope = Leakscope::attach(fixture.pid()).start()?;
    for _ in 0..4 {
        fixture.ask("work 20000", "worked ")?;
        fixture.collect()?;
    }
    let stats = fixture.collect()?;
    let truth = truth(&mut fixture)?;
    let report = scope.finish()?.report()?;
    let sites = go_sites(&report);
    for (function, (_, bytes)) in truth.iter().filter(|(_, (_, bytes))| *bytes > 0) {
        let here = sites.iter().filter(|site| {
            let frames = site["frames"].as_array().into_iter().flatten();
            frames.into_iter().any(|frame| frame["function"] == function.as_str())
        });
        let live: f64 = here.map(|site| site["live_bytes"].as_f64().unwrap_or(0.0)).sum();
        let share = live / *bytes as f64;
        assert!((0.75..1.25).contains(&share), "{function}: {live} of {bytes}");
    }
    for site in &sites {
        let frames = site["frames"].as_array().into_iter().flatten();
        let garbage = frames.into_iter().any(|frame| frame["function"] == "main.(*worker).makeGarbage");
        let live = site["live_bytes"].as_f64().unwrap_or(0.0);
        assert!(!garbage || live < 0.02 * stats.bytes as f64, "garbage is listed: {site}");
    }
    let total: f64 = sites.iter().map(|site| site["live_bytes"].as_f64().unwrap_or(0.0)).sum();
    let share = total / stats.bytes as f64;
    assert!((0.9..1.1).contains(&share), "{total} of {stats:?}");
    Ok(())
}

//! Programs in Go: goroutines as their own runtime shows them.

mod attach;
mod cgo;
mod fixtures;
mod heap;
mod holders;
mod hosts;
mod leaks;
mod matrix;
mod memory;
mod rounds;
mod waits;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use leakscope_tests::go::compare::{GoSite, compare_goroutines, compare_stacks, sites};
use leakscope_tests::go::profile::Frame;
use leakscope_tests::go::{CHURN, GoFixture, NEWEST, OLDEST, Program, STORY, Toolchain, Variant};
use leakscope_tests::{Leakscope, Report};

const GO_1_21: Toolchain = Toolchain("1.21");
const GO_1_24: Toolchain = Toolchain("1.24");

/// Ends the test as skipped where the toolchain is not installed.
macro_rules! need {
    ($toolchain:expr) => {
        if $toolchain.root().is_none() {
            leakscope_tests::skip!("{} is not installed", $toolchain);
        }
    };
}
pub(crate) use need;

fn dump(fixture: &GoFixture) -> Result<Report> {
    Leakscope::dump(fixture.pid()).run()?.report()
}

/// A whole look at a program that stands still: compared with what it says of itself.
fn compare(fixture: &mut GoFixture) -> Result<Report> {
    let report = dump(fixture)?;
    // Only now, as it creates garbage and may collect it.
    let own = fixture.dump()?;
    if let Some(groups) = &own.goroutines {
        compare_goroutines(report.value(), groups).context("debug=1")?;
    }
    compare_stacks(report.value(), &own.stacks).context("debug=2")?;
    // Of the threads below, no stack matters here.
    let lost: Vec<_> = report.losses().into_iter().filter(|(name, _)| name.starts_with("go.")).collect();
    ensure!(lost.is_empty(), "lost: {lost:?}");
    check_places(&report)?;
    Ok(report)
}

/// Every frame of the program's own code has its place in the program's file: the same distance from the
/// address, and the build ID that the program has (Go 1.24 and later give it one).
fn check_places(report: &Report) -> Result<()> {
    let sites = report.at("/goroutines/sites").as_array().context("goroutines")?;
    let hex = |value: &serde_json::Value| u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok();
    let mut biases = BTreeSet::new();
    for frame in sites.iter().flat_map(|site| site["frames"].as_array().into_iter().flatten()) {
        ensure!(frame["build_id"] == *report.at("/target/build_id"), "build ID of {frame}");
        ensure!(frame["module"] == *report.at("/target/exe"), "file of {frame}");
        let place = hex(&frame["address"]).zip(hex(&frame["offset"]));
        let (address, offset) = place.with_context(|| format!("place of {frame}"))?;
        biases.insert(address.wrapping_sub(offset));
    }
    ensure!(biases.len() == 1, "one program has one load bias: {biases:x?}");
    Ok(())
}

/// Builds and compares the story.
fn story(toolchain: Toolchain, variant: Variant) -> Result<Report> {
    let program = STORY.with(toolchain).variant(variant);
    let mut fixture = program.start(&[])?;
    compare(&mut fixture).with_context(|| program.to_string())
}

/// A test for a toolchain and its variants: groups, counts, frames, states, labels and creators.
macro_rules! as_in_its_own_profile {
    ($($test:ident: $toolchain:expr, $variants:expr;)*) => {$(
        #[test]
        fn $test() -> Result<()> {
            need!($toolchain);
            for variant in $variants {
                story($toolchain, variant)?;
            }
            Ok(())
        }
    )*};
}

as_in_its_own_profile! {
    goroutines_as_in_its_own_profile_go_1_19: OLDEST, [Variant::Normal, Variant::Stripped, Variant::Cgo];
    goroutines_as_in_its_own_profile_go_1_21: GO_1_21, [Variant::Normal, Variant::Stripped];
    goroutines_as_in_its_own_profile_go_1_24: GO_1_24, [Variant::Normal, Variant::Stripped];
    goroutines_as_in_its_own_profile_normal: NEWEST, [Variant::Normal];
    goroutines_as_in_its_own_profile_stripped: NEWEST, [Variant::Stripped];
    goroutines_as_in_its_own_profile_pie: NEWEST, [Variant::Pie, Variant::PieStripped];
    goroutines_as_in_its_own_profile_cgo: NEWEST, [Variant::Cgo, Variant::CgoStripped];
    goroutines_as_in_its_own_profile_without_the_heap_profiler: NEWEST, [Variant::NoHeap];
    goroutines_as_in_its_own_profile_trimpath: NEWEST, [Variant::Trimpath];
    goroutines_as_in_its_own_profile_section_headers_removed: NEWEST, [Variant::NoSections];
    goroutines_as_in_its_own_profile_without_optimisation: NEWEST, [Variant::NoOptimisation];
}

/// The site whose stack goes through a function.
fn site_through<'a>(sites: &'a [GoSite], function: &str) -> Result<&'a GoSite> {
    let through = |frames: &[Frame]| frames.iter().any(|frame| frame.function == function);
    sites.iter().find(|site| through(&site.frames)).with_context(|| format!("no site through {function}"))
}

/// The story's question is answered by the first line: how many of all, doing what, and where.
#[test]
fn the_story_is_told_by_the_headline() -> Result<()> {
    need!(NEWEST);
    let fixture = STORY.variant(Variant::Stripped).start(&["-growth", "100"])?;
    let report = dump(&fixture)?;
    let headline = report.at("/summary/headline").as_str().unwrap_or_default();
    for part in ["11,274", "13,647", "chan receive", "websocket.go:156"] {
        assert!(headline.contains(part), "{part:?} is not in: {headline}");
    }
    let first = report.at("/goroutines/sites/0");
    assert_eq!(first["count"], 11274, "{first}");
    let blame = first["blame"].as_u64().and_then(|at| usize::try_from(at).ok()).context("blame")?;
    assert_eq!(first["frames"][blame]["function"], "main.(*WebSocket).notifyFxn");
    assert_eq!(first["frames"][blame]["line"], 156);
    let frames = &sites(report.value())?[0].frames;
    let own: Vec<_> = frames.iter().map(|frame| frame.function.as_str()).collect();
    let own: Vec<_> = own.into_iter().filter(|function| function.starts_with("main.")).collect();
    let chain = ["main.(*WebSocket).notifyFxn", "main.(*WebSocket).waitNotify", "main.serveWebSocket.func1"];
    assert_eq!(own, chain);
    assert_eq!(first["frames"][blame + 1]["inlined"], true, "{first}");
    assert_eq!(first["start_function"], "main.serveWebSocket.func1");
    assert_eq!(first["created_by"]["function"], "main.serveWebSocket");
    Ok(())
}

/// Those of the runtime itself are apart, unless they call the program.
#[test]
fn goroutines_of_the_runtime_are_apart() -> Result<()> {
    need!(NEWEST);
    let fixture = STORY.start(&[])?;
    let report = dump(&fixture)?;
    let all = report.at("/goroutines/sites").as_array().context("sites")?;
    let count = |system: bool| -> i64 {
        let of = all.iter().filter(|site| (site["system"] == true) == system);
        of.map(|site| site["count"].as_i64().unwrap_or(0)).sum()
    };
    assert_eq!(count(false), 13647);
    assert_eq!(count(true), report.number("/goroutines/system"));
    assert!(count(true) > 0);
    for site in all.iter().filter(|site| site["system"] == true) {
        let start = site["start_function"].as_str().unwrap_or_default();
        assert!(start.starts_with("runtime."), "{site}");
    }
    let sites = sites(report.value())?;
    for (function, start) in [
        ("main.finalizer", "runtime.runFinalizers"),
        ("main.cleanup", "runtime.runCleanups"),
        ("main.sequence", "runtime.corostart"),
        ("main.main", "runtime.main"),
    ] {
        assert_eq!(site_through(&sites, function)?.start_function.as_deref(), Some(start));
    }
    Ok(())
}

/// A running goroutine has no stack that could be known, but it is there.
#[test]
fn goroutines_that_run_are_counted() -> Result<()> {
    need!(NEWEST);
    let fixture = STORY.start(&["-websockets", "1000", "-total", "4000", "-spinners", "2"])?;
    let report = dump(&fixture)?;
    assert_eq!(report.number("/goroutines/total"), 4002);
    let sites = sites(report.value())?;
    let of = |start: &str| {
        let here = sites.iter().filter(move |site| site.start_function.as_deref() == Some(start));
        here.cloned().collect::<Vec<_>>()
    };
    let spinning = of("main.spin");
    assert_eq!(spinning.iter().map(|site| site.count).sum::<u64>(), 2, "{spinning:?}");
    for site in &spinning {
        assert!(["running", "runnable", "preempted"].contains(&site.state.as_str()), "{site:?}");
    }
    assert_eq!(site_through(&sites, "main.(*WebSocket).notifyFxn")?.count, 1000);
    Ok(())
}

/// A hundred thousand; the time is printed, not judged: other tests run beside it.
#[test]
fn a_hundred_thousand_goroutines() -> Result<()> {
    need!(NEWEST);
    let mut fixture =
        STORY.variant(Variant::Stripped).start(&["-websockets", "97627", "-total", "100000"])?;
    let started = Instant::now();
    let report = dump(&fixture)?;
    println!("100,000 goroutines: dump took {} ms", started.elapsed().as_millis());
    let own = fixture.dump()?.goroutines.context("its own profile")?;
    compare_goroutines(report.value(), &own)?;
    assert_eq!(report.number("/goroutines/total"), 100_000);
    Ok(())
}

/// What calls what in the program `churn`; nothing else does.
const CALLS: &[(&str, &[&str])] = &[
    ("main.startA", &["main.chainA"]),
    ("main.startB", &["main.chainB"]),
    ("main.chainA", &["main.chainC", "main.chainD"]),
    ("main.chainB", &["main.chainD", "main.chainE"]),
    ("main.chainC", &["main.chainF", "main.chainG"]),
    ("main.chainD", &["main.chainG", "main.chainDeep"]),
    ("main.chainE", &["main.chainF"]),
    ("main.chainDeep", &["main.chainDeep", "main.chainG"]),
    // It may hand its unlocking over to a function of its own.
    ("main.chainF", &["main.chainF.deferwrap1", "main.chainF.func1", "main.chainF.func2"]),
    ("main.chainG", &[]),
    ("main.spawner", &["main.spawnA", "main.spawnB"]),
    ("main.parkedForGood", &[]),
    ("main.main", &["leakscope.test/fixtures/fixture.Serve"]),
];

/// Whether the stack is a real one of `churn`; with what is wrong.
fn check_chain(site: &GoSite) -> Result<()> {
    let functions: Vec<_> = site.frames.iter().map(|frame| frame.function.as_str()).collect();
    let own = |function: &str| function.starts_with("main.") && !function.contains("chainF.");
    let in_program: Vec<_> = functions.iter().copied().filter(|function| own(function)).collect();
    for pair in in_program.windows(2) {
        let calls = CALLS.iter().find(|(caller, _)| *caller == pair[1]);
        let calls = calls.with_context(|| format!("{} in {functions:?}", pair[1]))?.1;
        ensure!(calls.contains(&pair[0]), "{} does not call {}: {functions:?}", pair[1], pair[0]);
    }
    ensure!(functions.iter().all(|function| !function.is_empty()), "a frame without a name: {functions:?}");
    let Some(outermost) = in_program.last() else { return Ok(()) };
    let starts = ["main.startA", "main.startB", "main.spawner", "main.parkedForGood", "main.main"];
    ensure!(starts.contains(outermost), "begins at {outermost}: {functions:?}");
    let creators: &[&str] = match *outermost {
        "main.startA" => &["main.spawnA"],
        "main.startB" => &["main.spawnB"],
        "main.main" => return Ok(()),
        _ => &["main.main"],
    };
    let creator = site.created_by.as_ref().context("nobody created it")?;
    ensure!(creators.contains(&creator.function.as_str()), "created by {creator:?}: {functions:?}");
    // A go statement with arguments starts a wrapper.
    let start = site.start_function.as_deref().context("no start function")?;
    let wrapper = format!("{}.", creator.function);
    ensure!(start == *outermost || start.starts_with(&wrapper), "starts at {start}: {functions:?}");
    Ok(())
}

/// Goroutines that come and go all the time: what is shown is real, and what stays is complete.
#[test]
fn chains_under_churn_are_real() -> Result<()> {
    for toolchain in [OLDEST, NEWEST] {
        need!(toolchain);
        let program = CHURN.with(toolchain);
        let mut fixture = program.start(&["-parked", "500"])?;
        let (mut wrong, mut losses) = (Vec::new(), BTreeMap::new());
        let (mut seen, mut chains) = (0, BTreeSet::new());
        for _ in 0..10 {
            let before = fixture.fixture.rounds()?;
            let report = dump(&fixture)?;
            assert!(fixture.fixture.rounds()? > before, "{program} stands still");
            let sites = sites(report.value())?;
            assert_eq!(site_through(&sites, "main.parkedForGood")?.count, 500, "{program}");
            for site in &sites {
                wrong.extend(check_chain(site).err().map(|error| error.to_string()));
                seen += site.count;
                chains.insert(site.frames.iter().map(|frame| frame.function.clone()).collect::<Vec<_>>());
            }
            for (name, number) in report.losses() {
                *losses.entry(name.to_owned()).or_insert(0) += number;
            }
        }
        println!("{program}: {seen} goroutines, {} chains, losses {losses:?}", chains.len());
        assert!(
            wrong.is_empty(),
            "{program}: {} of {seen}: {:#?}",
            wrong.len(),
            &wrong[..wrong.len().min(5)]
        );
    }
    Ok(())
}

/// Every program that the tests build, in the order of the table.
fn programs(program: Program) -> impl Iterator<Item = Program> {
    let toolchains = leakscope_tests::go::TOOLCHAINS.into_iter();
    toolchains.flat_map(move |toolchain| {
        [Variant::Normal, Variant::Stripped, Variant::Pie, Variant::Cgo]
            .map(|variant| program.with(toolchain).variant(variant))
    })
}

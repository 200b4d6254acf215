//! One stack that waits in several system calls and for several kinds of things: each is a site of its own.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use leakscope_tests::programs::ONESITE;
use leakscope_tests::snapshot::Snapshot;
use leakscope_tests::{Fixture, Leakscope, Report};

/// The sites of one kind at the stack that everything goes through.
fn of_kind<'a>(report: &'a Report, kind: &str) -> Vec<leakscope_tests::waits::WaitSite<'a>> {
    report.waits_through("enter").filter(|site| site.text("kind") == kind).collect()
}

#[test]
fn blocked_threads() -> Result<()> {
    let fixture = Fixture::start(&ONESITE, &["blocked"])?;
    let truth = fixture.blocked()?;
    let snapshot = Snapshot::of(fixture.pid())?;
    for name in truth.groups.keys() {
        snapshot.assert_group(&truth, name);
    }
    let ids = |field: &str| -> BTreeSet<String> {
        snapshot.report.waits_through("enter").map(|site| site.text(field).to_owned()).collect()
    };
    assert_eq!((ids("stack_id").len(), ids("site_id").len()), (1, truth.groups.len()));
    let table = Leakscope::bare().args(["dump", &fixture.pid().to_string()]).run()?.stdout;
    assert!(table.contains("The same stack waits in other ways, too: #"), "{table}");
    Ok(())
}

/// Threads that blocked before the attach, seen by an attach: their waits go on, and are of their kinds.
#[test]
fn blocked_before_the_attach() -> Result<()> {
    let fixture = Fixture::start(&ONESITE, &["blocked"])?;
    let truth = fixture.blocked()?;
    let scope = Leakscope::attach_all(fixture.pid()).args(["--only", "waits"]).start()?;
    let report = scope.finish()?.report()?;
    for group in truth.groups.values() {
        for thread in &group.threads {
            let site = report.wait_site_of(thread.tid).with_context(|| format!("site of {thread:?}"))?;
            assert_eq!(site.text("kind"), group.kind, "{}: {}", group.name, site.describe());
            assert_eq!(site.tids(), group.tids(), "{}: {}", group.name, site.describe());
        }
    }
    Ok(())
}

/// More threads than there is room for wait sites, each on a futex of its own: they share one, and nothing is
/// lost for others.
#[test]
fn a_crowd_on_futexes_of_their_own() -> Result<()> {
    const THREADS: usize = 17_000;
    let fixture = Fixture::start(&ONESITE, &["crowd", &THREADS.to_string()])?;
    let truth = fixture.blocked()?;
    let scope = Leakscope::attach_all(fixture.pid()).args(["--only", "waits"]).start()?;
    let report = scope.finish()?.report()?;
    assert_eq!(report.losses(), []);
    let sites: Vec<_> = report.waits_through("enter").collect();
    assert_eq!(sites.len(), 1);
    assert_eq!((sites[0].text("kind"), sites[0].tids().len()), ("futex", THREADS));
    assert_eq!(sites[0].tids(), truth.group("crowd").tids());
    Ok(())
}

/// Waits that end are counted for what they waited for.
#[test]
fn finished_waits() -> Result<()> {
    let mut fixture = Fixture::start(&ONESITE, &["play"])?;
    let scope = Leakscope::attach_all(fixture.pid()).args(["--only", "waits"]).start()?;
    let truth = fixture.go()?;
    let report = scope.finish()?.report()?;
    let missed: u64 = report.losses().iter().filter_map(|(_, n)| u64::try_from(*n).ok()).sum();
    for kind in ["pipe", "socket", "futex"] {
        let expected = u64::try_from(truth.numbers[&format!("{kind}.waits")])?;
        let sites = of_kind(&report, kind);
        let waits: u64 = sites.iter().map(|site| site.number("waits")).sum();
        assert_eq!(sites.len(), 1, "{kind}: {:?}", sites.iter().map(|s| s.describe()).collect::<Vec<_>>());
        assert!(
            waits <= expected && expected - waits <= missed,
            "{kind}: {waits} of {expected}, {missed} lost"
        );
        let histogram = sites[0].at("histogram").as_array().context("a histogram")?;
        let counted: u64 = histogram.iter().filter_map(|pair| pair[1].as_u64()).sum();
        assert_eq!(counted, waits, "{kind}");
    }
    Ok(())
}

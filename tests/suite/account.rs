//! The account in the kernel: ages, its size, each free once, and stacks while leakscope is busy.

use anyhow::{Context as _, Result};
use leakscope_tests::programs::{ACCOUNT, Allocator, DELETES, Library, Program, WRAPPER};
use leakscope_tests::report::Site;
use leakscope_tests::{Expect, Fixture, Leakscope, Report};

use crate::{check, check_with};

/// A buffer that grows is as old as its first allocation, though it belongs to the site of its last one.
#[test]
fn a_block_that_grows_keeps_its_age() -> Result<()> {
    let report = check(&ACCOUNT, "grown")?;
    let age = |name: &'static str| {
        let site = report.sites_through(name).find(|site| site.live().objects > 0);
        Ok::<_, anyhow::Error>(site.context(name)?.number("oldest_age_ns"))
    };
    assert!(age("site_grown")? > age("site_between")?, "allocated before, grown after");
    Ok(())
}

/// Of blocks that are older than the attach only what they grow by is charged to who reallocates them.
#[test]
fn older_blocks_count_with_what_they_have_grown_by() -> Result<()> {
    for program in [
        ACCOUNT,
        ACCOUNT.allocator(Allocator::Preloaded(Library::Jemalloc)),
        ACCOUNT.allocator(Allocator::Preloaded(Library::Tcmalloc)),
    ] {
        let report = check(&program, "older")?;
        let said = report.at("/summary/findings").to_string();
        assert!(said.contains("3 blocks (at least 322.3 KiB) are older than the attach"), "{said}");
    }
    Ok(())
}

/// More blocks than the first map holds; those that go are in the first and in the one that was added.
#[test]
fn maps_of_live_blocks_are_added_before_the_first_is_full() -> Result<()> {
    check(&ACCOUNT, "blocks").map(drop)
}

/// Each of 16,384 stacks is seen once. While leakscope makes reports all the time, each comes through.
#[test]
fn stacks_come_through_while_reports_are_made() -> Result<()> {
    let mut fixture = Fixture::start(&ACCOUNT, &["stacks"])?;
    let scope = Leakscope::attach_plain(fixture.pid());
    let scope = scope.args(["--only", "heap", "--top", "1", "--interval", "10ms"]).start()?;
    fixture.go()?;
    let output = scope.finish()?.stdout;
    let last = output.rsplit_once("leakscope 0.").context("a report")?.1;
    assert!(last.contains("Lost: nothing"), "{last}");
    assert!(last.contains("Heap: 16,384 blocks live"), "{last}");
    Ok(())
}

/// The plugin is gone by the time that its stacks are looked at. Those of its first allocations end in it, as its unwind
/// rows were not known yet; wherever it is loaded later, they are.
#[test]
fn frames_of_a_plugin_that_is_gone_are_named() -> Result<()> {
    let losses = &["stacks.mapping_unknown", "stacks.no_rows"];
    let in_plugin = |site: &Site<'_>| {
        site.frames().any(|frame| frame["module"].as_str().is_some_and(|m| m.ends_with("libplugin.so")))
    };
    for scenario in ["plugins", "moments"] {
        let report = check_with(&ACCOUNT, scenario, Expect { exact: false, losses, rooted: false })?;
        assert!(report.heap_exact());
        assert!(report.sites_through("keep_by").all(|site| in_plugin(&site)));
        if scenario == "moments" {
            let whole = report.sites_through("keep_by").filter(|site| site.functions().any(|f| f == "main"));
            let whole: i64 = whole.map(|site| site.live().objects).sum();
            assert!(whole >= 100, "{whole} of 200 blocks have the plugin's callers");
        }
    }
    Ok(())
}

/// Runs all forms of delete behind what is preloaded.
fn deletes(program: &Program, preload: &[&str]) -> Result<Report> {
    let mut fixture = Fixture::start_with(program, &["all"], preload)?;
    let scope = Leakscope::attach(fixture.pid()).start()?;
    let truth = fixture.go()?;
    let report = scope.finish()?.report()?;
    report.assert_matches(&truth, Expect::default());
    assert_eq!(report.number("/heap/totals/free_objects"), truth.numbers["free_objects"]);
    Ok(report)
}

/// Some of them call, or jump to, another function that is probed.
#[test]
fn each_form_of_delete_frees_once() -> Result<()> {
    deletes(&DELETES, &[])?;
    for library in [Library::Jemalloc, Library::Tcmalloc, Library::Mimalloc] {
        deletes(&DELETES.allocator(Allocator::Preloaded(library)), &[])?;
    }
    Ok(())
}

/// The wrapper's free calls the C library's, which is probed, too.
#[test]
fn a_free_through_a_wrapper_is_one() -> Result<()> {
    let wrapper = WRAPPER.build()?.path;
    deletes(&DELETES, &[&wrapper.display().to_string()]).map(drop)
}

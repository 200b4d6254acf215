//! Whom memory is charged to: the function whose line asked for it, whatever lies between that and the allocator.

use std::fs;

use anyhow::{Context as _, Result};
use leakscope_tests::programs::{Allocator, OWN_NEW, Program, SITES_C, WRAPPERS};
use leakscope_tests::report::names;
use leakscope_tests::{Expect, Fixture, Leakscope, Report, Truth, skip};

/// What an attach with further arguments says of a scenario, and the truth.
fn watched(program: &Program, scenario: &str, arguments: &[&str]) -> Result<(Report, Truth)> {
    let mut fixture = Fixture::start(program, &[scenario])?;
    let scope = Leakscope::attach(fixture.pid()).args(arguments.iter().copied()).start()?;
    let truth = fixture.go()?;
    let report = scope.finish()?.report()?;
    report.assert_matches(&truth, Expect::default());
    Ok((report, truth))
}

/// Live blocks of sites that go through a function are charged to it.
#[track_caller]
fn assert_charged(report: &Report, truth: &Truth) {
    assert!(!truth.live.is_empty());
    for name in truth.live.keys() {
        for site in report.sites_through(name).filter(|site| site.live().objects > 0) {
            assert!(names(site.blamed(), name), "{} for {name}:\n{}", site.blamed(), site.stack());
        }
    }
}

fn wrappers(report: &Report) -> Vec<&str> {
    report.at("/heap/wrappers").as_array().into_iter().flatten().filter_map(|name| name.as_str()).collect()
}

/// A static glibc's `malloc` is called `__malloc` or `__libc_malloc` by who looks its address up.
#[test]
fn static_glibc() -> Result<()> {
    for debug in [true, false] {
        let program = SITES_C.allocator(Allocator::GlibcStatic).debug(debug);
        let mut fixture = Fixture::start(&program, &["threaded"])?;
        let scope = Leakscope::attach(fixture.pid()).start()?;
        fixture.go()?;
        let report = scope.finish()?.report()?;
        for site in report.sites().filter(|site| site.live().objects > 0) {
            let blamed = site.blamed();
            assert!(!blamed.contains("alloc") || blamed.starts_with("site_"), "{blamed}:\n{}", site.stack());
        }
    }
    Ok(())
}

#[test]
fn operators_of_classes_and_allocators_of_containers() -> Result<()> {
    let (report, truth) = watched(&OWN_NEW, "all", &[])?;
    assert_charged(&report, &truth);
    Ok(())
}

#[test]
fn wrappers_without_known_names() -> Result<()> {
    let (report, truth) = watched(&WRAPPERS, "all", &[])?;
    assert_eq!(wrappers(&report), ["qget", "qzero"]);
    assert_charged(&report, &truth);
    Ok(())
}

#[test]
fn wrappers_are_not_looked_for() -> Result<()> {
    let (report, _) = watched(&WRAPPERS, "all", &["--no-wrappers"])?;
    assert!(wrappers(&report).is_empty());
    for site in report.sites_through("qget").filter(|site| site.live().objects > 0) {
        assert_eq!(site.blamed(), "qget");
    }
    Ok(())
}

/// By the command line, by the configuration file, and in a saved report.
#[test]
fn wrappers_that_are_named() -> Result<()> {
    let charged = |report: &Report| {
        let sites = report.sites_through("qget").filter(|site| site.live().objects > 0);
        sites.map(|site| site.blamed().to_owned()).collect::<Vec<_>>()
    };
    let mut fixture = Fixture::start(&WRAPPERS, &["all"])?;
    let scope = Leakscope::attach(fixture.pid()).arg("--no-wrappers").start()?;
    fixture.go()?;
    let finished = scope.finish()?;
    let saved = finished.file("report.json");
    assert!(charged(&finished.report()?).iter().all(|name| name == "qget"));
    let settings = finished.file("config.toml");
    fs::write(&settings, "wrappers = [\"^qget$\", \"^qzero$\"]\n")?;
    let shown = |arguments: &[&str], config: &str| -> Result<Report> {
        let report = Leakscope::bare().arg("report").arg(&saved).args(["--format", "json"]);
        let shown = report.args(arguments.iter().copied()).env("LEAKSCOPE_CONFIG", config).run()?;
        shown.assert_done();
        Report::parse(&shown.stdout)
    };
    let settings = settings.to_str().context("a path in UTF-8")?;
    for (arguments, config) in [(&["--wrapper", "^q(get|zero)$"][..], ""), (&[], settings)] {
        let report = shown(arguments, config)?;
        assert!(charged(&report).iter().all(|name| name.starts_with("site_")), "{:?}", charged(&report));
        assert!(report.at("/summary/answer/text").as_str().is_some_and(|text| text.contains("site_table")));
    }
    let refused = |text: &str, parts: &[&str]| -> Result<()> {
        fs::write(settings, text)?;
        let report = Leakscope::bare().arg("report").arg(&saved).env("LEAKSCOPE_CONFIG", settings);
        report.run()?.assert_fails(2, parts);
        Ok(())
    };
    refused("\nwrappers = [\"(\"]\n", &["config.toml", "line 2", "`(`", "unclosed group"])?;
    refused("wraper = []\n", &["line 1", "unknown field `wraper`", "wrappers = ["])?;
    Leakscope::bare()
        .arg("report")
        .arg(&saved)
        .args(["--wrapper", "("])
        .run()?
        .assert_fails(2, &["--wrapper", "`(`"]);
    Ok(())
}

#[test]
fn libraries_of_the_system() -> Result<()> {
    let (report, truth) = watched(&WRAPPERS, "library", &[])?;
    if truth.numbers.get("loaded") != Some(&1) {
        skip!("libexpat.so.1 is not installed");
    }
    let sites: Vec<_> = report.sites_through("leak_parser").filter(|site| site.live().objects > 0).collect();
    assert!(!sites.is_empty());
    for site in sites {
        assert_eq!(site.blamed(), "leak_parser", "{}", site.stack());
    }
    Ok(())
}

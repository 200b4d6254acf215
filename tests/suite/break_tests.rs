//! With a mechanism switched off the comparison must fail: it is not blind.

use anyhow::Result;
use leakscope_tests::programs::{CASES, THREADS};
use leakscope_tests::{Expect, Fixture, Leakscope};

/// The option is hidden; it takes a probe away for these tests.
fn differences(program: &leakscope_tests::programs::Program, scenario: &str) -> Result<String> {
    let mut fixture = Fixture::start(program, &[scenario])?;
    let scope = Leakscope::attach(fixture.pid()).args(["--break-free-probes"]).start()?;
    let truth = fixture.go()?;
    let report = scope.finish()?.report()?;
    Ok(report.compare(&truth, Expect::default()).expect_err("without the free probe it can't be exact"))
}

#[test]
fn without_the_free_probe_one_site_is_wrong() -> Result<()> {
    let differences = differences(&CASES, "one-site")?;
    assert!(differences.contains("live at site_malloc"), "{differences}");
    Ok(())
}

#[test]
fn without_the_free_probe_a_block_of_another_thread_stays() -> Result<()> {
    let differences = differences(&THREADS, "freed-by-another")?;
    assert!(differences.contains("live at site_shared"), "{differences}");
    Ok(())
}

/// A truth that is off by one byte is noticed.
#[test]
fn a_wrong_truth_is_noticed() -> Result<()> {
    let mut fixture = Fixture::start(&CASES, &["one-site"])?;
    let scope = Leakscope::attach(fixture.pid()).start()?;
    let mut truth = fixture.go()?;
    let report = scope.finish()?.report()?;
    report.assert_exact(&truth);
    truth.live.get_mut("site_malloc").expect("the site is in the truth").bytes += 1;
    assert!(report.compare(&truth, Expect::default()).is_err());
    Ok(())
}

//! Integration tests with real BPF programs.

mod account;
mod allocators;
mod answers;
mod blame;
mod break_tests;
mod browser;
mod cli_errors;
mod diff;
mod doctor;
mod dump;
mod exactness;
mod export;
mod first_minutes;
mod fixtures;
mod golang;
mod hostile_files;
mod hosts;
mod identity;
mod jit;
mod kernels;
mod lifecycle;
mod links;
mod long_names;
mod musl;
mod onesite;
mod output;
mod probe_links;
mod real;
mod real_go;
mod real_waits;
mod recipes;
mod recording;
mod rights;
mod runtimes;
mod stacks;
mod strangers;
mod top;
mod waits;

use anyhow::Result;
use leakscope_tests::programs::Program;
use leakscope_tests::{Expect, Fixture, Leakscope, Report};

/// Attaches before the scenario, lets it run, and compares the report of Ctrl-C with its truth.
fn check(program: &Program, scenario: &str) -> Result<Report> {
    check_with(program, scenario, Expect::default())
}

fn check_with(program: &Program, scenario: &str, expect: Expect<'_>) -> Result<Report> {
    let mut fixture = Fixture::start(program, &[scenario])?;
    let scope = Leakscope::attach(fixture.pid()).start()?;
    let truth = fixture.go()?;
    let report = scope.finish()?.report()?;
    report.assert_matches(&truth, expect);
    Ok(report)
}

//! Programs that run others inside themselves: they are told, and come to no harm.

use std::process::Command;

use anyhow::Result;
use leakscope_tests::programs::CASES;
use leakscope_tests::scope::Finished;
use leakscope_tests::server::find_program;
use leakscope_tests::{Fixture, Leakscope, Report, skip};

/// The fixture inside a host, if there is such a host here.
fn inside(host: &[&str]) -> Result<Option<Fixture>> {
    let (Some(program), Some(path)) = (host.first(), host.first().and_then(|name| find_program(name))) else {
        return Ok(None);
    };
    assert!(path.ends_with(program), "{}", path.display());
    let mut command = Command::new(path);
    command.args(&host[1..]).arg(CASES.build()?.path).arg("one-site");
    Fixture::start_command(&mut command).map(Some)
}

#[track_caller]
fn assert_told(report: &Report, name: &str) {
    let headline = report.headline();
    assert_eq!(report.answer(), "runs_inside", "{headline}");
    assert!(headline.contains(&format!("is {name}")) && headline.contains("not seen"), "{headline}");
    let claims = |text: &str| text.contains("Nothing was allocated") && !text.contains(name);
    let findings = report.at("/summary/findings").as_array().cloned().unwrap_or_default();
    assert!(!findings.iter().filter_map(|f| f.as_str()).any(claims), "{findings:?}");
    for section in ["/heap", "/waits"] {
        let exact = report.at(&format!("{section}/exact"));
        assert!(exact.is_null() || exact == false, "{section} calls itself exact");
    }
}

#[track_caller]
fn assert_warned(finished: &Finished, name: &str) {
    assert!(finished.stderr.contains(&format!("This process is {name}")), "{}", finished.stderr);
}

/// Attaches while the program inside works, and looks at it by each command.
fn check(mut fixture: Fixture, name: &str) -> Result<()> {
    let pid = fixture.pid();
    let scope = Leakscope::attach_all(pid).start()?;
    // A probe in a file of the program inside would be its end: it does its work to the end.
    fixture.go()?;
    let finished = scope.finish()?;
    assert_warned(&finished, name);
    let report = finished.report()?;
    assert_told(&report, name);
    assert_eq!(report.number("/overhead/probe_hits"), 0);
    assert!(!report.at("/heap").is_null());

    let finished = Leakscope::dump(pid).run()?;
    assert_warned(&finished, name);
    assert_told(&finished.report()?, name);

    let doctor = Leakscope::bare().args(["doctor", &pid.to_string()]).run()?;
    doctor.assert_done();
    assert!(doctor.stdout.contains(&format!("This process is {name}")), "{}", doctor.stdout);
    assert!(fixture.end()?.success(), "the program inside ends as it would have");
    Ok(())
}

#[test]
fn a_program_under_valgrind() -> Result<()> {
    let Some(fixture) = inside(&["valgrind", "--quiet"])? else { skip!("there is no valgrind") };
    check(fixture, "valgrind")
}

/// A tool that leaves the program its own allocator, and so translates libc's code.
#[test]
fn a_program_under_a_tool_of_valgrind_that_replaces_nothing() -> Result<()> {
    let Some(fixture) = inside(&["valgrind", "--quiet", "--tool=none"])? else {
        skip!("there is no valgrind")
    };
    check(fixture, "valgrind")
}

#[test]
fn a_program_under_qemu_user() -> Result<()> {
    let Some(fixture) = inside(&["qemu-x86_64"])? else { skip!("there is no qemu-user") };
    check(fixture, "qemu-user")
}

//! `dump`, `attach` and `top` give a process the same runtime.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use leakscope_tests::go::{NEWEST, STORY, Variant};
use leakscope_tests::programs::CASES;
use leakscope_tests::server::find_program;
use leakscope_tests::{Fixture, Leakscope, skip};
use serde_json::Value;

/// What all three say of a process.
#[track_caller]
fn assert_runtime(pid: u32, expected: &str) -> Result<()> {
    let finished = Leakscope::bare().args(["top", "--format", "json", "--iterations", "1"]).run()?;
    finished.assert_done();
    let snapshots: Vec<Value> = serde_json::from_str(&finished.stdout)?;
    let processes = snapshots[0]["processes"].as_array().context("processes")?;
    let listed = processes.iter().find(|p| p["pid"] == pid).context("top lists it")?;
    assert_eq!(listed["runtime"], expected, "top");
    let dump = Leakscope::dump(pid).run()?.report()?;
    assert_eq!(dump.at("/target/runtime"), expected, "dump");
    let attach = Leakscope::attach(pid).args(["--duration", "0.1"]).run()?.report()?;
    assert_eq!(attach.at("/target/runtime"), expected, "attach");
    assert_eq!(dump.at("/target/runtime_version"), attach.at("/target/runtime_version"));
    Ok(())
}

#[test]
fn runtime_of_a_c_program() -> Result<()> {
    let fixture = Fixture::start(&CASES, &[])?;
    assert_runtime(fixture.pid(), "native")
}

/// A program that nobody knows, and that has an interpreter in it.
#[test]
fn runtime_that_is_embedded() -> Result<()> {
    const PYTHON: &str = "/usr/lib/x86_64-linux-gnu/libpython3.11.so.1.0";
    if !Path::new(PYTHON).exists() {
        skip!("libpython3.11 is not installed");
    }
    let fixture = Fixture::start_with(&CASES, &[], &[PYTHON])?;
    assert_runtime(fixture.pid(), "python")
}

#[test]
fn runtime_of_a_go_program() -> Result<()> {
    crate::golang::need!(NEWEST);
    for variant in [Variant::Stripped, Variant::NoSections] {
        let fixture = STORY.with(NEWEST).variant(variant).start(&["-websockets", "500", "-total", "3000"])?;
        assert_runtime(fixture.pid(), "go")?;
    }
    Ok(())
}

#[test]
fn runtime_of_python() -> Result<()> {
    let Some(python) = find_program("python3") else { skip!("python3 is not installed") };
    let script = "print('ready 0', flush=True); input()";
    let fixture = Fixture::start_command(Command::new(python).args(["-c", script]))?;
    assert_runtime(fixture.pid(), "python")
}

#[test]
fn runtime_of_node() -> Result<()> {
    let Some(node) = find_program("node") else { skip!("node is not installed") };
    let script = "console.log('ready 0'); process.stdin.resume()";
    let fixture = Fixture::start_command(Command::new(node).args(["-e", script]))?;
    assert_runtime(fixture.pid(), "node")
}

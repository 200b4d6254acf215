//! What `--record` keeps makes the same reports again, for anybody and without the target.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use leakscope_tests::process::copy_program;
use leakscope_tests::programs::{BLOCKED, GROWS};
use leakscope_tests::scope::{Finished, binary};
use leakscope_tests::{Fixture, Leakscope};

/// A place that everybody may read, with leakscope and a copy of a recording.
fn for_everybody(recording: &Path) -> Result<tempfile::TempDir> {
    let place = tempfile::Builder::new().prefix("leakscope-recording-").tempdir()?;
    fs::set_permissions(place.path(), Permissions::from_mode(0o755))?;
    copy_program(binary(), place.path().join("leakscope"))?;
    fs::create_dir(place.path().join("copy"))?;
    for entry in fs::read_dir(recording)? {
        let copy = place.path().join("copy").join(entry?.file_name());
        fs::copy(recording.join(copy.file_name().unwrap_or_default()), &copy)?;
        fs::set_permissions(&copy, Permissions::from_mode(0o644))?;
    }
    Ok(place)
}

/// The reports of a recording, as nobody makes them.
fn replayed(recording: &Path, format: &str) -> Result<String> {
    let place = for_everybody(recording)?;
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]);
    command.arg(place.path().join("leakscope")).arg("replay").arg(place.path().join("copy"));
    let output = command.args(["--format", format]).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && said.is_empty(), "{}: {said}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

#[track_caller]
fn assert_private(recording: &Path) {
    let mode = |path: &Path| fs::metadata(path).expect("it is there").mode() & 0o7777;
    assert_eq!(mode(recording), 0o700);
    for file in ["recording.json", "tape.gz"] {
        assert_eq!(mode(&recording.join(file)), 0o600, "{file}");
    }
}

/// Attaches to a process, and compares what it says with what its recording says.
fn compare(pid: u32, meanwhile: impl FnOnce() -> Result<()>) -> Result<Finished> {
    let invocation = Leakscope::attach_all(pid);
    let recording = invocation.file("recording");
    let scope = invocation.arg("--record").arg(&recording).start()?;
    meanwhile()?;
    let finished = scope.finish()?;
    finished.report()?;
    assert_private(&recording);
    assert_eq!(replayed(&recording, "json")?, fs::read_to_string(finished.file("report.json"))?);
    Ok(finished)
}

#[test]
fn of_a_heap() -> Result<()> {
    let mut fixture = Fixture::start(&GROWS, &[])?;
    let finished = compare(fixture.pid(), || {
        fixture.say("grow 40")?;
        fixture.expect("grow").map(drop)
    })?;
    assert!(finished.report()?.waits_through("read_line").next().is_some(), "the waits are there, too");
    let table = replayed(&finished.file("recording"), "table")?;
    assert!(table.contains("grow"), "{table}");
    Ok(())
}

#[test]
fn of_waits() -> Result<()> {
    let fixture = Fixture::start(&BLOCKED, &["mutex", "5"])?;
    let finished = compare(fixture.pid(), || Ok(()))?;
    // The five, who holds the mutex, and the main thread.
    assert_eq!(finished.report()?.number("/waits/blocked_now"), 7);
    Ok(())
}

#[test]
fn of_several_reports() -> Result<()> {
    let mut fixture = Fixture::start(&GROWS, &[])?;
    fixture.say("grow 40")?;
    fixture.expect("grow")?;
    let invocation = Leakscope::attach_plain(fixture.pid());
    let recording = invocation.file("recording");
    let finished = invocation
        .args(["--format", "jsonl", "--interval", "1s", "--duration", "4s", "--record"])
        .arg(&recording)
        .run()?;
    finished.assert_done();
    ensure!(finished.stdout.lines().count() > 1, "several reports");
    assert_eq!(replayed(&finished.file("recording"), "jsonl")?.trim_end(), finished.stdout.trim_end());
    Ok(())
}

#[test]
fn not_over_something_else() -> Result<()> {
    let fixture = Fixture::start(&BLOCKED, &["mutex", "1"])?;
    let place = tempfile::tempdir()?;
    fs::write(place.path().join("kept"), "")?;
    let finished = Leakscope::attach_plain(fixture.pid()).arg("--record").arg(place.path()).run()?;
    finished.assert_fails(1, &["cannot record into", "not empty"]);
    ensure!(!finished.stderr.contains("attached to"), "before anything is attached");
    Ok(())
}

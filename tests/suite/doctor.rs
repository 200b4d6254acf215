//! What `leakscope doctor` says, and the exit code that attach would have.

use anyhow::Result;
use leakscope_tests::go::{NEWEST, STORY, Variant};
use leakscope_tests::programs::{Allocator, CASES, I386, Library, ZOMBIE};
use leakscope_tests::scope::Finished;
use leakscope_tests::{Fixture, Leakscope};

use crate::cli_errors::{as_nobody, vacant_pid};

fn doctor(pid: Option<u32>) -> Result<Finished> {
    Leakscope::bare().arg("doctor").args(pid.map(|pid| pid.to_string())).run()
}

#[track_caller]
fn assert_says(finished: &Finished, parts: &[&str]) {
    let said = finished.stdout.to_lowercase();
    for part in parts {
        assert!(said.contains(&part.to_lowercase()), "{part:?} is not in:\n{}", finished.stdout);
    }
}

#[test]
fn this_machine() -> Result<()> {
    let finished = doctor(None)?;
    finished.assert_done();
    assert_says(&finished, &["kernel", "BTF", "lockdown", "tracefs"]);
    Ok(())
}

#[test]
fn a_target_under_glibc() -> Result<()> {
    let fixture = Fixture::start(&CASES, &[])?;
    let finished = doctor(Some(fixture.pid()))?;
    finished.assert_done();
    assert_says(
        &finished,
        &["libc.so.6", "malloc", "calloc", "realloc", "free", "posix_memalign", "emulated"],
    );
    Ok(())
}

#[test]
fn a_target_under_jemalloc() -> Result<()> {
    let fixture = Fixture::start(&CASES.allocator(Allocator::Preloaded(Library::Jemalloc)), &[])?;
    let finished = doctor(Some(fixture.pid()))?;
    finished.assert_done();
    assert_says(&finished, &["libjemalloc.so.2", "mallocx", "sdallocx"]);
    Ok(())
}

#[test]
fn targets_that_cannot_be_traced() -> Result<()> {
    let zombie = Fixture::start(&ZOMBIE, &[])?;
    let i386 = Fixture::start(&I386, &[])?;
    let cases = [
        (2, 1, "kernel thread"),
        (vacant_pid()?, 5, "no such process"),
        (zombie.pid(), 5, "zombie"),
        (i386.pid(), 1, "32-bit"),
    ];
    for (pid, code, text) in cases {
        let finished = doctor(Some(pid))?;
        assert_eq!(finished.code(), Some(code), "{}{}", finished.stdout, finished.stderr);
        let said = format!("{}{}", finished.stdout, finished.stderr).to_lowercase();
        assert!(said.contains(text), "{text:?} is not in:\n{said}");
    }
    Ok(())
}

#[test]
fn not_root() -> Result<()> {
    let finished = as_nobody(&["doctor"])?.run()?;
    assert_eq!(finished.code(), Some(4), "{}{}", finished.stdout, finished.stderr);
    let said = format!("{}{}", finished.stdout, finished.stderr);
    assert!(said.contains("sudo"), "{said}");
    Ok(())
}

/// Looking changes nothing in the target.
#[test]
fn leaves_the_target_alone() -> Result<()> {
    let mut fixture = Fixture::start(&CASES, &["one-site"])?;
    let text = leakscope_tests::text::Text::of(fixture.pid())?;
    doctor(Some(fixture.pid()))?.assert_done();
    assert!(text.changed()?.is_empty());
    fixture.go()?;
    assert!(fixture.end()?.success());
    Ok(())
}

/// A Go program is told as one, stripped or not.
#[test]
fn a_target_in_go() -> Result<()> {
    crate::golang::need!(NEWEST);
    let fixture = STORY.variant(Variant::Stripped).start(&["-websockets", "10", "-total", "3000"])?;
    let finished = doctor(Some(fixture.pid()))?;
    finished.assert_done();
    assert_says(&finished, &["go: go1.27", "goroutines can be read"]);
    Ok(())
}

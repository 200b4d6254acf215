//! Every error: its text and its exit code.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use anyhow::Result;
use leakscope_tests::process::{Guard, copy_program};
use leakscope_tests::programs::{CASES, I386, ZOMBIE};
use leakscope_tests::scope::{Invocation, binary};
use leakscope_tests::{Fixture, Leakscope};

/// A PID that was in use a moment ago and is not any more.
pub(crate) fn vacant_pid() -> Result<u32> {
    let mut child = Guard::spawn(&mut Command::new("/bin/true"))?;
    child.wait(std::time::Duration::from_secs(60))?;
    Ok(child.pid())
}

/// leakscope as the user nobody, from a place where that user may read it.
pub(crate) fn as_nobody(arguments: &[&str]) -> Result<Invocation> {
    let invocation = Leakscope::command("setpriv");
    let copy = invocation.file("leakscope");
    copy_program(binary(), &copy)?;
    for path in [copy.as_path(), copy.parent().unwrap_or(&copy)] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(invocation
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"])
        .arg(copy)
        .args(arguments.iter().copied()))
}

#[test]
fn no_such_process() -> Result<()> {
    let pid = vacant_pid()?;
    Leakscope::attach(pid).run()?.assert_fails(5, &["no such process", &pid.to_string()]);
    Ok(())
}

#[test]
fn kernel_thread() -> Result<()> {
    Leakscope::attach(2).run()?.assert_fails(1, &["kernel thread"]);
    Ok(())
}

#[test]
fn zombie() -> Result<()> {
    let fixture = Fixture::start(&ZOMBIE, &[])?;
    Leakscope::attach(fixture.pid()).run()?.assert_fails(5, &["zombie"]);
    Ok(())
}

#[test]
fn program_of_32_bits() -> Result<()> {
    let fixture = Fixture::start(&I386, &[])?;
    Leakscope::attach(fixture.pid()).run()?.assert_fails(1, &["32-bit"]);
    Ok(())
}

/// What is missing and what to run.
#[test]
fn not_root() -> Result<()> {
    let fixture = Fixture::start(&CASES, &[])?;
    let finished = as_nobody(&["attach", &fixture.pid().to_string()])?.run()?;
    finished.assert_fails(4, &["sudo"]);
    assert!(finished.stderr.contains("CAP_") || finished.stderr.contains("root"), "{}", finished.stderr);
    Ok(())
}

/// The shell becomes leakscope, so `$$` is leakscope's own PID.
#[test]
fn itself() -> Result<()> {
    let script = "exec \"$0\" attach $$";
    Leakscope::command("/bin/sh").args(["-c", script]).arg(binary()).run()?.assert_fails(1, &["leakscope"]);
    Ok(())
}

/// At any moment of attaching: either there is nothing to report, or a report.
#[test]
fn target_exits_during_attach() -> Result<()> {
    for scenario in 0..4 {
        let mut fixture = Fixture::start(&CASES, &[])?;
        let scope = Leakscope::attach(fixture.pid()).spawn()?;
        // Later by a little more each time; the moment itself does not matter.
        for _ in 0..scenario * 50 {
            std::thread::yield_now();
            fs::read("/proc/self/maps")?;
        }
        fixture.end()?;
        let finished = scope.wait()?;
        match finished.code() {
            Some(0) => assert_eq!(finished.report()?.ended_by(), "target_exit"),
            _ => finished.assert_fails(5, &[]),
        }
    }
    Ok(())
}

/// Found out before anything is attached.
#[test]
fn unwritable_output() -> Result<()> {
    let fixture = Fixture::start(&CASES, &[])?;
    for path in ["/nonexistent/report.json", "/proc/report.json"] {
        let finished = Leakscope::attach_plain(fixture.pid()).args(["--format", "json", "-o", path]).run()?;
        finished.assert_fails(1, &[path]);
        assert!(!finished.stderr.contains("attached to PID"), "{}", finished.stderr);
    }
    Ok(())
}

#[test]
fn full_output() -> Result<()> {
    let fixture = Fixture::start(&CASES, &[])?;
    let scope =
        Leakscope::attach_plain(fixture.pid()).args(["--format", "json", "-o", "/dev/full"]).start()?;
    scope.finish()?.assert_fails(1, &["/dev/full", "no space left"]);
    Ok(())
}

/// A reader that has seen enough is no error.
#[test]
fn broken_pipe() -> Result<()> {
    let mut fixture = Fixture::start(&CASES, &["one-site"])?;
    for format in ["table", "json"] {
        let scope =
            Leakscope::attach_plain(fixture.pid()).args(["--format", format]).broken_pipe().start()?;
        if format == "table" {
            fixture.go()?;
        }
        let finished = scope.finish()?;
        finished.assert_done();
        assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
    }
    Ok(())
}

#[test]
fn bad_option_values() -> Result<()> {
    let own = std::process::id().to_string();
    let wrong: [&[&str]; 13] = [
        &[],
        &["nonsense"],
        &["attach"],
        &["attach", "0"],
        &["attach", "-1"],
        &["attach", &own, "--duration", "soon"],
        &["attach", &own, "--duration", "-1"],
        &["attach", &own, "--interval", "0"],
        &["attach", &own, "--format", "poem"],
        &["attach", &own, "--sort", "colour"],
        &["attach", &own, "--top", "many"],
        &["attach", &own, "--max-live", "full"],
        &["attach", &own, "--only", "nothing"],
    ];
    for arguments in wrong {
        let finished = Leakscope::bare().args(arguments.iter().copied()).run()?;
        assert_eq!(finished.code(), Some(2), "{arguments:?}: {}", finished.stderr);
        if let [.., option, value] = arguments
            && option.starts_with("--")
        {
            assert!(
                finished.stderr.contains(option) && finished.stderr.contains(value),
                "{}",
                finished.stderr
            );
        }
    }
    Ok(())
}

#[test]
fn help_and_version() -> Result<()> {
    for arguments in [&["--help"][..], &["--version"], &["attach", "--help"], &["doctor", "--help"]] {
        let finished = Leakscope::bare().args(arguments.iter().copied()).run()?;
        finished.assert_done();
        assert!(finished.stdout.contains("leakscope"), "{}", finished.stdout);
    }
    Ok(())
}

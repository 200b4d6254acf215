//! Files that the target names: sources and debug files that its user may not read, or that never end.

use std::fs::{self, File, Permissions};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use leakscope_tests::process::{poll, run_ok};
use leakscope_tests::programs::SITES_C;
use leakscope_tests::scope::binary;
use leakscope_tests::tmux::Tmux;
use leakscope_tests::{Fixture, Leakscope};
use tempfile::TempDir;

const MINUTE: Duration = Duration::from_secs(60);
/// What work on the target's files may take on a machine that also compiles; a debug link to 8 GiB takes
/// 85 s if it is read.
const SECONDS: Duration = Duration::from_secs(20);

/// A program that leaks with each byte of its input, in functions whose sources are named `leak`, `middle` and
/// `main`.
fn source(leak: &str, middle: &str, main: &str) -> String {
    format!(
        r#"#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
void *volatile sink;
#line 1 "{leak}"
__attribute__((noinline, noclone)) void leak(void) {{ sink = malloc(100000); sink = malloc(3); }}
#line 1 "{middle}"
__attribute__((noinline, noclone)) void middle(void) {{ leak(); sink = 0; }}
#line 1 "{main}"
int main(void) {{ char c; printf("ready %d\n", getpid()); fflush(stdout); while (read(0, &c, 1) == 1) middle(); }}
"#
    )
}

/// A directory that everybody may read.
fn place() -> Result<TempDir> {
    let place = tempfile::Builder::new().prefix("leakscope-hostile-").tempdir()?;
    fs::set_permissions(place.path(), Permissions::from_mode(0o755))?;
    Ok(place)
}

fn compile(source: &str, program: &Path, flags: &[&str]) -> Result<()> {
    let text = program.with_extension("c");
    fs::write(&text, source)?;
    run_ok(Command::new("gcc").args(["-O1", "-g", "-o"]).arg(program).arg(text).args(flags), MINUTE).map(drop)
}

/// A file with one line of text.
fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    fs::write(path, format!("{text}\n"))?;
    Ok(fs::set_permissions(path, Permissions::from_mode(mode))?)
}

fn as_nobody(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]).arg(program);
    command
}

/// What top shows of the sources of the only site that leaks.
fn sources_on_the_screen(program: &mut Command, wanted: &str) -> Result<String> {
    let mut fixture = Fixture::start_command(program)?;
    let line = format!("{} top {} -i 0.5", binary().display(), fixture.pid());
    let screen = Tmux::start(160, 50, &line)?;
    screen.wait_for("watched")?;
    fixture.say("go")?;
    // Three bytes of input, 100,000 bytes each.
    screen.wait_for("293.0 KiB")?;
    screen.keys(&["Enter"])?;
    let shown = screen.wait_for(wanted)?;
    screen.keys(&["q", "q"])?;
    Ok(shown)
}

/// Lines of files that the target's user may not read do not get on root's screen, nor is anything of the
/// kernel's opened; those that it may read are shown.
#[test]
fn sources_are_what_the_targets_user_may_read() -> Result<()> {
    let place = place()?;
    let (secret, open) = (place.path().join("secret"), place.path().join("open"));
    write(&secret, "the line of root", 0o600)?;
    write(&open, "the line of all", 0o644)?;
    let program = place.path().join("program");
    let (secret, open) = (secret.display().to_string(), open.display().to_string());
    compile(&source(&secret, "/proc/version", &open), &program, &[])?;
    let shown = sources_on_the_screen(&mut as_nobody(&program), "the line of all")?;
    assert!(!shown.contains("the line of root"), "{shown}");
    assert!(!shown.contains("Linux version"), "{shown}");
    // Root's own process: root may read it.
    let shown = sources_on_the_screen(&mut Command::new(&program), "the line of root")?;
    assert!(!shown.contains("Linux version"), "{shown}");
    Ok(())
}

/// A directory that the user may not pass hides what is in it, whatever the file's own mode is.
#[test]
fn directories_on_the_way_count() -> Result<()> {
    let place = place()?;
    let closed = place.path().join("closed");
    fs::create_dir(&closed)?;
    fs::set_permissions(&closed, Permissions::from_mode(0o700))?;
    write(&closed.join("source"), "the line behind it", 0o644)?;
    let open = place.path().join("open");
    write(&open, "the line of all", 0o644)?;
    std::os::unix::fs::symlink(closed.join("source"), place.path().join("link"))?;
    let program = place.path().join("program");
    let names =
        [closed.join("source"), place.path().join("link"), open].map(|path| path.display().to_string());
    compile(&source(&names[0], &names[1], &names[2]), &program, &[])?;
    let shown = sources_on_the_screen(&mut as_nobody(&program), "the line of all")?;
    assert!(!shown.contains("the line behind it"), "{shown}");
    Ok(())
}

/// A target in a root directory of its own: what the host has by the same name is not its source.
#[test]
fn sources_are_those_of_the_targets_root() -> Result<()> {
    let place = place()?;
    let root = place.path().join("root");
    fs::create_dir(&root)?;
    let host = place.path().join("host");
    write(&host, "the line of the host", 0o644)?;
    write(&root.join("inside"), "the line inside", 0o644)?;
    let program = root.join("program");
    let host = host.display().to_string();
    compile(&source(&host, &host, "/inside"), &program, &["-static"])?;
    let mut command = Command::new("chroot");
    let shown = sources_on_the_screen(command.arg(&root).arg("/program"), "the line inside")?;
    assert!(!shown.contains("the line of the host"), "{shown}");
    Ok(())
}

/// A stripped program and its debug file, which it has a link to.
fn split(place: &Path, flags: &[&str]) -> Result<(PathBuf, PathBuf)> {
    let (program, debug) = (place.join("program"), place.join("program.debug"));
    compile(&source("leak.c", "middle.c", "main.c"), &program, flags)?;
    let objcopy = |arguments: &[&str], files: &[&Path]| {
        run_ok(Command::new("objcopy").current_dir(place).args(arguments).args(files), MINUTE).map(drop)
    };
    objcopy(&["--only-keep-debug"], &[&program, &debug])?;
    objcopy(&["--strip-all", "--add-gnu-debuglink=program.debug"], &[&program])?;
    Ok((program, debug))
}

/// A debug file is used if the target's user may read it.
#[test]
fn debug_files_are_what_the_targets_user_may_read() -> Result<()> {
    let place = place()?;
    let (program, debug) = split(place.path(), &[])?;
    for (mode, named) in [(0o600, false), (0o644, true)] {
        fs::set_permissions(&debug, Permissions::from_mode(mode))?;
        let mut fixture = Fixture::start_command(&mut as_nobody(&program))?;
        let scope = Leakscope::attach(fixture.pid()).arg("-v").start()?;
        fixture.say("go")?;
        fixture.end()?;
        let finished = scope.wait()?;
        let report = finished.report()?;
        assert!(report.sites().count() > 0, "it has allocated");
        assert_eq!(report.sites_through("leak").count() > 0, named, "{mode:o}");
        assert_eq!(
            finished.stderr.contains("debug file not used: not opened"),
            !named,
            "{}",
            finished.stderr
        );
    }
    Ok(())
}

/// A debug link to 8 GiB that are nearly all holes: it neither delays the attach nor what Ctrl-C asks for.
#[test]
fn debug_link_to_a_sparse_file() -> Result<()> {
    let place = place()?;
    let (program, debug) = split(place.path(), &["-Wl,--build-id=none"])?;
    fs::OpenOptions::new().write(true).open(&debug)?.set_len(8 << 30)?;
    let mut fixture = Fixture::start_command(&mut as_nobody(&program))?;
    let begun = Instant::now();
    let scope = Leakscope::attach_all(fixture.pid()).start()?;
    assert!(begun.elapsed() < SECONDS, "attached after {:?}", begun.elapsed());
    fixture.say("go")?;
    let begun = Instant::now();
    let report = scope.finish()?.report()?;
    assert!(begun.elapsed() < SECONDS, "ended after {:?}", begun.elapsed());
    assert_eq!(report.ended_by(), "interrupt");
    Ok(())
}

/// The last report cannot be written: nobody reads the FIFO. The first Ctrl-C says so, the second one leaves.
#[test]
fn two_interrupts_while_the_last_report_is_made() -> Result<()> {
    let mut fixture = Fixture::start(&SITES_C, &["all"])?;
    let invocation = Leakscope::attach_plain(fixture.pid()).args(["--format", "json", "--interval", "1h"]);
    let fifo = invocation.file("fifo");
    run_ok(Command::new("mkfifo").arg(&fifo), MINUTE)?;
    let reader = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&fifo)?;
    // SAFETY: takes no pointers.
    ensure!(unsafe { libc::fcntl(reader.as_raw_fd(), libc::F_SETPIPE_SZ, 4096) } >= 0);
    let mut scope = invocation.args(["--duration", "2s", "-o"]).arg(&fifo).start()?;
    fixture.go()?;
    let syscall = format!("/proc/{}/syscall", scope.pid());
    poll("it waits to write", MINUTE, || Ok(fs::read_to_string(&syscall)?.starts_with("1 ").then_some(())))?;
    scope.interrupt()?;
    scope.wait_for("press Ctrl-C again")?;
    // Whatever comes at once with the first is the same wish.
    let begun = Instant::now();
    poll("it leaves", MINUTE, || {
        scope.interrupt()?;
        Ok((!scope.guard().is_running()?).then_some(()))
    })?;
    assert!(begun.elapsed() < SECONDS, "{:?}", begun.elapsed());
    scope.wait()?.assert_fails(1, &["no report"]);
    drop(reader);
    Ok(())
}

/// timeout(1) sends its signal to the process and then to its group: that is one wish, answered with a report.
#[test]
fn signals_that_come_together_are_one() -> Result<()> {
    let fixture = Fixture::start(&SITES_C, &["all"])?;
    let mut scope = Leakscope::attach(fixture.pid()).start()?;
    scope.interrupt()?;
    scope.interrupt()?;
    scope.guard().signal(libc::SIGTERM)?;
    let finished = scope.wait()?;
    let report = finished.report().context("two signals at once are one")?;
    assert_eq!(report.ended_by(), "interrupt");
    Ok(())
}

//! What somebody sees who tries it for the first time: a process by its name, a line while it is traced, a report that
//! fits the screen.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use leakscope_tests::process::{Guard, copy_program, poll};
use leakscope_tests::programs::{BLOCKED, GROWS};
use leakscope_tests::scope::{Finished, binary};
use leakscope_tests::tmux::Tmux;
use leakscope_tests::{Fixture, Leakscope, Report};

/// A program that waits, under a name of its own.
fn named(place: &Path, name: &str) -> Result<Guard> {
    let program = place.join(name);
    if !program.exists() {
        copy_program("/bin/sleep", &program)?;
    }
    let guard = Guard::spawn(Command::new(&program).arg("600"))?;
    let comm = format!("/proc/{}/comm", guard.pid());
    poll("it runs", Duration::from_secs(60), || {
        Ok(fs::read_to_string(&comm)?.starts_with(&name[..name.len().min(15)]).then_some(()))
    })?;
    Ok(guard)
}

fn dump(arguments: &[&str]) -> Result<Finished> {
    Leakscope::bare().arg("dump").args(arguments.iter().copied()).run()
}

fn pid_of(finished: &Finished) -> Result<u64> {
    finished.assert_done();
    Report::parse(&finished.stdout)?.at("/target/pid").as_u64().context("a PID")
}

/// Names longer than the kernel keeps are found, too. Several are listed, and none is guessed.
#[test]
fn processes_by_name() -> Result<()> {
    let place = tempfile::tempdir()?;
    let name = format!("waits-by-its-name-{}", std::process::id());
    dump(&[&name])?.assert_fails(5, &["no such process", &name]);
    let one = named(place.path(), &name)?;
    let pid = one.pid().to_string();
    let found = dump(&[&name, "--format", "json"])?;
    ensure!(pid_of(&found)? == u64::from(one.pid()), "another one");
    let near = dump(&[&name[..name.len() - 1]])?;
    ensure!(near.code() == Some(5) && near.stderr.contains(&pid), "{}", near.stderr);
    let two = named(place.path(), &name)?;
    let several = dump(&[&name])?;
    ensure!(several.code() == Some(2), "{:?}: {}", several.code(), several.stderr);
    for told in [&pid, &two.pid().to_string(), "2 processes", "AGE", "RSS", "COMMAND", "600"] {
        ensure!(several.stderr.contains(told), "{told} is not in\n{}", several.stderr);
    }
    Ok(())
}

#[test]
fn processes_by_pid() -> Result<()> {
    let place = tempfile::tempdir()?;
    let (one, two) = (named(place.path(), "pid-one")?, named(place.path(), "pid-two")?);
    let (first, second) = (one.pid().to_string(), two.pid().to_string());
    for arguments in [vec!["-p", &first], vec!["--pid", &first], vec![&first]] {
        let found = dump(&[&arguments[..], &["--format", "json"]].concat())?;
        ensure!(pid_of(&found)? == u64::from(one.pid()), "{arguments:?}");
    }
    let several = dump(&[&first, &second])?;
    ensure!(several.code() == Some(2), "{:?}: {}", several.code(), several.stderr);
    ensure!(several.stderr.contains(&first) && several.stderr.contains("pid-two"), "{}", several.stderr);
    for wrong in ["0", "-1", "99999999999"] {
        ensure!(dump(&[wrong])?.code() == Some(2), "{wrong}");
    }
    // A PID alone means attach.
    let attached = Leakscope::bare().args([&first, "-d", "1", "--format", "json"]).run()?;
    ensure!(Report::parse(&attached.stdout)?.at("/window/ended_by") == "duration", "{}", attached.stderr);
    Ok(())
}

/// `leakscope attach` on a terminal, in a process that has grown.
fn attach_on_terminal(options: &str) -> Result<(Fixture, Tmux)> {
    let mut grows = Fixture::start(&GROWS, &[])?;
    let line = format!(
        "clear; env -u PAGER -u LESS {} attach {} {options}; echo code $?",
        binary().display(),
        grows.pid()
    );
    let screen = Tmux::start(100, 24, &line)?;
    screen.wait_for("attached to PID")?;
    grows.say("grow 40")?;
    grows.expect("grow")?;
    Ok((grows, screen))
}

/// Files of BPF that a process holds open.
fn probes(pid: i32) -> Result<usize> {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).context("it runs")?;
    // One that was closed meanwhile is none.
    let links = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
    Ok(links.filter(|link| link.to_string_lossy().contains("bpf")).count())
}

/// The line says what there is so far and is gone afterwards. The report is longer than the screen: it stands in a
/// pager, ends with its answer, and stays there while the probes go.
#[test]
fn a_line_meanwhile_and_a_pager_at_the_end() -> Result<()> {
    let (_grows, screen) = attach_on_terminal("")?;
    let leakscope = screen.child()?.context("it traces")?;
    ensure!(probes(leakscope)? > 0, "no probes while it traces");
    let line =
        screen.until("what is live", |screen| screen.contains("top stack ") && screen.contains("Ctrl-C"))?;
    ensure!(line.contains("iB live, top stack ") && line.contains("own CPU "), "{line}");
    screen.keys(&["C-c"])?;
    let begin = screen.until("a pager", |screen| screen.trim_end().ends_with(':'))?;
    ensure!(begin.contains("still live") && !begin.contains("own CPU"), "{begin}");
    poll("no probe is left", Duration::from_secs(60), || Ok((probes(leakscope)? == 0).then_some(())))?;
    // Ctrl-C is the pager's, which drops what was typed with it.
    screen.keys(&["C-c"])?;
    let end = poll("its end", Duration::from_secs(60), || {
        screen.keys(&["G"])?;
        Ok(Some(screen.screen()?).filter(|screen| screen.contains("(END)")))
    })?;
    let answer = end.rfind("still live").is_some_and(|at| end.rfind("Cost:").is_some_and(|cost| cost < at));
    ensure!(answer, "the answer comes again\n{end}");
    screen.keys(&["q"])?;
    screen.wait_for("code 0")?;
    Ok(())
}

#[test]
fn what_ends_by_itself_asks_for_no_key() -> Result<()> {
    let (_grows, screen) = attach_on_terminal("-d 4 --format json -o /dev/null")?;
    let line = screen.wait_for("own CPU")?;
    ensure!(!line.contains("Ctrl-C"), "{line}");
    let after = screen.wait_for("code 0")?;
    ensure!(!after.contains("own CPU"), "it is gone\n{after}");
    Ok(())
}

#[test]
fn colours_as_asked_for() -> Result<()> {
    let place = tempfile::tempdir()?;
    let one = named(place.path(), "in-colour")?;
    let pid = one.pid().to_string();
    let coloured =
        |when: &str| -> Result<bool> { Ok(dump(&[&pid, "--color", when])?.stdout.contains("\x1b[")) };
    ensure!(coloured("always")? && !coloured("never")? && !coloured("auto")?, "not as asked for");
    Ok(())
}

/// A saved report is read in a pager, too, and Ctrl-C there is the pager's. One that cannot run loses nothing.
#[test]
fn saved_reports_in_a_pager() -> Result<()> {
    let fixture = Fixture::start(&BLOCKED, &["mutex", "5"])?;
    let report = Leakscope::dump(fixture.pid()).run()?;
    let read = |pager: &str| {
        let file = report.file("report.json");
        Tmux::start(
            100,
            12,
            &format!(
                "clear; env -u LESS PAGER='{pager}' {} report {}; echo code $?",
                binary().display(),
                file.display()
            ),
        )
    };
    let screen = read("less")?;
    screen.until("a pager", |screen| screen.trim_end().ends_with(':'))?;
    screen.keys(&["C-c"])?;
    poll("its end", Duration::from_secs(60), || {
        screen.keys(&["G"])?;
        Ok(screen.screen()?.contains("(END)").then_some(()))
    })?;
    ensure!(!screen.screen()?.contains("code"), "it waits for the pager");
    screen.keys(&["q"])?;
    screen.wait_for("code 0")?;
    for missing in ["/nonexistent/pager", "exec /nonexistent/pager | cat; exit 127"] {
        let after = read(missing)?.wait_for("code 0")?;
        ensure!(after.contains("Cost:"), "{missing}: {after}");
    }
    Ok(())
}

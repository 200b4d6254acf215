//! `leakscope top`: the list for scripts and on a terminal, and the sites of one process.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use leakscope_tests::process::{Guard, copy_program, poll};
use leakscope_tests::programs::{BLOCKED, CASES, GROWS, I386, LOAD, PROCESSES};
use leakscope_tests::scope::{Finished, Invocation, binary};
use leakscope_tests::tmux::Tmux;
use leakscope_tests::{Fixture, Leakscope, Report, skip, workspace};
use serde_json::Value;

use crate::cli_errors::{as_nobody, vacant_pid};

fn top(arguments: &[&str]) -> Invocation {
    Leakscope::bare().arg("top").args(arguments.iter().copied())
}

/// Snapshots of a run with `--format json`, checked against the schema.
fn snapshots(finished: &Finished) -> Result<Vec<Value>> {
    finished.assert_done();
    let all: Vec<Value> = serde_json::from_str(&finished.stdout)?;
    let schema = fs::read_to_string(workspace().join("leakscope/schema/top.schema.json"))?;
    let validator = jsonschema::validator_for(&serde_json::from_str(&schema)?)?;
    for snapshot in &all {
        validator.validate(snapshot).map_err(|e| anyhow::anyhow!("{e}"))?;
    }
    Ok(all)
}

fn process(snapshot: &Value, pid: u32) -> Option<&Value> {
    snapshot["processes"].as_array()?.iter().find(|p| p["pid"] == pid)
}

/// A process that does nothing has the numbers that /proc has; so has the machine.
#[test]
fn the_list_is_what_proc_says() -> Result<()> {
    let fixture = Fixture::start(&CASES, &[])?;
    let pid = fixture.pid();
    let all = snapshots(&top(&["--format", "json", "--iterations", "2", "--interval", "0.3"]).run()?)?;
    ensure!(all.len() == 2, "{} snapshots", all.len());
    let found = process(&all[1], pid).context("the fixture is listed")?;
    let statm = fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let pages: u64 = statm.split(' ').nth(1).context("resident pages")?.parse()?;
    assert_eq!(found["rss_bytes"], pages * 4096);
    assert_eq!(found["growth_bytes_per_min"], 0);
    assert_eq!(found["threads"], 1);
    assert_eq!(found["runtime"], "native");
    assert_eq!(found["blocked"], 0, "waiting for input is idle");
    assert_eq!(found["full_in_ns"], Value::Null);
    assert_eq!(found["uid"], 0);
    assert!(process(&all[0], pid).is_some_and(|p| p["growth_bytes_per_min"].is_null()));
    assert!(process(&all[1], 2).is_none(), "kernel threads are none");
    let total = fs::read_to_string("/proc/meminfo")?;
    let total: u64 = total.split_whitespace().nth(1).context("MemTotal")?.parse()?;
    assert_eq!(all[1]["machine"]["memory_total_bytes"], total * 1024);
    Ok(())
}

/// Threads that wait for a mutex are blocked; those that wait for a condition variable are not.
#[test]
fn lock_waits_count_and_idle_waits_do_not() -> Result<()> {
    let blocked = |scenario: &str| -> Result<(u64, u64)> {
        let fixture = Fixture::start(&BLOCKED, &[scenario, "10"])?;
        let all = snapshots(&top(&["--format", "json", "--iterations", "1"]).run()?)?;
        let found = process(&all[0], fixture.pid()).context("the fixture is listed")?;
        Ok((found["blocked"].as_u64().context("known")?, found["threads"].as_u64().context("known")?))
    };
    let (waiting, threads) = blocked("mutex")?;
    ensure!(waiting >= 10 && waiting < threads, "{waiting} of {threads}");
    assert_eq!(blocked("condvar")?.0, 0);
    Ok(())
}

#[test]
fn a_process_that_grows_is_first_within_three_refreshes() -> Result<()> {
    let mut fixture = Fixture::start(&GROWS, &[])?;
    let mut scope = top(&["--format", "jsonl", "--interval", "1", "--iterations", "20"]).spawn()?;
    scope.output_line()?;
    // MiB a second.
    fixture.say("grow 50")?;
    fixture.expect("grow")?;
    let mut ahead = Vec::new();
    for _ in 0..3 {
        let snapshot: Value = serde_json::from_str(&scope.output_line()?)?;
        let all = snapshot["processes"].as_array().context("processes")?;
        let place = all.iter().position(|p| p["pid"] == fixture.pid()).context("the fixture is listed")?;
        let growth = |p: &Value| p["growth_bytes_per_min"].as_f64().unwrap_or(0.0);
        // Another test's process may grow faster than ours; then it is right that it comes first.
        let own = growth(&all[place]);
        ensure!(all[..place].iter().all(|p| growth(p) >= own), "{own} at {place}");
        let faster = all[..place].iter().filter(|p| growth(p) > 50.0 * 60.0 * f64::from(1 << 20)).count();
        ahead.push(place - faster);
    }
    assert!(ahead.contains(&0), "{ahead:?}");
    Ok(())
}

/// A control group with a limit; removed at the end.
struct Group(std::path::PathBuf);

impl Group {
    fn new(limit: u64) -> Result<Option<Self>> {
        let name = format!("leakscope-test-{}", std::process::id());
        for (mount, file) in [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            ("/sys/fs/cgroup", "memory.max"),
            ("/sys/fs/cgroup/unified", "memory.max"),
        ] {
            let group = Path::new(mount).join(&name);
            if fs::create_dir(&group).is_err() {
                continue;
            }
            let group = Self(group);
            let limits = group.0.join(file).exists();
            if limits && fs::write(group.0.join(file), limit.to_string()).is_ok() {
                return Ok(Some(group));
            }
        }
        Ok(None)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A process that was killed may take a moment to leave it.
        let _ = poll("the group is empty", Duration::from_secs(10), || {
            Ok(fs::remove_dir(&self.0).ok().or_else(|| (!self.0.exists()).then_some(())))
        });
    }
}

/// The forecast is compared with when the kernel really kills.
#[test]
fn forecast_of_a_limit_that_is_reached() -> Result<()> {
    const LIMIT: u64 = 400 << 20;
    let Some(group) = Group::new(LIMIT)? else { skip!("no control group for memory can be made here") };
    let mut fixture = Fixture::start(&GROWS, &[])?;
    fs::write(group.0.join("cgroup.procs"), fixture.pid().to_string())?;
    fixture.say("grow 16")?;
    fixture.expect("grow")?;
    let mut scope = top(&["--format", "jsonl", "--interval", "1", "--iterations", "60"]).spawn()?;
    let mut forecast = None;
    for _ in 0..9 {
        let snapshot: Value = serde_json::from_str(&scope.output_line()?)?;
        let found = process(&snapshot, fixture.pid()).context("the fixture is listed")?.clone();
        forecast = found["full_in_ns"].as_u64().map(|ns| (Duration::from_nanos(ns), Instant::now(), found));
    }
    let (forecast, at, found) = forecast.context("a forecast")?;
    assert_eq!(found["limit"]["kind"], "cgroup_max", "{found}");
    assert_eq!(found["limit"]["limit_bytes"], LIMIT);
    fixture.guard().wait(Duration::from_secs(120))?;
    let truth = at.elapsed();
    let error = forecast.as_secs_f64() / truth.as_secs_f64() - 1.0;
    println!("forecast {forecast:?}, truth {truth:?}: {:+.1} %", error * 100.0);
    assert!(error.abs() < 0.2, "forecast {forecast:?}, truth {truth:?}");
    Ok(())
}

#[test]
fn without_root_it_shows_what_it_may_see() -> Result<()> {
    let fixture = Fixture::start(&CASES, &[])?;
    let all = snapshots(&as_nobody(&["top", "--format", "json", "--iterations", "1"])?.run()?)?;
    let found = process(&all[0], fixture.pid()).context("the fixture is listed")?;
    assert!(found["rss_bytes"].as_u64().is_some_and(|n| n > 0));
    assert_eq!((&found["blocked"], &found["runtime"]), (&Value::Null, &Value::Null));
    assert_eq!(found["blocked_uninterruptible"], 0);
    assert!(all[0]["unseen"]["lock_waits"].as_u64() > Some(0), "{}", all[0]["unseen"]);
    Ok(())
}

#[test]
fn without_a_terminal_it_says_what_to_do() -> Result<()> {
    top(&[]).run()?.assert_fails(2, &["no terminal", "--format json"]);
    let dumb = |term: &str| -> Result<String> {
        let line = format!("TERM={term} {} top; echo code $?", binary().display());
        let mut script = Command::new("script");
        script.args(["-q", "-c", &line, "/dev/null"]).stdin(Stdio::null());
        leakscope_tests::process::run_ok(&mut script, Duration::from_secs(60))
    };
    for term in ["dumb", ""] {
        let said = dumb(term)?;
        assert!(said.contains("code 2") && said.contains("--format json"), "{said}");
        assert!(!said.contains("\x1b["), "{said:?}");
    }
    Ok(())
}

#[test]
fn wrong_usage_and_missing_processes() -> Result<()> {
    top(&["--interval", "0"]).run()?.assert_fails(2, &["interval"]);
    top(&["--iterations", "0"]).run()?.assert_fails(2, &["iterations"]);
    top(&["--format", "json", &vacant_pid()?.to_string()]).run()?.assert_fails(5, &["no such process"]);
    Ok(())
}

#[test]
fn a_reader_that_goes_away_ends_it() -> Result<()> {
    top(&["--format", "jsonl", "--interval", "0.1"]).broken_pipe().run()?.assert_done();
    Ok(())
}

/// Ctrl-C still gives the array of what was seen.
#[test]
fn an_interrupt_ends_the_array() -> Result<()> {
    let mut lines = top(&["--format", "jsonl", "--interval", "0.2"]).spawn()?;
    lines.output_line()?;
    lines.finish()?.assert_done();
    let fixture = Fixture::start(&CASES, &[])?;
    let mut scope = top(&["--format", "json", &fixture.pid().to_string()]).spawn()?;
    scope.wait_for("attached to PID ")?;
    let finished = scope.finish()?;
    finished.assert_done();
    let reports: Vec<Value> = serde_json::from_str(&finished.stdout)?;
    assert!(reports.last().is_some_and(|r| r["window"]["ended_by"] == "interrupt"), "{reports:?}");
    Ok(())
}

#[test]
fn reports_of_one_process() -> Result<()> {
    let fixture = Fixture::start(&LOAD, &[])?;
    let pid = fixture.pid().to_string();
    let finished = top(&["--format", "jsonl", "--iterations", "2", "--interval", "0.5", &pid]).run()?;
    finished.assert_done();
    let reports: Vec<&str> = finished.stdout.lines().collect();
    assert_eq!(reports.len(), 2);
    for report in reports {
        let report = Report::parse(report)?;
        assert!(report.sites_through("site_load").next().is_some());
    }
    Ok(())
}

/// Processes end while they are read, and while one of them is chosen.
#[test]
fn pids_that_vanish() -> Result<()> {
    let line = "while :; do for i in 1 2 3 4 5 6 7 8; do /bin/true & done; wait; done";
    let _churn = Guard::spawn(Command::new("sh").args(["-c", line]))?;
    let all = snapshots(&top(&["--format", "json", "--iterations", "20", "--interval", "0.05"]).run()?)?;
    assert_eq!(all.len(), 20);
    let mut fixture = Fixture::start(&CASES, &[])?;
    let pid = fixture.pid();
    let screen = Tmux::start(80, 24, &format!("{} top -i 0.3; echo code $?", binary().display()))?;
    screen.wait_for("HISTORY")?;
    screen.keys(&["/", &pid.to_string(), "Enter"])?;
    screen.until("the fixture alone", |s| s.contains("cases") && s.contains("1 of "))?;
    fixture.end()?;
    screen.wait_for("no process holds")?;
    screen.keys(&["Enter", "Escape"])?;
    screen.until("all again", |s| s.contains("by growth") && !s.contains("no process holds"))?;
    screen.keys(&["q"])?;
    screen.wait_for("code 0")?;
    Ok(())
}

/// 20,000 processes, one after the other, each there for a moment: the list goes on and is right.
#[test]
fn twenty_thousand_processes_come_and_go() -> Result<()> {
    let fixture = Fixture::start(&CASES, &[])?;
    let mut scope = top(&["--format", "jsonl", "--interval", "0.2"]).spawn()?;
    scope.output_line()?;
    let code = "import os\nfor _ in range(20000):\n if os.fork() == 0: os._exit(0)\n os.wait()\nprint(20000)";
    let mut churn = Command::new("python3");
    churn.args(["-c", code]).stdout(Stdio::piped());
    let mut churn = Guard::spawn(&mut churn)?;
    let ended = |churn: &mut Guard| -> Result<bool> { Ok(!churn.is_running()?) };
    let mut snapshots = 0;
    while !ended(&mut churn)? {
        let snapshot: Value = serde_json::from_str(&scope.output_line()?)?;
        let found = process(&snapshot, fixture.pid()).context("the fixture is listed")?;
        assert_eq!((&found["threads"], &found["blocked"]), (&Value::from(1), &Value::from(0)));
        let all = snapshot["processes"].as_array().context("processes")?;
        ensure!(all.iter().all(|p| p["rss_bytes"].is_u64()), "{all:?}");
        snapshots += 1;
    }
    ensure!(snapshots >= 3, "{snapshots} snapshots while they came and went");
    scope.finish()?.assert_done();
    Ok(())
}

/// The target runs another program: that is told, and the screen goes on.
#[test]
fn exec_of_the_watched_process() -> Result<()> {
    let mut fixture = Fixture::start(&PROCESSES, &["ended"])?;
    let line = format!("{} top {} -i 0.3; echo code $?", binary().display(), fixture.pid());
    let screen = Tmux::start(80, 24, &line)?;
    screen.wait_for("watched")?;
    let truth = fixture.go()?;
    ensure!(truth.total.is_some(), "nothing was allocated");
    screen.until("its sites", |s| s.contains("BLOCKS") && s.contains("site_"))?;
    fixture.say("exec")?;
    fixture.expect("execed")?;
    let shown = screen.wait_for("over: it runs another program")?;
    assert!(shown.contains("site_"), "what was seen stays: {shown}");
    screen.keys(&["Escape"])?;
    screen.wait_for("HISTORY")?;
    screen.keys(&["q"])?;
    screen.wait_for("code 0")?;
    assert!(fixture.guard().is_running()?);
    Ok(())
}

/// Who is not root is asked whether sudo shall help; a stand-in for it tells what it is asked to run.
#[test]
fn without_root_sudo_is_asked() -> Result<()> {
    let fixture = Fixture::start(&CASES, &[])?;
    let place = tempfile::tempdir()?;
    let (own, sudo) = (place.path().join("leakscope"), place.path().join("sudo"));
    copy_program(binary(), &own)?;
    fs::write(&sudo, "#!/bin/sh\necho asked \"$@\"\n")?;
    for path in [place.path(), &own, &sudo] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    }
    let (pid, directory) = (fixture.pid(), place.path().display());
    let line = format!(
        "PATH={directory}:$PATH setpriv --reuid 65534 --regid 65534 --clear-groups -- {directory}/leakscope top {pid}; echo code $?"
    );
    let screen = Tmux::start(120, 24, &line)?;
    screen.wait_for("asks sudo")?;
    screen.keys(&["S"])?;
    let shown = screen.wait_for("code 0")?;
    let asked = format!("asked -- {directory}/leakscope top {pid}");
    assert!(shown.replace('\n', "").contains(&asked), "{asked}: {shown}");
    screen.line(SANE)?;
    screen.wait_for("it-is-sane")?;
    Ok(())
}

/// The shell's line that tells whether the terminal is as it was: it echoes and takes lines.
const SANE: &str = "stty -a | grep -q ' icanon' && stty -a | grep -q ' echo ' && echo it-is-s\"\"ane";

#[test]
fn the_screen_on_many_terminals() -> Result<()> {
    let fixture = Fixture::start(&GROWS, &[])?;
    let screen = Tmux::start(80, 24, &format!("{} top -i 0.5; echo code $?", binary().display()))?;
    let shown = screen.until("columns", |s| s.contains("RUNTIME") && s.contains("native"))?;
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    assert!(shown.contains("FULL IN") && shown.contains("BLK") && shown.contains("HISTORY"), "{shown}");
    screen.keys(&["/", "grows", "Enter"])?;
    let pid = fixture.pid().to_string();
    screen.until("the fixture", |s| s.lines().any(|l| l.contains(&pid) && l.contains("grows")))?;
    screen.resize(20, 5)?;
    screen.until("few columns", |s| s.contains("grows") && !s.contains("RUNTIME"))?;
    screen.resize(120, 40)?;
    screen.until("all columns", |s| s.contains("UNIT") && s.contains("Memory"))?;
    screen.keys(&["?"])?;
    screen.wait_for("any key leaves it")?;
    screen.keys(&["x"])?;
    screen.until("no help", |s| !s.contains("any key leaves it"))?;
    screen.keys(&["q"])?;
    screen.wait_for("code 0")?;
    screen.line(SANE)?;
    let after = screen.wait_for("it-is-sane")?;
    assert!(!after.contains("HISTORY"), "the screen of before is back: {after}");
    Ok(())
}

/// Signals end it as keys do, and the terminal is as it was; it can be suspended and goes on.
#[test]
fn signals_and_suspension() -> Result<()> {
    let top = format!("{} top -i 0.5; echo code $?", binary().display());
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        let screen = Tmux::start(80, 24, &top)?;
        screen.wait_for("HISTORY")?;
        signal_top(&screen, signal)?;
        screen.wait_for("code 0")?;
        screen.line(SANE)?;
        screen.wait_for("it-is-sane")?;
    }
    let screen = Tmux::start(80, 24, &format!("{} top -i 0.5", binary().display()))?;
    screen.wait_for("HISTORY")?;
    for how in ["key", "signal"] {
        if how == "key" {
            screen.keys(&["C-z"])?
        } else {
            signal_top(&screen, libc::SIGTSTP)?
        }
        screen.wait_for("Stopped")?;
        screen.line(&format!("clear; {SANE}"))?;
        screen.wait_for("it-is-sane")?;
        screen.line("clear; fg")?;
        screen.wait_for("HISTORY")?;
    }
    screen.keys(&["q"])?;
    screen.wait_for("ready$")?;
    Ok(())
}

/// Signals the leakscope that runs in that terminal: the only child of its shell.
fn signal_top(screen: &Tmux, signal: i32) -> Result<()> {
    let pid = poll("leakscope runs in the terminal", Duration::from_secs(20), || screen.child())?;
    // SAFETY: kill(2) touches no memory of ours.
    ensure!(unsafe { libc::kill(pid, signal) } == 0, "kill {pid}");
    Ok(())
}

/// What a panic says is readable, on the terminal as it was.
#[test]
fn a_panic_gives_the_terminal_back() -> Result<()> {
    let line = format!("RUST_BACKTRACE=0 {} top --break-screen; echo code $?", binary().display());
    let screen = Tmux::start(80, 24, &line)?;
    let shown = screen.wait_for("code 101")?;
    assert!(shown.contains("--break-screen") && shown.contains("panicked"), "{shown}");
    screen.line(SANE)?;
    screen.wait_for("it-is-sane")?;
    Ok(())
}

/// A terminal that is closed ends it.
#[test]
fn a_closed_terminal() -> Result<()> {
    let screen = Tmux::start(80, 24, &format!("{} top", binary().display()))?;
    screen.wait_for("HISTORY")?;
    let pid = poll("leakscope runs in the terminal", Duration::from_secs(20), || screen.child())?;
    drop(screen);
    poll("it has ended", Duration::from_secs(20), || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        Ok((stat.is_empty() || stat.contains(") Z ")).then_some(()))
    })
}

/// From the list into a process, to a site's stack and source, and back.
#[test]
fn sites_of_one_process_on_the_screen() -> Result<()> {
    let mut fixture = Fixture::start(&GROWS, &[])?;
    fixture.say("grow 5")?;
    fixture.expect("grow")?;
    let pid = fixture.pid().to_string();
    let place = tempfile::tempdir()?;
    let line = format!("cd {} && {} top -i 0.5; echo code $?", place.path().display(), binary().display());
    let screen = Tmux::start(100, 30, &line)?;
    screen.wait_for("HISTORY")?;
    // Typed, not as an option: it would match leakscope's own command line.
    screen.keys(&["/", &pid, "Enter"])?;
    screen.until("the fixture alone", |s| s.contains("1 of ") && s.contains("grows "))?;
    screen.keys(&["Enter"])?;
    let shown = screen.until("its site", |s| s.contains("site_grow grows.c:") && s.contains("M "))?;
    assert!(shown.contains("Lost: ") && shown.contains("Cost: "), "{shown}");
    screen.keys(&["Enter"])?;
    let shown = screen.until("the source", |s| s.contains("keep(malloc(size))"))?;
    assert!(shown.contains("▶ site_grow") || shown.contains("▶"), "{shown}");
    screen.keys(&["q", "w"])?;
    screen.wait_for("written to")?;
    let written = fs::read_dir(place.path())?.next().context("a file")??.path();
    Report::parse(&fs::read_to_string(written)?)?;
    screen.keys(&["Tab"])?;
    screen.wait_for("sleep (idle)")?;
    fixture.end()?;
    screen.wait_for("over: it has ended")?;
    screen.keys(&["Escape"])?;
    screen.wait_for("leakscope top")?;
    screen.keys(&["q"])?;
    screen.wait_for("code 0")?;
    Ok(())
}

/// There is nothing to show of a process that is not there.
#[test]
fn no_screen_without_a_process() -> Result<()> {
    let screen = Tmux::start(80, 24, &format!("{} top {}; echo code $?", binary().display(), vacant_pid()?))?;
    let said = screen.wait_for("code 5")?;
    ensure!(said.contains("no such process"), "{said}");
    Ok(())
}

/// Who may not trace is told what to do, and the screen goes on.
#[test]
fn a_process_that_cannot_be_traced() -> Result<()> {
    let i386 = Fixture::start(&I386, &[])?;
    let screen = Tmux::start(80, 24, &format!("{} top {}; echo code $?", binary().display(), i386.pid()))?;
    screen.wait_for("32-bit")?;
    screen.keys(&["Escape"])?;
    screen.wait_for("HISTORY")?;
    screen.keys(&["C-c"])?;
    screen.wait_for("code 0")?;
    Ok(())
}

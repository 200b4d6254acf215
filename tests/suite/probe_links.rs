//! How probes are tied to the target: all at once where nothing speaks against it, one by one where it forks.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use leakscope_tests::process::poll;
use leakscope_tests::programs::{LOAD, PROCESSES, WORKERS};
use leakscope_tests::text::Text;
use leakscope_tests::{Fixture, Leakscope, skip};

/// Whether probes go on all at once in a target that does not fork.
fn has_multi_links() -> Result<bool> {
    let doctor = Leakscope::bare().args(["doctor"]).run()?;
    Ok(doctor.stdout.contains("multi links select a process"))
}

/// Lets the server fork; the PIDs of its workers.
fn forked(fixture: &mut Fixture) -> Result<Vec<u32>> {
    fixture.say("go")?;
    (0..50).map(|_| Ok(fixture.expect("worker ")?["worker ".len()..].trim().parse()?)).collect()
}

/// The kinds of links that a process holds.
fn held(pid: u32) -> Result<(usize, usize)> {
    let (mut multi, mut perf) = (0, 0);
    for fd in std::fs::read_dir(format!("/proc/{pid}/fd"))? {
        let info = format!("/proc/{pid}/fdinfo/{}", fd?.file_name().display());
        let info = std::fs::read_to_string(info).unwrap_or_default();
        let is = |kind: &str| usize::from(info.lines().any(|line| line == format!("link_type:\t{kind}")));
        multi += is("uprobe_multi");
        perf += is("perf");
    }
    Ok((multi, perf))
}

#[test]
fn probes_go_on_all_at_once() -> Result<()> {
    if !has_multi_links()? {
        skip!("this kernel has no multi links");
    }
    let fixture = Fixture::start(&LOAD, &["1"])?;
    let scope = Leakscope::attach(fixture.pid()).args(["-v"]).start()?;
    let (multi, perf) = held(scope.pid())?;
    assert!((1..=5).contains(&multi) && perf == 0, "{multi} multi links and {perf} perf links");
    assert!(scope.finish()?.stderr.contains("probes by multi links"));
    Ok(())
}

/// Its child shares its memory, and the kernel runs a multi link's program for the target's own threads only.
#[test]
fn a_target_that_calls_vfork_has_perf_links() -> Result<()> {
    let fixture = Fixture::start(&PROCESSES, &["vfork"])?;
    let scope = Leakscope::attach(fixture.pid()).args(["-v"]).start()?;
    let (multi, perf) = held(scope.pid())?;
    assert!(multi == 0 && perf > 0, "{multi} multi links and {perf} perf links");
    let stderr = scope.finish()?.stderr;
    assert!(
        stderr.contains("probes by perf links") && (!has_multi_links()? || stderr.contains("calls vfork"))
    );
    Ok(())
}

/// The counts stay exact while the links are exchanged under full load, and no worker keeps a trap.
#[test]
fn a_target_that_forks_goes_over_to_perf_links() -> Result<()> {
    if !has_multi_links()? {
        skip!("this kernel has no multi links");
    }
    let mut fixture = Fixture::start(&WORKERS, &["workers"])?;
    let text = Text::of(fixture.pid())?;
    let mut scope = Leakscope::attach(fixture.pid()).args(["-v"]).start()?;
    let workers = forked(&mut fixture)?;
    scope.wait_for("perf links from now on: the target makes processes")?;
    scope.wait_for("the multi links are gone")?;
    let (multi, perf) = held(scope.pid())?;
    assert!(multi == 0 && perf > 0, "{multi} multi links and {perf} perf links");
    for worker in workers {
        assert!(text.changed_in(worker)?.is_empty(), "worker {worker} keeps traps");
    }
    assert!(!text.changed()?.is_empty(), "the probes are in the target's code");
    let truth = fixture.go()?;
    scope.finish()?.report()?.assert_exact(&truth);
    text.wait_until_restored()
}

#[test]
fn a_target_that_has_workers_has_perf_links() -> Result<()> {
    let mut fixture = Fixture::start(&WORKERS, &["workers"])?;
    let workers = forked(&mut fixture)?;
    let text = Text::of(fixture.pid())?;
    let doctor = Leakscope::bare().args(["doctor", &fixture.pid().to_string()]).run()?;
    let scope = Leakscope::attach(fixture.pid()).args(["-v"]).start()?;
    let (multi, perf) = held(scope.pid())?;
    assert!(multi == 0 && perf > 0, "{multi} multi links and {perf} perf links");
    for worker in workers {
        assert!(text.changed_in(worker)?.is_empty(), "worker {worker} has traps");
    }
    fixture.go()?;
    let stderr = scope.finish()?.stderr;
    if has_multi_links()? {
        let why = "perf links, which leave nothing in forked children: 50 run the same program";
        assert!(stderr.contains(why), "{stderr}");
        assert!(doctor.stdout.contains(why), "{}", doctor.stdout);
    }
    Ok(())
}

/// Killed before and while perf links take over: the kernel leaves nothing, in the workers neither.
#[test]
fn leakscope_killed_while_the_target_forks() -> Result<()> {
    for after in ["attached to PID ", "perf links from now on"] {
        if after.starts_with("perf") && !has_multi_links()? {
            skip!("this kernel has no multi links");
        }
        let mut fixture = Fixture::start(&WORKERS, &["workers"])?;
        let text = Text::of(fixture.pid())?;
        let mut scope = Leakscope::attach(fixture.pid()).args(["-v"]).start()?;
        let workers = forked(&mut fixture)?;
        if after.starts_with("perf") {
            scope.wait_for(after)?;
        }
        scope.guard().signal(libc::SIGKILL)?;
        scope.wait()?;
        text.wait_until_restored()?;
        let last = *workers.last().context("a worker")?;
        poll("a worker's code is again as before", Duration::from_secs(30), || {
            Ok(text.changed_in(last)?.is_empty().then_some(()))
        })?;
        fixture.go()?;
        ensure!(fixture.end()?.success(), "the target ends as it would have");
    }
    Ok(())
}

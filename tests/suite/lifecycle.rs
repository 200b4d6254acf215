//! How a window ends, and that the target never notices.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use leakscope_tests::process::poll;
use leakscope_tests::programs::{Allocator, CASES, LOAD, Library, PROCESSES};
use leakscope_tests::text::Text;
use leakscope_tests::{Fixture, Leakscope, go, machine_code};

/// How often leakscope is killed; the long run takes 50.
fn kills() -> usize {
    std::env::var("LEAKSCOPE_KILLS").ok().and_then(|value| value.parse().ok()).unwrap_or(5)
}

#[test]
fn interrupt_once() -> Result<()> {
    let mut fixture = Fixture::start(&PROCESSES, &["ended"])?;
    let text = Text::of(fixture.pid())?;
    let scope = Leakscope::attach(fixture.pid()).start()?;
    assert!(!text.changed()?.is_empty(), "the probes are in the target's code");
    let truth = fixture.go()?;
    let finished = scope.finish()?;
    let report = finished.report()?;
    report.assert_exact(&truth);
    assert_eq!(report.ended_by(), "interrupt");
    text.wait_until_restored()?;
    assert!(fixture.end()?.success());
    Ok(())
}

/// The report is there while probes are still being detached.
#[test]
fn report_comes_before_detaching() -> Result<()> {
    let fixture = Fixture::start(&PROCESSES.allocator(Allocator::Preloaded(Library::Jemalloc)), &["ended"])?;
    let text = Text::of(fixture.pid())?;
    let mut scope = Leakscope::attach(fixture.pid()).start()?;
    let report = scope.file("report.json");
    scope.interrupt()?;
    poll("the report", Duration::from_secs(60), || Ok(report.exists().then_some(())))?;
    assert!(!text.changed()?.is_empty(), "the probes are gone before the report is there");
    scope.wait()?.report()?;
    text.wait_until_restored()
}

/// The second Ctrl-C can come before, in or after the report; whatever it meets, it ends cleanly.
#[test]
fn interrupt_twice() -> Result<()> {
    let mut fixture = Fixture::start(&LOAD, &["2"])?;
    let text = Text::of(fixture.pid())?;
    let mut scope = Leakscope::attach(fixture.pid()).start()?;
    scope.interrupt()?;
    poll("leakscope ends", Duration::from_secs(120), || {
        scope.interrupt()?;
        Ok((!scope.guard().is_running()?).then_some(()))
    })?;
    let finished = scope.wait()?;
    assert!(finished.code().is_some(), "it detaches instead of dying by the signal: {}", finished.status);
    assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
    text.wait_until_restored()?;
    assert!(fixture.guard().is_running()?);
    Ok(())
}

#[test]
fn terminate_is_like_interrupt() -> Result<()> {
    let mut fixture = Fixture::start(&PROCESSES, &["ended"])?;
    let mut scope = Leakscope::attach(fixture.pid()).start()?;
    let truth = fixture.go()?;
    scope.guard().signal(libc::SIGTERM)?;
    scope.wait()?.report()?.assert_exact(&truth);
    Ok(())
}

#[test]
fn duration() -> Result<()> {
    let mut fixture = Fixture::start(&PROCESSES, &["ended"])?;
    let scope = Leakscope::attach(fixture.pid()).args(["--duration", "1500ms"]).start()?;
    let begin = Instant::now();
    let truth = fixture.go()?;
    let report = scope.wait()?.report()?;
    assert!(begin.elapsed() > Duration::from_secs(1));
    assert_eq!(report.ended_by(), "duration");
    assert!((1_500_000_000..6_000_000_000).contains(&report.number("/window/duration_ns")));
    report.assert_exact(&truth);
    Ok(())
}

/// The blocks that were live at the end are reported, with names though the process is gone.
#[test]
fn exit_of_the_target() -> Result<()> {
    for scenario in ["ended", "ended-after-threads"] {
        let mut fixture = Fixture::start(&PROCESSES, &[scenario])?;
        let scope = Leakscope::attach(fixture.pid()).start()?;
        let truth = fixture.go()?;
        fixture.end()?;
        let report = scope.wait()?.report()?;
        assert_eq!(report.ended_by(), "target_exit");
        report.assert_exact(&truth);
    }
    Ok(())
}

#[test]
fn target_killed() -> Result<()> {
    let mut fixture = Fixture::start(&PROCESSES, &["ended"])?;
    let scope = Leakscope::attach(fixture.pid()).start()?;
    let truth = fixture.go()?;
    fixture.guard().signal(libc::SIGKILL)?;
    let report = scope.wait()?.report()?;
    assert_eq!(report.ended_by(), "target_exit");
    report.assert_exact(&truth);
    Ok(())
}

/// exec ends the account; the new program's blocks are not in it.
#[test]
fn exec_of_the_target() -> Result<()> {
    for scenario in ["ended", "ended-after-threads"] {
        let mut fixture = Fixture::start(&PROCESSES, &[scenario])?;
        let scope = Leakscope::attach(fixture.pid()).start()?;
        let truth = fixture.go()?;
        fixture.say("exec")?;
        fixture.expect("execed")?;
        let report = scope.wait()?.report()?;
        assert_eq!(report.ended_by(), "exec");
        report.assert_exact(&truth);
        assert!(fixture.guard().is_running()?);
    }
    Ok(())
}

/// The kernel finds the probes' target through its main thread: when that ends and others go on, the
/// account ends there and says so.
#[test]
fn main_thread_ends_before_the_others() -> Result<()> {
    let mut fixture = Fixture::start(&PROCESSES, &["ended-after-threads"])?;
    let scope = Leakscope::attach(fixture.pid()).start()?;
    let truth = fixture.go()?;
    fixture.say("leave")?;
    let report = scope.wait()?.report()?;
    assert_eq!(report.ended_by(), "target_exit");
    report.assert_exact(&truth);
    assert!(report.findings().contains(&"leader_gone"), "{:?}", report.findings());
    assert!(fixture.guard().is_running()?);
    let late = Leakscope::attach(fixture.pid()).run()?;
    late.assert_fails(1, &["main thread"]);
    Ok(())
}

/// The kernel takes the probes away; the target goes on as if nothing had been.
#[test]
fn leakscope_killed_under_load() -> Result<()> {
    let mut fixture = Fixture::start(&LOAD, &["4"])?;
    let text = Text::of(fixture.pid())?;
    for round in 0..kills() {
        let mut scope = Leakscope::attach(fixture.pid()).start()?;
        let start = fixture.rounds()?;
        poll("the load goes on while traced", Duration::from_secs(60), || {
            Ok((fixture.rounds()? > start + 1000).then_some(()))
        })?;
        scope.guard().signal(libc::SIGKILL)?;
        scope.wait()?;
        text.wait_until_restored().with_context(|| format!("after kill {round}"))?;
        let after = fixture.rounds()?;
        poll("the load goes on afterwards", Duration::from_secs(60), || {
            Ok((fixture.rounds()? > after + 1000).then_some(()))
        })?;
    }
    assert!(fixture.end()?.success(), "the target ends as it would have");
    Ok(())
}

/// Killed while it places its probes.
#[test]
fn leakscope_killed_while_attaching() -> Result<()> {
    let mut fixture = Fixture::start(&LOAD, &["2"])?;
    let text = Text::of(fixture.pid())?;
    for _ in 0..kills() {
        let mut scope = Leakscope::attach(fixture.pid()).spawn()?;
        poll("a probe is there", Duration::from_secs(120), || {
            Ok((!text.changed()?.is_empty() || !scope.guard().is_running()?).then_some(()))
        })?;
        scope.guard().signal(libc::SIGKILL)?;
        scope.wait()?;
        text.wait_until_restored()?;
    }
    assert!(fixture.end()?.success());
    Ok(())
}

/// A uprobe's program may be preempted, and another one may run on its CPU then: neither may work on a stack
/// that belongs to the CPU, as the kernel gives programs of that type since Linux 6.13.
#[test]
fn programs_of_uprobes_work_on_the_stack_of_their_thread() -> Result<()> {
    let mut kinds = std::collections::BTreeSet::new();
    let mut check = |pid: u32, expected: &[&str]| -> Result<()> {
        let scope = Leakscope::attach(pid).start()?;
        let all = machine_code::programs(scope.pid())?;
        let of_uprobes: Vec<_> = all.iter().filter(|p| p.kind == machine_code::Program::KPROBE).collect();
        for name in expected {
            // Those of multi links have a name of their own.
            let found = of_uprobes.iter().any(|p| p.name.strip_suffix("_m").unwrap_or(&p.name) == *name);
            ensure!(found, "{name} is not among {of_uprobes:?}");
        }
        for program in of_uprobes {
            ensure!(!program.has_the_stack_of_the_cpu(), "{} works on the stack of the CPU", program.name);
        }
        kinds.extend(all.iter().filter(|p| p.has_the_stack_of_the_cpu()).map(|p| p.kind));
        scope.finish()?;
        Ok(())
    };
    // Probes of multi links, and of perf links.
    for (program, scenario) in [(&CASES, "one-site"), (&PROCESSES, "vfork")] {
        let fixture = Fixture::start(program, &[scenario])?;
        check(fixture.pid(), &["alloc_entry", "alloc_return", "free_entry", "libraries_chang"])?;
    }
    if go::GARBAGE.toolchain.root().is_some() {
        let fixture = go::GARBAGE.start(&[])?;
        check(fixture.pid(), &["go_created", "go_exited", "go_allocated", "go_sampled"])?;
    }
    // The kernel keeps such programs from running twice on a CPU: so what is looked for can be found.
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    if let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next())
        && (major, minor) >= (6, 13)
    {
        ensure!(kinds.contains(&machine_code::Program::TRACING), "{release}: {kinds:?}");
    }
    Ok(())
}

//! What a target may do to its own stacks and threads: counted, never wrong, never a hang.

use super::*;

/// Threads that must come and go in a second while a dump is made.
const CHURNED: f64 = 20_000.0;

/// Threads come and go by ten thousands a second; those that stay are found each time.
#[test]
fn threads_that_appear_and_vanish() -> Result<()> {
    let mut fixture = Fixture::start(&CHURN, &[])?;
    let truth = fixture.blocked()?;
    let (mut fast, mut vanished, mut rates) = (0, 0, Vec::new());
    let start = Instant::now();
    // On a busy machine the fixture may not get there at once.
    while fast < 10 {
        assert!(start.elapsed() < Duration::from_secs(120), "too few threads a second: {rates:.0?}");
        let (begun, before) = (Instant::now(), fixture.rounds()?);
        let snapshot = Snapshot::of(fixture.pid())?;
        let took = begun.elapsed();
        let rate = (fixture.rounds()? - before) as f64 / took.as_secs_f64();
        rates.push(rate);
        fast += u32::from(rate >= CHURNED);
        assert!(took < Duration::from_secs(20), "a dump took {took:?}");
        snapshot.assert_group(&truth, "steady");
        snapshot.assert_group(&truth, "holder");
        // Beside them the main thread, the two that create, and at most 32 of each of these.
        let threads = snapshot.report.number("/waits/threads");
        assert!((9..=9 + 64).contains(&threads), "{threads}");
        vanished += snapshot.report.number("/waits/vanished");
        // Who never stood still while it was looked at has no stack, and is counted; all others end in
        // a reason.
        let stackless = snapshot.report.wait_sites().filter(|site| site.text("stack_end").is_empty());
        let mut moving = 0;
        for site in stackless {
            assert_eq!(site.frames().count(), 0, "{}", site.describe());
            moving += site.number("blocked_now");
        }
        assert!(moving <= snapshot.report.at("/waits/unsettled").as_u64().unwrap_or_default(), "{moving}");
    }
    println!("threads a second during each dump: {rates:.0?}; {vanished} vanished under its eyes");
    assert!(vanished > 0, "none was seen to vanish");
    assert!(fixture.end()?.success());
    Ok(())
}

/// Every thread is counted and shown as far as its stack leads, no further.
#[test]
fn overwritten_stacks() -> Result<()> {
    let mut fixture = Fixture::start(&HOSTILE, &["smashed", "10"])?;
    let truth = fixture.blocked()?;
    let snapshot = Snapshot::of(fixture.pid())?;
    snapshot.assert_group(&truth, "sound");
    assert_eq!(snapshot.report.number("/waits/threads"), 76);
    for name in ["random", "zero", "nothing", "circle", "padding", "stack", "kernel"] {
        for tid in truth.group(name).tids() {
            let site =
                snapshot.report.wait_site_of(tid).with_context(|| format!("{name}: {tid} is in no site"))?;
            assert_eq!(
                (site.text("kind"), site.text("operation")),
                ("futex", "futex"),
                "{name}: {}",
                site.describe()
            );
            // What is inlined into it comes first.
            assert!(
                site.functions().take(2).any(|function| names(function, "smash")),
                "{name}: {}",
                site.describe()
            );
            let end = site.text("stack_end");
            // Not even where the way up leads to a zero.
            assert!(!end.is_empty() && end != "root", "{name}: {}", site.describe());
        }
    }
    fixture.go()?;
    Ok(())
}

#[test]
fn stack_with_a_hole() -> Result<()> {
    let mut fixture = Fixture::start(&HOSTILE, &["hole"])?;
    let truth = fixture.blocked()?;
    let snapshot = Snapshot::of(fixture.pid())?;
    snapshot.assert_group(&truth, "sound");
    let site = snapshot.report.wait_site_of(truth.group("hole").threads[0].tid).context("its site")?;
    let functions: Vec<_> = site.functions().collect();
    let hole =
        functions.iter().position(|function| names(function, "at_hole")).context("the innermost one")?;
    assert!(hole <= 1 && names(functions[hole + 1], "dive"), "{}", site.describe());
    let dives = functions.iter().filter(|function| names(function, "dive")).count();
    assert!((2..16).contains(&dives), "{dives}: {}", site.describe());
    assert!(!site.is_rooted() && !site.text("stack_end").is_empty(), "{}", site.describe());
    fixture.go()?;
    Ok(())
}

/// Stacks that were paged out are read back by the kernel, and are as whole as others.
#[test]
fn stacks_in_swap_space() -> Result<()> {
    let _swap = match Swap::on() {
        Ok(swap) => swap,
        Err(error) => skip!("no swap space can be added: {error}"),
    };
    let mut fixture = Fixture::start(&SWAPPED, &[])?;
    let truth = fixture.blocked()?;
    let paged_out = fixture.go()?;
    let (swapped, there) = (paged_out.numbers["swapped"], paged_out.numbers["there"]);
    println!("{swapped} pages of stacks are in swap space, {there} in memory");
    // Eight threads with seven frames of a page each. The kernel may leave some pages where they are.
    assert!(swapped > there && swapped >= 8, "{swapped} pages in swap space, {there} in memory");
    let snapshot = Snapshot::of(fixture.pid())?;
    snapshot.assert_group(&truth, "swapped");
    snapshot.assert_group(&truth, "holder");
    let site = snapshot.report.wait_site_of(truth.group("swapped").threads[0].tid).context("its site")?;
    assert_eq!(site.functions().filter(|function| names(function, "at_depth")).count(), 7);
    assert_whole(&snapshot.report, 10);
    Ok(())
}

/// At any moment: a report, or "it is gone".
#[test]
fn target_exits_during_the_dump() -> Result<()> {
    for round in 0..12_u32 {
        let mut fixture = Fixture::start(&BLOCKED, &["mutex", "500"])?;
        let scope = Leakscope::dump(fixture.pid()).spawn()?;
        // Later by a little more each time; the moment itself does not matter.
        for _ in 0..round * 40 {
            fs::read("/proc/self/maps")?;
        }
        fixture.guard().signal(libc::SIGKILL)?;
        let finished = scope.wait()?;
        match finished.code() {
            Some(0) => assert!(finished.report()?.number("/waits/threads") >= 0),
            _ => finished.assert_fails(5, &[]),
        }
    }
    Ok(())
}

/// The other threads are found, though the process can't be reached through its main one.
#[test]
fn main_thread_has_ended() -> Result<()> {
    let mut fixture = Fixture::start(&CASES, &["nested"])?;
    fixture.go()?;
    fixture.say("leave")?;
    let pid = fixture.pid();
    poll("its main thread has ended", Duration::from_secs(60), || {
        Ok(fs::read_to_string(format!("/proc/{pid}/stat"))?.contains(") Z ").then_some(()))
    })?;
    let report = Snapshot::of(pid)?.report;
    assert_whole(&report, 1);
    let site = report.wait_sites().next().context("a site")?;
    assert!(site.is_rooted() && site.passes("wait_for_the_end"), "{}", site.describe());
    assert_eq!(site.text("operation"), "read", "{}", site.describe());
    assert!(report.at("/target/exe").is_string(), "{}", report.at("/target"));
    assert!(report.at("/memory/rss_end_bytes").as_u64() > Some(0), "{}", report.at("/memory"));
    assert!(fixture.end()?.success());
    Ok(())
}

/// A thread that was unwound through rows is not needed: a process without any allocator.
#[test]
fn program_without_libc() -> Result<()> {
    let Some(busybox) = find_program("busybox") else { skip!("busybox is not installed") };
    let sleeper = Guard::spawn(Command::new(busybox).args(["sleep", "86400"]))?;
    let pid = sleeper.pid();
    poll("it sleeps", Duration::from_secs(60), || {
        Ok(fs::read_to_string(format!("/proc/{pid}/syscall"))?.starts_with("230 ").then_some(()))
    })?;
    let report = Snapshot::of(pid)?.report;
    assert_eq!(report.number("/waits/threads"), 1);
    let site = report.wait_sites().next().context("a site")?;
    assert_eq!(
        (site.text("kind"), site.text("operation")),
        ("sleep", "clock_nanosleep"),
        "{}",
        site.describe()
    );
    Ok(())
}

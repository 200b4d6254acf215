//! Waits while they are watched: `attach --only waits`.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use leakscope_tests::lines::Lines;
use leakscope_tests::process::{Guard, poll};
use leakscope_tests::programs::{BLOCKED, CASES, CHURN, CONVOY, DEADLOCK_C, I386, PINGPONG, SPAWN, THREADS};
use leakscope_tests::report::names;
use leakscope_tests::scope::Invocation;
use leakscope_tests::snapshot::{Snapshot, now_ns};
use leakscope_tests::waits::{compare_among, compare_live};
use leakscope_tests::{Fixture, Leakscope, Report, Truth};
use serde_json::Value;

/// Who waits in [`PINGPONG`], what for, and who ends it (nobody: a timer).
pub(crate) const SITES: [(&str, &str, Option<&str>); 3] = [
    ("wait_semaphore", "semaphore", Some("wake_semaphore")),
    ("wait_futex", "futex", Some("wake_futex")),
    ("hold_back", "sleep", None),
];

const TIMEOUT: Duration = Duration::from_secs(60);

fn watch(pid: u32) -> Invocation {
    Leakscope::attach_all(pid).args(["--only", "waits"])
}

/// Plays so many rounds in each pair, with leakscope attached.
pub(crate) fn play(rounds: &str, span_ns: &str, arguments: &[&str]) -> Result<(Report, Truth)> {
    let mut fixture = Fixture::start(&PINGPONG, &["play", rounds, span_ns])?;
    let scope = watch(fixture.pid()).args(arguments.iter().copied()).start()?;
    let truth = fixture.go()?;
    Ok((scope.finish()?.report()?, truth))
}

/// A list of the report.
fn list<'a>(report: &'a Report, pointer: &str) -> &'a [Value] {
    report.at(pointer).as_array().map_or(&[], Vec::as_slice)
}

/// The frames of a waker or of a site of creation.
fn frames(one: &Value) -> impl Iterator<Item = &Value> {
    one["frames"].as_array().into_iter().flatten()
}

/// Whether one of them has that name.
fn passes(one: &Value, name: &str) -> bool {
    frames(one).any(|frame| frame["function"].as_str().is_some_and(|function| names(function, name)))
}

/// 100,000 waits of 8 threads: their number is exact, their time within 2 % of the program's own.
#[test]
fn hundred_thousand_waits() -> Result<()> {
    let (report, truth) = play("12500", "500000", &[])?;
    // Some kernels do not trace a few switches and wake-ups in 100,000: those are counted.
    let losses = report.losses();
    // A page of a stack that the kernel just moves can't be read: the same.
    let most = |name: &str| match name {
        "waits.ends_missed" | "wakers.missed" => 500,
        "stacks.read_fault" => 20,
        _ => 0,
    };
    let known = |(name, n): &(&str, i64)| *n <= most(name);
    assert!(losses.iter().all(known), "{losses:?}");
    let whole = !losses.iter().any(|(name, _)| *name == "waits.ends_missed");
    assert_eq!(report.at("/waits/exact"), whole, "{}", report.at("/waits/method"));
    for (function, kind, _) in SITES {
        println!("{function}: {:?}", truth.numbers);
        compare_live(&report, &truth, function, kind).unwrap_or_else(|differences| panic!("{differences}"));
    }
    assert!(report.at("/heap").is_null());
    Ok(())
}

/// Wait time is charged to the stack that ended it.
#[test]
fn wakers() -> Result<()> {
    let (report, truth) = play("1000", "500000", &[])?;
    // What was lost must be counted.
    let missed: i64 = report.losses().iter().map(|(_, number)| number).sum();
    for (function, _, waker) in SITES {
        let sites: Vec<_> = report.waits_through(function).collect();
        let ids: BTreeSet<_> = sites.iter().map(|site| site.text("site_id")).collect();
        let number = |key: &str| truth.numbers[&format!("{function}.{key}")];
        let (least, most) =
            (number("waits").min(number("switches")), number("waits").max(number("switches")));
        let wait_ns: u64 = sites.iter().map(|site| site.number("wait_ns")).sum();
        let of_site = |one: &&Value| {
            let sites = one["sites"].as_array().into_iter().flatten();
            sites.into_iter().any(|site| site.as_str().is_some_and(|site| ids.contains(site)))
        };
        let all: Vec<_> = list(&report, "/waits/wakers").iter().filter(of_site).collect();
        let right = |one: &&&Value| match waker {
            Some(waker) => one["by"] == "thread" && passes(one, waker) && one["stack_end"] == "root",
            None => one["by"] == "timer_or_interrupt",
        };
        // A timer or interrupt may end waits of several sites: it is not told how many of each.
        let wakes: i64 = all.iter().filter(right).filter_map(|one| one["wakes"].as_i64()).sum();
        let ended_ns: u64 = all.iter().filter(right).filter_map(|one| one["wait_ns"].as_u64()).sum();
        println!(
            "{function}: {least} to {most} waits in {wait_ns} ns, {wakes} in {ended_ns} ended by {waker:?}; all:"
        );
        for one in &all {
            let functions: Vec<_> = frames(one).filter_map(|frame| frame["function"].as_str()).collect();
            println!("  {} in {} by {}: {}", one["wakes"], one["wait_ns"], one["by"], functions.join(" < "));
        }
        match waker {
            Some(_) => {
                assert!((least - missed..=most).contains(&wakes), "{function}");
                assert!(ended_ns <= wait_ns && ended_ns * 100 >= wait_ns * 98, "{function}");
                assert!(all.iter().all(|one| right(&one)), "others too end {function}");
                assert_eq!(all.len(), 1, "{function}");
            }
            // A timer that fires while a thread is in a call that can wake is charged to that thread.
            None => assert!(wakes + missed + least / 200 >= least, "{function}"),
        }
    }
    let ranks: Vec<_> =
        list(&report, "/waits/wakers").iter().filter_map(|one| one["rank"].as_u64()).collect();
    assert_eq!(ranks, (1..=ranks.len() as u64).collect::<Vec<_>>());
    Ok(())
}

/// In a convoy each one is woken by the one before it, and has waited for the one that held the lock for long.
#[test]
fn a_convoy_is_charged_to_the_holder() -> Result<()> {
    for kind in ["mutex", "rwlock"] {
        let mut fixture = Fixture::start(&CONVOY, &[kind])?;
        let scope = watch(fixture.pid()).start()?;
        let truth = fixture.go()?;
        let report = scope.finish()?.report()?;
        let missed: i64 = report.losses().iter().map(|(_, number)| number).sum();
        let sites: Vec<_> = report.wait_sites().filter(|site| site.text("kind") == kind).collect();
        let sum = |field: &str| -> i64 { sites.iter().filter_map(|site| site.at(field).as_i64()).sum() };
        let holders = list(&report, "/waits/lock_holders");
        let of = |function: &str, field: &str| -> i64 {
            let all = holders.iter().filter(|one| function.is_empty() || passes(one, function));
            all.filter_map(|one| one[field].as_i64()).sum()
        };
        let (slow_ns, quick_ns) = (truth.numbers["slow.ns"], truth.numbers["quick.ns"]);
        println!(
            "{kind}: waited for the slow one {slow_ns} ns, {} reported, for the quick ones {quick_ns} ns, {}; lost {:?}",
            of("slow_step", "wait_ns"),
            of("quick_step", "wait_ns"),
            report.losses()
        );
        let waits = truth.numbers["waits"];
        assert!((waits - missed..=waits * 2).contains(&sum("waits")), "{} of {waits}", sum("waits"));
        // Whatever was not lost is charged to somebody, and once.
        let slack_ns = if missed == 0 { 0 } else { slow_ns / 10 };
        assert!((0..=missed).contains(&(sum("waits") - of("", "contentions"))), "{holders:#?}");
        assert!((0..=slack_ns).contains(&(sum("wait_ns") - of("", "wait_ns"))), "{holders:#?}");
        let off_ns = (of("slow_step", "wait_ns") - slow_ns).abs();
        assert!(off_ns <= slow_ns / 50 + slack_ns, "{holders:#?}");
        assert!(of("quick_step", "wait_ns") <= quick_ns + slack_ns, "{holders:#?}");
        assert!(passes(&holders[0], "slow_step") && holders[0]["kind"] == kind, "{holders:#?}");
        assert_eq!(holders[0]["stack_end"], "root");
    }
    Ok(())
}

/// The comparison is not blind: each number of the truth counts.
#[test]
fn a_wrong_truth_is_noticed() -> Result<()> {
    let (report, truth) = play("500", "500000", &[])?;
    for (function, kind, _) in SITES {
        compare_live(&report, &truth, function, kind).unwrap_or_else(|differences| panic!("{differences}"));
        // What the comparison allows for waits that were lost and counted.
        let lost = report.at("/losses/waits.ends_missed").as_i64().unwrap_or_default();
        let longest = report.waits_through(function).filter_map(|site| site.at("max_wait_ns").as_i64()).max();
        let lost_ns = lost * longest.unwrap_or_default();
        for (keys, percent) in [(&["switches", "waits"][..], 0), (&["wait_ns"], 5)] {
            for sign in [-1, 1] {
                let mut wrong = truth.clone();
                for key in keys {
                    let number =
                        wrong.numbers.get_mut(&format!("{function}.{key}")).context("it is there")?;
                    // Beyond where the two numbers may lie apart.
                    let lost = if percent == 0 { 0 } else { lost_ns };
                    *number += sign * (*number * percent / 100 + 2 * lost).max(50);
                }
                assert!(
                    compare_live(&report, &wrong, function, kind).is_err(),
                    "{function}.{keys:?}: {wrong:?}"
                );
            }
        }
        assert!(compare_live(&report, &truth, function, "rwlock").is_err());
    }
    Ok(())
}

/// With the scheduler's programs left out there is nothing to compare.
#[test]
fn without_the_mechanism_nothing_is_right() -> Result<()> {
    let mut fixture = Fixture::start(&PINGPONG, &["play", "100"])?;
    let scope = Leakscope::attach_all(fixture.pid()).args(["--only", "heap"]).start()?;
    let truth = fixture.go()?;
    let report = scope.finish()?.report()?;
    for (function, kind, _) in SITES {
        let differences = compare_live(&report, &truth, function, kind).expect_err("nothing was watched");
        assert!(differences.contains("0 waits in"), "{differences}");
    }
    Ok(())
}

/// What began before the attach or after its end is not counted: each half of a load has its own.
#[test]
fn one_attach_after_another() -> Result<()> {
    let mut fixture = Fixture::start(&CASES, &["one-site"])?;
    let first = watch(fixture.pid()).start()?.finish()?.report()?;
    let scope = watch(fixture.pid()).start()?;
    fixture.go()?;
    let second = scope.finish()?.report()?;
    let ended = |report: &Report| -> u64 {
        report.waits_through("read_line").map(|site| site.at("waits").as_u64().unwrap_or_default()).sum()
    };
    assert_eq!(ended(&first), 0);
    // `go` may come in two parts.
    assert!((1..=2).contains(&ended(&second)), "main waited for `go` once: {}", ended(&second));
    Ok(())
}

/// A 32-bit program's system calls have other numbers: its `write` is what 64-bit ones call `stat`.
#[test]
fn woken_by_a_32_bit_program() -> Result<()> {
    let (reader, writer) = std::io::pipe()?;
    let mut cat = Guard::spawn(Command::new("cat").stdin(reader).stdout(Stdio::piped()))?;
    let mut copied = Lines::drain(cat.child().stdout.take().context("stdout is piped")?);
    let pid = cat.pid();
    poll("it reads", TIMEOUT, || {
        Ok(fs::read_to_string(format!("/proc/{pid}/syscall"))?.starts_with("0 0x0 ").then_some(()))
    })?;
    let scope = watch(pid).start()?;
    // It writes a line, and waits for input.
    let _i386 =
        Guard::spawn(Command::new(&I386.build()?.path).stdin(Stdio::piped()).stdout(writer.try_clone()?))?;
    copied.wait_for("ready", TIMEOUT, |line| line.starts_with("ready "))?;
    let report = scope.finish()?.report()?;
    let by_it = |waker: &&Value| waker["comm"].as_str().is_some_and(|comm| comm.starts_with("i386"));
    let waker = list(&report, "/waits/wakers").iter().find(by_it);
    let waker = waker.with_context(|| format!("no such waker: {}", report.at("/waits/wakers")))?;
    assert_eq!((&waker["by"], &waker["wakes"]), (&Value::from("other_process"), &Value::from(1)), "{waker}");
    Ok(())
}

/// Each of two counts everything.
#[test]
fn two_at_once() -> Result<()> {
    let mut fixture = Fixture::start(&PINGPONG, &["play", "500"])?;
    let (one, other) = (watch(fixture.pid()).start()?, watch(fixture.pid()).start()?);
    let truth = fixture.go()?;
    for scope in [one, other] {
        let report = scope.finish()?.report()?;
        for (function, kind, _) in SITES {
            compare_among(2, &report, &truth, function, kind)
                .unwrap_or_else(|differences| panic!("{differences}"));
        }
    }
    Ok(())
}

/// The kernel takes everything away; the target and the next leakscope notice nothing.
#[test]
fn leakscope_is_killed() -> Result<()> {
    let mut fixture = Fixture::start(&PINGPONG, &["play", "300"])?;
    let mut scope = watch(fixture.pid()).start()?;
    scope.guard().signal(libc::SIGKILL)?;
    assert_eq!(scope.wait()?.code(), None, "a signal ended it");
    let scope = watch(fixture.pid()).start()?;
    let truth = fixture.go()?;
    let report = scope.finish()?.report()?;
    for (function, kind, _) in SITES {
        // What the one before had attached may still be on its way out.
        compare_among(2, &report, &truth, function, kind)
            .unwrap_or_else(|differences| panic!("{differences}"));
    }
    assert!(fixture.end()?.success());
    Ok(())
}

/// Waits over the limit one by one, the longest first; no shorter ones.
#[test]
fn long_waits() -> Result<()> {
    let (report, truth) = play("20", "20000000", &["--min-wait", "10ms"])?;
    let long = list(&report, "/waits/long_waits");
    let times: Vec<_> = long.iter().filter_map(|one| one["wait_ns"].as_u64()).collect();
    assert!(times.iter().all(|ns| *ns >= 10_000_000), "{times:?}");
    assert!(times.is_sorted_by(|a, b| a >= b), "longest first: {times:?}");
    // Every wait of the three sites is that long; the list may be bounded.
    let waits: i64 = SITES.iter().map(|(function, ..)| truth.numbers[&format!("{function}.switches")]).sum();
    println!("{} long waits of {waits}", times.len());
    assert!(!times.is_empty() && times.len() <= usize::try_from(waits)? + 16, "{}", times.len());
    let ids: BTreeSet<_> = report.wait_sites().map(|site| site.text("site_id").to_owned()).collect();
    let window = report.number("/window/duration_ns");
    for one in long {
        assert!(one["site_id"].as_str().is_some_and(|id| ids.contains(id)), "{one}");
        let (start, ns) =
            (one["start_ns"].as_i64().context("start")?, one["wait_ns"].as_i64().context("time")?);
        assert!(start >= 0 && start + ns <= window + 1_000_000, "{one} in a window of {window} ns");
    }
    let (report, _) = play("20", "500000", &[])?;
    assert_eq!(list(&report, "/waits/long_waits"), &[] as &[Value], "none is asked for");
    Ok(())
}

/// Where threads are created: those that stay, and those that end.
#[test]
fn sites_that_create_threads() -> Result<()> {
    let mut fixture = Fixture::start(&SPAWN, &[])?;
    let scope = watch(fixture.pid()).start()?;
    let truth = fixture.go()?;
    let report = scope.finish()?.report()?;
    let (mut created, mut exited) = (0, 0);
    for function in ["spawn_leaked", "spawn_ended"] {
        let number = |key: &str| truth.numbers[&format!("{function}.{key}")];
        let sites: Vec<_> =
            list(&report, "/threads/sites").iter().filter(|site| passes(site, function)).collect();
        let [site] = &sites[..] else { panic!("{} sites of {function}: {sites:#?}", sites.len()) };
        assert_eq!(site["created"], number("created"), "{site}");
        assert_eq!(site["exited"], number("exited"), "{site}");
        assert_eq!(site["alive"], number("created") - number("exited"), "{site}");
        assert_eq!(site["growth"], number("created") - number("exited"), "{site}");
        let blame = site["blame"].as_u64().and_then(|blame| usize::try_from(blame).ok()).context("blame")?;
        let blamed = site["frames"][blame]["function"].as_str().unwrap_or_default();
        assert!(names(blamed, function) || names(blamed, "launch_waiters"), "{site}");
        assert_eq!(site["stack_end"], "root", "{site}");
        created += number("created");
        exited += number("exited");
    }
    assert_eq!(report.number("/threads/created"), created);
    assert_eq!(report.number("/threads/exited"), exited);
    assert_eq!(report.number("/threads/growth"), created - exited);
    assert_eq!(report.number("/threads/alive"), created - exited + 1);
    assert!(passes(&list(&report, "/threads/sites")[0], "spawn_leaked"), "most living ones first");

    // Those that stay have blocked in the window: their start was seen.
    let mut sites = report.waits_through("hold_asleep").filter(|site| !site.tids().is_empty());
    let asleep = sites.next().context("they sleep")?;
    assert_eq!(asleep.number("blocked_now"), 30, "{}", asleep.describe());
    for thread in asleep.threads() {
        assert_eq!(thread["since"], "traced", "{thread}");
        assert_eq!(thread["at_least"], false, "{thread}");
    }
    Ok(())
}

/// What was blocked before the attach and still is.
#[test]
fn blocked_before_the_attach() -> Result<()> {
    let fixture = Fixture::start(&BLOCKED, &["mutex", "1000"])?;
    let truth = fixture.blocked()?;
    let scope = watch(fixture.pid()).start()?;
    let before_ns = now_ns();
    let report = scope.finish()?.report()?;
    // Between these two moments it looked; the comparison is the dump's.
    let snapshot = Snapshot { report, before_ns, after_ns: now_ns() };
    let site = snapshot.report.wait_site_of(truth.group("waiters").threads[0].tid).context("its site")?;
    assert_eq!(site.number("waits"), 0, "none ended: {}", site.describe());
    assert_eq!(site.tids(), truth.group("waiters").tids());
    let differences = snapshot.compare(&truth, "waiters").err().unwrap_or_default();
    let wrong: Vec<_> = differences.lines().filter(|line| !line.contains("a dump has no")).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

/// A deadlock that happened long ago, in the report of an attach.
#[test]
fn deadlock_from_before_the_attach() -> Result<()> {
    let fixture = Fixture::start(&DEADLOCK_C, &["two"])?;
    let truth = fixture.blocked()?;
    let report = watch(fixture.pid()).start()?.finish()?.report()?;
    let deadlocks = report.deadlocks();
    let [found] = &deadlocks[..] else { panic!("one deadlock, not {deadlocks:#?}") };
    let tids: BTreeSet<_> = found.iter().map(|thread| thread.tid).collect();
    assert_eq!(tids, truth.group("dead").tids());
    assert_eq!(report.answer(), "deadlock", "{}", report.headline());
    Ok(())
}

/// Each half alone, and both together.
#[test]
fn only_what_is_asked_for() -> Result<()> {
    let sections = |arguments: &[&str]| -> Result<(bool, bool)> {
        let mut fixture = Fixture::start(&CASES, &["one-site"])?;
        let scope = Leakscope::attach_all(fixture.pid()).args(arguments.iter().copied()).start()?;
        let truth = fixture.go()?;
        let report = scope.finish()?.report()?;
        if !report.at("/heap").is_null() {
            report.assert_exact(&truth);
        }
        if !report.at("/waits").is_null() {
            assert_eq!(report.number("/waits/threads"), 1);
            // It waits for `go` at one line and, in the end, at another. What waits on the way, for a page
            // or for a probe, is of another kind.
            let sum = |field: &str| -> u64 {
                let waits = report.waits_through("read_line").filter(|site| site.text("kind") == "pipe");
                waits.filter_map(|site| site.at(field).as_u64()).sum()
            };
            // `go` may come in two parts.
            assert!((1..=2).contains(&sum("waits")), "main waited for `go`: {}", sum("waits"));
            // It may still be on its way from its last line to the next wait.
            assert!(sum("blocked_now") <= 1, "there is one thread");
        }
        Ok((report.at("/heap").is_object(), report.at("/waits").is_object()))
    };
    assert_eq!(sections(&["--only", "heap"])?, (true, false));
    assert_eq!(sections(&["--only", "waits"])?, (false, true));
    assert_eq!(sections(&[])?, (true, true));
    Ok(())
}

/// The account stays when the target goes.
#[test]
fn target_exits() -> Result<()> {
    let mut fixture = Fixture::start(&PINGPONG, &["play", "500"])?;
    let scope = watch(fixture.pid()).start()?;
    let truth = fixture.go()?;
    fixture.end()?;
    let report = scope.wait()?.report()?;
    assert_eq!(report.ended_by(), "target_exit");
    for (function, kind, _) in SITES {
        compare_live(&report, &truth, function, kind).unwrap_or_else(|differences| panic!("{differences}"));
    }
    assert_eq!(report.number("/waits/blocked_now"), 0);
    Ok(())
}

/// Ten thousands of threads a second are counted, or their loss is; all numbers of them agree.
#[test]
fn threads_that_come_and_go() -> Result<()> {
    let mut fixture = Fixture::start(&CHURN, &[])?;
    let truth = fixture.blocked()?;
    let scope = watch(fixture.pid()).start()?;
    let (begun, first) = (Instant::now(), fixture.rounds()?);
    while fixture.rounds()? < first + 100_000 {}
    let least = i64::try_from(fixture.rounds()? - first)?;
    println!("{:.0} threads a second", least as f64 / begun.elapsed().as_secs_f64());
    let report = scope.finish()?.report()?;
    let created = report.number("/threads/created");
    println!("at least {least} threads were created, reported {created}; lost {:?}", report.losses());
    assert!(created >= least || !report.losses().is_empty(), "{created} of at least {least}");
    // Not more than these run at once, at either end of the window.
    const AT_ONCE: i64 = 64;
    let exited = report.number("/threads/exited");
    let lost = |domain: &str| report.losses().iter().any(|(name, _)| name.starts_with(domain));
    assert_eq!(report.number("/threads/growth"), created - exited);
    assert!((9..=9 + AT_ONCE).contains(&report.number("/threads/alive")), "{}", report.at("/threads/alive"));
    if !lost("events.") && !lost("threads.") {
        assert!((created - exited).abs() <= AT_ONCE, "{created} created, {exited} exited");
        let sum = |field: &str| -> i64 {
            list(&report, "/threads/sites").iter().filter_map(|site| site[field].as_i64()).sum()
        };
        // The account and the events stop at nearly the same moment.
        assert!((sum("created") - created).abs() <= 16, "{} at the sites, {created} in all", sum("created"));
        assert!(
            (0..=AT_ONCE).contains(&(sum("created") - sum("exited"))),
            "{} exited at the sites",
            sum("exited")
        );
        assert_eq!(sum("alive"), sum("created") - sum("exited"));
    }
    assert!(report.at("/waits/exact") != true || !lost("waits."), "{:?}", report.losses());
    let steady = report.wait_site_of(truth.group("steady").threads[0].tid).context("the steady ones")?;
    assert_eq!(steady.tids(), truth.group("steady").tids(), "{}", steady.describe());
    assert!(fixture.end()?.success());
    Ok(())
}

/// Both accounts at once, as `attach` does by default: the heap stays exact.
#[test]
fn heap_beside_waits() -> Result<()> {
    let mut fixture = Fixture::start(&THREADS, &["300"])?;
    let scope = Leakscope::attach_all(fixture.pid()).start()?;
    let truth = fixture.go()?;
    let report = scope.finish()?.report()?;
    assert!(report.heap_exact(), "{:?}", report.losses());
    for (function, amount) in &truth.live {
        let live = report.sites_through(function).map(|site| site.live());
        assert_eq!(live.map(|live| live.objects).sum::<i64>(), amount.objects, "{function}");
    }
    assert!(report.number("/threads/created") >= 300);
    Ok(())
}

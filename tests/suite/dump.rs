//! `leakscope dump`: who is blocked where, since before anyone looked.

mod bad_input;
mod command;
mod deadlocks;
mod peers;
mod stacks;
mod verdicts;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use leakscope_tests::process::{Guard, poll};
use leakscope_tests::programs::{
    BLOCKED, CASES, CHURN, DEADLOCK_C, DEADLOCK_CPP, DEADLOCK_RUST, HOSTILE, I386, Program, SWAPPED, ZOMBIE,
};
use leakscope_tests::report::names;
use leakscope_tests::scope::binary;
use leakscope_tests::server::find_program;
use leakscope_tests::snapshot::Snapshot;
use leakscope_tests::swap::Swap;
use leakscope_tests::text::Text;
use leakscope_tests::waits::{DeadlockThread, WaitSite};
use leakscope_tests::{Blocked, Fixture, Leakscope, Report, gdb, skip};

use crate::cli_errors::{as_nobody, vacant_pid};

/// What must hold of the whole dump of a process that stands still.
#[track_caller]
fn assert_whole(report: &Report, threads: usize) {
    assert_eq!(report.losses(), []);
    assert_eq!(report.at("/waits/exact"), true, "{}", report.at("/waits"));
    assert_eq!(report.number("/waits/threads"), i64::try_from(threads).unwrap_or(-1));
    assert_eq!(report.number("/waits/blocked_now"), i64::try_from(threads).unwrap_or(-1));
    assert_eq!(report.number("/waits/unsettled"), 0);
    assert!(report.at("/heap").is_null(), "{}", report.at("/heap"));
    assert_eq!(report.at("/waits/wakers"), &serde_json::json!([]));
    assert_eq!(report.at("/waits/long_waits"), &serde_json::json!([]));
    let ranks: Vec<_> = report.wait_sites().map(|site| site.number("rank")).collect();
    assert_eq!(ranks, (1..=ranks.len() as u64).collect::<Vec<_>>());
    let idle: Vec<_> = report.wait_sites().map(|site| site.is_idle()).collect();
    assert!(idle.is_sorted(), "idle sites come last: {idle:?}");
    let listed: usize = report.wait_sites().map(|site| site.tids().len()).sum();
    assert_eq!(listed, threads, "every thread is at one site");
}

/// Compares a scenario of [`BLOCKED`], every group of it; returns the report and the truth. An
/// empty verdict is any.
fn check(
    scenario: &str,
    threads: usize,
    primitive: &str,
    verdict: &str,
) -> Result<Option<(Report, Blocked)>> {
    let fixture = Fixture::start(&BLOCKED, &[scenario, &threads.to_string()])?;
    let truth = fixture.blocked()?;
    if let Some(error) = truth.impossible {
        leakscope_tests::skipped(&format!("{}", std::io::Error::from_raw_os_error(i32::try_from(error)?)));
        return Ok(None);
    }
    let snapshot = Snapshot::of(fixture.pid())?;
    for name in truth.groups.keys() {
        snapshot.assert_group(&truth, name);
    }
    assert_whole(&snapshot.report, truth.threads() + 1);
    assert_eq!(snapshot.report.deadlocks(), Vec::<Vec<DeadlockThread>>::new());
    let tid = truth.group("waiters").threads[0].tid;
    let site = snapshot.report.wait_site_of(tid).context("its site")?;
    if !primitive.is_empty() {
        assert!(names(site.text("primitive"), primitive), "{primitive}: {}", site.describe());
    }
    if !verdict.is_empty() {
        assert_eq!(site.text("verdict"), verdict, "{}", site.describe());
    }
    Ok(Some((snapshot.report, truth)))
}

/// A test a kind: 1,000 threads blocked at one site.
macro_rules! kinds {
    ($($test:ident: $scenario:literal, $primitive:literal, $verdict:literal;)*) => {$(
        #[test]
        fn $test() -> Result<()> {
            check($scenario, 1000, $primitive, $verdict).map(drop)
        }
    )*};
}

kinds! {
    mutex_recursive: "mutex-recursive", "pthread_mutex_lock", "stuck";
    mutex_errorcheck: "mutex-errorcheck", "pthread_mutex_lock", "stuck";
    mutex_adaptive: "mutex-adaptive", "pthread_mutex_lock", "stuck";
    mutex_robust: "mutex-robust", "pthread_mutex_lock", "stuck";
    mutex_with_priority_inheritance: "mutex-pi", "pthread_mutex_lock", "stuck";
    mutex_timed: "mutex-timed", "pthread_mutex_clocklock", "stuck";
    rwlock_for_reading: "rwlock-read", "pthread_rwlock_rdlock", "stuck";
    rwlock_for_writing: "rwlock-write", "pthread_rwlock_wrlock", "stuck";
    mutex_of_a_thread_that_has_ended: "mutex-dead-owner", "pthread_mutex_lock", "stuck";
    rwlock_held_by_readers: "rwlock-write-behind-readers", "pthread_rwlock_wrlock", "stuck";
    one_site_that_waits_on_many_locks: "many-locks", "pthread_mutex_lock", "stuck";
    condvar: "condvar", "pthread_cond_wait", "unknown";
    condvar_timed: "condvar-timed", "pthread_cond_timedwait", "unknown";
    semaphore: "semaphore", "sem_wait", "unknown";
    barrier: "barrier", "pthread_barrier_wait", "unknown";
    join: "join", "pthread_join", "idle";
    workers_in_a_function_that_theirs_calls: "pool", "pthread_cond_wait", "unknown";
    raw_futex: "futex", "", "unknown";
    sleep: "sleep", "", "idle";
    pause: "pause", "", "idle";
    sigwait: "sigwait", "", "idle";
    poll_: "poll", "", "unknown";
    epoll: "epoll", "", "idle";
    select: "select", "", "unknown";
    pipe_read: "pipe-read", "", "unknown";
    pipe_write: "pipe-write", "", "unknown";
    eventfd: "eventfd", "", "";
    tty: "tty", "", "idle";
    socket_recv: "socket-recv", "", "unknown";
    socket_read: "socket-read", "", "unknown";
    socket_send: "socket-send", "", "unknown";
    accept: "accept", "", "idle";
    message_queue: "message-queue", "", "unknown";
    flock: "flock", "", "stuck";
    file_lock: "file-lock", "", "stuck";
    child: "child", "", "unknown";
    io_uring: "io-uring", "", "idle";
    page_fault: "page-fault", "", "";
    signal_handler_on_an_alternate_stack: "signal-handler", "", "";
    hundred_frames_deep: "deep", "", "";
}

/// The story that the tool is for: the headline says it all.
#[test]
fn mutex_whose_holder_sleeps() -> Result<()> {
    let fixture = Fixture::start(&BLOCKED, &["mutex", "1000"])?;
    let truth = fixture.blocked()?;
    let group = truth.group("waiters");
    let owner = truth.locks[0].owner.clone().context("the owner")?;
    let place = format!("blocked.c:{}", group.line);
    let (tid, name) = (owner.0.to_string(), format!("\"{}\"", owner.1));
    let parts = ["1000 of 1002 threads", "pthread_mutex_lock", &place, &tid, &name];
    let snapshot = Snapshot::with_headline(fixture.pid(), &parts)?;
    println!("{}", snapshot.report.headline());
    snapshot.assert_group(&truth, "waiters");
    assert_whole(&snapshot.report, 1002);
    let report = snapshot.report;
    let site = report.wait_sites().next().context("a site")?;
    assert_eq!(site.tids(), group.tids(), "it comes first: {}", site.describe());
    let lock = site.locks().next().context("its lock")?;
    assert_eq!(lock["owner_state"], "sleep", "{lock}");
    let blamed =
        lock["owner_blame"].as_u64().and_then(|index| usize::try_from(index).ok()).context("blame")?;
    assert_eq!(lock["owner_frames"][blamed]["function"], "hold_asleep", "{lock}");
    Ok(())
}

/// Threads that run are no blocked ones, and an owner that runs is no sleeping one.
#[test]
fn mutex_whose_holder_runs() -> Result<()> {
    let fixture = Fixture::start(&BLOCKED, &["mutex-busy-owner", "50"])?;
    let truth = fixture.blocked()?;
    let snapshot = Snapshot::of(fixture.pid())?;
    snapshot.assert_group(&truth, "waiters");
    assert_eq!(snapshot.report.number("/waits/threads"), 52);
    assert_eq!(snapshot.report.number("/waits/blocked_now"), 51);
    let owner = truth.locks[0].owner.clone().context("the owner")?;
    assert!(snapshot.report.wait_site_of(owner.0).is_none(), "it runs");
    let site = snapshot.report.wait_sites().next().context("a site")?;
    let lock = site.locks().next().context("its lock")?;
    assert_eq!(lock["owner_state"], "running", "{lock}");
    // A sample may come too late on a busy machine.
    let busy = |frame: &serde_json::Value| {
        frame["function"].as_str().is_some_and(|function| names(function, "with_mutex_busy"))
    };
    assert!(lock["owner_frames"].as_array().is_none_or(|frames| frames.iter().any(busy)), "{lock}");
    Ok(())
}

/// A futex that only looks like a mutex has no owner.
#[test]
fn futex_that_looks_like_a_mutex() -> Result<()> {
    let Some((report, truth)) = check("lookalike", 20, "", "")? else { return Ok(()) };
    let site = report.wait_site_of(truth.group("waiters").threads[0].tid).context("its site")?;
    let owners: Vec<_> = site.locks().filter(|lock| !lock["owner_tid"].is_null()).collect();
    assert!(owners.is_empty(), "{owners:?}: {}", site.describe());
    Ok(())
}

/// Stopped by a signal, whatever they were in before.
#[test]
fn stopped() -> Result<()> {
    let mut fixture = Fixture::start(&BLOCKED, &["futex", "1000"])?;
    let truth = fixture.blocked()?;
    let pid = fixture.pid();
    fixture.guard().signal(libc::SIGSTOP)?;
    poll("every thread is stopped", Duration::from_secs(60), || {
        let states = thread_files(pid, "stat")?;
        let stopped = |stat: &String| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'));
        Ok(states.values().all(stopped).then_some(()))
    })?;
    let report = Snapshot::of(pid)?.report;
    assert_whole(&report, truth.threads() + 1);
    for site in report.wait_sites() {
        assert_eq!(site.text("kind"), "stopped", "{}", site.describe());
    }
    let site = report.wait_site_of(truth.group("waiters").threads[0].tid).context("its site")?;
    assert_eq!(site.tids(), truth.group("waiters").tids());
    assert!(site.passes("at_futex") && site.is_rooted(), "{}", site.describe());
    // It stays stopped: nobody but us continues it.
    assert!(thread_files(pid, "stat")?.values().all(|stat| stat.contains(") T ")));
    fixture.guard().signal(libc::SIGCONT)?;
    fixture.go()?;
    Ok(())
}

#[test]
fn many_kinds_at_once() -> Result<()> {
    let fixture = Fixture::start(&BLOCKED, &["zoo", "20"])?;
    let truth = fixture.blocked()?;
    let snapshot = Snapshot::of(fixture.pid())?;
    // The holder sleeps where the sleepers do, so it is no site of its own.
    for name in truth.groups.keys().filter(|name| !["holder", "sleepers"].contains(&name.as_str())) {
        snapshot.assert_group(&truth, name);
    }
    assert_whole(&snapshot.report, truth.threads() + 1);
    Ok(())
}

/// A file of every thread of a process, by thread ID.
fn thread_files(pid: u32, name: &str) -> Result<BTreeMap<u32, String>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        let entry = entry?;
        let tid = entry.file_name().to_string_lossy().parse()?;
        all.insert(tid, fs::read_to_string(entry.path().join(name))?);
    }
    Ok(all)
}

/// How often each thread was switched away from.
fn switches(pid: u32) -> Result<BTreeMap<u32, String>> {
    let mut all = thread_files(pid, "status")?;
    for status in all.values_mut() {
        *status = status.lines().filter(|line| line.contains("ctxt_switches")).collect();
    }
    Ok(all)
}

/// No thread of the target runs, is stopped or is traced, ever; its code stays as it is.
#[test]
fn leaves_no_trace() -> Result<()> {
    let mut fixture = Fixture::start(&BLOCKED, &["mutex", "200"])?;
    let pid = fixture.pid();
    let (before, text) = (switches(pid)?, Text::of(pid)?);
    let over = AtomicBool::new(false);
    let (looks, snapshot) = std::thread::scope(|scope| -> Result<_> {
        let watch = scope.spawn(|| -> Result<u32> {
            let mut looks = 0;
            while !over.load(Ordering::Relaxed) {
                for (tid, status) in thread_files(pid, "status")? {
                    let field = |name| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
                    assert_eq!(field("TracerPid:"), Some("0"), "{tid} is traced");
                    assert!(field("State:").is_some_and(|state| state.starts_with('S')), "{tid}: {status}");
                }
                looks += 1;
            }
            Ok(looks)
        });
        let snapshot = Snapshot::of(pid);
        over.store(true, Ordering::Relaxed);
        Ok((watch.join().expect("no thread was stopped")?, snapshot?))
    })?;
    assert!(looks > 1, "it was watched {looks} times");
    assert_eq!(switches(pid)?, before, "no thread ran");
    assert_eq!(text.changed()?, Vec::<u64>::new());
    assert_whole(&snapshot.report, 202);
    fixture.go()?;
    assert!(fixture.end()?.success());
    Ok(())
}

/// The snapshot of 10,000 threads takes under a second; the whole dump is given three on a busy machine.
#[test]
fn ten_thousand_threads() -> Result<()> {
    let fixture = Fixture::start(&BLOCKED, &["mutex", "10000"])?;
    let truth = fixture.blocked()?;
    let start = Instant::now();
    let snapshot = Snapshot::of(fixture.pid())?;
    let took = start.elapsed();
    println!("10,002 threads dumped in {took:?}");
    snapshot.assert_group(&truth, "waiters");
    assert_whole(&snapshot.report, 10_002);
    assert!(took < Duration::from_secs(3), "it took {took:?}");
    Ok(())
}

/// In a container the C library stores thread IDs that are the container's own.
#[test]
fn lock_in_another_pid_namespace() -> Result<()> {
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child", "--"]);
    let fixture = &mut Fixture::start_command(command.arg(BLOCKED.build()?.path).args(["mutex", "20"]))?;
    let outside = fixture.guard().pid();
    let children = fs::read_to_string(format!("/proc/{outside}/task/{outside}/children"))?;
    let pid = children.trim().parse()?;
    let mut ids = BTreeMap::new();
    for (tid, status) in thread_files(pid, "status")? {
        let inner = status.lines().find_map(|line| line.strip_prefix("NSpid:")).context("NSpid")?;
        ids.insert(inner.split_whitespace().next_back().context("an ID")?.parse()?, tid);
    }
    let truth = fixture.blocked()?.renumbered(&ids)?;
    let snapshot = Snapshot::of(pid)?;
    snapshot.assert_group(&truth, "waiters");
    assert_whole(&snapshot.report, 22);
    Ok(())
}

/// A truth that is wrong in one thread, line, lock or time is noticed.
#[test]
fn a_wrong_truth_is_noticed() -> Result<()> {
    let fixture = Fixture::start(&BLOCKED, &["mutex", "50"])?;
    let truth = fixture.blocked()?;
    let snapshot = Snapshot::of(fixture.pid())?;
    snapshot.assert_group(&truth, "waiters");
    let changes: [fn(&mut Blocked); 6] = [
        |truth| truth.groups.get_mut("waiters").expect("it is there").threads.truncate(49),
        |truth| truth.groups.get_mut("waiters").expect("it is there").line += 1,
        |truth| truth.groups.get_mut("waiters").expect("it is there").kind = "rwlock".to_owned(),
        |truth| truth.groups.get_mut("waiters").expect("it is there").threads[7].since_ns -= 100_000_000_000,
        |truth| truth.locks[0].address += 8,
        |truth| truth.locks[0].owner.as_mut().expect("it has one").0 += 1,
    ];
    for (index, change) in changes.iter().enumerate() {
        let mut wrong = truth.clone();
        change(&mut wrong);
        assert!(snapshot.compare(&wrong, "waiters").is_err(), "change {index} is not noticed");
    }
    Ok(())
}

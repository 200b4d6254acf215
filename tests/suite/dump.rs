//! `leakscope dump`: who is blocked where, since before anyone looked.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use leakscope_tests::census::Census;
use leakscope_tests::process::{Guard, poll};
use leakscope_tests::programs::{
    BLOCKED, CASES, CHURN, DEADLOCK_C, DEADLOCK_CPP, DEADLOCK_RUST, HOSTILE, I386, Program, ZOMBIE,
};
use leakscope_tests::report::names;
use leakscope_tests::scope::binary;
use leakscope_tests::server::find_program;
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

/// Whether the threads of the scenario are idle; `Open` where the rules may say either.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Idle {
    Yes,
    No,
    Open,
}

/// Compares a scenario of [`BLOCKED`], every group of it; returns the report and the truth.
fn check(scenario: &str, threads: usize, primitive: &str, idle: Idle) -> Result<Option<(Report, Blocked)>> {
    let fixture = Fixture::start(&BLOCKED, &[scenario, &threads.to_string()])?;
    let truth = fixture.blocked()?;
    if let Some(error) = truth.impossible {
        leakscope_tests::skipped(&format!("{}", std::io::Error::from_raw_os_error(i32::try_from(error)?)));
        return Ok(None);
    }
    let census = Census::of(fixture.pid())?;
    for name in truth.groups.keys() {
        census.assert_group(&truth, name);
    }
    assert_whole(&census.report, truth.threads() + 1);
    assert_eq!(census.report.deadlocks(), Vec::<Vec<DeadlockThread>>::new());
    let tid = truth.group("waiters").threads[0].tid;
    let site = census.report.wait_site_of(tid).context("its site")?;
    if !primitive.is_empty() {
        assert!(names(site.text("primitive"), primitive), "{primitive}: {}", site.describe());
    }
    if idle != Idle::Open {
        assert_eq!(site.is_idle(), idle == Idle::Yes, "{}", site.describe());
    }
    Ok(Some((census.report, truth)))
}

/// A test a kind: 1,000 threads blocked at one site.
macro_rules! kinds {
    ($($test:ident: $scenario:literal, $primitive:literal, $idle:ident;)*) => {$(
        #[test]
        fn $test() -> Result<()> {
            check($scenario, 1000, $primitive, Idle::$idle).map(drop)
        }
    )*};
}

kinds! {
    mutex_recursive: "mutex-recursive", "pthread_mutex_lock", No;
    mutex_errorcheck: "mutex-errorcheck", "pthread_mutex_lock", No;
    mutex_adaptive: "mutex-adaptive", "pthread_mutex_lock", No;
    mutex_robust: "mutex-robust", "pthread_mutex_lock", No;
    mutex_with_priority_inheritance: "mutex-pi", "pthread_mutex_lock", No;
    mutex_timed: "mutex-timed", "pthread_mutex_clocklock", No;
    rwlock_for_reading: "rwlock-read", "pthread_rwlock_rdlock", No;
    rwlock_for_writing: "rwlock-write", "pthread_rwlock_wrlock", No;
    mutex_of_a_thread_that_has_ended: "mutex-dead-owner", "pthread_mutex_lock", No;
    rwlock_held_by_readers: "rwlock-write-behind-readers", "pthread_rwlock_wrlock", No;
    one_site_that_waits_on_many_locks: "many-locks", "pthread_mutex_lock", No;
    condvar: "condvar", "pthread_cond_wait", Open;
    condvar_timed: "condvar-timed", "pthread_cond_timedwait", Open;
    semaphore: "semaphore", "sem_wait", Open;
    barrier: "barrier", "pthread_barrier_wait", Open;
    join: "join", "pthread_join", Open;
    idle_pool_on_a_condvar: "pool", "pthread_cond_wait", Yes;
    raw_futex: "futex", "", Open;
    sleep: "sleep", "", Open;
    pause: "pause", "", Open;
    sigwait: "sigwait", "", Open;
    poll_: "poll", "", Yes;
    epoll: "epoll", "", Yes;
    select: "select", "", Yes;
    pipe_read: "pipe-read", "", Open;
    pipe_write: "pipe-write", "", No;
    eventfd: "eventfd", "", Open;
    tty: "tty", "", Open;
    socket_recv: "socket-recv", "", Open;
    socket_read: "socket-read", "", Open;
    socket_send: "socket-send", "", No;
    accept: "accept", "", Open;
    message_queue: "message-queue", "", Open;
    flock: "flock", "", No;
    file_lock: "file-lock", "", No;
    child: "child", "", Open;
    io_uring: "io-uring", "", Open;
    page_fault: "page-fault", "", No;
    signal_handler_on_an_alternate_stack: "signal-handler", "", Open;
    hundred_frames_deep: "deep", "", Open;
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
    let census = Census::with_headline(fixture.pid(), &parts)?;
    println!("{}", census.report.headline());
    census.assert_group(&truth, "waiters");
    assert_whole(&census.report, 1002);
    let report = census.report;
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
    let census = Census::of(fixture.pid())?;
    census.assert_group(&truth, "waiters");
    assert_eq!(census.report.number("/waits/threads"), 52);
    assert_eq!(census.report.number("/waits/blocked_now"), 51);
    let owner = truth.locks[0].owner.clone().context("the owner")?;
    assert!(census.report.wait_site_of(owner.0).is_none(), "it runs");
    let site = census.report.wait_sites().next().context("a site")?;
    let lock = site.locks().next().context("its lock")?;
    assert_eq!(lock["owner_state"], "running", "{lock}");
    assert!(lock["owner_frames"].is_null(), "{lock}");
    Ok(())
}

/// A futex that only looks like a mutex has no owner.
#[test]
fn futex_that_looks_like_a_mutex() -> Result<()> {
    let Some((report, truth)) = check("lookalike", 20, "", Idle::Open)? else { return Ok(()) };
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
    let report = Census::of(pid)?.report;
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
    let census = Census::of(fixture.pid())?;
    // The holder sleeps where the sleepers do, so it is no site of its own.
    for name in truth.groups.keys().filter(|name| !["holder", "sleepers"].contains(&name.as_str())) {
        census.assert_group(&truth, name);
    }
    assert_whole(&census.report, truth.threads() + 1);
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
    let (looks, census) = std::thread::scope(|scope| -> Result<_> {
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
        let census = Census::of(pid);
        over.store(true, Ordering::Relaxed);
        Ok((watch.join().expect("no thread was stopped")?, census?))
    })?;
    assert!(looks > 1, "it was watched {looks} times");
    assert_eq!(switches(pid)?, before, "no thread ran");
    assert_eq!(text.changed()?, Vec::<u64>::new());
    assert_whole(&census.report, 202);
    fixture.go()?;
    assert!(fixture.end()?.success());
    Ok(())
}

/// The census of 10,000 threads takes under a second; the whole dump is given three on a busy machine.
#[test]
fn ten_thousand_threads() -> Result<()> {
    let fixture = Fixture::start(&BLOCKED, &["mutex", "10000"])?;
    let truth = fixture.blocked()?;
    let start = Instant::now();
    let census = Census::of(fixture.pid())?;
    let took = start.elapsed();
    println!("10,002 threads dumped in {took:?}");
    census.assert_group(&truth, "waiters");
    assert_whole(&census.report, 10_002);
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
    let census = Census::of(pid)?;
    census.assert_group(&truth, "waiters");
    assert_whole(&census.report, 22);
    Ok(())
}

/// A truth that is wrong in one thread, line, lock or time is noticed.
#[test]
fn a_wrong_truth_is_noticed() -> Result<()> {
    let fixture = Fixture::start(&BLOCKED, &["mutex", "50"])?;
    let truth = fixture.blocked()?;
    let census = Census::of(fixture.pid())?;
    census.assert_group(&truth, "waiters");
    let changes: [fn(&mut Blocked); 6] = [
        |truth| truth.groups.get_mut("waiters").expect("it is there").threads.truncate(49),
        |truth| truth.groups.get_mut("waiters").expect("it is there").line += 1,
        |truth| truth.groups.get_mut("waiters").expect("it is there").kind = "rwlock".to_owned(),
        |truth| truth.groups.get_mut("waiters").expect("it is there").threads[7].since_ns -= 1_000_000_000,
        |truth| truth.locks[0].address += 8,
        |truth| truth.locks[0].owner.as_mut().expect("it has one").0 += 1,
    ];
    for (index, change) in changes.iter().enumerate() {
        let mut wrong = truth.clone();
        change(&mut wrong);
        assert!(census.compare(&wrong, "waiters").is_err(), "change {index} is not noticed");
    }
    Ok(())
}

// ---- Deadlocks

/// Dumps a scenario whose threads are in one deadlock, and compares that.
fn check_deadlock(program: &Program, scenario: &str, certain: bool) -> Result<(Report, Blocked)> {
    let fixture = Fixture::start(program, &[scenario])?;
    let truth = fixture.blocked()?;
    let census = Census::of(fixture.pid())?;
    for name in truth.groups.keys() {
        census.assert_group(&truth, name);
    }
    let report = census.report;
    assert_whole(&report, truth.threads() + 1);
    let deadlocks = report.deadlocks();
    let [found] = &deadlocks[..] else { panic!("one deadlock, not {deadlocks:#x?}") };
    assert_eq!(found.len(), truth.cycle.len(), "{found:#x?}, not {:#x?}", truth.cycle);
    let from = found.iter().position(|thread| thread.tid == truth.cycle[0].tid).context("the first one")?;
    for (index, expected) in truth.cycle.iter().enumerate() {
        let thread = &found[(from + index) % found.len()];
        let (waits_for, held_by) = (thread.waits_for, thread.held_by);
        assert_eq!(
            (thread.tid, held_by),
            (expected.tid, expected.held_by),
            "{found:#x?}, not {:#x?}",
            truth.cycle
        );
        assert_eq!(waits_for, expected.waits_for, "{found:#x?}, not {:#x?}", truth.cycle);
        let site = report.wait_site_of(thread.tid).context("its site")?;
        assert_eq!(site.text("site_id"), thread.site_id);
        let function = site.blamed()["function"].as_str().unwrap_or_default();
        assert!(names(function, &expected.function), "{}: {}", expected.function, site.describe());
        assert!(!site.is_idle(), "{}", site.describe());
        let holds = &report.at("/waits/deadlocks/0/cycle")[(from + index) % found.len()]["holds"];
        let before = &truth.cycle[(index + truth.cycle.len() - 1) % truth.cycle.len()];
        let held = before.function == "take_join"
            || holds
                .as_array()
                .into_iter()
                .flatten()
                .any(|lock| lock.as_str().is_some_and(|lock| lock == format!("{:#x}", before.waits_for)));
        assert!(held, "{} holds {:#x}: {holds}", thread.tid, before.waits_for);
    }
    assert_eq!(report.at("/waits/deadlocks/0/certain"), certain);
    let tids: Vec<_> = truth.cycle.iter().map(|thread| thread.tid).collect();
    let first = report.wait_sites().next().context("a site")?;
    assert!(first.tids().iter().any(|tid| tids.contains(tid)), "comes first, not {}", first.describe());
    let headline = report.headline();
    assert!(headline.to_lowercase().contains("deadlock"), "{headline}");
    Ok((report, truth))
}

macro_rules! deadlocks {
    ($($test:ident: $program:ident, $scenario:literal, $certain:literal;)*) => {$(
        #[test]
        fn $test() -> Result<()> {
            check_deadlock(&$program, $scenario, $certain).map(drop)
        }
    )*};
}

deadlocks! {
    deadlock_of_two_in_c: DEADLOCK_C, "two", true;
    deadlock_of_three_in_c: DEADLOCK_C, "three", true;
    deadlock_of_a_thread_with_itself: DEADLOCK_C, "self", true;
    deadlock_of_rwlocks_in_c: DEADLOCK_C, "rwlock", true;
    deadlock_of_a_lock_and_a_join: DEADLOCK_C, "join", true;
    deadlock_of_two_in_cpp: DEADLOCK_CPP, "two", true;
    deadlock_of_three_in_cpp: DEADLOCK_CPP, "three", true;
    deadlock_of_shared_mutexes: DEADLOCK_CPP, "shared", true;
    deadlock_of_recursive_mutexes: DEADLOCK_CPP, "recursive", true;
    deadlock_of_two_in_rust: DEADLOCK_RUST, "two", false;
    deadlock_of_three_in_rust: DEADLOCK_RUST, "three", false;
    deadlock_of_rwlocks_in_rust: DEADLOCK_RUST, "rwlock", false;
}

/// Those that wait for the deadlocked ones are counted, and not taken for a part of the circle.
#[test]
fn threads_that_queue_up_behind_a_deadlock() -> Result<()> {
    let (report, truth) = check_deadlock(&DEADLOCK_C, "queue", true)?;
    assert_eq!(report.number("/waits/deadlocks/0/also_blocked"), 20);
    let queue = report.wait_site_of(truth.group("queue").threads[0].tid).context("the queue")?;
    assert!(queue.number("rank") > 2, "after the deadlock: {}", queue.describe());
    let lock = queue.locks().next().context("its lock")?;
    assert_eq!(lock["owner_tid"], truth.cycle[0].tid, "{lock}");
    Ok(())
}

/// Primitives of C++ that are no deadlock.
#[test]
fn primitives_of_cpp() -> Result<()> {
    let expected = [("pool", "cond"), ("future", "future::wait"), ("nap", "sleep_for")];
    primitives(&DEADLOCK_CPP, &expected).map(drop)
}

/// Primitives of Rust's std; a lock that sleeps somewhere is no deadlock.
#[test]
fn primitives_of_rust() -> Result<()> {
    let expected = [
        ("mutex", "Mutex"),
        ("rwlock", "RwLock"),
        ("condvar", "Condvar"),
        ("channel", "recv"),
        ("park", "park"),
        ("join", "join"),
    ];
    let (report, truth) = primitives(&DEADLOCK_RUST, &expected)?;
    // Their owner is inferred from the guard on its stack.
    for name in ["mutex", "rwlock"] {
        let site = report.wait_site_of(truth.group(name).threads[0].tid).context("its site")?;
        let lock = site.locks().next().context("its lock")?;
        assert_eq!(lock["owner_tid"], truth.group("holder").threads[0].tid, "{lock}");
        assert_eq!(lock["owner_inferred"], true, "{lock}");
    }
    Ok(())
}

fn primitives(program: &Program, expected: &[(&str, &str)]) -> Result<(Report, Blocked)> {
    let fixture = Fixture::start(program, &["primitives"])?;
    let truth = fixture.blocked()?;
    let census = Census::of(fixture.pid())?;
    for (name, primitive) in expected {
        census.assert_group(&truth, name);
        let site = census.report.wait_site_of(truth.group(name).threads[0].tid).context("its site")?;
        assert!(site.text("primitive").contains(primitive), "{primitive}: {}", site.describe());
    }
    assert_eq!(census.report.deadlocks(), Vec::<Vec<DeadlockThread>>::new());
    Ok((census.report, truth))
}

// ---- The same stacks as gdb

fn compare_with_gdb(program: &Program, arguments: &[&str]) -> Result<()> {
    let Some(gdb) = find_program("gdb") else { skip!("gdb is not installed") };
    let fixture = Fixture::start(program, arguments)?;
    let truth = fixture.blocked()?;
    let report = Census::of(fixture.pid())?.report;
    // Only now: gdb stops the process, and some system calls begin anew after that.
    let theirs = gdb::backtraces(&gdb, fixture.pid())?;
    assert!(theirs.len() > truth.threads(), "gdb shows {} threads", theirs.len());
    let mut differences = BTreeSet::new();
    for (tid, frames) in &theirs {
        let site = report.wait_site_of(*tid).with_context(|| format!("{tid} is in no site"))?;
        differences.extend(gdb::compare(site, frames).err());
    }
    assert!(differences.is_empty(), "{} of {} threads: {differences:#?}", differences.len(), theirs.len());
    Ok(())
}

#[test]
fn stacks_as_in_gdb_many_kinds() -> Result<()> {
    compare_with_gdb(&BLOCKED, &["zoo", "5"])
}

/// Through a signal handler on an alternate stack, and a hundred frames of sizes known only at run time.
#[test]
fn stacks_as_in_gdb_hard_to_unwind() -> Result<()> {
    compare_with_gdb(&BLOCKED, &["signal-handler", "3"])?;
    compare_with_gdb(&BLOCKED, &["deep", "3"])
}

#[test]
fn stacks_as_in_gdb_cpp() -> Result<()> {
    compare_with_gdb(&DEADLOCK_CPP, &["shared"])?;
    compare_with_gdb(&DEADLOCK_CPP, &["primitives"])
}

#[test]
fn stacks_as_in_gdb_rust() -> Result<()> {
    compare_with_gdb(&DEADLOCK_RUST, &["three"])?;
    compare_with_gdb(&DEADLOCK_RUST, &["primitives"])
}

#[test]
fn stacks_as_in_gdb_without_debug_info() -> Result<()> {
    compare_with_gdb(&BLOCKED.debug(false), &["zoo", "3"])
}

// ---- Bad input

/// Threads come and go by ten thousands a second; those that stay are found each time.
#[test]
fn threads_that_appear_and_vanish() -> Result<()> {
    let mut fixture = Fixture::start(&CHURN, &[])?;
    let truth = fixture.blocked()?;
    let (start, before) = (Instant::now(), fixture.rounds()?);
    for _ in 0..10 {
        let census = Census::of(fixture.pid())?;
        census.assert_group(&truth, "steady");
        census.assert_group(&truth, "holder");
        assert!(census.report.number("/waits/threads") >= 9, "{}", census.report.at("/waits/threads"));
        // Who never stood still while it was looked at has no stack, and is counted; all others end in
        // a reason.
        let stackless = census.report.wait_sites().filter(|site| site.text("stack_end").is_empty());
        let mut moving = 0;
        for site in stackless {
            assert_eq!(site.frames().count(), 0, "{}", site.describe());
            moving += site.number("blocked_now");
        }
        assert!(moving <= census.report.at("/waits/unsettled").as_u64().unwrap_or_default(), "{moving}");
    }
    let created = fixture.rounds()? - before;
    println!("{:.0} threads a second", created as f64 / start.elapsed().as_secs_f64());
    assert!(created > 1000, "only {created} threads were created meanwhile");
    assert!(fixture.end()?.success());
    Ok(())
}

/// Every thread is counted and shown as far as its stack leads, no further.
#[test]
fn overwritten_stacks() -> Result<()> {
    let mut fixture = Fixture::start(&HOSTILE, &["smashed", "10"])?;
    let truth = fixture.blocked()?;
    let census = Census::of(fixture.pid())?;
    census.assert_group(&truth, "sound");
    assert_eq!(census.report.number("/waits/threads"), 66);
    for name in ["random", "zero", "circle", "padding", "stack", "kernel"] {
        for tid in truth.group(name).tids() {
            let site =
                census.report.wait_site_of(tid).with_context(|| format!("{name}: {tid} is in no site"))?;
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
            // Where frame pointers form a chain that leads to a zero, it looks like a root.
            let plausible = ["circle", "padding"].contains(&name) && end == "root";
            assert!(!end.is_empty() && (end != "root" || plausible), "{name}: {}", site.describe());
        }
    }
    fixture.go()?;
    Ok(())
}

#[test]
fn stack_with_a_hole() -> Result<()> {
    let mut fixture = Fixture::start(&HOSTILE, &["hole"])?;
    let truth = fixture.blocked()?;
    let census = Census::of(fixture.pid())?;
    census.assert_group(&truth, "sound");
    let site = census.report.wait_site_of(truth.group("hole").threads[0].tid).context("its site")?;
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
            // Between its main thread's end and that of the others.
            Some(1) => finished.assert_fails(1, &["main thread"]),
            _ => finished.assert_fails(5, &[]),
        }
    }
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
    let report = Census::of(pid)?.report;
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

// ---- The command line

fn dump_plain(pid: u32) -> leakscope_tests::scope::Invocation {
    Leakscope::bare().args(["dump", &pid.to_string()])
}

#[test]
fn processes_that_cannot_be_dumped() -> Result<()> {
    let pid = vacant_pid()?;
    dump_plain(pid).run()?.assert_fails(5, &["no such process", &pid.to_string()]);
    dump_plain(2).run()?.assert_fails(1, &["kernel thread"]);
    let zombie = Fixture::start(&ZOMBIE, &[])?;
    dump_plain(zombie.pid()).run()?.assert_fails(5, &["zombie"]);
    let i386 = Fixture::start(&I386, &[])?;
    dump_plain(i386.pid()).run()?.assert_fails(1, &["32-bit"]);
    let itself = "exec \"$0\" dump $$";
    Leakscope::command("/bin/sh").args(["-c", itself]).arg(binary()).run()?.assert_fails(1, &["leakscope"]);
    Ok(())
}

#[test]
fn without_rights() -> Result<()> {
    let fixture = Fixture::start(&CASES, &[])?;
    let finished = as_nobody(&["dump", &fixture.pid().to_string()])?.run()?;
    finished.assert_fails(4, &["sudo"]);
    assert!(finished.stderr.contains("CAP_") || finished.stderr.contains("root"), "{}", finished.stderr);
    Ok(())
}

#[test]
fn wrong_usage() -> Result<()> {
    let own = std::process::id().to_string();
    let wrong: [&[&str]; 8] = [
        &["dump"],
        &["dump", "pid"],
        &["dump", "0"],
        &["dump", "-1"],
        &["dump", &own, "--format", "poem"],
        &["dump", &own, "--top", "many"],
        &["dump", &own, "--frames", "-3"],
        &["dump", &own, "--interval", "1s"],
    ];
    for arguments in wrong {
        let finished = Leakscope::bare().args(arguments.iter().copied()).run()?;
        assert_eq!(finished.code(), Some(2), "{arguments:?}: {}", finished.stderr);
    }
    let help = Leakscope::bare().args(["dump", "--help"]).run()?;
    help.assert_done();
    assert!(help.stdout.contains("--top") && help.stdout.contains("PID"), "{}", help.stdout);
    Ok(())
}

#[test]
fn output_goes_where_it_is_asked_to() -> Result<()> {
    let fixture = Fixture::start(&BLOCKED, &["mutex", "5"])?;
    for path in ["/nonexistent/report.json", "/proc/report.json"] {
        dump_plain(fixture.pid()).args(["--format", "json", "-o", path]).run()?.assert_fails(1, &[path]);
    }
    let full = dump_plain(fixture.pid()).args(["--format", "json", "-o", "/dev/full"]).run()?;
    full.assert_fails(1, &["/dev/full", "no space left"]);
    for format in ["table", "json"] {
        let finished = dump_plain(fixture.pid()).args(["--format", format]).broken_pipe().run()?;
        finished.assert_done();
        assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
    }
    let printed = dump_plain(fixture.pid()).args(["--format", "json"]).run()?;
    printed.assert_done();
    assert_eq!(Report::parse(&printed.stdout)?.number("/waits/threads"), 7);
    assert_eq!(printed.stderr, "", "nothing to complain about");
    let invocation = dump_plain(fixture.pid());
    let file: PathBuf = invocation.file("table.txt");
    let finished = invocation.arg("-o").arg(&file).run()?;
    finished.assert_done();
    assert_eq!(finished.stdout, "");
    assert!(fs::read_to_string(&file)?.contains("pthread_mutex_lock"));
    Ok(())
}

/// The first line answers the question; `--top` and `--frames` limit what follows.
#[test]
fn table() -> Result<()> {
    let fixture = Fixture::start(&BLOCKED, &["zoo", "5"])?;
    let table = |arguments: &[&str]| -> Result<String> {
        let finished = dump_plain(fixture.pid()).args(arguments.iter().copied()).run()?;
        finished.assert_done();
        Ok(finished.stdout)
    };
    let truth = fixture.blocked()?;
    Census::with_headline(fixture.pid(), &["pthread_mutex_lock"])?;
    let whole = table(&["--top", "100", "--frames", "100"])?;
    let start: Vec<_> = whole.lines().take(3).collect();
    assert!(start.join("\n").contains("pthread_mutex_lock"), "{whole}");
    for group in truth.groups.values() {
        assert!(whole.contains(&group.function), "{} is missing:\n{whole}", group.function);
    }
    assert!(whole.contains("start_thread") || whole.contains("clone3"), "{whole}");
    let owner = truth.locks[0].owner.clone().context("the owner")?;
    assert!(
        whole.contains(&owner.0.to_string()) && whole.contains(&format!("{:#x}", truth.locks[0].address)),
        "{whole}"
    );
    let short = table(&["--top", "1", "--frames", "2"])?;
    assert!(short.lines().count() < whole.lines().count() / 2, "{short}");
    assert!(short.contains("at_mutex") && !short.contains("at_select"), "{short}");
    Ok(())
}

/// Every site of a process that is idle says by which rule.
#[test]
fn idle_sites_name_their_rule() -> Result<()> {
    let fixture = Fixture::start(&BLOCKED, &["pool"])?;
    let report = Census::of(fixture.pid())?.report;
    let rules: Vec<_> =
        report.wait_sites().filter(WaitSite::is_idle).map(|site| site.text("idle_rule").to_owned()).collect();
    assert!(!rules.is_empty() && rules.iter().all(|rule| rule.len() > 5), "{rules:?}");
    let headline = report.headline().to_lowercase();
    assert!(headline.contains("idle") || headline.contains("nothing"), "nothing is stuck here: {headline}");
    Ok(())
}

//! Deadlocks: cycles of threads and locks, read or inferred.

use super::*;

/// Dumps a scenario whose threads are in one deadlock, and compares that.
fn check_deadlock(program: &Program, scenario: &str, certain: bool) -> Result<(Report, Blocked)> {
    let fixture = Fixture::start(program, &[scenario])?;
    let truth = fixture.blocked()?;
    let snapshot = Snapshot::of(fixture.pid())?;
    for name in truth.groups.keys() {
        snapshot.assert_group(&truth, name);
    }
    let report = snapshot.report;
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
    assert_eq!(report.answer(), "deadlock", "{}", report.headline());
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
    let snapshot = Snapshot::of(fixture.pid())?;
    for (name, primitive) in expected {
        snapshot.assert_group(&truth, name);
        let site = snapshot.report.wait_site_of(truth.group(name).threads[0].tid).context("its site")?;
        assert!(site.text("primitive").contains(primitive), "{primitive}: {}", site.describe());
    }
    assert_eq!(snapshot.report.deadlocks(), Vec::<Vec<DeadlockThread>>::new());
    Ok((snapshot.report, truth))
}

use super::*;
use crate::runtime::rules;
use crate::symbol::BlameInput;
use crate::wait::primitives::Mark;

fn judge(kind: WaitKind, operation: &str, primitive: &str, circle: Circle, longest_ns: u64) -> Judgement {
    let mark = |function| {
        Mark::new(
            &BlameInput { function: Some(function), module: Some("/srv/app"), ..BlameInput::default() },
            rules(),
        )
    };
    let frames = [mark(primitive), mark("take"), mark("main")];
    let site = Site {
        kind,
        operation: Some(operation),
        fd: None,
        frames: &frames,
        primitive: Some(0),
        complete: true,
        blocked_now: 1,
        main_thread: false,
        holds_wanted_lock: false,
        listens: false,
        joined: false,
        holder_receives: false,
        library_at_work: false,
    };
    super::judge(&site, circle, longest_ns, &rules().workers)
}

#[track_caller]
fn check(kind: WaitKind, operation: &str, primitive: &str, expected: Verdict) {
    let judgement = judge(kind, operation, primitive, Circle::None, 60_000_000_000);
    assert_eq!(judgement.verdict, expected, "{judgement:?}");
    assert!(!judgement.why.is_empty());
}

#[test]
fn stuck_is_what_there_is_evidence_of() {
    check(WaitKind::Mutex, "futex", "pthread_mutex_lock", Verdict::Stuck);
    check(WaitKind::Rwlock, "futex", "pthread_rwlock_wrlock", Verdict::Stuck);
    check(WaitKind::File, "flock", "flock", Verdict::Stuck);
    check(WaitKind::Stopped, "read", "read", Verdict::Stuck);
    check(WaitKind::PageFault, "read", "read", Verdict::Stuck);
}

#[test]
fn what_is_not_visible_is_unknown() {
    check(WaitKind::Condvar, "futex", "pthread_cond_wait", Verdict::Unknown);
    check(WaitKind::Semaphore, "futex", "sem_wait", Verdict::Unknown);
    check(WaitKind::Barrier, "futex", "pthread_barrier_wait", Verdict::Unknown);
    check(WaitKind::Socket, "recvfrom", "recv", Verdict::Unknown);
    check(WaitKind::Child, "wait4", "waitpid", Verdict::Unknown);
    check(WaitKind::File, "read", "read", Verdict::Unknown);
    check(WaitKind::Poll, "poll", "poll", Verdict::Unknown);
    // Condition, Event and Queue are made from Python's locks.
    check(WaitKind::Mutex, "futex", "PyThread_acquire_lock_timed", Verdict::Unknown);
}

#[test]
fn a_page_may_take_its_time() {
    let brief = judge(WaitKind::PageFault, "read", "read", Circle::None, STORAGE_NS - 1);
    assert_eq!(brief.verdict, Verdict::Unknown);
}

#[test]
fn circles_count_for_more() {
    for circle in [Circle::Endless, Circle::Timed] {
        assert_eq!(judge(WaitKind::Join, "futex", "pthread_join", circle, 1).verdict, Verdict::Stuck);
    }
}

use super::*;
use crate::runtime::rules;
use crate::symbol::BlameInput;

fn marks(stack: &[&str]) -> Vec<Mark> {
    stack
        .iter()
        .map(|text| {
            let (function, module) = text.split_once(" @ ").unwrap_or((text, "/srv/app"));
            let function = (function != "?").then_some(function);
            Mark::new(&BlameInput { function, module: Some(module), file: None }, rules())
        })
        .collect()
}

fn site<'a>(kind: WaitKind, frames: &'a [Mark]) -> Site<'a> {
    Site {
        kind,
        operation: Some("futex"),
        fd: None,
        primitive: frames.iter().rposition(|frame| frame.row.is_some()),
        frames,
        complete: true,
        blocked_now: 4,
        holds_wanted_lock: false,
        processors: 2,
    }
}

const POOL_STACK: &[&str] =
    &["? @ libc.so.6", "pthread_cond_wait @ libc.so.6", "take", "worker_main", "? @ libc.so.6"];

#[test]
fn a_pool_of_workers() {
    let frames = marks(POOL_STACK);
    let usual = site(WaitKind::Condvar, &frames);
    assert_eq!(rule(&usual, &rules().workers), Some(POOL));
    assert_eq!(rule(&Site { blocked_now: 64, ..usual }, &rules().workers), Some(POOL));
    assert_eq!(rule(&Site { blocked_now: 65, ..usual }, &rules().workers), None);
    assert_eq!(rule(&Site { blocked_now: 65, processors: 32, ..usual }, &rules().workers), Some(POOL));
    assert_eq!(
        rule(&Site { processors: usize::MAX, blocked_now: u64::MAX, ..usual }, &rules().workers),
        Some(POOL)
    );
    assert_eq!(rule(&Site { complete: false, ..usual }, &rules().workers), None);
    assert_eq!(rule(&Site { primitive: None, ..usual }, &rules().workers), None);
    assert_eq!(rule(&Site { primitive: Some(usize::MAX - 1), ..usual }, &rules().workers), None);
    assert_eq!(rule(&Site { holds_wanted_lock: true, ..usual }, &rules().workers), None);
    let deep = marks(&["pthread_cond_wait @ libc.so.6", "reply", "query", "handle", "serve", "main"]);
    assert_eq!(rule(&site(WaitKind::Condvar, &deep), &rules().workers), None);
}

#[test]
fn who_waits_for_a_lock_is_never_idle() {
    let frames = marks(POOL_STACK);
    for kind in [
        WaitKind::Mutex,
        WaitKind::Rwlock,
        WaitKind::Barrier,
        WaitKind::Futex,
        WaitKind::Pipe,
        WaitKind::PageFault,
        WaitKind::Stopped,
        WaitKind::Unknown,
        WaitKind::File,
    ] {
        assert_eq!(rule(&site(kind, &frames), &rules().workers), None, "{kind}");
    }
    // But a pool of OpenMP, for example.
    let openmp = marks(&["? @ libgomp.so.1", "? @ libgomp.so.1", "? @ libc.so.6"]);
    assert_eq!(rule(&site(WaitKind::Futex, &openmp), &rules().workers), Some(LIBRARY));
    assert_eq!(rule(&site(WaitKind::Futex, &[]), &rules().workers), None);
    let lock = marks(&["epoll_wait @ libc.so.6", "ProcSleep @ postgres", "PostgresMain @ postgres"]);
    assert_eq!(rule(&site(WaitKind::Mutex, &lock), &rules().workers), None);
}

#[test]
fn kinds_that_are_idle_by_themselves() {
    let frames = marks(&["f", "main"]);
    let kind = |kind| rule(&site(kind, &frames), &rules().workers);
    assert_eq!(kind(WaitKind::Poll), Some(EVENT_LOOP));
    assert_eq!(
        kind(WaitKind::Sleep),
        Some("sleeps, or waits for a signal, and holds no lock that is wanted")
    );
    assert_eq!(kind(WaitKind::Child), Some("waits for a child process"));
    assert_eq!(kind(WaitKind::Join), Some("waits for a thread to end: what that one does tells more"));
    assert_eq!(kind(WaitKind::IoUring), Some("waits for completions of an io_uring, as an event loop does"));
    assert_eq!(kind(WaitKind::Socket), None);
    let accept = Site { operation: Some("accept4"), ..site(WaitKind::Socket, &frames) };
    assert_eq!(rule(&accept, &rules().workers), Some(ACCEPT));
    let terminal =
        Site { operation: Some("read"), fd: Some(FdTarget::Terminal), ..site(WaitKind::File, &frames) };
    assert_eq!(rule(&terminal, &rules().workers), Some(TERMINAL));
    assert_eq!(rule(&Site { fd: Some(FdTarget::File), ..terminal }, &rules().workers), None);
    let holder = Site { holds_wanted_lock: true, ..site(WaitKind::Sleep, &frames) };
    assert_eq!(rule(&holder, &rules().workers), None);
}

#[test]
fn every_known_worker_is_found() {
    for worker in &rules().workers {
        let function = match worker.function.strip_suffix("::") {
            Some(path) => format!("{path}::something::run"),
            None => worker.function.to_owned(),
        };
        let frames = marks(&["pthread_cond_wait @ libc.so.6", &function, "a", "b", "c", "d"]);
        for &kind in worker.kinds {
            assert_eq!(rule(&site(kind, &frames), &rules().workers), Some(worker.words), "{function}");
        }
        assert_eq!(rule(&site(WaitKind::Mutex, &frames), &rules().workers), None, "{function}");
    }
    let node =
        marks(&["uv_cond_wait @ libuv.so.1", "node::(anonymous namespace)::PlatformWorkerThread(void*)"]);
    assert!(
        rule(&site(WaitKind::Condvar, &node), &rules().workers).is_some_and(|words| words.contains("Node"))
    );
    let client = marks(&["epoll_wait @ libc.so.6", "WaitEventSetWait @ postgres", "secure_read @ postgres"]);
    assert_eq!(rule(&site(WaitKind::Poll, &client), &rules().workers), Some(PG_CLIENT));
}

use super::*;
use crate::runtime::rules;
use crate::symbol::BlameInput;

fn marks(stack: &[&str]) -> Vec<Mark> {
    stack
        .iter()
        .map(|text| {
            let (function, module) = text.split_once(" @ ").unwrap_or((text, "/srv/app"));
            let function = (function != "?").then_some(function);
            Mark::new(&BlameInput { function, module: Some(module), ..BlameInput::default() }, rules())
        })
        .collect()
}

fn site<'a>(kind: WaitKind, frames: &'a [Mark]) -> Site<'a> {
    Site {
        kind,
        operation: Some("futex"),
        fd: None,
        primitive: frames
            .iter()
            .take_while(|frame| !frame.is_user())
            .collect::<Vec<_>>()
            .iter()
            .rposition(|frame| frame.row.is_some()),
        frames,
        complete: true,
        blocked_now: 4,
        main_thread: false,
        holds_wanted_lock: false,
        listens: false,
        joined: false,
        holder_receives: false,
        library_at_work: false,
    }
}

const POOL_STACK: &[&str] =
    &["? @ libc.so.6", "pthread_cond_wait @ libc.so.6", "worker_main", "? @ libc.so.6"];

#[test]
fn a_pool_of_workers() {
    let frames = marks(POOL_STACK);
    let usual = site(WaitKind::Condvar, &frames);
    let workers = &rules().workers;
    assert_eq!(rule(&usual, workers), Some(POOL));
    for many in [2, 64, 65, u64::MAX] {
        assert_eq!(rule(&Site { blocked_now: many, ..usual }, workers), Some(POOL), "{many}");
    }
    assert_eq!(rule(&Site { blocked_now: 1, ..usual }, workers), None, "one thread is no pool");
    assert_eq!(rule(&Site { main_thread: true, ..usual }, workers), None);
    assert_eq!(rule(&Site { complete: false, ..usual }, workers), None);
    assert_eq!(rule(&Site { primitive: None, ..usual }, workers), None);
    assert_eq!(rule(&Site { primitive: Some(usize::MAX - 1), ..usual }, workers), None);
    assert_eq!(rule(&Site { holds_wanted_lock: true, ..usual }, workers), None);
    assert_eq!(rule(&Site { kind: WaitKind::Semaphore, ..usual }, workers), None);
    // A job that waits for another one of its own pool.
    let deep = marks(&["pthread_cond_wait @ libc.so.6", "wait_for_result", "worker_main"]);
    assert_eq!(rule(&site(WaitKind::Condvar, &deep), workers), None);
}

#[test]
fn who_waits_for_a_result_is_no_worker() {
    let pool = |primitive| {
        let frames = marks(&["? @ libc.so.6", primitive, "worker_main", "? @ libc.so.6"]);
        rule(&site(WaitKind::Condvar, &frames), &rules().workers)
    };
    assert_eq!(pool("std::sync::mpsc::Receiver::recv"), Some(POOL));
    for result in ["std::__basic_future::wait", "std::sync::mpsc::SyncSender::send", "LockSupport.park"] {
        let frames = marks(&["pthread_cond_wait @ libc.so.6", result, "worker_main"]);
        assert!(frames[1].row.is_some() || result == "LockSupport.park", "{result}");
        assert_ne!(pool(result), Some(POOL), "{result}");
    }
    let python =
        marks(&["pthread_cond_wait @ libc.so.6", "_PyEval_EvalFrameDefault @ python3.11", "t_bootstrap"]);
    assert_eq!(rule(&site(WaitKind::Condvar, &python), &rules().workers), None, "code of the program runs");
}

#[test]
fn a_job_that_waits_is_no_worker_without_work() {
    let workers = &rules().workers;
    let of = |kind, frames: &[&str]| rule(&site(kind, &marks(frames)), workers);
    let park = "std::thread::park";
    let worker = "tokio::runtime::scheduler::multi_thread::worker::Context::run";
    assert!(of(WaitKind::Condvar, &[park, worker]).is_some_and(|words| words.contains("tokio")));
    assert_eq!(of(WaitKind::Condvar, &[park, "app::sync_call", worker]), None);
    let block_on = "tokio::runtime::park::CachedParkThread::block_on";
    let main = [block_on, "tokio::runtime::scheduler::multi_thread::MultiThread::block_on", "app::main"];
    assert_eq!(of(WaitKind::Condvar, &main), None, "it waits for one future");
    assert_eq!(
        of(WaitKind::Condvar, &[block_on, "app::blocks", "tokio::runtime::blocking::pool::Inner::run"]),
        None
    );
    let libevent =
        ["epoll_wait @ libc.so.6", "epoll_dispatch @ libevent.so.2", "event_base_loop @ libevent.so.2"];
    assert!(of(WaitKind::Poll, &libevent).is_some(), "a library's own functions");
    assert!(of(WaitKind::Poll, &["poll @ libc.so.6", "? @ libev.so.4", "ev_run @ libev.so.4"]).is_some());
    let asio = "boost::asio::detail::scheduler::run";
    assert!(of(WaitKind::Poll, &["epoll_wait @ libc.so.6", asio, "main"]).is_some());
    assert_eq!(of(WaitKind::Poll, &["epoll_wait @ libc.so.6", "handler", asio, "main"]), None);
    assert_eq!(of(WaitKind::Condvar, &["pthread_cond_wait @ libc.so.6", "handler", asio]), None);
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
    let team = site(WaitKind::Futex, &openmp);
    assert_eq!(rule(&team, &rules().workers), Some(LIBRARY));
    let jemalloc = marks(&["pthread_cond_timedwait @ libc.so.6", "? @ libjemalloc.so.2", "? @ libc.so.6"]);
    let alone = Site { blocked_now: 1, ..site(WaitKind::Condvar, &jemalloc) };
    assert_eq!(rule(&alone, &rules().workers), Some(LIBRARY));
    // While one of its team runs code of the program, the others wait for that.
    assert_eq!(rule(&Site { library_at_work: true, ..team }, &rules().workers), None);
    assert_eq!(rule(&site(WaitKind::Futex, &[]), &rules().workers), None);
    let lock = marks(&["epoll_wait @ libc.so.6", "ProcSleep @ postgres", "PostgresMain @ postgres"]);
    assert_eq!(rule(&site(WaitKind::Mutex, &lock), &rules().workers), None);
}

#[test]
fn kinds_that_are_idle_by_themselves() {
    let frames = marks(&["f", "main"]);
    let kind = |kind| rule(&site(kind, &frames), &rules().workers);
    let epoll = Site { operation: Some("epoll_wait"), ..site(WaitKind::Poll, &frames) };
    assert_eq!(rule(&epoll, &rules().workers), Some(EVENT_LOOP));
    assert_eq!(kind(WaitKind::Poll), None, "a poll of few descriptors may wait for a peer");
    assert_eq!(kind(WaitKind::Sleep), Some("sleeps, or waits for a signal"));
    assert_eq!(kind(WaitKind::Child), None);
    assert_eq!(kind(WaitKind::Join), None);
    assert_eq!(rule(&Site { joined: true, ..site(WaitKind::Join, &frames) }, &rules().workers), Some(JOIN));
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
        let function =
            format!("{function} @ {}.so", if worker.module.is_empty() { "app" } else { worker.module });
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
    assert_eq!(
        rule(&site(WaitKind::Poll, &client), &rules().workers),
        Some("a PostgreSQL backend waits for its client")
    );
}

//! Stacks of runtimes and servers.

use super::*;

#[test]
fn runtimes_and_servers() {
    let python = "/usr/bin/python3.11";
    let stack = [
        "? @ libc",
        "sem_clockwait @ libc",
        &format!("PyThread_acquire_lock_timed @ {python}"),
        &format!("? @ {python}"),
        &format!("? @ {python}"),
        &format!("_PyEval_EvalFrameDefault @ {python}"),
    ];
    let lock = check(futex_call(BITSET, 0), &stack, WaitKind::Mutex, "threading.Lock.acquire");
    assert!(matches!(lock.map(|lock| lock.layout), Some(Layout::NoOwner(why)) if why.starts_with("CPython")));
    // Event.wait(1) and the like wait for a lock with a time limit.
    let timed = Syscall { number: 202, args: [WORD, BITSET, 0, 0x7fff_0000, 0, 0] };
    assert_eq!(check(timed, &stack, WaitKind::Condvar, "threading.Lock.acquire"), None);
    let queue = "? @ /usr/lib/python3.11/lib-dynload/_queue.cpython-311-x86_64-linux-gnu.so";
    let pool =
        ["? @ libc", "sem_clockwait @ libc", &format!("PyThread_acquire_lock_timed @ {python}"), queue];
    assert_eq!(check(futex_call(BITSET, 0), &pool, WaitKind::Condvar, "queue.SimpleQueue.get"), None);
    let redis = ["? @ libc", "pthread_mutex_lock @ libc", "IOThreadMain @ /usr/bin/redis-server"];
    assert_eq!(check(futex_call(PRIVATE, 2), &redis, WaitKind::Condvar, "IOThreadMain"), None);
    let gil = [
        "? @ libc",
        "pthread_cond_timedwait @ libc",
        &format!("? @ {python}"),
        &format!("PyEval_RestoreThread @ {python}"),
    ];
    assert_eq!(check(futex_call(BITSET, 0), &gil, WaitKind::Mutex, "the GIL"), None);

    let postgres = |functions: &[&str]| -> Vec<String> {
        functions.iter().map(|f| format!("{f} @ /usr/lib/postgresql/15/bin/postgres")).collect()
    };
    let heavy = postgres(&[
        "WaitEventSetWaitBlock",
        "WaitEventSetWait",
        "WaitLatch",
        "ProcSleep",
        "WaitOnLock",
        "LockAcquireExtended",
    ]);
    let heavy: Vec<&str> =
        ["epoll_wait @ libc"].into_iter().chain(heavy.iter().map(String::as_str)).collect();
    let epoll = Syscall { number: 232, args: [4, 0, 1, u64::MAX, 0, 0] };
    check(epoll, &heavy, WaitKind::Mutex, "ProcSleep");
    let client = postgres(&["WaitEventSetWait", "secure_read", "pq_recvbuf", "PostgresMain"]);
    let client: Vec<&str> =
        ["epoll_wait @ libc"].into_iter().chain(client.iter().map(String::as_str)).collect();
    check(epoll, &client, WaitKind::Poll, "WaitEventSetWait");
    check(
        futex_call(PRIVATE, 0),
        &["runtime.futex.abi0", "runtime.futexsleep", "runtime.notesleep", "runtime.mPark", "runtime.stopm"],
        WaitKind::Condvar,
        "runtime.stopm",
    );
    check(
        futex_call(PRIVATE, 2),
        &["runtime.futex.abi0", "runtime.futexsleep", "runtime.lock2", "runtime.findRunnable"],
        WaitKind::Mutex,
        "runtime.lock",
    );
    check(
        futex_call(BITSET, 0),
        &["? @ libc", "pthread_cond_wait @ libc", "uv_cond_wait @ libuv.so.1", "? @ libuv.so.1"],
        WaitKind::Condvar,
        "uv_cond_wait",
    );
}

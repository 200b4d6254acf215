//! Stacks as gdb shows them (glibc 2.36, libstdc++ 12, Rust 1.95), with and without debug symbols.

mod servers;

use super::*;
use crate::runtime::rules;
use crate::symbol::BlameInput;

const LIBC: &str = "/lib/x86_64-linux-gnu/libc.so.6";
const WORD: u64 = 0x5627_8fbc_0360;
const PRIVATE: u64 = 0x80;
const BITSET: u64 = 0x189;

/// `name`, `name @ libc`; `?` has no name.
fn marks(stack: &[&str]) -> Vec<Mark> {
    stack
        .iter()
        .map(|text| {
            let (function, module) = text.split_once(" @ ").unwrap_or((text, "/srv/app"));
            let module = if module == "libc" { LIBC } else { module };
            Mark::new(
                &BlameInput {
                    function: (function != "?").then_some(function),
                    module: Some(module),
                    ..BlameInput::default()
                },
                rules(),
            )
        })
        .collect()
}

fn futex_call(op: u64, value: u64) -> Syscall {
    Syscall { number: 202, args: [WORD, op, value, 0, 0, 0] }
}

fn classified(syscall: Option<Syscall>, fd: Option<FdTarget>, stack: &[&str]) -> Classified {
    let state = TaskState::Interruptible;
    classify(Facts { name: None, state, syscall, fd, several: false }, &marks(stack))
}

#[track_caller]
fn check(call: Syscall, stack: &[&str], kind: WaitKind, primitive: &str) -> Option<LockRef> {
    let found = classified(Some(call), None, stack);
    assert_eq!((found.kind, found.primitive.as_deref()), (kind, Some(primitive)), "{stack:?}");
    found.lock
}

#[test]
fn glibc_with_exported_names_only() {
    let lock = check(
        futex_call(PRIVATE, 2),
        &["? @ libc", "pthread_mutex_lock @ libc", "worker", "? @ libc"],
        WaitKind::Mutex,
        "pthread_mutex_lock",
    );
    assert_eq!(lock.map(|lock| (lock.futex.word, lock.layout)), Some((WORD, Layout::PthreadMutex)));
    check(
        futex_call(BITSET, 0),
        &["? @ libc", "pthread_cond_wait @ libc", "worker"],
        WaitKind::Condvar,
        "pthread_cond_wait",
    );
    check(
        futex_call(BITSET, 0),
        &["? @ libc", "? @ libc", "sem_wait @ libc", "f"],
        WaitKind::Semaphore,
        "sem_wait",
    );
    check(
        futex_call(PRIVATE, 0),
        &["pthread_barrier_wait @ libc", "f"],
        WaitKind::Barrier,
        "pthread_barrier_wait",
    );
    let joined = check(
        futex_call(0x109, 0x6281),
        &["? @ libc", "? @ libc", "pthread_join @ libc", "main"],
        WaitKind::Join,
        "pthread_join",
    );
    assert_eq!(joined.map(|lock| lock.layout), Some(Layout::Join));
    check(
        futex_call(BITSET, 3),
        &["? @ libc", "pthread_rwlock_rdlock @ libc", "f"],
        WaitKind::Rwlock,
        "pthread_rwlock_rdlock",
    );
}

/// As on Debian without libc6-dbg: the exported function jumped to a nameless one.
#[test]
fn glibc_without_any_name() {
    let nameless = ["? @ libc", "? @ libc", "worker", "? @ libc"];
    check(futex_call(BITSET, 0), &nameless, WaitKind::Semaphore, "sem_wait");
    let lock = check(futex_call(BITSET, 2), &nameless, WaitKind::Mutex, "pthread_mutex_timedlock");
    assert_eq!(lock.map(|lock| lock.layout), Some(Layout::PthreadMutex));
    let lock = check(futex_call(0x109, 0x6281), &nameless, WaitKind::Join, "pthread_join");
    assert_eq!(lock.map(|lock| lock.layout), Some(Layout::Join));
    let lock = check(futex_call(0, 0x8000_6281), &nameless, WaitKind::Mutex, "pthread_mutex_lock");
    assert_eq!(lock.map(|lock| lock.layout), Some(Layout::PthreadMutex));
    for (op, value) in [(BITSET, 7), (0x109, 3), (PRIVATE, 0x8000_0000)] {
        assert_eq!(classified(Some(futex_call(op, value)), None, &nameless).kind, WaitKind::Futex);
    }
    assert_eq!(classified(Some(futex_call(BITSET, 0)), None, &["? @ libc"]).kind, WaitKind::Futex);
}

#[test]
fn glibc_with_internal_names() {
    let lock = check(
        futex_call(PRIVATE, 2),
        &[
            "futex_wait @ libc",
            "__GI___lll_lock_wait @ libc",
            "lll_mutex_lock_optimized @ libc",
            "___pthread_mutex_lock @ libc",
            "worker",
        ],
        WaitKind::Mutex,
        "pthread_mutex_lock",
    );
    assert_eq!(lock.map(|lock| lock.layout), Some(Layout::PthreadMutex));
    check(
        futex_call(BITSET, 2),
        &[
            "__futex_abstimed_wait_common @ libc",
            "__GI___futex_abstimed_wait64 @ libc",
            "__futex_clocklock64 @ libc",
            "__pthread_mutex_clocklock_common @ libc",
            "___pthread_mutex_timedlock64 @ libc",
            "worker",
        ],
        WaitKind::Mutex,
        "pthread_mutex_timedlock",
    );
    check(
        futex_call(BITSET, 0),
        &[
            "__futex_abstimed_wait_common64 @ libc",
            "__futex_abstimed_wait_common @ libc",
            "__GI___futex_abstimed_wait_cancelable64 @ libc",
            "do_futex_wait @ libc",
            "__new_sem_wait_slow64 @ libc",
            "___sem_timedwait64 @ libc",
            "f",
        ],
        WaitKind::Semaphore,
        "sem_timedwait",
    );
}

#[test]
fn a_condition_variable_that_takes_its_mutex_again_waits_for_the_mutex() {
    let again = "pthread_cond_wait (taking its mutex again)";
    for stack in [
        &["? @ libc", "pthread_cond_wait @ libc", "worker"][..],
        &[
            "futex_wait @ libc",
            "__lll_lock_wait @ libc",
            "__pthread_mutex_cond_lock @ libc",
            "__pthread_cond_wait_common @ libc",
            "___pthread_cond_wait @ libc",
            "worker",
        ],
    ] {
        let lock = check(futex_call(PRIVATE, 2), stack, WaitKind::Mutex, again);
        assert_eq!(lock.map(|lock| lock.layout), Some(Layout::PthreadMutex));
    }
    // musl waits for a signal at the value 2.
    let musl = ["? @ /lib/ld-musl-x86_64.so.1", "pthread_cond_wait @ /lib/ld-musl-x86_64.so.1", "f"];
    check(futex_call(PRIVATE, 2), &musl, WaitKind::Condvar, "pthread_cond_wait");
}

#[test]
fn commands_that_tell_by_themselves() {
    let lock = classified(Some(futex_call(0x86, 0)), None, &["?", "f"]);
    assert_eq!((lock.kind, lock.lock.map(|l| l.layout)), (WaitKind::Mutex, Some(Layout::PthreadMutex)));
    assert_eq!(classified(Some(futex_call(11, 0)), None, &["f"]).kind, WaitKind::Condvar);
}

#[test]
fn cpp() {
    check(
        futex_call(BITSET, 0),
        &[
            "? @ libc",
            "pthread_cond_clockwait @ libc",
            "std::__condvar::wait_until(timespec&)",
            "std::condition_variable::wait_for<long, std::ratio<1l, 1l> >(std::unique_lock<std::mutex>&)",
            "Pool::run()",
            "std::thread::_State_impl<X>::_M_run()",
            "? @ libstdc++.so.6",
        ],
        WaitKind::Condvar,
        "std::condition_variable::wait_for",
    );
    let lock = check(
        futex_call(PRIVATE, 2),
        &[
            "? @ libc",
            "pthread_mutex_lock @ libc",
            "__gthread_mutex_lock",
            "std::mutex::lock()",
            "std::lock_guard<std::mutex>::lock_guard(std::mutex&)",
            "Account::withdraw(int)",
        ],
        WaitKind::Mutex,
        "std::mutex::lock",
    );
    assert_eq!(lock.map(|lock| lock.layout), Some(Layout::PthreadMutex));
    check(
        futex_call(PRIVATE, 0),
        &[
            "syscall @ libc",
            "std::__detail::__platform_wait<int>(int const*, int)",
            "std::__detail::__waiter_pool::_M_do_wait(void const*, int)",
            "std::__detail::__waiter<std::integral_constant<bool, true> >::_M_do_wait<std::latch::wait() const::{lambda()#1}>(std::latch)",
            "std::__atomic_wait_address<int, std::latch::wait() const::{lambda()#1}>(int const*)",
            "std::latch::wait() const",
            "start()",
        ],
        WaitKind::Barrier,
        "std::latch::wait",
    );
    check(
        futex_call(PRIVATE, 0),
        &[
            "syscall @ libc",
            "std::__detail::__platform_wait<int>(int const*, int)",
            "std::__atomic_base<int>::wait(int) const",
            "f()",
        ],
        WaitKind::Futex,
        "std::atomic::wait",
    );
    check(
        futex_call(PRIVATE, 0),
        &[
            "syscall @ libc",
            "std::__atomic_futex_unsigned_base::_M_futex_wait_until(unsigned int*) @ libstdc++.so.6",
            "std::__future_base::_State_baseV2::wait()",
            "std::__basic_future<int>::wait() const",
            "f()",
        ],
        WaitKind::Condvar,
        "std::future::wait",
    );
    // Within call_once, but by itself a join.
    check(
        futex_call(0x109, 77),
        &[
            "? @ libc",
            "? @ libc",
            "? @ libc",
            "std::thread::join() @ libstdc++.so.6",
            "std::call_once<void>(std::once_flag&)",
            "__pthread_once_slow @ libc",
            "std::__basic_future<void>::wait() const",
            "f()",
        ],
        WaitKind::Join,
        "std::thread::join",
    );
}

#[test]
fn rust() {
    let futex = ["syscall @ libc", "std::sys::pal::unix::futex::futex_wait"];
    let rust = |value, rest: &[&str], kind, primitive: &str| {
        let stack: Vec<&str> = futex.iter().chain(rest).copied().collect();
        check(futex_call(0x89, value), &stack, kind, primitive)
    };
    let lock = rust(
        2,
        &[
            "std::sys::sync::mutex::futex::Mutex::lock_contended",
            "std::sys::sync::mutex::futex::Mutex::lock",
            "std::sync::poison::mutex::Mutex<i32>::lock",
            "app::main::{{closure}}",
        ],
        WaitKind::Mutex,
        "std::sync::Mutex::lock",
    );
    assert!(matches!(lock.map(|lock| lock.layout), Some(Layout::NoOwner(why)) if why.contains("Rust")));
    let lock = rust(
        1,
        &["std::sys::sync::rwlock::futex::RwLock::write_contended", "app::f"],
        WaitKind::Rwlock,
        "std::sync::RwLock::write",
    );
    assert_eq!(lock.map(|lock| lock.layout), Some(Layout::RustRwLockNotify));
    rust(
        0,
        &[
            "std::sys::sync::condvar::futex::Condvar::wait_optional_timeout",
            "std::sys::sync::condvar::futex::Condvar::wait",
            "std::sync::poison::condvar::Condvar::wait_while",
            "std::sync::barrier::Barrier::wait",
            "app::f",
        ],
        WaitKind::Barrier,
        "std::sync::Barrier::wait",
    );
    let park = ["std::sys::sync::thread_parking::futex::Parker::park", "std::thread::thread::Thread::park"];
    rust(
        0,
        &[&park[..], &["std::thread::functions::park", "app::f"]].concat(),
        WaitKind::Condvar,
        "std::thread::park",
    );
    rust(
        0,
        &[&park[..], &["std::thread::scoped::scope::<app::f::{closure#0}>", "app::f"]].concat(),
        WaitKind::Join,
        "std::thread::scope",
    );
    rust(
        0,
        &[
            &park[..],
            &[
                "std::sync::mpmc::context::Context::wait_until",
                "std::sync::mpmc::list::Channel<T>::recv::{{closure}}",
                "std::sync::mpmc::list::Channel<T>::recv",
                "std::sync::mpsc::Receiver<T>::recv",
                "app::f",
            ],
        ]
        .concat(),
        WaitKind::Condvar,
        "std::sync::mpsc::Receiver::recv",
    );
    rust(
        3,
        &["std::sys::sync::once::futex::Once::call", "std::sync::once::Once::call_once::<app::X>", "app::f"],
        WaitKind::Mutex,
        "std::sync::Once::call_once",
    );
    // A user's frame ends the search: the closure of a scope waits for a mutex itself.
    rust(
        2,
        &[
            "std::sys::sync::mutex::futex::Mutex::lock_contended",
            "std::thread::scoped::scope::<app::f>",
            "app::f",
        ],
        WaitKind::Mutex,
        "std::sync::Mutex::lock",
    );
    check(
        Syscall { number: 230, args: [0; 6] },
        &[
            "clock_nanosleep @ libc",
            "std::sys::thread::unix::sleep::nanosleep",
            "std::sys::thread::unix::sleep",
            "std::thread::functions::sleep",
            "app::f",
        ],
        WaitKind::Sleep,
        "std::thread::sleep",
    );
}

#[test]
fn locks_of_the_c_library_itself() {
    let lock = check(
        futex_call(PRIVATE, 2),
        &["? @ libc", "malloc @ libc", "fill", "main"],
        WaitKind::Mutex,
        "malloc",
    );
    assert!(matches!(lock.map(|lock| lock.layout), Some(Layout::NoOwner(_))));
    let musl = ["? @ /lib/ld-musl-x86_64.so.1"];
    let found = classified(Some(futex_call(PRIVATE, 0xffff_ffff_8000_0010)), None, &musl);
    assert_eq!((found.kind, found.lock.map(|l| l.layout)), (WaitKind::Mutex, Some(Layout::PthreadMutex)));
    assert_eq!(classified(Some(futex_call(PRIVATE, u64::MAX)), None, &musl).kind, WaitKind::Rwlock);
    // std::atomic::wait in a stripped program.
    let stripped = classified(Some(futex_call(PRIVATE, 2)), None, &["syscall @ libc", "?", "?"]);
    assert_eq!((stripped.kind, stripped.lock), (WaitKind::Futex, None));
}

#[test]
fn descriptors_and_states() {
    let read = Some(Syscall { number: 0, args: [3, 0, 1, 0, 0, 0] });
    let kind = |fd| classified(read, fd, &["read @ libc", "f"]).kind;
    assert_eq!(kind(Some(FdTarget::Pipe)), WaitKind::Pipe);
    assert_eq!(kind(Some(FdTarget::Socket)), WaitKind::Socket);
    assert_eq!(kind(Some(FdTarget::Events)), WaitKind::Poll);
    assert_eq!(kind(Some(FdTarget::Terminal)), WaitKind::File);
    assert_eq!(kind(None), WaitKind::Unknown);
    let accept = classified(
        Some(Syscall { number: 288, args: [3, 0, 0, 0, 0, 0] }),
        Some(FdTarget::Socket),
        &["accept4 @ libc", "f"],
    );
    assert_eq!((accept.kind, accept.operation), (WaitKind::Socket, Some("accept4")));
    assert_eq!(classified(None, None, &["f"]).kind, WaitKind::PageFault);
    let facts =
        Facts { name: None, state: TaskState::Interruptible, syscall: None, fd: None, several: false };
    let worker = Facts { name: Some("iou-wrk-4711"), ..facts };
    assert_eq!(classify(worker, &[]).kind, WaitKind::IoUring);
    let stopped = Facts { state: TaskState::Stopped, syscall: read, ..facts };
    let stopped = classify(stopped, &[]);
    assert_eq!((stopped.kind, stopped.operation), (WaitKind::Stopped, Some("read")));
    let unknown = classified(Some(Syscall { number: 5000, args: [0; 6] }), None, &[]);
    assert_eq!((unknown.kind, unknown.operation), (WaitKind::Unknown, None));
    assert_eq!(classified(Some(futex_call(PRIVATE, 2)), None, &[]).kind, WaitKind::Futex);
}

#[test]
fn values_of_several_futexes_tell_nothing() {
    let facts = Facts {
        name: None,
        state: TaskState::Interruptible,
        syscall: Some(futex_call(PRIVATE, 2)),
        fd: None,
        several: false,
    };
    let stack = marks(&["? @ libc", "f"]);
    assert_eq!(classify(facts, &stack).kind, WaitKind::Mutex);
    assert_eq!(classify(Facts { several: true, ..facts }, &stack).kind, WaitKind::Futex);
}

#[test]
fn the_users_own_frames_end_the_search() {
    // The user's function is called while a mutex is waited for elsewhere.
    let found =
        classified(Some(futex_call(BITSET, 7)), None, &["? @ libc", "my_wait", "pthread_cond_wait @ libc"]);
    assert_eq!((found.kind, found.primitive), (WaitKind::Futex, None));
    let far: Vec<&str> = ["? @ libc"; 12].into_iter().chain(["pthread_mutex_lock @ libc"]).collect();
    assert_eq!(classified(Some(futex_call(BITSET, 0)), None, &far).primitive, None);
}

proptest::proptest! {
    #[test]
    fn hostile(number in 0u32..480, args: [u64; 6], several: bool,
               names in proptest::collection::vec("[a-zA-Z_:<>{}@.]{0,40}", 0..20), state in 0u32..4) {
        let frames: Vec<&str> = names.iter().map(String::as_str).collect();
        let state = if state == 0 { TaskState::Other(state) } else { TaskState::Uninterruptible };
        let call = Some(Syscall { number, args });
        let facts = Facts { name: None, state, syscall: call, fd: None, several };
        let found = classify(facts, &marks(&frames));
        proptest::prop_assert!(found.primitive_frame.is_none_or(|at| at < frames.len()));
    }
}

mod system_calls;

use std::collections::HashMap;

use leakscope_common::descriptor::Descriptor;
use proptest::prelude::*;

use super::*;
use crate::collect::threads::Creation;
use crate::collect::waits::aggregate::{OpenWait, SiteWaits, WakerId, Wakes};
use crate::section::finding::Said as _;
use crate::section::model::{Cut, Frame, OwnerState, Since, StackEnd, WaitKind, WaitSite, WakerKind};
use crate::section::stack::Stack;
use crate::section::threads::build::thread_sites;
use crate::stack::StackId;
use crate::wait::tests::thread;
use crate::wait::{
    FUTEX_MEMORY, FUTEX_MEMORY_BEFORE, FdTarget, FutexMemory, Pointer, Syscall, TaskState, Thread, WaitSiteId,
};

const SECOND: u64 = 1_000_000_000;

/// Stacks by number: `name`, or `name @ module`, with a line for the user's frames.
const STACKS: &[(u64, &[&str])] = &[
    (1, &["? @ libc.so.6", "pthread_mutex_lock @ libc.so.6", "take", "worker", "? @ libc.so.6"]),
    (2, &["? @ libc.so.6", "pthread_mutex_lock @ libc.so.6", "refund", "? @ libc.so.6"]),
    (3, &["clock_nanosleep @ libc.so.6", "sleep @ libc.so.6", "flush", "? @ libc.so.6"]),
    (4, &["? @ libc.so.6", "pthread_cond_wait @ libc.so.6", "next_job", "? @ libc.so.6"]),
    (5, &["syscall @ libc.so.6", "std::sys::sync::mutex::futex::Mutex::lock_contended", "app::f", "main"]),
    (6, &["pthread_mutex_unlock @ libc.so.6", "release", "main"]),
    (7, &["? @ libc.so.6", "? @ libc.so.6", "pthread_join @ libc.so.6", "main"]),
    (8, &["__syscall_cp_c", "read", "next_request", "main"]),
];

fn name(id: StackId) -> Option<Stack> {
    let (_, stack) = STACKS.iter().find(|(number, _)| *number == id.0)?;
    let frames = stack.iter().zip(1u32..).map(|(text, line)| {
        let (function, module) = text.split_once(" @ ").unwrap_or((text, "/srv/app"));
        let user = module == "/srv/app";
        Frame {
            address: Some(Address(1)),
            module: Some(module.into()),
            build_id: None,
            offset: Some(Address(1)),
            function: (function != "?").then(|| function.into()),
            function_offset: None,
            file: user.then(|| "/src/pool.c".into()),
            line: user.then_some(line),
            function_line: None,
            inlined: false,
            why_unknown: None,
        }
    });
    let frames: Vec<Frame> = frames.collect();
    let blame = frames.iter().position(|frame| frame.file.is_some()).map(|at| at as u64);
    Some(Stack { frames: frames.into(), blame, end: Some(StackEnd::Root), ..Stack::default() })
}

/// A thread that waits for glibc's mutex at `lock`, held by `owner`.
pub(crate) fn waits_for(tid: u32, stack: u64, lock: u64, owner: u32) -> Thread {
    let mut bytes = [0; FUTEX_MEMORY];
    bytes[FUTEX_MEMORY_BEFORE] = 2;
    bytes[FUTEX_MEMORY_BEFORE + 8..FUTEX_MEMORY_BEFORE + 12].copy_from_slice(&owner.to_le_bytes());
    Thread {
        stack: Some(StackId(stack)),
        syscall: Some(Syscall { number: 202, args: [lock, 0x80, 2, 0, 0, 0] }),
        futex: Some(FutexMemory::whole(lock, bytes)),
        blocked_ns: Some(u64::from(tid) * SECOND),
        ..thread(tid)
    }
}

pub(crate) fn sleeps(tid: u32) -> Thread {
    Thread { stack: Some(StackId(3)), syscall: Some(Syscall { number: 230, args: [0; 6] }), ..thread(tid) }
}

pub(crate) fn idles(tid: u32) -> Thread {
    Thread {
        stack: Some(StackId(4)),
        syscall: Some(Syscall { number: 202, args: [0x9000, 0x189, 0, 0, 0, 0] }),
        ..thread(tid)
    }
}

pub(crate) fn runs(tid: u32) -> Thread {
    Thread { state: TaskState::Running, blocked_ns: None, ..thread(tid) }
}

/// The section for these threads and this window.
pub(crate) fn waits(threads: Vec<Thread>, window: Option<&WaitsSnapshot>) -> Waits {
    let snapshot = ThreadSnapshot { at_ns: 100 * SECOND, threads, ..ThreadSnapshot::default() };
    let inputs = WaitInputs {
        snapshot: Some(&snapshot),
        window,
        started_ns: 90 * SECOND,
        at_ns: 100 * SECOND,
        ended: true,
        nothing_lost: true,
    };
    build(&inputs, &mut name)
}

fn site(waits: &Waits, stack: u64) -> &WaitSite {
    let id = site_id(Some(StackId(stack)));
    waits.sites.iter().find(|site| site.stack_id == id).expect("a site")
}

#[test]
fn a_holder_that_sleeps() {
    let threads: Vec<Thread> = (10..14)
        .map(|tid| waits_for(tid, 1, 0x1000, 50))
        .chain([waits_for(20, 2, 0x1000, 50), sleeps(50), idles(60), idles(61), runs(70)])
        .collect();
    let waits = waits(threads, None);
    assert_eq!((waits.threads, waits.blocked_now, waits.exact), (9, 8, true));
    let first = &waits.sites[0];
    assert_eq!((first.rank, first.kind, first.blocked_now, first.idle), (1, WaitKind::Mutex, 4, false));
    assert_eq!(first.primitive.as_deref(), Some("pthread_mutex_lock"));
    assert_eq!((first.operation.as_deref(), first.longest_blocked_ns), (Some("futex"), Some(13 * SECOND)));
    assert_eq!((first.waits, first.wait_ns, first.max_wait_ns), (None, None, None));
    assert_eq!(first.threads.iter().map(|t| t.tid).collect::<Vec<_>>(), [13, 12, 11, 10]);
    assert!(first.threads.iter().all(|t| t.lock == Some(Address(0x1000)) && t.since == Since::BeforeAttach));
    let [lock] = first.locks.as_slice() else { panic!("{:?}", first.locks) };
    assert_eq!((lock.address, lock.waiters, lock.owner_tid), (Address(0x1000), 4, Some(50)));
    assert_eq!(
        (lock.owner_name.as_deref(), &lock.owner_state),
        (Some("t50"), &Some(OwnerState::Waits(WaitKind::Sleep)))
    );
    assert!(!lock.owner_inferred);
    let stack = lock.owner_stack.as_ref().expect("a stack");
    assert_eq!((stack.blame, stack.frames.len()), (Some(2), 4));
    // It sleeps, but holds a lock.
    assert!(!site(&waits, 3).idle);
    let pool = site(&waits, 4);
    assert!(pool.idle && pool.idle_rule.is_some());
    assert_eq!(pool.rank, waits.sites.len() as u64);
    assert!(waits.deadlocks.is_empty() && waits.wakers.is_empty());
}

#[test]
fn a_deadlock_comes_first() {
    let mut threads: Vec<Thread> = (30..60).map(|tid| waits_for(tid, 1, 0x9000, 99)).collect();
    threads.extend([
        waits_for(12, 1, 0x2000, 13),
        waits_for(13, 2, 0x1000, 12),
        waits_for(14, 2, 0x1000, 12),
    ]);
    threads.extend([runs(99)]);
    let waits = waits(threads, None);
    let [deadlock] = waits.deadlocks.as_slice() else { panic!("{:?}", waits.deadlocks) };
    assert_eq!((deadlock.certain, deadlock.also_blocked), (true, 1));
    let [a, b] = deadlock.cycle.as_slice() else { panic!("{deadlock:?}") };
    assert_eq!(
        (a.tid, a.held_by, a.waits_for, a.holds.as_slice()),
        (12, 13, Address(0x2000), &[Address(0x1000)][..])
    );
    assert_eq!(
        (b.tid, b.held_by, b.waits_for, b.holds.as_slice()),
        (13, 12, Address(0x1000), &[Address(0x2000)][..])
    );
    assert_eq!((a.blocked_ns, &a.site_id), (Some(12 * SECOND), &site(&waits, 1).site_id));
    assert_eq!(waits.sites.iter().map(|s| s.rank).collect::<Vec<_>>(), [1, 2]);
    let running = site(&waits, 1).locks.iter().find(|l| l.owner_tid == Some(99)).expect("the lock");
    assert_eq!((&running.owner_state, &running.owner_stack), (&Some(OwnerState::Running), &None));
}

#[test]
fn a_thread_that_locks_twice_and_one_that_joins_its_waiter() {
    let twice = waits(vec![waits_for(5, 1, 0x1000, 5)], None);
    assert_eq!(twice.deadlocks.len(), 1);
    assert_eq!(twice.deadlocks[0].cycle[0].held_by, 5);
    // 1 joins 2, which waits for a lock that 1 holds.
    let mut joins = waits_for(1, 7, 0x7000, 0);
    joins.syscall = Some(Syscall { number: 202, args: [0x7000, 0x109, 2, 0, 0, 0] });
    let joined = waits(vec![joins.clone(), waits_for(2, 1, 0x1000, 1)], None);
    assert_eq!(joined.deadlocks.len(), 1);
    let site = site(&joined, 7);
    assert_eq!((site.kind, site.idle, site.locks[0].owner_tid), (WaitKind::Join, false, Some(2)));
    // Alone it is a consequence only, and the joined thread holds nothing.
    let alone = waits(vec![joins, sleeps(2)], None);
    assert!(alone.sites.iter().all(|site| site.idle) && alone.deadlocks.is_empty());
}

#[test]
fn a_holder_is_inferred_where_the_lock_does_not_tell() {
    let rust = |tid| Thread {
        stack: Some(StackId(5)),
        syscall: Some(Syscall { number: 202, args: [0x5000, 0x89, 2, 0, 0, 0] }),
        points_to: vec![Pointer { futex: 0x5000, frame: Some(2) }],
        ..thread(tid)
    };
    let holder = Thread { points_to: vec![Pointer { futex: 0x5000, frame: Some(2) }], ..sleeps(9) };
    let one = waits(vec![rust(1), rust(2), holder.clone()], None);
    let lock = &site(&one, 5).locks[0];
    assert_eq!((lock.waiters, lock.owner_tid, lock.owner_inferred), (2, Some(9), true));
    assert!(lock.owner_method.as_ref().is_some_and(|method| method.contains("inferred")));
    let none = waits(vec![rust(1), rust(2), sleeps(9)], None);
    let why = site(&none, 5).locks[0].owner_unknown.clone().expect("a reason");
    assert!(why.starts_with("Rust's std Mutex stores no owner"), "{why}");
    let two = waits(vec![rust(1), holder.clone(), Thread { tid: 10, ..holder }], None);
    let why = site(&two, 5).locks[0].owner_unknown.clone().expect("a reason");
    assert!(why.ends_with("the stacks of 2 other threads point to it"), "{why}");
}

#[test]
fn one_site_with_many_locks() {
    let threads: Vec<Thread> = (0..1000)
        .flat_map(|n| [waits_for(1000 + n, 1, 0x1_0000 + u64::from(n) * 64, 5000 + n), sleeps(5000 + n)])
        .collect();
    let waits = waits(threads, None);
    let site = site(&waits, 1);
    assert_eq!((site.locks.len(), site.threads.len()), (1000, 1000));
    assert!(site.locks.iter().all(|lock| lock.owner_name.is_some()));
    assert_eq!(site.locks.iter().filter(|lock| lock.owner_stack.is_some()).count(), 256);
}

#[test]
fn twenty_thousand_threads_in_a_circle() {
    const N: u32 = 20_000;
    let waits =
        waits((0..N).map(|n| waits_for(1 + n, 1, u64::from(n) * 64, 1 + (n + 1) % N)).collect(), None);
    assert_eq!((waits.deadlocks.len(), waits.deadlocks[0].cycle.len()), (1, N as usize));
    let text = crate::section::waits::answer::waits(&waits).expect("a deadlock").text();
    assert!(text.contains("and 19996 more: in take (pool.c:3), for 1.0 s."), "{text}");
}

fn window() -> WaitsSnapshot {
    let finished = |stack: Option<StackId>, waits, wait_ns| SiteWaits {
        id: stack.map(|stack| WaitSiteId(stack.0 + 100)),
        stack,
        syscall: Some(Syscall { number: 202, args: [0, 0x80, 2, 0, 0, 0] }),
        fd: None,
        several: false,
        waits,
        wait_ns,
        max_ns: wait_ns / 2,
        histogram: vec![(1000, waits), (2000, 0)],
    };
    WaitsSnapshot {
        sites: vec![
            finished(Some(StackId(1)), 10, 5 * SECOND),
            finished(Some(StackId(2)), 3, 9 * SECOND),
            SiteWaits {
                syscall: Some(Syscall { number: 202, args: [0, 0x189, 0, 0, 0, 0] }),
                ..finished(Some(StackId(4)), 7, 80 * SECOND)
            },
            finished(None, 1, 1),
        ],
        wakes: vec![
            Wakes {
                waker: WakerId::TimerOrInterrupt,
                site: Some(WaitSiteId(104)),
                wakes: 7,
                wait_ns: 80 * SECOND,
                held_ns: 80 * SECOND,
            },
            Wakes {
                waker: WakerId::Thread(Some(StackId(6))),
                site: Some(WaitSiteId(101)),
                wakes: 10,
                wait_ns: 5 * SECOND,
                held_ns: 5 * SECOND,
            },
            Wakes {
                waker: WakerId::Thread(Some(StackId(6))),
                site: Some(WaitSiteId(102)),
                wakes: 3,
                wait_ns: 9 * SECOND,
                held_ns: 9 * SECOND,
            },
            Wakes {
                waker: WakerId::OtherProcess("psql".to_owned()),
                site: None,
                wakes: 1,
                wait_ns: 1,
                held_ns: 1,
            },
        ],
        open: vec![OpenWait { tid: 12, since_ns: 97 * SECOND }],
        long: vec![crate::collect::waits::aggregate::LongWait {
            tid: 3,
            site: Some(WaitSiteId(102)),
            since_ns: 91 * SECOND,
            wait_ns: 4,
        }],
    }
}

#[test]
fn a_window() {
    let window = window();
    let waits = waits(
        vec![waits_for(12, 1, 0x1000, 50), waits_for(13, 1, 0x1000, 50), idles(60), idles(61), runs(50)],
        Some(&window),
    );
    let merged = site(&waits, 1);
    assert_eq!((merged.blocked_now, merged.waits, merged.wait_ns), (2, Some(10), Some(5 * SECOND)));
    assert_eq!((merged.max_wait_ns, merged.histogram.as_slice()), (Some(5 * SECOND / 2), &[(1000, 10)][..]));
    let [first, second] = merged.threads.as_slice() else { panic!("{merged:?}") };
    assert_eq!((first.tid, first.blocked_ns, first.since), (13, Some(13 * SECOND), Since::BeforeAttach));
    assert_eq!((second.tid, second.blocked_ns, second.since), (12, Some(3 * SECOND), Since::Traced));
    assert_eq!(
        waits.sites.iter().map(|s| s.stack_id.as_str()).collect::<Vec<_>>(),
        ["0000000000000001", "0000000000000002", "0000000000000000", "0000000000000004"]
    );
    let nowhere = &waits.sites[2];
    assert!(nowhere.stack.frames.is_empty() && nowhere.stack.end.is_none() && nowhere.stack.blame.is_none());

    let [unlock, other, timer] = waits.wakers.as_slice() else { panic!("{:?}", waits.wakers) };
    assert_eq!(
        (unlock.by, unlock.wakes, unlock.wait_ns, unlock.idle_wait_ns),
        (WakerKind::Thread, 13, 14 * SECOND, 0)
    );
    assert_eq!(unlock.sites, [2, 1].map(|stack| site(&waits, stack).site_id.clone()));
    assert_eq!((unlock.rank, unlock.stack.blame, unlock.stack.frames.len()), (1, Some(1), 3));
    assert_eq!((other.by, other.comm.as_deref(), other.rank), (WakerKind::OtherProcess, Some("psql"), 2));
    assert_eq!((timer.by, timer.idle_wait_ns), (WakerKind::TimerOrInterrupt, 80 * SECOND));
    assert_eq!(
        waits.long_waits,
        [LongWait { tid: 3, site_id: site(&waits, 2).site_id.clone(), start_ns: SECOND, wait_ns: 4 }]
    );
}

/// The holder's stack is not whole: the lock says so, as the holder's own site does.
#[test]
fn a_holder_whose_stack_is_cut() {
    let cut = |id: StackId| {
        let mut named = name(id)?;
        if id == StackId(3) {
            named.end = Some(StackEnd::Cut(Cut::NoRows));
        }
        Some(named)
    };
    let threads = vec![waits_for(10, 1, 0x1000, 50), sleeps(50)];
    let snapshot = ThreadSnapshot { at_ns: 100 * SECOND, threads, ..ThreadSnapshot::default() };
    let inputs = WaitInputs {
        snapshot: Some(&snapshot),
        window: None,
        started_ns: 0,
        at_ns: 100 * SECOND,
        ended: true,
        nothing_lost: true,
    };
    let waits = build(&inputs, &mut { cut });
    let lock = &site(&waits, 1).locks[0];
    assert_eq!(lock.owner_tid, Some(50));
    let end = lock.owner_stack.as_ref().and_then(|stack| stack.end.clone());
    assert_eq!(end, Some(StackEnd::Cut(Cut::NoRows)));
    assert_eq!(end, site(&waits, 3).stack.end);
}

#[test]
fn the_blamed_frame_lies_beyond_the_function_that_waits() {
    // A user's program may have such a function itself: linked statically, or a wrapper.
    let stack = |_| {
        let mut named = name(StackId(1))?;
        for frame in named.frames.iter_mut() {
            frame.module = Some("/srv/static".into());
        }
        named.blame = Some(0);
        Some(named)
    };
    let snapshot = ThreadSnapshot { threads: vec![waits_for(1, 1, 0x1000, 2)], ..ThreadSnapshot::default() };
    let inputs = WaitInputs {
        snapshot: Some(&snapshot),
        window: None,
        started_ns: 0,
        at_ns: 0,
        ended: true,
        nothing_lost: false,
    };
    let waits = build(&inputs, &mut { stack });
    assert_eq!((waits.sites[0].stack.blame, waits.exact), (Some(2), false));
}

#[test]
fn nothing_at_all() {
    let inputs =
        WaitInputs { snapshot: None, window: None, started_ns: 0, at_ns: 0, ended: true, nothing_lost: true };
    let waits = build(&inputs, &mut name);
    assert_eq!((waits.threads, waits.blocked_now, waits.sites.len()), (0, 0, 0));
    let empty = WaitsSnapshot::default();
    assert!(build(&WaitInputs { window: Some(&empty), ..inputs }, &mut name).sites.is_empty());
}

#[test]
fn creations() {
    let of = |stack: Option<u64>, created, exited| Creation {
        stack: stack.map(StackId),
        created,
        exited,
        growth: 1,
    };
    let sites = thread_sites(
        &[of(Some(6), 5, 5), of(Some(1), 100, 40), of(None, 3, 0), of(Some(77), 1, 2)],
        &mut name,
    );
    let ranked: Vec<_> =
        sites.iter().map(|s| (s.rank, s.alive, s.stack.frames.len(), s.stack.blame)).collect();
    assert_eq!(ranked, [(1, 60, 5, Some(2)), (2, 3, 0, None), (3, 0, 3, Some(1)), (4, 0, 0, None)]);
    assert!(thread_sites(&[], &mut name).is_empty());
}

prop_compose! {
    fn any_thread()(tid in 0u32..20, stack in proptest::option::of(1u64..9), number in 0u32..470, futex: bool, args: [u64; 6],
                    bytes in proptest::collection::vec(proptest::num::u8::ANY, FUTEX_MEMORY), state in 0u32..7, blocked: Option<u64>,
                    small in 0u64..4, points in proptest::collection::vec(0u64..4, 0..4), in_call: bool, owner in 0u32..20) -> Thread {
        let lock = small * 8;
        let mut bytes: [u8; FUTEX_MEMORY] = bytes.try_into().expect("as long");
        if owner.is_multiple_of(2) {
            bytes[FUTEX_MEMORY_BEFORE..].fill(0);
            bytes[FUTEX_MEMORY_BEFORE] = 2;
            bytes[FUTEX_MEMORY_BEFORE + 8] = owner as u8;
        }
        let call = if futex { Syscall { number: 202, args: [lock, 0x80, 2, 0, 0, 0] } } else { Syscall { number, args } };
        let state = [TaskState::Running, TaskState::Interruptible, TaskState::Uninterruptible, TaskState::Stopped,
            TaskState::Traced, TaskState::Dead, TaskState::Other(9)][state as usize];
        Thread {
            ns_tid: tid ^ 1,
            name: String::new(),
            state,
            syscall: in_call.then_some(call),
            blocked_ns: blocked,
            stack: stack.map(StackId),
            futex: futex.then_some(FutexMemory::whole(lock, bytes)),
            points_to: points.iter().map(|p| Pointer { futex: p * 8, frame: Some(*p as u32) }).collect(),
            ..thread(tid)
        }
    }
}

proptest! {
    #[test]
    fn hostile(threads in proptest::collection::vec(any_thread(), 0..40), numbers: [u64; 6], with_window: bool) {
        let mut window = window();
        for (site, number) in window.sites.iter_mut().zip(numbers) {
            (site.waits, site.wait_ns, site.max_ns) = (number, number, number);
            site.histogram = vec![(number, u64::MAX), (number, u64::MAX)];
        }
        window.sites.extend(window.sites.clone());
        for (wakes, number) in window.wakes.iter_mut().zip(numbers) {
            (wakes.wakes, wakes.wait_ns) = (number, u64::MAX);
        }
        window.open[0].since_ns = numbers[5];
        let waits = waits(threads, with_window.then_some(&window));
        let listed: u64 = waits.sites.iter().map(|site| site.threads.len() as u64).sum();
        prop_assert_eq!(listed, waits.blocked_now);
        let ids: HashMap<&str, u64> = waits.sites.iter().map(|site| (site.site_id.as_str(), site.rank)).collect();
        prop_assert_eq!(ids.len(), waits.sites.len());
        for site in &waits.sites {
            let waiters: u64 = site.locks.iter().map(|lock| lock.waiters).sum();
            prop_assert_eq!(waiters, site.threads.iter().filter(|t| t.lock.is_some()).count() as u64);
            prop_assert!(site.locks.iter().all(|lock| lock.owner_tid.is_some() != lock.owner_unknown.is_some()));
        }
        let _ = crate::section::waits::answer::waits(&waits);
        let _ = crate::section::waits::answer::waits_idle(&waits);
        let _ = crate::section::waits::answer::findings(&waits);
    }
}

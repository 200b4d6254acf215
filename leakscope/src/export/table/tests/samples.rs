//! Reports made by hand.

use crate::report::Report;
use crate::report::model::*;
use crate::report::own_cost::Meter;
use crate::runtime::{Native, RuntimeName};
use crate::section::Section as _;

/// Seconds in ns.
pub(crate) const S: u64 = 1_000_000_000;
/// An hour in ns.
pub(crate) const H: u64 = 3600 * S;

/// A frame of C code with a line, or, without one, a frame of a library.
pub(crate) fn frame(function: &str, place: Option<(&str, u32)>) -> Frame {
    Frame {
        address: Some(Address(0x1000 + function.len() as u64)),
        module: Some(if place.is_some() { "/srv/bin/bank" } else { "/lib/libc.so.6" }.into()),
        build_id: None,
        offset: Some(Address(0x42)),
        function: Some(function.into()),
        function_offset: Some(0x1d),
        file: place.map(|(file, _)| format!("/src/{file}").into()),
        line: place.map(|(_, line)| line),
        function_line: None,
        inlined: false,
        why_unknown: None,
    }
}

/// A stack of a wait: a function of the C library, called from `function` of the user.
pub(crate) fn stack(primitive: &str, function: &str, line: u32) -> Vec<Frame> {
    let user = |f, l| frame(f, Some(("bank.c", l)));
    vec![frame(primitive, None), user(function, line), user("worker", 90), frame("start_thread", None)]
}

/// A whole stack, the second frame of which is the user's.
pub(crate) fn whole(frames: Vec<Frame>) -> Stack {
    Stack { frames: frames.into(), blame: Some(1), end: Some(StackEnd::Root), ..Stack::default() }
}

/// A report that says nothing yet.
pub(crate) fn empty(duration_ns: u64) -> Report {
    let target = Target {
        pid: 4711,
        comm: "bank".to_owned(),
        exe: None,
        build_id: None,
        cmdline: Vec::new(),
        runtime: RuntimeName::from(&Native),
        runtime_version: None,
        container: None,
        go: None,
    };
    let window = Window { started_at: "2026-11-23T03:00:00.887914Z".to_owned(), duration_ns, ended_by: None };
    let memory = Memory { rss_start_bytes: None, rss_end_bytes: None, untraced_reason: None };
    let overhead = Overhead {
        probe_hits: 0,
        leakscope_cpu_ns: 12_000_000,
        estimated_target_cpu_ns: 0,
        method: "estimated".to_owned(),
        stacks: 0,
        stacks_root: 0,
        leakscope_memory_bytes: None,
        leakscope_max_rss_bytes: None,
        meter: Meter::default(),
    };
    let mut report = Report::without_sections(target, window, memory, overhead);
    report.leakscope_version = "0.1.0".to_owned();
    report.summary.answer = Some(Finding::unnamed("The answer."));
    report
}

/// A report of a heap alone, with two live sites.
pub(crate) fn heap() -> Report {
    let site = |rank: u64, live: u64, frames: Vec<Frame>| Site {
        site_id: rank.to_string(),
        rank,
        label: "".into(),
        place: 0,
        source: "malloc".to_owned(),
        live_bytes: live,
        live_objects: live / 100,
        alloc_bytes: 2 * live,
        alloc_objects: live / 50,
        growth_bytes: 0,
        oldest_age_ns: Some(8 * S),
        older_blocks: 0,
        older_bytes: 0,
        youngest_age_ns: None,
        live_bytes_low: None,
        live_bytes_high: None,
        samples: None,
        goroutine: None,
        stack: Stack {
            frames: frames.into(),
            blame: Some(1),
            end: (rank == 1).then_some(StackEnd::Root),
            ..Stack::default()
        },
    };
    let mut report = empty(10 * S);
    report.memory.rss_start_bytes = Some(10 << 20);
    report.memory.rss_end_bytes = Some(12 << 20);
    report.overhead.probe_hits = 70_000;
    report.overhead.leakscope_memory_bytes = Some(100 << 20);
    report.losses.insert("heap.live_full".to_owned(), 3);
    report.summary.last(Finding::unnamed("A finding."));
    report.threads = Some(Threads { created: 2, exited: 1, alive: Some(9), growth: 1, sites: Vec::new() });
    report.heap = Some(Heap {
        exact: false,
        sources: vec![Source {
            name: "malloc".to_owned(),
            exact: false,
            method: "every call was counted".to_owned(),
            error_bytes: None,
        }],
        totals: Totals {
            live_bytes: 1 << 20,
            live_objects: 9,
            alloc_bytes: 3 << 20,
            alloc_objects: 30_000,
            free_objects: 29_991,
            older_blocks: 0,
            older_bytes: 0,
            unknown_frees: 1,
            growth_bytes: 0,
        },
        sites: vec![
            site(1, 1_000_000, stack("malloc", "cache_session", 31)),
            site(
                2,
                40_000,
                stack(
                    "malloc",
                    "a_function_whose_name_is_so_long_that_no_terminal_has_room_for_it_a_function_whose_name",
                    7,
                ),
            ),
            site(3, 10, stack("malloc", "all_freed", 7)),
        ],
        ..Heap::default()
    });
    if let Some(heap) = &mut report.heap {
        heap.complete();
    }
    report
}

/// A blocked thread.
pub(crate) fn blocked(tid: u32, name: &str, blocked_ns: u64, lock: Option<u64>) -> WaitThread {
    WaitThread {
        tid,
        name: name.to_owned(),
        blocked_ns: Some(blocked_ns),
        at_least: false,
        since: Since::BeforeAttach,
        again_ns: None,
        lock: lock.map(Address),
        futex: lock.map(Address),
        peer: None,
    }
}

/// A site of `dump`.
pub(crate) fn site(
    rank: u64,
    kind: WaitKind,
    primitive: &str,
    frames: Vec<Frame>,
    threads: Vec<WaitThread>,
) -> WaitSite {
    WaitSite {
        site_id: format!("s{rank}"),
        stack_id: String::new(),
        rank,
        kind,
        operation: Some("futex".to_owned()),
        primitive: Some(primitive.to_owned()),
        verdict: None,
        verdict_reason: None,
        idle: false,
        idle_rule: None,
        blocked_now: threads.len() as u64,
        longest_blocked_ns: threads.iter().filter_map(|t| t.blocked_ns).max(),
        waits: None,
        wait_ns: None,
        max_wait_ns: None,
        histogram: Vec::new(),
        stack: whole(frames),
        threads,
        locks: Vec::new(),
    }
}

/// A lock that thread 4711 holds.
pub(crate) fn lock(address: u64, waiters: u64, owner: &str) -> WaitLock {
    WaitLock {
        address: Address(address),
        waiters,
        owner_tid: Some(4711),
        owner_name: Some(owner.to_owned()),
        owner_process: None,
        owner_state: Some(OwnerState::Waits(WaitKind::Sleep)),
        owner_stack: Some(whole(stack("clock_nanosleep", "flush_log", 77))),
        owner_inferred: false,
        owner_method: None,
        owner_unknown: None,
    }
}

/// A pool of four that waits for work.
pub(crate) fn pool(rank: u64) -> WaitSite {
    let threads = (0..4).map(|n| blocked(4800 + n, &format!("pool-{}", n + 1), 2 * H, None)).collect();
    let mut site = site(
        rank,
        WaitKind::Condvar,
        "pthread_cond_wait",
        stack("pthread_cond_wait", "next_job", 52),
        threads,
    );
    site.idle = true;
    site.idle_rule = Some("4 threads with equal stacks wait on a condition variable for work".to_owned());
    site
}

/// Waits of `dump`.
pub(crate) fn waits(sites: Vec<WaitSite>) -> Waits {
    let blocked_now = sites.iter().map(|s| s.blocked_now).sum();
    let mut waits = Waits {
        exact: true,
        method: "every thread was looked at once, without stopping it".to_owned(),
        threads: blocked_now + 1,
        blocked_now,
        stuck_now: 0,
        longest_stuck_ns: None,
        unknown_now: 0,
        longest_unknown_ns: None,
        unsettled: 0,
        vanished: 0,
        sites,
        deadlocks: Vec::new(),
        mutual_waits: Vec::new(),
        running: Vec::new(),
        wakers: Vec::new(),
        lock_holders: Vec::new(),
        long_waits: Vec::new(),
    };
    waits.count_stuck();
    waits
}

/// Twelve requests behind a lock whose holder sleeps, and an idle pool.
pub(crate) fn hot_mutex() -> Report {
    let threads = (0..12).map(|n| {
        blocked(4720 + n, &format!("req-{}", n + 1), 3 * H + u64::from(n) * 60 * S, Some(0x55d0_c0de_1040))
    });
    let mut hot = site(
        1,
        WaitKind::Mutex,
        "pthread_mutex_lock",
        stack("pthread_mutex_lock", "append_log", 31),
        threads.rev().collect(),
    );
    hot.locks = vec![lock(0x55d0_c0de_1040, 12, "flush")];
    let mut flush = site(
        2,
        WaitKind::Sleep,
        "clock_nanosleep",
        stack("clock_nanosleep", "flush_log", 77),
        vec![blocked(4711, "flush", 3 * H + 720 * S, None)],
    );
    flush.operation = Some("clock_nanosleep".to_owned());
    let mut report = empty(0);
    (report.memory.rss_start_bytes, report.memory.rss_end_bytes) = (Some(9 << 20), Some(9 << 20));
    report.summary.answer = Some(Finding::unnamed(
        "12 of 18 threads blocked in pthread_mutex_lock at bank.c:31, held by \
                               thread 4711 \"flush\"; the longest wait has lasted 3 h 11 m.",
    ));
    report.waits = Some(waits(vec![hot, flush, pool(3)]));
    report
}

/// Two threads that took two locks in opposite order, and a third behind them.
pub(crate) fn deadlock() -> Report {
    let (a, b) = (0x7f3a_1000_0a40, 0x7f3a_1000_0b80);
    let mut pay = site(
        1,
        WaitKind::Mutex,
        "pthread_mutex_lock",
        stack("pthread_mutex_lock", "pay", 24),
        vec![blocked(4711, "a", 3 * H, Some(b))],
    );
    let mut refund = site(
        2,
        WaitKind::Mutex,
        "pthread_mutex_lock",
        stack("pthread_mutex_lock", "refund", 31),
        vec![blocked(4712, "b", 3 * H, Some(a)), blocked(4713, "c", H, Some(a))],
    );
    let owned = |address, waiters, tid, name: &str, stack: &Stack| WaitLock {
        owner_tid: Some(tid),
        owner_state: Some(OwnerState::Waits(WaitKind::Mutex)),
        owner_stack: Some(stack.clone()),
        ..lock(address, waiters, name)
    };
    let to_a = owned(a, 2, 4711, "a", &pay.stack);
    pay.locks = vec![owned(b, 1, 4712, "b", &refund.stack)];
    refund.locks = vec![to_a];
    let thread = |tid, name: &str, wants, by, holds, site: &str| DeadlockThread {
        tid,
        name: name.to_owned(),
        waits_for: Address(wants),
        held_by: by,
        holds: vec![Address(holds)],
        blocked_ns: Some(3 * H),
        limit_ns: None,
        site_id: site.to_owned(),
    };
    let cycle = vec![thread(4711, "a", b, 4712, a, "s1"), thread(4712, "b", a, 4711, b, "s2")];
    let mut report = empty(0);
    report.summary.answer = Some(Finding::unnamed("Deadlock: 2 threads wait for each other."));
    let mut waits = waits(vec![pay, refund, pool(3)]);
    waits.deadlocks = vec![Deadlock { cycle, certain: true, also_blocked: 1 }];
    report.waits = Some(waits);
    report
}

/// Nothing but threads that wait for work.
pub(crate) fn idle() -> Report {
    let mut report = empty(0);
    report.summary.answer = Some(Finding::unnamed("Nothing is stuck: all 4 blocked threads wait for work."));
    report.waits = Some(waits(vec![pool(1)]));
    report
}

/// All that `attach` can tell: finished waits, wakers, creation sites, long waits.
pub(crate) fn attached() -> Report {
    let mut report = hot_mutex();
    report.window.duration_ns = 30 * S;
    report.overhead.probe_hits = 100_000;
    let waits = report.waits.as_mut().expect("waits");
    waits.exact = false;
    waits.method = "the scheduler's events were counted".to_owned();
    waits.unsettled = 2;
    waits.vanished = 31;
    let numbers = [(0, 0, 0), (5, 30 * S, 28 * S), (4_000, 40 * S, 16_000_000)];
    for (site, (n, total, most)) in waits.sites.iter_mut().zip(numbers) {
        (site.waits, site.wait_ns, site.max_wait_ns) = (Some(n), Some(total), Some(most));
    }
    waits.sites[0].threads[0].at_least = true;
    waits.sites[0].threads[1].since = Since::Traced;
    waits.sites[2].histogram =
        vec![(1 << 14, 10), (1 << 15, 500), (1 << 16, 3_000), (1 << 17, 489), (1 << 20, 1)];
    let mut unknown = site(3, WaitKind::Futex, "futex", stack("syscall", "own_lock", 12), Vec::new());
    unknown.primitive = None;
    unknown.waits = Some(70);
    unknown.wait_ns = Some(700_000);
    unknown.max_wait_ns = Some(50_000);
    unknown.locks = vec![WaitLock {
        owner_tid: None,
        owner_unknown: Some("no known lock of the C library lies there".to_owned()),
        ..lock(0x55d0_c0de_2000, 1, "")
    }];
    waits.sites.insert(2, unknown);
    (waits.sites[3].rank, waits.sites[3].site_id) = (4, "s4".to_owned());
    let waker = |rank: u64, by, comm: Option<&str>, wait_ns, idle_wait_ns, frames: Vec<Frame>| Waker {
        waker_id: rank.to_string(),
        rank,
        wait_ns,
        idle_wait_ns,
        wakes: 10 * rank,
        by,
        comm: comm.map(ToOwned::to_owned),
        sites: (1..=4).map(|n| format!("s{n}")).collect(),
        stack: whole(frames),
    };
    waits.wakers = vec![
        waker(1, WakerKind::TimerOrInterrupt, None, 30 * S, 0, Vec::new()),
        waker(2, WakerKind::Thread, None, 21 * S, 20 * S, stack("pthread_cond_signal", "submit_job", 60)),
        waker(3, WakerKind::OtherProcess, Some("redis-cli"), 20 * S, 20 * S, Vec::new()),
    ];
    waits.long_waits =
        vec![LongWait { tid: 4711, site_id: "s2".to_owned(), start_ns: 2 * S, wait_ns: 28 * S }];
    let created = ThreadSite {
        site_id: "t1".to_owned(),
        rank: 1,
        created: 300,
        exited: 20,
        alive: 280,
        growth: 280,
        stack: whole(stack("pthread_create", "start_timer", 9)),
    };
    let ended = ThreadSite { rank: 2, exited: 300, alive: 0, growth: -3, ..created.clone() };
    report.threads = Some(Threads {
        created: 600,
        exited: 320,
        alive: Some(297),
        growth: 280,
        sites: vec![created, ended],
    });
    report
}

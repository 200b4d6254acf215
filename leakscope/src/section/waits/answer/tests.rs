use super::*;
use crate::section::finding::Said as _;
use crate::section::waits::build::tests::{idles, runs, sleeps, waits as section, waits_for};
use crate::stack::StackId;
use crate::wait::{Syscall, TaskState, Thread};

fn waits(waits: &Waits) -> Option<String> {
    super::waits(waits).map(|said| said.text())
}

fn waits_idle(waits: &Waits) -> String {
    super::waits_idle(waits).text()
}

fn findings(waits: &Waits) -> Vec<String> {
    super::findings(waits).iter().map(|said| said.text()).collect()
}

#[test]
fn a_crowd_at_one_lock() {
    let threads: Vec<Thread> = (1..=212)
        .map(|tid| waits_for(tid, 1, 0x1000, 4711))
        .chain([Thread { name: "flush".to_owned(), ..sleeps(4711) }])
        .chain((5000..5007).map(idles))
        .collect();
    let crowd = section(threads, None);
    assert_eq!(
        waits(&crowd).as_deref(),
        Some(
            "212 of 220 threads blocked in pthread_mutex_lock at pool.c:3 (take) for up to 3 m 32 s, held by \
             thread 4711 \"flush\", which sleeps at pool.c:3 (flush)."
        )
    );
    assert_eq!(findings(&crowd), [] as [&str; 0]);
}

#[test]
fn one_thread() {
    let one = section(vec![waits_for(3, 1, 0x1000, 4), runs(4)], None);
    assert_eq!(
        waits(&one).as_deref(),
        Some(
            "1 of 2 threads (thread 3 \"t3\") blocked in pthread_mutex_lock at pool.c:3 (take) for 3.0 s, held by \
             thread 4 \"t4\", which is running."
        )
    );
    let only = section(vec![waits_for(3, 1, 0x1000, 4)], None);
    assert!(waits(&only).is_some_and(|text| {
        text.starts_with("The only thread is blocked in pthread_mutex_lock at pool.c:3 (take)")
    }));
    let brief = Thread { blocked_ns: Some(2_000_000), ..waits_for(3, 1, 0x1000, 4) };
    let brief = section(vec![brief, runs(4)], None);
    assert_eq!(waits(&brief), None);
    assert_eq!(waits_idle(&brief), "1 thread waits for a lock, for 2 ms; 1 runs.");
}

#[test]
fn holders_that_are_not_known() {
    let foreign = section(vec![waits_for(3, 1, 0x1000, 400)], None);
    assert!(waits(&foreign).is_some_and(|text| text.ends_with(
        "for 3.0 s; holder unknown: TID 400 is no thread of this process: the holder has ended without releasing it, or is one of another process (a fork copies locks that are held)."
    )));
    let many = section(
        vec![waits_for(3, 1, 0x1000, 9), waits_for(4, 1, 0x2000, 9), waits_for(5, 1, 0x2000, 9), runs(9)],
        None,
    );
    assert!(
        waits(&many).is_some_and(|text| text.ends_with(
            "for up to 5.0 s on 2 locks, the most wanted, held by thread 9 \"t9\", which is running."
        )),
        "{:?}",
        waits(&many)
    );
}

#[test]
fn deadlocks() {
    let two = section(
        vec![waits_for(12, 1, 0x2000, 13), waits_for(13, 2, 0x1000, 12), waits_for(14, 2, 0x1000, 12)],
        None,
    );
    assert_eq!(
        waits(&two).as_deref(),
        Some(
            "Deadlock: thread 12 \"t12\" and thread 13 \"t13\" wait for each other's locks: in take (pool.c:3) and \
             refund (pool.c:3), for 12.0 s; 1 more thread is blocked behind them."
        )
    );
    assert_eq!(findings(&two), [] as [&str; 0]);
    let own = section(vec![waits_for(5, 1, 0x1000, 5)], None);
    assert_eq!(
        waits(&own).as_deref(),
        Some(
            "Deadlock: thread 5 \"t5\" waits for a lock that it holds itself: in take (pool.c:3), for 5.0 s."
        )
    );
    let three = (1..=3).map(|tid| waits_for(tid, 1, u64::from(tid) * 64, tid % 3 + 1)).collect();
    let text = waits(&section(three, None)).expect("a deadlock");
    assert!(
        text.starts_with("Deadlock: 3 threads wait for each other in a circle, thread 1 \"t1\", thread 2"),
        "{text}"
    );
    assert!(text.ends_with("and thread 3 \"t3\": in take (pool.c:3), for 1.0 s."), "{text}");
    let six = (1..=6).map(|tid| waits_for(tid, 1, u64::from(tid) * 64, tid % 6 + 1)).collect();
    let text = waits(&section(six, None)).expect("a deadlock");
    assert!(text.contains("thread 4 \"t4\" and 2 more: in"), "{text}");
    let pairs = section(
        vec![
            waits_for(1, 1, 0x40, 2),
            waits_for(2, 1, 0x80, 1),
            waits_for(3, 1, 0xc0, 4),
            waits_for(4, 1, 0x100, 3),
        ],
        None,
    );
    assert_eq!(findings(&pairs), ["There are 2 deadlocks; the headline names the largest."]);
}

#[test]
fn an_inferred_holder_makes_it_probable() {
    let mut two = section(vec![waits_for(12, 1, 0x2000, 13), waits_for(13, 2, 0x1000, 12)], None);
    two.deadlocks[0].certain = false;
    assert!(
        waits(&two)
            .is_some_and(|text| text.starts_with("Probable deadlock (a holder is inferred): thread 12"))
    );
}

#[test]
fn nothing_is_stuck() {
    let idle = section(vec![idles(1), idles(2), sleeps(3), runs(4)], None);
    assert_eq!((waits(&idle), findings(&idle)), (None, Vec::new()));
    assert_eq!(waits_idle(&idle), "No thread waits for a lock: 3 are idle, and 1 runs.");
    assert_eq!(waits_idle(&section(vec![runs(1)], None)), "No thread waits for a lock: the only one runs.");
    assert_eq!(
        waits_idle(&section(vec![idles(1), idles(2)], None)),
        "No thread waits for a lock: both are idle."
    );
    assert_eq!(waits_idle(&section(Vec::new(), None)), "The process has no threads any more.");
}

#[test]
fn stopped_threads() {
    let stopped = |tid| Thread { state: TaskState::Stopped, ..sleeps(tid) };
    let all = section(vec![stopped(1), Thread { stack: Some(StackId(4)), ..stopped(2) }], None);
    assert_eq!(waits(&all).as_deref(), Some("All 2 threads are stopped by a signal or a debugger."));
    assert_eq!(findings(&all), [] as [&str; 0]);
    let some = section(vec![stopped(1), idles(2), runs(3)], None);
    assert_eq!(waits(&some).as_deref(), Some("1 of 3 threads is stopped by a signal or a debugger."));
}

#[test]
fn sockets_are_told_but_not_called_stuck() {
    let receives =
        |tid| Thread { syscall: Some(Syscall { number: 45, args: [3, 0, 0, 0, 0, 0] }), ..sleeps(tid) };
    let some = section(vec![receives(1), receives(2), runs(3), runs(4)], None);
    assert_eq!(waits(&some), None);
    let other = "(the other end decides)";
    assert_eq!(
        waits_idle(&section(vec![receives(1)], None)),
        format!(
            "No thread waits for a lock. The only thread waits in recvfrom at pool.c:3 (flush) for 1.0 s {other}."
        )
    );
    assert_eq!(
        waits_idle(&some),
        format!(
            "No thread waits for a lock. 2 of 4 threads wait in recvfrom at pool.c:3 (flush) for up to 1.0 s {other}; 2 run."
        )
    );
    // One that waits for work alone is no pool.
    let both = section(vec![receives(1), idles(2)], None);
    assert!(
        waits_idle(&both).contains("; 1 more waits elsewhere, which may be right or not, too."),
        "{}",
        waits_idle(&both)
    );
}

#[test]
fn second_rank() {
    let mut crowd = section(vec![waits_for(3, 1, 0x1000, 9), waits_for(4, 2, 0x2000, 9), runs(9)], None);
    crowd.unsettled = 3;
    crowd.sites[0].wait_ns = Some(12_000_000_000);
    crowd.sites[0].waits = Some(4000);
    crowd.sites[0].max_wait_ns = Some(80_000_000);
    let [second, contended, unsettled] = &findings(&crowd)[..] else { panic!("{:?}", findings(&crowd)) };
    assert!(second.starts_with("1 of 3 threads (thread 3"), "{second}");
    assert_eq!(
        contended,
        "4,000 waits in pthread_mutex_lock at pool.c:3 (refund) took 12.0 s in all, the longest 80 ms."
    );
    assert_eq!(unsettled, "3 threads kept changing while they were looked at, and have no stack.");
}

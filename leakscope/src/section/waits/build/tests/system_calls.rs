//! Sites by system call: what one stack waits for, and where that is.

use super::*;

#[test]
fn one_stack_that_waits_for_several_things() {
    let call = |tid, number, args: [u64; 6]| Thread {
        stack: Some(StackId(6)),
        syscall: Some(Syscall { number, args }),
        ..thread(tid)
    };
    let reads = |tid, mode| {
        let descriptor = Descriptor { operations: u64::from(mode), mode, ..Descriptor::ZERO };
        Thread { descriptor, ..call(tid, 0, [3, 0, 1, 0, 0, 0]) }
    };
    let threads = vec![
        call(1, 202, [0x1000, 0x80, 7, 0, 0, 0]),
        call(2, 202, [0x2000, 0x80, 7, 0, 0, 0]),
        call(3, 35, [0; 6]),
        reads(4, 0o010_600),
        reads(5, 0o140_600),
        reads(6, 0o010_600),
    ];
    let finished = |id, number, mode, waits| SiteWaits {
        id: Some(WaitSiteId(id)),
        stack: Some(StackId(6)),
        syscall: Some(Syscall { number, args: [0; 6] }),
        fd: FdTarget::of(&Descriptor { operations: 1, mode, ..Descriptor::ZERO }),
        several: false,
        waits,
        wait_ns: waits,
        max_ns: 1,
        histogram: vec![(1, waits)],
    };
    let window = WaitsSnapshot {
        sites: vec![finished(71, 0, 0o010_600, 10), finished(72, 0, 0o140_600, 20)],
        wakes: vec![Wakes {
            waker: WakerId::TimerOrInterrupt,
            site: Some(WaitSiteId(72)),
            wakes: 20,
            wait_ns: 20,
            held_ns: 20,
        }],
        ..WaitsSnapshot::default()
    };
    let waits = waits(threads, Some(&window));
    let of = |kind| {
        let site = waits.sites.iter().find(|site| site.kind == kind).expect("a site");
        let threads: Vec<u32> = site.threads.iter().map(|thread| thread.tid).collect();
        (threads, site.waits, site.site_id.clone())
    };
    assert_eq!((of(WaitKind::Futex).0, of(WaitKind::Futex).1), (vec![1, 2], Some(0)));
    assert_eq!((of(WaitKind::Sleep).0, of(WaitKind::Sleep).1), (vec![3], Some(0)));
    assert_eq!((of(WaitKind::Pipe).0, of(WaitKind::Pipe).1), (vec![4, 6], Some(10)));
    assert_eq!((of(WaitKind::Socket).0, of(WaitKind::Socket).1), (vec![5], Some(20)));
    assert_eq!(waits.sites.len(), 4);
    assert_eq!(waits.wakers[0].sites, [of(WaitKind::Socket).2]);
    assert!(waits.sites.iter().all(|site| site.stack_id == waits.sites[0].stack_id));
}

/// In a program with its C library in it, the stub of the system call is no place of the user's.
#[test]
fn the_stub_of_a_system_call_is_not_to_blame() {
    let read = Thread {
        stack: Some(StackId(8)),
        syscall: Some(Syscall { number: 0, args: [3, 0, 1, 0, 0, 0] }),
        ..thread(1)
    };
    let waits = waits(vec![read], None);
    assert_eq!(site(&waits, 8).stack.blame, Some(2));
}

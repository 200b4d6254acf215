use leakscope_common::descriptor::DESCRIPTOR_DECIDES;

use super::*;

fn call(number: u32, args: [u64; 6]) -> CallFacts {
    facts(&Syscall { number, args })
}

#[test]
fn names_are_sorted_and_every_blocking_call_has_a_number() {
    assert!(NAMES.is_sorted_by(|a, b| a.0 < b.0));
    for row in BLOCKING {
        let number = NAMES.iter().find(|(_, name)| *name == row.name);
        let (number, _) = number.unwrap_or_else(|| panic!("{} is no system call", row.name));
        assert_eq!(name(*number), Some(row.name));
        assert_eq!(BLOCKING.iter().filter(|other| other.name == row.name).count(), 1);
    }
    assert_eq!([name(0), name(202), name(455)], [Some("read"), Some("futex"), Some("futex_wait")]);
    assert_eq!([name(u32::MAX), name(400)], [None, None]);
}

#[test]
fn kinds() {
    assert_eq!(call(0, [0; 6]).kind, WaitKind::Unknown);
    assert_eq!(call(232, [0; 6]).kind, WaitKind::Poll);
    assert_eq!(call(34, [0; 6]).kind, WaitKind::Sleep);
    assert_eq!(call(61, [0; 6]).kind, WaitKind::Child);
    assert_eq!(call(58, [0; 6]).kind, WaitKind::Child);
    assert_eq!(call(56, [0x4111, 0, 0, 0, 0, 0]).kind, WaitKind::Child);
    assert_eq!(call(56, [0x11, 0, 0, 0, 0, 0]).kind, WaitKind::Unknown);
    assert_eq!(
        call(39, [0; 6]),
        CallFacts { name: Some("getpid"), kind: WaitKind::Unknown, descriptor: false, futex: None }
    );
    assert_eq!(call(9999, [0; 6]).name, None);
}

#[test]
fn polling_nothing_is_sleeping() {
    assert_eq!(call(7, [0, 0, 1000, 0, 0, 0]).kind, WaitKind::Sleep);
    assert_eq!(call(270, [0, 0, 0, 0, 0x7fff_0000, 0]).kind, WaitKind::Sleep);
    assert_eq!(call(7, [0x7fff_0000, 2, 1000, 0, 0, 0]).kind, WaitKind::Poll);
}

/// As /proc/PID/task/TID/syscall shows them after a signal that nobody handled (glibc 2.36).
#[test]
fn restarted_calls_are_the_original_ones() {
    let timed_mutex = call(219, [0x5627_8fbc_0360, 0x189, 2, 0x7f73_a278_7ec0, 0, 0xffff_ffff]);
    assert_eq!(timed_mutex.name, Some("futex"));
    assert_eq!(
        timed_mutex.futex,
        Some(FutexWait {
            word: 0x5627_8fbc_0360,
            command: futex::WAIT_BITSET,
            shared: false,
            expected: 2,
            timed: true
        })
    );
    let sleep = call(219, [0, 0, 0x7f73_9af7_8e90, 0x7f73_9af7_8e90, 0, 0x64]);
    assert_eq!((sleep.name, sleep.kind), (Some("clock_nanosleep"), WaitKind::Sleep));
    let polled_nothing = call(219, [0, 0, 0xffff_ffff, 0x7f73_a57a_08d0, 0, 0x64]);
    assert_eq!((polled_nothing.name, polled_nothing.kind), (Some("poll"), WaitKind::Sleep));
    let polled = call(219, [0x7f73_a57a_0000, 3, 10_000, 0, 0, 0]);
    assert_eq!((polled.name, polled.kind), (Some("poll"), WaitKind::Poll));
    let musl = call(219, [0x7ffc_cbe7_a370, 0x7ffc_cbe7_a370, 0, 0, 0, 0]);
    assert_eq!(musl.name, Some("nanosleep"));
}

#[test]
fn the_kernel_side_looks_at_the_descriptors_that_decide() {
    for (number, _) in NAMES {
        let decides = blocking(*number).is_some_and(|call| call.descriptor && call.kind == WaitKind::Unknown);
        let bit = DESCRIPTOR_DECIDES[(number >> 6) as usize & 7] >> (number & 63) & 1 == 1;
        assert_eq!(bit && *number < 512, decides, "{:?}", name(*number));
    }
}

//! How long a system call waits at most.
//!
//! Arguments: the man pages (section 2) of futex, poll, ppoll and epoll_wait, Linux man-pages 6.03; numbers:
//! arch/x86/entry/syscalls/syscall_64.tbl.

use super::Syscall;
use super::syscalls::{self, futex};

/// Where a call's limit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// So many ns from when it began.
    Ns(u64),
    /// In a `struct timespec` at this address.
    At {
        /// Address in the target.
        address: u64,
        /// The clock, if it is a point in time; otherwise it is a span.
        until: Option<Clock>,
    },
}

/// A clock that a limit is told by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    Monotonic,
    Realtime,
}

const POLL: u32 = 7;
const PPOLL: u32 = 271;
const EPOLL_WAIT: u32 = 232;
const EPOLL_PWAIT: u32 = 281;
const NS_A_MS: u64 = 1_000_000;

impl Limit {
    /// The limit of a call; `None` if it has none, or none that is known here.
    pub fn of(call: &Syscall) -> Option<Self> {
        let [_, second, third, fourth, ..] = call.args;
        // -1: none.
        let ms = |value: u64| u32::try_from(value as i32).ok().map(|ms| Self::Ns(u64::from(ms) * NS_A_MS));
        match syscalls::original(call) {
            syscalls::FUTEX => {
                let realtime = second as u32 & futex::CLOCK_REALTIME != 0;
                let clock = if realtime { Clock::Realtime } else { Clock::Monotonic };
                let until = match second as u32 & futex::CMD_MASK {
                    futex::WAIT => None,
                    // Of CLOCK_REALTIME always.
                    futex::LOCK_PI => Some(Clock::Realtime),
                    _ => Some(clock),
                };
                (fourth != 0).then_some(Self::At { address: fourth, until })
            }
            POLL => ms(third),
            EPOLL_WAIT | EPOLL_PWAIT => ms(fourth),
            PPOLL => (third != 0).then_some(Self::At { address: third, until: None }),
            _ => None,
        }
    }
}

/// The ns of a `struct timespec`.
pub fn timespec_ns(bytes: [u8; 16]) -> Option<u64> {
    let [seconds, ns]: [u64; 2] = [0, 8].map(|at| bytes[at..at + 8].try_into().map_or(0, u64::from_le_bytes));
    seconds.checked_mul(1_000_000_000)?.checked_add(ns).filter(|_| ns < 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_calls() {
        let of = |number, args| Limit::of(&Syscall { number, args });
        let at = |address, until| Some(Limit::At { address, until });
        assert_eq!(of(202, [1, 0x80, 2, 0, 0, 0]), None);
        assert_eq!(of(202, [1, 0x80, 2, 0x5000, 0, 0]), at(0x5000, None));
        assert_eq!(of(202, [1, 0x189, 2, 0x5000, 0, 0]), at(0x5000, Some(Clock::Realtime)));
        assert_eq!(of(202, [1, 0x89, 2, 0x5000, 0, 0]), at(0x5000, Some(Clock::Monotonic)));
        assert_eq!(of(7, [1, 1, u64::from(u32::MAX), 0, 0, 0]), None);
        assert_eq!(of(7, [1, 1, 50, 0, 0, 0]), Some(Limit::Ns(50_000_000)));
        assert_eq!(of(232, [1, 1, 1, 7, 0, 0]), Some(Limit::Ns(7_000_000)));
        assert_eq!(of(0, [1, 1, 1, 7, 0, 0]), None);
    }

    #[test]
    fn hostile_times() {
        let mut bytes = [0xff; 16];
        assert_eq!(timespec_ns(bytes), None);
        bytes = [0; 16];
        (bytes[0], bytes[8]) = (2, 5);
        assert_eq!(timespec_ns(bytes), Some(2_000_000_005));
    }
}

//! Which threads of a process are blocked, cheaply.
//!
//! A thread counts as blocked if it waits uninterruptibly (state `D`: the disk, the kernel), or for a lock by
//! a rule that needs no stack: it is in `futex` with an operation and an expected value that only locks use
//! ([`waits_for_lock`]), or waits for a file lock. Waits for work (condition variables, semaphores,
//! `epoll_wait`, sleeps, joins) do not count. The rule misses readers-writer locks and locks of other makes;
//! `leakscope dump PID`, which looks at stacks, knows them. What a thread waits for is in
//! `/proc/PID/task/TID/syscall`, which only the process' owner (where ptrace is not restricted) and root may
//! read; without it only `D` is known.

use std::path::Path;

/// What was seen of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Blocked {
    /// Threads that wait uninterruptibly.
    pub uninterruptible: u64,
    /// Threads that wait for a lock; `None` where that could not be seen.
    pub locks: Option<u64>,
}

/// System calls of x86-64.
const FUTEX: u64 = 202;
const FCNTL: u64 = 72;
const FLOCK: u64 = 73;
/// `F_SETLKW` and `F_OFD_SETLKW`.
const SET_LOCK_AND_WAIT: [u64; 2] = [7, 38];
/// `FUTEX_PRIVATE_FLAG` and `FUTEX_CLOCK_REALTIME`.
const FUTEX_FLAGS: u64 = 128 | 256;
const FUTEX_WAIT: u64 = 0;
const FUTEX_LOCK_PI: u64 = 6;
const FUTEX_WAIT_BITSET: u64 = 9;
const FUTEX_LOCK_PI2: u64 = 13;
/// "Locked, and others wait": the value of a taken lock in glibc (sysdeps/nptl/lowlevellock.h), Rust's
/// std::sync::Mutex (sys/sync/mutex/futex.rs) and Go's runtime (lock_futex.go).
const CONTENDED: u64 = 2;
/// The same bit in musl (src/thread/pthread_mutex_timedlock.c), beside the owner's ID.
const MUSL_CONTENDED: u64 = 1 << 31;

/// Whether that text of `/proc/PID/task/TID/syscall` is of a thread that waits for a lock.
pub fn waits_for_lock(text: &str) -> bool {
    let mut fields = text.split_ascii_whitespace();
    let Some(number) = fields.next().and_then(|n| n.parse::<u64>().ok()) else { return false };
    let mut argument = || u64::from_str_radix(fields.next()?.strip_prefix("0x")?, 16).ok();
    let (Some(_), Some(second), Some(third)) = (argument(), argument(), argument()) else { return false };
    match number {
        FUTEX => {
            let value = third & 0xffff_ffff;
            match second & !FUTEX_FLAGS {
                FUTEX_LOCK_PI | FUTEX_LOCK_PI2 => true,
                FUTEX_WAIT => {
                    let owner = value & !MUSL_CONTENDED;
                    value == CONTENDED || (value & MUSL_CONTENDED != 0 && (1..1 << 22).contains(&owner))
                }
                FUTEX_WAIT_BITSET => value == CONTENDED,
                _ => false,
            }
        }
        FLOCK => true,
        FCNTL => SET_LOCK_AND_WAIT.contains(&second),
        _ => false,
    }
}

/// Looks at the threads below `task`; takes them off the budget. `None` if that is too small or the process
/// is gone.
pub(super) fn look(task: &Path, threads: u64, budget: &mut u64) -> Option<Blocked> {
    *budget = budget.checked_sub(threads)?;
    let mut blocked = Blocked { uninterruptible: 0, locks: Some(0) };
    let mut seen = false;
    for entry in std::fs::read_dir(task).ok()?.flatten() {
        let directory = entry.path();
        // A thread that has just ended is not blocked.
        let Ok(stat) = std::fs::read(directory.join("stat")) else { continue };
        seen = true;
        let Some(close) = stat.iter().rposition(|&b| b == b')') else { continue };
        match stat.get(close + 2) {
            Some(b'D') => blocked.uninterruptible += 1,
            Some(b'S') => match std::fs::read_to_string(directory.join("syscall")) {
                Ok(text) => {
                    let lock = u64::from(waits_for_lock(&text));
                    blocked.locks = blocked.locks.map(|n| n + lock);
                }
                Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => blocked.locks = None,
                Err(_) => {}
            },
            _ => {}
        }
    }
    seen.then_some(blocked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks() {
        for lock in [
            // pthread_mutex_lock of glibc, private and shared.
            "202 0x55d0 0x80 0x2 0x0 0x0 0x0 0x7ffc 0x7f01",
            "202 0x55d0 0x0 0x2 0x0 0x0 0x0 0x7ffc 0x7f01",
            // std::sync::Mutex of Rust.
            "202 0x55d0 0x89 0x2 0x0 0x0 0xffffffff 0x7ffc 0x7f01",
            // A mutex that inherits priorities.
            "202 0x55d0 0x86 0x1 0x0 0x0 0x0 0x7ffc 0x7f01",
            // musl: thread 4711 holds it.
            "202 0x55d0 0x80 0x80001267 0x0 0x0 0x0 0x7ffc 0x7f01",
            "73 0x3 0x2 0x0 0x0 0x0 0x0 0x7ffc 0x7f01",
            "72 0x3 0x7 0x7ffc 0x0 0x0 0x0 0x7ffc 0x7f01",
        ] {
            assert!(waits_for_lock(lock), "{lock}");
        }
    }

    #[test]
    fn no_locks() {
        for other in [
            "running",
            "-1 0x7ffc 0x7f01",
            // pthread_cond_wait, sem_wait, pthread_join of glibc.
            "202 0x55d0 0x189 0x0 0x0 0x0 0xffffffff 0x7ffc 0x7f01",
            "202 0x55d0 0x109 0x1267 0x0 0x0 0xffffffff 0x7ffc 0x7f01",
            // A parked thread of Rust, and one of Go.
            "202 0x55d0 0x89 0xffffffff 0x0 0x0 0xffffffff 0x7ffc 0x7f01",
            "202 0x55d0 0x80 0x0 0x0 0x0 0x0 0x7ffc 0x7f01",
            "202 0x55d0 0x80 0xffffffff 0x0 0x0 0x0 0x7ffc 0x7f01",
            // epoll_wait, fcntl that waits for nothing.
            "232 0x4 0x7ffd 0x2 0xffffffff 0x0 0x0 0x7ffc 0x7f01",
            "72 0x3 0x6 0x7ffc 0x0 0x0 0x0 0x7ffc 0x7f01",
            "",
            "202 garbage",
        ] {
            assert!(!waits_for_lock(other), "{other}");
        }
    }

    #[test]
    fn threads_are_counted_within_the_budget() {
        let place = tempfile::tempdir().expect("a temporary directory");
        for (tid, state, syscall) in
            [(1, 'S', "202 0x1 0x80 0x2 0x0"), (2, 'D', ""), (3, 'S', "232 0x4 0x1 0x2"), (4, 'R', "")]
        {
            let task = place.path().join(tid.to_string());
            std::fs::create_dir(&task).expect("a directory");
            std::fs::write(task.join("stat"), format!("{tid} (x) y) {state} 1 1\n")).expect("a file");
            std::fs::write(task.join("syscall"), syscall).expect("a file");
        }
        let mut budget = 5;
        let seen = look(place.path(), 4, &mut budget);
        assert_eq!((seen, budget), (Some(Blocked { uninterruptible: 1, locks: Some(1) }), 1));
        assert_eq!(look(place.path(), 4, &mut budget), None);
        assert_eq!(look(&place.path().join("gone"), 1, &mut budget), None);
    }
}

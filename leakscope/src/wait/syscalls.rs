//! System calls: their names, what they wait for, and what their arguments say.

use super::syscall_names::NAMES;
use super::{Syscall, WaitKind};

/// A system call that can block.
struct Blocking {
    name: &'static str,
    kind: WaitKind,
    /// Whether the first argument is a descriptor.
    descriptor: bool,
}

const fn on(name: &'static str, kind: WaitKind) -> Blocking {
    Blocking { name, kind, descriptor: false }
}

const fn fd(name: &'static str, kind: WaitKind) -> Blocking {
    Blocking { name, kind, descriptor: true }
}

/// What blocks, from the man pages (section 2) of Linux man-pages 6.03.
///
/// `Unknown` with a descriptor: the descriptor tells.
const BLOCKING: &[Blocking] = &[
    on("futex", WaitKind::Futex),
    on("futex_waitv", WaitKind::Futex),
    on("futex_wait", WaitKind::Futex),
    on("nanosleep", WaitKind::Sleep),
    on("clock_nanosleep", WaitKind::Sleep),
    on("pause", WaitKind::Sleep),
    on("rt_sigtimedwait", WaitKind::Sleep),
    on("rt_sigsuspend", WaitKind::Sleep),
    on("poll", WaitKind::Poll),
    on("ppoll", WaitKind::Poll),
    on("select", WaitKind::Poll),
    on("pselect6", WaitKind::Poll),
    fd("epoll_wait", WaitKind::Poll),
    fd("epoll_pwait", WaitKind::Poll),
    fd("epoll_pwait2", WaitKind::Poll),
    on("io_getevents", WaitKind::Poll),
    on("io_pgetevents", WaitKind::Poll),
    fd("read", WaitKind::Unknown),
    fd("write", WaitKind::Unknown),
    fd("readv", WaitKind::Unknown),
    fd("writev", WaitKind::Unknown),
    fd("pread64", WaitKind::File),
    fd("pwrite64", WaitKind::File),
    fd("preadv", WaitKind::File),
    fd("pwritev", WaitKind::File),
    fd("preadv2", WaitKind::Unknown),
    fd("pwritev2", WaitKind::Unknown),
    fd("sendfile", WaitKind::Unknown),
    fd("splice", WaitKind::Unknown),
    fd("tee", WaitKind::Pipe),
    fd("vmsplice", WaitKind::Pipe),
    fd("copy_file_range", WaitKind::File),
    fd("ioctl", WaitKind::Unknown),
    fd("close", WaitKind::Unknown),
    fd("accept", WaitKind::Socket),
    fd("accept4", WaitKind::Socket),
    fd("connect", WaitKind::Socket),
    fd("recvfrom", WaitKind::Socket),
    fd("recvmsg", WaitKind::Socket),
    fd("recvmmsg", WaitKind::Socket),
    fd("sendto", WaitKind::Socket),
    fd("sendmsg", WaitKind::Socket),
    fd("sendmmsg", WaitKind::Socket),
    fd("shutdown", WaitKind::Socket),
    on("wait4", WaitKind::Child),
    on("waitid", WaitKind::Child),
    on("vfork", WaitKind::Child),
    on("clone", WaitKind::Child),
    on("clone3", WaitKind::Child),
    fd("flock", WaitKind::File),
    fd("fcntl", WaitKind::File),
    fd("fsync", WaitKind::File),
    fd("fdatasync", WaitKind::File),
    fd("sync_file_range", WaitKind::File),
    fd("syncfs", WaitKind::File),
    on("sync", WaitKind::File),
    on("msync", WaitKind::File),
    on("open", WaitKind::File),
    fd("openat", WaitKind::File),
    fd("openat2", WaitKind::File),
    on("creat", WaitKind::File),
    on("stat", WaitKind::File),
    on("lstat", WaitKind::File),
    fd("fstat", WaitKind::File),
    fd("newfstatat", WaitKind::File),
    on("statx", WaitKind::File),
    on("statfs", WaitKind::File),
    fd("fstatfs", WaitKind::File),
    on("access", WaitKind::File),
    on("faccessat", WaitKind::File),
    on("faccessat2", WaitKind::File),
    on("readlink", WaitKind::File),
    on("readlinkat", WaitKind::File),
    fd("getdents", WaitKind::File),
    fd("getdents64", WaitKind::File),
    on("truncate", WaitKind::File),
    fd("ftruncate", WaitKind::File),
    fd("fallocate", WaitKind::File),
    fd("fadvise64", WaitKind::File),
    fd("readahead", WaitKind::File),
    on("rename", WaitKind::File),
    on("renameat", WaitKind::File),
    on("renameat2", WaitKind::File),
    on("unlink", WaitKind::File),
    on("unlinkat", WaitKind::File),
    on("mkdir", WaitKind::File),
    on("mkdirat", WaitKind::File),
    on("rmdir", WaitKind::File),
    on("link", WaitKind::File),
    on("linkat", WaitKind::File),
    on("symlink", WaitKind::File),
    on("symlinkat", WaitKind::File),
    on("execve", WaitKind::File),
    on("execveat", WaitKind::File),
    on("mount", WaitKind::File),
    on("umount2", WaitKind::File),
    on("io_submit", WaitKind::File),
    fd("io_uring_enter", WaitKind::IoUring),
    on("semop", WaitKind::Semaphore),
    on("semtimedop", WaitKind::Semaphore),
    on("msgrcv", WaitKind::Pipe),
    on("msgsnd", WaitKind::Pipe),
    fd("mq_timedreceive", WaitKind::Pipe),
    fd("mq_timedsend", WaitKind::Pipe),
    on("getrandom", WaitKind::File),
    on("userfaultfd", WaitKind::PageFault),
];

/// futex(2): commands and flags, include/uapi/linux/futex.h of Linux 6.18.
pub mod futex {
    /// Wait while the word has a value.
    pub const WAIT: u32 = 0;
    /// Take a lock with priority inheritance.
    pub const LOCK_PI: u32 = 6;
    /// Wait while the word has a value, until an absolute time.
    pub const WAIT_BITSET: u32 = 9;
    /// Wait, then take a lock with priority inheritance.
    pub const WAIT_REQUEUE_PI: u32 = 11;
    /// As [`LOCK_PI`], with a choice of clock.
    pub const LOCK_PI2: u32 = 13;
    /// The word is not shared between processes.
    pub const PRIVATE_FLAG: u32 = 128;
    /// The time is CLOCK_REALTIME's.
    pub const CLOCK_REALTIME: u32 = 256;
    /// The bits of a command.
    pub const CMD_MASK: u32 = !(PRIVATE_FLAG | CLOCK_REALTIME);
}

pub(super) const FUTEX: u32 = 202;
const CLONE: u32 = 56;
const CLONE_VFORK: u64 = 0x4000;
const RESTART_SYSCALL: u32 = 219;

/// What a system call says about a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallFacts {
    /// Its name; `None` for numbers that no kernel known here has.
    pub name: Option<&'static str>,
    /// What it waits for; `Unknown` if the descriptor decides, or if it does not usually block.
    pub kind: WaitKind,
    /// Whether its first argument is a descriptor.
    pub descriptor: bool,
    /// Of futex(2): what is waited for.
    pub futex: Option<FutexWait>,
}

/// The arguments of futex(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FutexWait {
    /// Address of the word.
    pub word: u64,
    /// The command, without flags.
    pub command: u32,
    /// Whether the word may be shared between processes.
    pub shared: bool,
    /// The value that the word had.
    pub expected: u32,
    /// Whether the wait has a time limit.
    pub timed: bool,
}

/// The name of a system call.
pub fn name(number: u32) -> Option<&'static str> {
    NAMES.binary_search_by_key(&number, |&(n, _)| n).ok().map(|at| NAMES[at].1)
}

fn blocking(number: u32) -> Option<&'static Blocking> {
    let name = name(number)?;
    BLOCKING.iter().find(|call| call.name == name)
}

/// The call that a restarted one continues, judged by its arguments, which the kernel leaves where
/// they were: only these four are restarted so (`restart_block.fn` in Linux 6.18).
fn restarted(args: &[u64; 6]) -> u32 {
    /// Lowest address that a program can map by default (vm.mmap_min_addr is 64 KiB; 4 KiB at least).
    const LOWEST: u64 = 0x1000;
    const NANOSLEEP: u32 = 35;
    const CLOCK_NANOSLEEP: u32 = 230;
    const POLL: u32 = 7;
    /// Clocks are numbered from 0 to 11, and CPU clocks of processes are negative.
    const CLOCKS: u64 = 16;
    /// RLIMIT_NOFILE never lets poll take more.
    const MAX_POLLED: u64 = 1 << 20;
    let [first, second, third, fourth, ..] = *args;
    let command = second as u32 & futex::CMD_MASK;
    let waits = command == futex::WAIT || command == futex::WAIT_BITSET;
    // A time to wait is a pointer, where poll has milliseconds in 32 bits.
    let clock = first < CLOCKS || first as i32 <= -2 && first > u64::from(u32::MAX) - 0x1_0000;
    if clock && second == 0 && (first != 0 || third > u64::from(u32::MAX)) {
        CLOCK_NANOSLEEP
    } else if first >= LOWEST && first.is_multiple_of(4) && waits && second < 0x200 && fourth >= LOWEST {
        FUTEX
    } else if second < MAX_POLLED && third <= u64::from(u32::MAX) && (first == 0 || second > 0) {
        POLL
    } else {
        NANOSLEEP
    }
}

/// The call that a thread is really in: a restarted one is the original.
pub(super) fn original(call: &Syscall) -> u32 {
    if call.number == RESTART_SYSCALL { restarted(&call.args) } else { call.number }
}

/// What is known of a call.
pub fn facts(call: &Syscall) -> CallFacts {
    let number = original(call);
    let row = blocking(number);
    let [first, second, third, fourth, ..] = call.args;
    let futex = (number == FUTEX).then_some(FutexWait {
        word: first,
        command: second as u32 & futex::CMD_MASK,
        shared: second as u32 & futex::PRIVATE_FLAG == 0,
        expected: third as u32,
        timed: fourth != 0,
    });
    let name = name(number);
    let mut kind = row.map_or(WaitKind::Unknown, |row| row.kind);
    let descriptors = match name {
        Some("select" | "pselect6") => Some(first as u32),
        Some("poll" | "ppoll") => Some(second as u32),
        _ => None,
    };
    if descriptors == Some(0) {
        // No descriptor: a way to sleep.
        kind = WaitKind::Sleep;
    }
    if number == CLONE && first & CLONE_VFORK == 0 {
        kind = WaitKind::Unknown;
    }
    CallFacts { name, kind, descriptor: row.is_some_and(|row| row.descriptor), futex }
}

#[cfg(test)]
mod tests;

//! Values of the maps of waits and threads, and the records of the task iterator.

use crate::descriptor::Descriptor;
use crate::unwind::{Regs, hash_frame};

/// A thread of the target that has blocked, or that was created in the window; the key is its TID.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ThreadState {
    /// When it blocked, CLOCK_MONOTONIC in ns; 0 while it is not blocked.
    pub since_ns: u64,
    /// Where it is blocked, and at what: a [`wait_site`], key into the map of wait sites.
    pub site: u64,
    /// Its context switches when it blocked: tells a wait that userspace entered from a later one.
    pub switches: u64,
    /// Who woke it: a number of [`WakerKind`]; 0 while nobody has.
    pub waker_kind: u64,
    /// The waker: the hash of its stack, or the 16 bytes of its process' name.
    pub waker: [u64; 2],
    /// Hash of the stack that created it; 0: it was there before.
    pub created_by: u64,
    /// How the wait was entered; one of [`wait_entered`].
    pub entered: u64,
    /// 1 + number of the system call that it waits in; 0: none.
    pub syscall: u64,
    /// Its voluntary context switches when it last blocked; 0: it has not.
    pub voluntary: u64,
    /// The address of the futex that it waits on; 0: none.
    pub futex: u64,
    /// When a thread of the target released that futex and so woke it, CLOCK_MONOTONIC in ns; 0: something else
    /// woke it.
    pub released_ns: u64,
}
const _: () = assert!(size_of::<ThreadState>() == 96);

impl ThreadState {
    /// A thread that is not blocked.
    pub const ZERO: Self = Self {
        since_ns: 0,
        site: 0,
        switches: 0,
        waker_kind: 0,
        waker: [0; 2],
        created_by: 0,
        entered: 0,
        syscall: 0,
        voluntary: 0,
        futex: 0,
        released_ns: 0,
    };
}

/// How a wait was entered.
pub mod wait_entered {
    /// The thread was seen to block.
    pub const TRACED: u64 = 0;
    /// By userspace: the thread blocked before recording began.
    pub const BY_USERSPACE: u64 = 1;
    /// It blocks right now; its site is not known yet.
    pub const BLOCKING: u64 = 2;
}

/// Who ended a wait. Numbers are on the wire.
#[repr(u64)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WakerKind {
    /// A thread of the target, by its stack.
    Thread = 1,
    /// Another process, by its name.
    OtherProcess = 2,
    /// A timer, a device, a kernel thread.
    TimerOrInterrupt = 3,
}

/// Buckets of a histogram of waits: bucket `i` counts waits of at least `2^(i-1)` and less than `2^i` ns,
/// the last one those above, too.
pub const WAIT_BUCKETS: usize = 48;

/// [`WaitTotals::object`] of what did not get a site of its own: the stack waits on too many things.
pub const SEVERAL_OBJECTS: u64 = u64::MAX;
/// Things that the waits of one stack are told apart by; what comes later shares a site for each system call.
pub const OBJECTS_A_STACK: u64 = 16;

/// A stack that has blocked; the key is its hash.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct WaitStack {
    /// 1 once its frames were sent over the ring buffer.
    pub sent: u64,
    /// Sites that were made for what it waits on.
    pub objects: u64,
}
const _: () = assert!(size_of::<WaitStack>() == 16);

impl WaitStack {
    /// A stack that was just seen.
    pub const ZERO: Self = Self { sent: 0, objects: 0 };
}

/// Identifies a wait site: one stack can wait in several system calls, on several locks and on descriptors
/// of several types. `syscall` and `object` as in [`WaitTotals`]. Never 0, the site of what found no room.
#[inline(always)]
pub const fn wait_site(stack: u64, syscall: u64, object: u64) -> u64 {
    let hash = hash_frame(hash_frame(hash_frame(0, stack), syscall), object);
    if hash == 0 { 1 } else { hash }
}

/// Finished waits of a site; the key is its [`wait_site`]. 0: the map was full.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTotals {
    /// Waits that ended.
    pub waits: u64,
    /// Their time, ns.
    pub wait_ns: u64,
    /// The longest, ns.
    pub max_ns: u64,
    /// Hash of the stack.
    pub stack: u64,
    /// 1 + number of the system call; 0: none.
    pub syscall: u64,
    /// What is waited on: the address of a futex, or the [`Descriptor::operations`] of a descriptor that
    /// decides; [`SEVERAL_OBJECTS`]; 0: the system call says it all.
    pub object: u64,
    /// The arguments of the first wait: rdi, rsi, rdx, r10, r8, r9.
    pub args: [u64; 6],
    /// What its descriptor was, if that decides.
    pub descriptor: Descriptor,
    /// Waits by length.
    pub histogram: [u64; WAIT_BUCKETS],
}
const _: () = assert!(size_of::<WaitTotals>() == 136 + 8 * WAIT_BUCKETS);

impl Default for WaitTotals {
    fn default() -> Self {
        Self::ZERO
    }
}

impl WaitTotals {
    /// A site that nothing was charged to.
    pub const ZERO: Self = Self {
        waits: 0,
        wait_ns: 0,
        max_ns: 0,
        stack: 0,
        syscall: 0,
        object: 0,
        args: [0; 6],
        descriptor: Descriptor::ZERO,
        histogram: [0; WAIT_BUCKETS],
    };
}

/// Who ended waits of one site: key of the map of wakes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct WakeKey {
    /// A number of [`WakerKind`].
    pub kind: u64,
    /// As [`ThreadState::waker`].
    pub waker: [u64; 2],
    /// The wait site.
    pub site: u64,
}
const _: () = assert!(size_of::<WakeKey>() == 32);

/// Wait time of a site that a waker ended, and that passed while it held what was waited for.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct WakeTotals {
    /// Waits that it ended; 0 if it only held.
    pub wakes: u64,
    /// Their time, ns.
    pub wait_ns: u64,
    /// Its part of this and of other waits, ns: see [`crate::release`]. All parts of a site add up to the time of
    /// the waits that somebody ended.
    pub held_ns: u64,
}
const _: () = assert!(size_of::<WakeTotals>() == 24);

/// Threads created by one stack; the key is its hash. 0: the map was full.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct CreationTotals {
    /// Threads created.
    pub created: u64,
    /// Of these, ended ones.
    pub exited: u64,
    /// 1 once the frames were sent over the ring buffer.
    pub sent: u64,
}
const _: () = assert!(size_of::<CreationTotals>() == 24);

/// Pending return probes that a task record holds.
pub const TASK_RETURNS: usize = 4;

/// What a record of the task iterator is.
pub mod task_record {
    /// The first record: the thread that reads, whose note of when it last ran is now.
    pub const READER: u32 = 1;
    /// A thread of the target.
    pub const TASK: u32 = 2;
}

/// A thread as the task iterator sees it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskRecord {
    /// One of [`task_record`].
    pub kind: u32,
    /// Thread ID.
    pub tid: u32,
    /// Thread ID in its own PID namespace.
    pub ns_tid: u32,
    /// `task_struct.__state`.
    pub state: u32,
    /// `task_struct.flags` (PF_*).
    pub flags: u32,
    /// The CPU that it ran on last.
    pub cpu: u32,
    /// Whether it is on that CPU now.
    pub on_cpu: u32,
    /// Pending return probes in `returns`.
    pub return_count: u32,
    /// Context switches so far.
    pub switches: u64,
    /// When it last ran, in `clock_task` of its CPU, ns (`se.exec_start`).
    pub exec_start_ns: u64,
    /// When it last got a CPU, in `clock` of that CPU, ns (`sched_info.last_arrival`); 0: not known.
    pub arrival_ns: u64,
    /// How long it ran since then, ns.
    pub ran_ns: u64,
    /// How long it has run in all, ns (`se.sum_exec_runtime`).
    pub cpu_ns: u64,
    /// When the record was made, CLOCK_MONOTONIC in ns.
    pub at_ns: u64,
    /// When the thread began, CLOCK_MONOTONIC in ns.
    pub start_ns: u64,
    /// Registers in user space.
    pub regs: Regs,
    /// `orig_rax`: the system call's number; negative: none.
    pub orig_rax: u64,
    /// rdi, rsi, rdx, r10, r8, r9.
    pub args: [u64; 6],
    /// What the descriptor of its system call is, if that decides what it waits for.
    pub descriptor: Descriptor,
    /// rax, rcx, rbx, r11, r12, r13, r14, r15.
    pub others: [u64; 8],
    /// Pending return probes: the address on the stack that was replaced, and what stood there.
    pub returns: [[u64; 2]; TASK_RETURNS],
    /// Name.
    pub comm: [u8; 16],
}
const _: () = assert!(size_of::<TaskRecord>() == 32 + 56 + 32 + 8 + 48 + 40 + 64 + 64 + 16);

impl TaskRecord {
    /// An empty record.
    pub const ZERO: Self = Self {
        kind: 0,
        tid: 0,
        ns_tid: 0,
        state: 0,
        flags: 0,
        cpu: 0,
        on_cpu: 0,
        return_count: 0,
        switches: 0,
        exec_start_ns: 0,
        arrival_ns: 0,
        ran_ns: 0,
        cpu_ns: 0,
        at_ns: 0,
        start_ns: 0,
        regs: Regs { ip: 0, sp: 0, bp: 0, exact: 0 },
        orig_rax: 0,
        args: [0; 6],
        descriptor: Descriptor::ZERO,
        others: [0; 8],
        returns: [[0; 2]; TASK_RETURNS],
        comm: [0; 16],
    };

    /// The general registers, by the numbers that x86-64 encodes them with.
    pub const fn registers(&self) -> [u64; 16] {
        let [rdi, rsi, rdx, r10, r8, r9] = self.args;
        let [rax, rcx, rbx, r11, r12, r13, r14, r15] = self.others;
        let Regs { sp, bp, .. } = self.regs;
        [rax, rcx, rdx, rbx, sp, bp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15]
    }
}

/// `PF_EXITING` (include/linux/sched.h): the thread is ending.
pub const PF_EXITING: u32 = 0x4;
/// `PF_KTHREAD`: a thread of the kernel.
pub const PF_KTHREAD: u32 = 0x0020_0000;
/// `TS_COMPAT`, in `thread_info.status` (arch/x86/include/asm/thread_info.h): the thread is in a system call
/// of the 32-bit table.
pub const TS_COMPAT: u32 = 0x2;
/// `TASK_DEAD`, in `__state`.
pub const TASK_DEAD: u32 = 0x80;

/// System calls of x86-64 in which a thread may wake another one (arch/x86/entry/syscalls/syscall_64.tbl).
/// A wake-up while the current thread is in another one comes from an interrupt.
const WAKING_SYSCALLS: [u16; 99] = [
    0, 1, 3, 16, 17, 18, 19, 20, // read, write, close, ioctl, pread64, pwrite64, readv, writev
    32, 33, 292, // dup, dup2, dup3
    40, 42, 43, 44, 45, 46, 47, 48, 288, 299, 307, // sendfile, sockets
    56, 57, 58, 59, 435, 322, // clone, fork, vfork, execve, clone3, execveat
    60, 231, // exit, exit_group
    61, 247, // wait4, waitid: a reaped child's pidfd
    62, 129, 200, 234, 297,
    424, // kill, rt_sigqueueinfo, tkill, tgkill, rt_tgsigqueueinfo, pidfd_send_signal
    64, 65, 66, 220, 68, 69, 70, 71, // System V semaphores and queues
    29, 31, 67, // shmget, shmctl, shmdt
    72, 73, // fcntl, flock
    74, 75, 76, 77, 285, // fsync, fdatasync, truncate, ftruncate, fallocate
    82, 83, 84, 85, 86, 87, 88, 90, 91, 92, 263, 264, 265, 316, 257, 437, 2,   // files: inotify, leases
    101, // ptrace
    202, 449, 454, 455, 456, // futex and its successors
    209, 210, 425, 426, 427, // aio, io_uring
    233, // epoll_ctl
    242, 243, 244, 245, // POSIX queues
    275, 276, 278, 326, 327, 328, 295, 296, // splice, tee, vmsplice, copy_file_range, preadv2, pwritev2
    436, // close_range
    28,  // madvise
];

/// A bitmap of system calls, by number.
pub(crate) const fn bitmap(numbers: &[u16]) -> [u64; 8] {
    let mut map = [0u64; 8];
    let mut i = 0;
    while i < numbers.len() {
        let number = numbers[i] as usize;
        map[number >> 6] |= 1 << (number & 63);
        i += 1;
    }
    map
}

/// Whether a thread in this system call may wake another one; a bitmap by number.
pub const WAKING: [u64; 8] = bitmap(&WAKING_SYSCALLS);

/// A bitmap of the system calls that send signals or end a thread: what may end a sleep.
pub const SIGNALLING: [u64; 8] = bitmap(&[60, 231, 62, 129, 200, 234, 297, 424, 101]);

pub const FUTEX: u64 = 202;
pub const NANOSLEEP: u64 = 35;
pub const CLOCK_NANOSLEEP: u64 = 230;

/// The bucket of a wait.
#[inline(always)]
pub const fn wait_bucket(ns: u64) -> u32 {
    let mut value = ns;
    let mut bits = 0;
    let mut shift = 32;
    while shift != 0 {
        let above = (value >> shift != 0) as u32;
        let step = above * shift;
        value >>= step;
        bits += step;
        shift >>= 1;
    }
    // `value` is 0 or 1 by now.
    bits += value as u32;
    if bits >= WAIT_BUCKETS as u32 { WAIT_BUCKETS as u32 - 1 } else { bits }
}

/// Upper bound of a bucket, ns.
pub const fn bucket_bound_ns(bucket: u32) -> u64 {
    1u64 << if bucket > 62 { 62 } else { bucket }
}

#[cfg(feature = "user")]
mod pod {
    // SAFETY: `repr(C)` of integers without padding (sizes asserted above); every bit pattern is valid.
    unsafe impl aya::Pod for super::ThreadState {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::WaitStack {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::WaitTotals {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::WakeKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::WakeTotals {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::CreationTotals {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::TaskRecord {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_powers_of_two() {
        assert_eq!([0, 1, 2, 3, 4, 1023, 1024].map(wait_bucket), [0, 1, 2, 2, 3, 10, 11]);
        assert_eq!(wait_bucket(u64::MAX), WAIT_BUCKETS as u32 - 1);
        for ns in [1u64, 5, 999, 1 << 20, (1 << 40) + 7] {
            let bucket = wait_bucket(ns);
            assert!(ns < bucket_bound_ns(bucket) && ns >= bucket_bound_ns(bucket - 1), "{ns}");
        }
    }

    #[test]
    fn the_bitmap_holds_the_numbers() {
        let has = |n: usize| WAKING[n >> 6] >> (n & 63) & 1 == 1;
        assert!(has(1) && has(202) && has(231) && has(456) && !has(35) && !has(230) && !has(7));
    }
}

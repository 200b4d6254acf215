//! What a blocked thread waits for, by its system call and its stack.

use super::primitive_tables::MUTEX_AGAIN;
use super::primitives::{CLibrary, Layout, Mark, Primitive, SEMAPHORE};
use super::syscalls::{self, CallFacts, FutexWait, futex};
use super::{FdTarget, Syscall, TaskState, WaitKind};

/// What is known of a blocked thread besides its stack.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The thread's name; `None` for a wait that is over.
    pub name: Option<&'a str>,
    pub state: TaskState,
    /// The system call it is in.
    pub syscall: Option<Syscall>,
    /// What the descriptor in that call's first argument is, if that decides.
    pub fd: Option<FdTarget>,
    /// Whether these are waits on several things: then the call's arguments are those of one of them.
    pub several: bool,
}

/// A lock that a thread waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockRef {
    pub futex: FutexWait,
    /// What is known of the memory around it.
    pub layout: Layout,
}

/// What a thread waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classified {
    pub kind: WaitKind,
    /// The system call.
    pub operation: Option<&'static str>,
    /// The function that tells the kind, as the report calls it.
    pub primitive: Option<String>,
    pub primitive_frame: Option<usize>,
    pub lock: Option<LockRef>,
}

/// How many frames of runtimes and frameworks may lie between two functions that wait, or before
/// the first one.
const MAX_GAP: usize = 8;
/// How many innermost frames may be nameless code outside the C library: stubs of system calls in
/// programs that are linked statically and stripped.
const MAX_STUBS: usize = 2;

/// Names of threads that the kernel makes for an io_uring: they never run user code (io_uring/io-wq.c,
/// io_uring/sqpoll.c of Linux 6.18).
const RING_WORKERS: &[&str] = &["iou-wrk-", "iou-sqp-"];

/// Says what a blocked thread waits for. `frames` are those of its stack, innermost first.
///
/// The outermost function that waits decides, of those before the first frame of the user's, so that
/// `std::condition_variable::wait` wins over the `pthread_cond_wait` in it. But who waits for a mutex
/// waits for a mutex, whatever is around it: `pthread_cond_wait` that takes its mutex again.
pub fn classify(facts: Facts<'_>, frames: &[Mark]) -> Classified {
    let call = facts.syscall.map(|call| syscalls::facts(&call));
    let operation = call.and_then(|call| call.name);
    let plain = |kind| Classified { kind, operation, primitive: None, primitive_frame: None, lock: None };
    if matches!(facts.state, TaskState::Stopped | TaskState::Traced) {
        return plain(WaitKind::Stopped);
    }
    let Some(call) = call else {
        let ring = facts.name.is_some_and(|name| RING_WORKERS.iter().any(|worker| name.starts_with(worker)));
        return plain(if ring { WaitKind::IoUring } else { WaitKind::PageFault });
    };
    let mut search = Search { kind: by_call(&call, facts.fd), layout: Layout::Inherit, found: None };
    search.begin(call.futex);
    search.walk(call.futex, frames);
    if search.found.is_none() && search.kind == WaitKind::Futex && !facts.several {
        search.by_value(call.futex, frames);
    }
    let name_of = |(at, what): (usize, Found)| match what {
        Found::Row(row) => Some(row.name()),
        Found::Named(name) => Some(name.to_owned()),
        Found::Frame => frames.get(at).and_then(|frame| frame.function.clone()),
    };
    let lock = match (search.layout, call.futex) {
        (Layout::Inherit | Layout::Elsewhere, _) | (_, None) => None,
        (layout, Some(futex)) => Some(LockRef { futex, layout }),
    };
    Classified {
        kind: search.kind,
        operation,
        primitive: search.found.and_then(name_of),
        primitive_frame: search.found.map(|(at, _)| at),
        lock,
    }
}

/// The kind as far as the call and its descriptor tell.
fn by_call(call: &CallFacts, fd: Option<FdTarget>) -> WaitKind {
    match (call.kind, fd) {
        (WaitKind::Unknown, Some(fd)) if call.descriptor => fd.kind(),
        (kind, _) => kind,
    }
}

#[derive(Clone, Copy)]
enum Found {
    Row(&'static Primitive),
    Named(&'static str),
    /// Whatever the frame's function is called.
    Frame,
}

/// TIDs have at most 22 bits (PID_MAX_LIMIT, include/linux/threads.h).
const MAX_TID: u32 = 1 << 22;
/// FUTEX_WAITERS: in the word of a robust mutex that threads wait for.
const WAITERS: u32 = 0x8000_0000;

struct Search {
    kind: WaitKind,
    layout: Layout,
    found: Option<(usize, Found)>,
}

impl Search {
    /// Some futex commands tell by themselves.
    fn begin(&mut self, futex: Option<FutexWait>) {
        match futex.map(|f| f.command) {
            Some(futex::LOCK_PI | futex::LOCK_PI2) => {
                self.kind = WaitKind::Mutex;
                self.layout = Layout::PthreadMutex;
            }
            Some(futex::WAIT_REQUEUE_PI) => self.kind = WaitKind::Condvar,
            _ => {}
        }
    }

    fn walk(&mut self, futex: Option<FutexWait>, frames: &[Mark]) {
        let mut gap = 0;
        for (at, frame) in frames.iter().enumerate() {
            let Some((_, row)) = frame.row else {
                if frame.is_user() && (frame.function.is_some() || at >= MAX_STUBS) {
                    return;
                }
                gap += 1;
                if gap > MAX_GAP {
                    return;
                }
                continue;
            };
            gap = 0;
            let Some(kind) = row.kind else { continue };
            let glibc = frames.first().is_some_and(|inner| inner.c_library == Some(CLibrary::Glibc));
            if self.kind == WaitKind::Futex && glibc && takes_mutex_again(futex, row) {
                self.kind = WaitKind::Mutex;
                self.layout = Layout::PthreadMutex;
                self.found = Some((at, Found::Named(MUTEX_AGAIN)));
                return;
            }
            if !outranks(row, kind, self.kind) {
                return;
            }
            let as_condition = row.condition_if_timed && futex.is_some_and(|futex| futex.timed);
            let kind = if as_condition { WaitKind::Condvar } else { kind };
            // The lock that is around an inner one of the C library's is the one that counts.
            let vague = matches!(self.layout, Layout::Inherit | Layout::NoOwner(_));
            let takes = self.kind != kind || vague;
            if as_condition {
                self.layout = Layout::Elsewhere;
            } else if takes && row.layout != Layout::Inherit {
                self.layout = row.layout;
            } else if self.kind != kind && self.layout != Layout::Elsewhere {
                self.layout = Layout::Inherit;
            }
            self.kind = kind;
            if !matches!(self.found, Some((_, Found::Row(inner))) if inner.shown == MUTEX_AGAIN) {
                self.found = Some((at, Found::Row(row)));
            }
        }
    }

    /// Waits of glibc 2.34 and later whose exported function is left by a jump, so that only nameless
    /// frames remain: sem_wait, pthread_join, pthread_mutex_timedlock, pthread_mutex_lock of a robust
    /// mutex. Commands and values: nptl/sem_waitcommon.c, nptl/pthread_join_common.c,
    /// nptl/pthread_mutex_timedlock.c, nptl/pthread_mutex_lock.c.
    fn nameless_glibc(&mut self, futex: FutexWait, frames: &[Mark]) -> bool {
        let library = frames.iter().take_while(|frame| frame.c_library.is_some());
        let library: Vec<&Mark> = library.collect();
        // A thread's first functions are in libc, too, but no thread waits in these.
        if library.len() == frames.len() || library.iter().any(|frame| frame.function.is_some()) {
            return false;
        }
        let (kind, layout, name) = match (futex.command, futex.shared, futex.expected) {
            (futex::WAIT_BITSET, false, 0) => (WaitKind::Semaphore, SEMAPHORE, "sem_wait"),
            (futex::WAIT_BITSET, false, 2) => {
                (WaitKind::Mutex, Layout::PthreadMutex, "pthread_mutex_timedlock")
            }
            // The TID of the joined thread; small numbers are values of shared locks.
            (futex::WAIT_BITSET, true, 4..=MAX_TID) => (WaitKind::Join, Layout::Join, "pthread_join"),
            (futex::WAIT, true, WAITERS..) => (WaitKind::Mutex, Layout::PthreadMutex, "pthread_mutex_lock"),
            _ => return false,
        };
        self.kind = kind;
        self.layout = layout;
        self.found = Some((library.len() - 1, Found::Named(name)));
        true
    }

    /// A futex wait straight from a C library whose internal functions have no names.
    fn by_value(&mut self, futex: Option<FutexWait>, frames: &[Mark]) {
        /// nptl: the word of a contended low-level lock (sysdeps/nptl/lowlevellock.h).
        const GLIBC_CONTENDED: u32 = 2;
        /// musl: src/thread/pthread_mutex_timedlock.c; EBUSY with the bit for waiters.
        const MUSL_MUTEX: u32 = 0x8000_0010;
        /// musl: src/thread/pthread_rwlock_timedrdlock.c; a writer, with the bit for waiters.
        const MUSL_RWLOCK: u32 = 0xffff_ffff;
        let (Some(futex), Some(innermost)) = (futex, frames.first()) else { return };
        if innermost.row.is_some() {
            return;
        }
        if innermost.c_library == Some(CLibrary::Glibc) && self.nameless_glibc(futex, frames) {
            return;
        }
        if futex.command != futex::WAIT {
            return;
        }
        match (innermost.c_library, futex.expected) {
            (Some(CLibrary::Glibc), GLIBC_CONTENDED) => {
                self.kind = WaitKind::Mutex;
                self.layout = Layout::NoOwner("glibc's internal locks store no owner");
                self.found = frames
                    .iter()
                    .take_while(|frame| frame.c_library.is_some())
                    .position(|frame| frame.function.is_some())
                    .map(|at| (at, Found::Frame));
            }
            (Some(CLibrary::Musl), MUSL_MUTEX) => {
                self.kind = WaitKind::Mutex;
                self.layout = Layout::PthreadMutex;
            }
            (Some(CLibrary::Musl), MUSL_RWLOCK) => {
                self.kind = WaitKind::Rwlock;
                self.layout = Layout::PthreadRwlock;
            }
            _ => {}
        }
    }
}

/// Whether glibc's pthread_cond_wait waits for its mutex: for a signal it waits at the value 0, since
/// glibc 2.34 with FUTEX_WAIT_BITSET, while the mutex's low-level lock waits with FUTEX_WAIT at 2
/// (nptl/pthread_cond_wait.c, nptl/lowlevellock.c of glibc 2.25 to 2.41).
fn takes_mutex_again(futex: Option<FutexWait>, row: &Primitive) -> bool {
    row.pattern.starts_with("pthread_cond")
        && futex.is_some_and(|f| f.command == futex::WAIT && f.expected == 2)
}

/// Whether a function around a wait of kind `inner` says better what it is for.
fn outranks(row: &Primitive, kind: WaitKind, inner: WaitKind) -> bool {
    if kind == inner {
        return true;
    }
    match inner {
        WaitKind::Futex => true,
        WaitKind::Condvar | WaitKind::Semaphore => row.wraps,
        WaitKind::Mutex => row.over_lock,
        WaitKind::Poll | WaitKind::Sleep | WaitKind::Unknown => row.polls,
        _ => false,
    }
}

#[cfg(test)]
mod tests;

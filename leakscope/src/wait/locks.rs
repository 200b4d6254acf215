//! Locks in the target's memory: which one it is, and who holds it.
//!
//! A layout is checked before it is trusted: what does not look like such a lock has an unknown owner.

use std::collections::HashMap;

use super::classify::LockRef;
use super::primitive_tables::ONCE;
use super::primitives::Layout;
use super::syscalls::{FutexWait, futex};
use super::{FUTEX_MEMORY, FUTEX_MEMORY_BEFORE, FutexMemory, ThreadSnapshot};
use crate::peers::{OtherThread, Others};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Where the lock object begins.
    pub address: u64,
    /// Who holds it.
    pub owner: Owner,
}

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A thread of the snapshot.
    Thread {
        /// Its ID in our PID namespace.
        tid: u32,
        /// How that is known.
        method: &'static str,
    },
    /// A thread of another process.
    Elsewhere(Elsewhere),
    /// It is not known.
    Unknown {
        why: String,
        /// Whether somebody of this process holds it, and the lock just does not tell who.
        held: Held,
    },
}

/// A thread of another process that holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elsewhere {
    pub thread: OtherThread,
    /// Whether a fork has copied the lock while it was held: what happens to the original does not reach the copy.
    pub copied: bool,
}

/// Whether a lock is held, as far as it tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// That is not known, or by no one thread.
    Unknown,
    /// By one thread.
    One,
    /// By one reader.
    Reader,
    /// By the thread that runs an initialisation.
    Initialiser,
}

impl Owner {
    fn unknown(why: impl Into<String>) -> Self {
        Self::Unknown { why: why.into(), held: Held::Unknown }
    }

    fn held(why: impl Into<String>) -> Self {
        Self::Unknown { why: why.into(), held: Held::One }
    }
}

/// Threads by the TID that they have in their own namespace.
#[derive(Clone, Debug, Default)]
pub struct ThreadIds {
    own: HashMap<u32, u32>,
    others: Others,
}

impl ThreadIds {
    /// Those of a snapshot.
    pub fn new(snapshot: &ThreadSnapshot) -> Self {
        let own = snapshot.threads.iter().map(|thread| (thread.ns_tid, thread.tid)).collect();
        Self { own, others: snapshot.others.clone() }
    }

    /// Our TID of the thread that calls itself `ns_tid`.
    pub fn get(&self, ns_tid: u32) -> Option<u32> {
        self.own.get(&ns_tid).copied()
    }

    /// The thread of another process that calls itself `ns_tid`.
    fn other(&self, ns_tid: u32) -> Option<&OtherThread> {
        self.others.threads.iter().find(|thread| thread.ns_tid == ns_tid)
    }
}

const RELEASED: &str = "the lock was just released";
/// Why an owner is unknown that the waiters saw differently.
pub const RELEASED_BETWEEN: &str = "the lock changed hands while the threads were looked at";
const REFUSED: &str =
    "the kernel has refused it for ever, since waiting would be a deadlock, or its holder has ended";
const UNREADABLE: &str = "the lock's memory could not be read";
const ODD: &str = "the lock's memory does not look like a lock of a C library known here";

/// Bits of a futex word that holds a TID: include/uapi/linux/futex.h.
const FUTEX_TID_MASK: u32 = 0x3fff_ffff;
const FUTEX_OWNER_DIED: u32 = 0x4000_0000;
const FUTEX_WAITERS: u32 = 0x8000_0000;

/// Finds a lock's address and owner. `memory` is what lies around the futex word.
///
/// `None` if the word turns out to be part of no lock.
pub fn decode(lock: &LockRef, memory: Option<&FutexMemory>, threads: &ThreadIds) -> Option<Lock> {
    let word = lock.futex.word;
    let memory = memory.filter(|memory| memory.address == word && !memory.known.is_empty());
    let view = View { memory, futex: lock.futex, threads };
    let at_word = |owner| Some(Lock { address: word, owner });
    match lock.layout {
        Layout::PthreadMutex => Some(view.pthread_mutex()),
        Layout::PthreadRwlock => Some(view.pthread_rwlock()),
        Layout::Join => view.join(),
        Layout::RustRwLockState => at_word(view.rust_rwlock(0)),
        Layout::RustRwLockNotify => Some(Lock { address: word.wrapping_sub(4), owner: view.rust_rwlock(-4) }),
        ONCE => {
            at_word(Owner::Unknown { why: "an initialisation runs once".to_owned(), held: Held::Initialiser })
        }
        Layout::NoOwner(why) => at_word(Owner::held(why)),
        Layout::Inherit | Layout::Elsewhere => None,
    }
}

/// The memory around a futex word.
struct View<'a> {
    memory: Option<&'a FutexMemory>,
    futex: FutexWait,
    threads: &'a ThreadIds,
}

impl View<'_> {
    /// The 32-bit word `offset` bytes from the futex word.
    fn word(&self, offset: i64) -> Option<u32> {
        let start = usize::try_from(i64::try_from(FUTEX_MEMORY_BEFORE).ok()?.checked_add(offset)?).ok()?;
        let end = start.checked_add(4)?;
        let memory = self.memory.filter(|memory| memory.known.start <= start && end <= memory.known.end)?;
        let bytes = memory.bytes.get(start..end)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }

    /// The owner that a TID in a lock names.
    fn thread(&self, ns_tid: u32, shared: bool, method: &'static str) -> Owner {
        if let Some(tid) = self.threads.get(ns_tid) {
            return Owner::Thread { tid, method };
        }
        match self.threads.other(ns_tid) {
            Some(thread) if thread.related => {
                Owner::Elsewhere(Elsewhere { thread: thread.clone(), copied: !shared })
            }
            Some(thread) => Owner::unknown(format!(
                "TID {ns_tid} is no thread of this process; thread {} of process {} ({}) has that number now, which need \
                 not have been the holder",
                thread.tid, thread.pid, thread.process_name
            )),
            None if self.threads.others.nobody.contains(&ns_tid) => {
                Owner::unknown(format!("thread {ns_tid}, which took it, has ended without releasing it"))
            }
            None if shared => Owner::unknown(format!(
                "TID {ns_tid} is no thread of this process: the lock is shared between processes"
            )),
            None => Owner::unknown(format!(
                "TID {ns_tid} is no thread of this process: the holder has ended without releasing it, or is one of \
                 another process (a fork copies locks that are held)"
            )),
        }
    }

    fn pthread_mutex(&self) -> Lock {
        let address = self.futex.word;
        // glibc then waits on a word of its own that is 0 for ever (nptl/pthread_mutex_lock.c, after ESRCH and EDEADLK
        // of FUTEX_LOCK_PI).
        if matches!(self.futex.command, futex::WAIT | futex::WAIT_BITSET) && self.futex.expected == 0 {
            return Lock { address, owner: Owner::unknown(REFUSED) };
        }
        if self.memory.is_none() {
            return Lock { address, owner: Owner::unknown(UNREADABLE) };
        }
        if let Some(owner) = self.glibc_mutex() {
            return Lock { address, owner };
        }
        if let Some(owner) = self.musl_mutex() {
            return Lock { address: address.wrapping_sub(4), owner };
        }
        Lock { address, owner: Owner::unknown(self.no_lock()) }
    }

    /// glibc's `struct __pthread_mutex_s` of x86-64, unchanged from 2.4 to 2.41
    /// (sysdeps/x86/nptl/bits/struct_mutex.h): __lock at 0, __owner at 8, __nusers at 12, __kind at 16.
    fn glibc_mutex(&self) -> Option<Owner> {
        /// Bits of __kind: nptl/pthreadP.h.
        const TYPE: u32 = 3;
        const ROBUST: u32 = 0x10;
        const INHERIT: u32 = 0x20;
        const PROTECT: u32 = 0x40;
        const SHARED: u32 = 0x80;
        const ELISION: u32 = 0x100 | 0x200;
        /// Of a priority-protected mutex, the bits of its word that hold the ceiling.
        const CEILING: u32 = 0xfff8_0000;
        const METHOD: &str = "__owner of glibc's pthread_mutex_t";
        const IN_WORD: &str = "the TID in the word of glibc's pthread_mutex_t";
        let (word, owner, kind) = (self.word(0)?, self.word(8)?, self.word(16)?);
        if kind & !(TYPE | ROBUST | INHERIT | PROTECT | SHARED | ELISION) != 0 || owner > FUTEX_TID_MASK {
            return None;
        }
        let priority = matches!(self.futex.command, futex::LOCK_PI | futex::LOCK_PI2);
        if priority != (kind & INHERIT != 0) && word != 0 {
            return None;
        }
        let shared = kind & SHARED != 0;
        if kind & (ROBUST | INHERIT) != 0 {
            if word & FUTEX_OWNER_DIED != 0 {
                return Some(Owner::unknown("its holder ended while it held the lock"));
            }
            let tid = word & FUTEX_TID_MASK;
            return match (tid, owner) {
                (0, _) => Some(Owner::unknown(RELEASED)),
                // The word and the owner are not written at once.
                (_, 0) => Some(self.thread(tid, shared, IN_WORD)),
                _ if owner == tid => Some(self.thread(tid, shared, METHOD)),
                _ => None,
            };
        }
        let state = if kind & PROTECT != 0 { word & !CEILING } else { word };
        match (state, owner) {
            (0, _) => Some(Owner::unknown(RELEASED)),
            (1 | 2, 0) => Some(Owner::unknown("the lock was just released or just taken")),
            (1 | 2, _) => Some(self.thread(owner, shared, METHOD)),
            _ => None,
        }
    }

    /// musl's pthread_mutex_t, 1.2 (src/internal/pthread_impl.h): _m_type at 0, _m_lock at 4, which is
    /// the futex; only types other than the normal one put a TID there (pthread_mutex_trylock.c).
    fn musl_mutex(&self) -> Option<Owner> {
        const NORMAL_HELD: u32 = 16;
        const SHARED: u32 = 128;
        /// Type, robust, priority inheritance, shared.
        const KNOWN: u32 = 3 | 4 | 8 | SHARED;
        const METHOD: &str = "the TID in the word of musl's pthread_mutex_t";
        let (kind, word) = (self.word(-4)?, self.word(0)?);
        if kind & !KNOWN != 0 {
            return None;
        }
        if word & FUTEX_TID_MASK == 0 {
            return Some(Owner::unknown(RELEASED));
        }
        if kind & 15 == 0 {
            return (word & !FUTEX_WAITERS == NORMAL_HELD)
                .then(|| Owner::held("musl's normal mutex stores no owner"));
        }
        if word & FUTEX_OWNER_DIED != 0 {
            return Some(Owner::unknown("its holder ended while it held the lock"));
        }
        // Who waits has set the bit.
        (word & FUTEX_WAITERS != 0).then(|| self.thread(word & FUTEX_TID_MASK, kind & SHARED != 0, METHOD))
    }

    fn pthread_rwlock(&self) -> Lock {
        /// Values that glibc waits for on its two futexes that are none of readers: nptl/pthreadP.h,
        /// PTHREAD_RWLOCK_FUTEX_USED and the bit below it.
        const MAX_PHASE: u32 = 3;
        let word = self.futex.word;
        // glibc 2.25 (sysdeps/x86/nptl/bits/struct_rwlock.h): __readers at 0, __wrphase_futex at 8,
        // __writers_futex at 12, of an object that is aligned to 8.
        let offset: i64 = match (self.futex.expected, word % 8) {
            (0..=MAX_PHASE, 4) => -12,
            (0..=MAX_PHASE, 0) => -8,
            (_, 0 | 4) if self.futex.expected & FUTEX_WAITERS != 0 => {
                return Lock { address: word, owner: self.musl_rwlock() };
            }
            (_, 0) => 0,
            _ => return Lock { address: word, owner: Owner::unknown(ODD) },
        };
        let address = word.wrapping_add_signed(offset);
        if self.memory.is_none() {
            return Lock { address, owner: Owner::unknown(UNREADABLE) };
        }
        match self.glibc_rwlock(offset) {
            Some(owner) => Lock { address, owner },
            None => Lock { address: word, owner: Owner::unknown(self.no_lock()) },
        }
    }

    /// Why the memory is no lock that is known here.
    fn no_lock(&self) -> &'static str {
        let whole = self.memory.is_some_and(|memory| memory.known == (0..FUTEX_MEMORY));
        if whole { ODD } else { UNREADABLE }
    }

    /// glibc's `struct __pthread_rwlock_arch_t` of x86-64, 2.25 to 2.41: as above, and __cur_writer at
    /// 24, __shared at 28, __flags at 48. The states are described in nptl/pthread_rwlock_common.c.
    fn glibc_rwlock(&self, base: i64) -> Option<Owner> {
        const WRITE_PHASE: u32 = 1;
        const WRITE_LOCKED: u32 = 2;
        const READER_SHIFT: u32 = 3;
        const METHOD: &str = "__cur_writer of glibc's pthread_rwlock_t";
        let [readers, phase, writers, writer, shared] =
            [0, 8, 12, 24, 28].map(|offset| self.word(base + offset));
        let (readers, phase, writers, writer, shared) = (readers?, phase?, writers?, writer?, shared?);
        // The memory that was kept does not always reach the flags.
        let flags = self.word(base + 48).unwrap_or_default();
        if phase > 3 || writers > 3 || shared > 1 || flags > 2 || writer > FUTEX_TID_MASK {
            return None;
        }
        let reading = readers >> READER_SHIFT;
        Some(match (readers & WRITE_LOCKED != 0, readers & WRITE_PHASE != 0) {
            (true, true) if writer != 0 => self.thread(writer, shared == 1, METHOD),
            (true, true) => Owner::unknown("the lock was just released or just taken"),
            (_, false) if reading > 0 => held_by_readers(reading),
            _ => Owner::unknown(RELEASED),
        })
    }

    /// musl's pthread_rwlock_t, 1.2 (src/thread/pthread_rwlock_tryrdlock.c): one word, the number of
    /// readers, or 0x7fffffff for a writer, and the bit for waiters.
    fn musl_rwlock(&self) -> Owner {
        const WRITER: u32 = 0x7fff_ffff;
        match self.word(0).map(|word| word & !FUTEX_WAITERS) {
            None => Owner::unknown(UNREADABLE),
            Some(0) => Owner::unknown(RELEASED),
            Some(WRITER) => Owner::held("musl's readers-writer locks store no owner"),
            Some(readers) => held_by_readers(readers),
        }
    }

    /// glibc's `struct pthread`: `tid`, the joined thread's, which the kernel clears when it has ended
    /// (nptl/descr.h, nptl/pthread_join_common.c).
    fn join(&self) -> Option<Lock> {
        let ns_tid = self.futex.expected;
        let unchanged = self.memory.is_none() || self.word(0) == Some(ns_tid);
        let tid = self.threads.get(ns_tid).filter(|_| unchanged && ns_tid != 0)?;
        let owner = Owner::Thread { tid, method: "the thread that is joined" };
        Some(Lock { address: self.futex.word, owner })
    }

    /// Rust's std RwLock, 1.62 to 1.95 (library/std/src/sys/sync/rwlock/futex.rs): the low 30 bits of
    /// `state` count readers; all set, a writer has it.
    fn rust_rwlock(&self, state: i64) -> Owner {
        const MASK: u32 = (1 << 30) - 1;
        match self.word(state).map(|word| word & MASK) {
            None => Owner::unknown(UNREADABLE),
            Some(0) => Owner::unknown(RELEASED),
            Some(MASK) => Owner::held("Rust's std RwLock stores no owner"),
            Some(readers) => held_by_readers(readers),
        }
    }
}

fn held_by_readers(readers: u32) -> Owner {
    match readers {
        1 => Owner::Unknown {
            why: "held by 1 reader; a read lock stores no owners".to_owned(),
            held: Held::Reader,
        },
        _ => Owner::unknown(format!("held by {readers} readers; a read lock stores no owners")),
    }
}

#[cfg(test)]
mod tests;

//! Asks who is at the other end of what blocked threads wait for.

use std::collections::{BTreeSet, HashMap};

use super::memory::Memory;
use crate::peers::{self, Budget, Children, End, File, LockKind, Question, Target};
use crate::process::Process;
use crate::wait::{
    FUTEX_MEMORY_BEFORE, FdTarget, FutexMemory, Syscall, Thread, ThreadSnapshot, WaitKind, syscalls,
};

/// Questions that are asked for a snapshot; threads that wait for the same thing ask one.
const MOST_QUESTIONS: usize = 200;
/// Bytes of a path that are read.
const LONGEST_PATH: usize = 1024;
/// AT_FDCWD (include/uapi/linux/fcntl.h)
const CURRENT_DIRECTORY: i32 = -100;

/// Adds what its threads wait for, and the threads of other processes that locks name.
pub(super) fn add(snapshot: &mut ThreadSnapshot, process: &Process) {
    let memory = Memory::of(process.through);
    let target = Target { pid: process.pid, through: process.through };
    let budget = Budget::default();
    let words = words(snapshot);
    if !words.is_empty() {
        snapshot.others = peers::others(target, &words, &budget);
    }
    let mut asked: HashMap<Question, Vec<usize>> = HashMap::new();
    let mut questions = Vec::new();
    for (at, thread) in snapshot.threads.iter().enumerate() {
        let Some(question) = question(thread, &memory) else { continue };
        if let Some(threads) = asked.get_mut(&question) {
            threads.push(at);
        } else if questions.len() < MOST_QUESTIONS {
            questions.push(question.clone());
            asked.insert(question, vec![at]);
        }
    }
    let answers = peers::find(target, &questions, &budget);
    for (question, answer) in questions.iter().zip(answers) {
        let threads = asked.get(question).map_or(&[][..], Vec::as_slice);
        // One that has gone on has left its descriptor to whatever came then.
        let waits = |thread: &Thread| {
            thread.syscall.is_some_and(|call| peers::is_in(thread.tid, call.number, &call.args))
        };
        if threads.first().is_some_and(|first| waits(&snapshot.threads[*first])) {
            threads.iter().for_each(|at| snapshot.threads[*at].peer.clone_from(&answer));
        }
    }
}

/// What a thread waits for, if another process can be at its other end.
fn question(thread: &Thread, memory: &Memory) -> Option<Question> {
    thread.blocked_ns?;
    let call = thread.syscall?;
    let facts = syscalls::facts(&call);
    let name = facts.name?;
    let [first, second, third, ..] = call.args;
    let fd = first as i32;
    match name {
        "poll" | "ppoll" if second as u32 == 1 => polled(first, memory),
        "select" | "pselect6" => selected(&call, memory),
        "flock" => Some(Question::Lock { fd, kind: LockKind::Flock }),
        "fcntl" => lock_kind(second).map(|kind| Question::Lock { fd, kind }),
        "wait4" => Some(Question::Children(match first as i32 {
            -1 => Children::Any,
            0 => Children::Group(None),
            pid @ 1.. => Children::Process(pid.unsigned_abs()),
            group => Children::Group(Some(group.unsigned_abs())),
        })),
        "waitid" => children(first, second).map(Question::Children),
        "open" => opening(thread.tid, CURRENT_DIRECTORY, first, second, memory),
        "openat" => opening(thread.tid, fd, second, third, memory),
        "mq_timedreceive" | "mq_timedsend" => Some(Question::Descriptor { fd, file: File::MessageQueue }),
        _ if !facts.descriptor => None,
        _ => of_descriptor(facts.kind, fd, thread),
    }
}

/// A call whose first argument is a descriptor: of those that wait for a file system nobody is at the other end.
fn of_descriptor(kind: WaitKind, fd: i32, thread: &Thread) -> Option<Question> {
    let file = match (kind, FdTarget::of(&thread.descriptor)) {
        (WaitKind::Socket | WaitKind::Pipe, _) => File::Other,
        (WaitKind::Unknown, Some(FdTarget::Pipe)) => File::Fifo,
        (WaitKind::Unknown, Some(FdTarget::Terminal)) => File::Terminal,
        (WaitKind::Unknown, Some(FdTarget::Socket | FdTarget::Events)) => File::Other,
        _ => return None,
    };
    Some(Question::Descriptor { fd, file })
}

/// Commands of fcntl(2) that wait for a lock (include/uapi/asm-generic/fcntl.h).
fn lock_kind(command: u64) -> Option<LockKind> {
    match command {
        7 => Some(LockKind::Posix),
        38 => Some(LockKind::Description),
        _ => None,
    }
}

/// The first two arguments of waitid(2) (include/uapi/linux/wait.h).
fn children(kind: u64, id: u64) -> Option<Children> {
    match kind as u32 {
        0 => Some(Children::Any),
        1 => Some(Children::Process(id as u32)),
        2 => Some(Children::Group(Some(id as u32).filter(|id| *id != 0))),
        3 => Some(Children::Descriptor(id as i32)),
        _ => None,
    }
}

/// The descriptor of a `struct pollfd`, where there is one.
fn polled(address: u64, memory: &Memory) -> Option<Question> {
    let mut bytes = [0; 8];
    let fd = (memory.read(address, &mut bytes) == bytes.len())
        .then(|| i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))?;
    (fd >= 0).then_some(Question::Descriptor { fd, file: File::Other })
}

/// The descriptor in the three sets of select(2), if there is only one.
fn selected(call: &Syscall, memory: &Memory) -> Option<Question> {
    /// FD_SETSIZE / 8
    const MOST_BYTES: usize = 128;
    let [count, sets @ .., _, _] = call.args;
    let length = usize::try_from(count).ok()?.div_ceil(8).next_multiple_of(8);
    if length > MOST_BYTES {
        return None;
    }
    let mut found = BTreeSet::new();
    for set in sets.into_iter().filter(|set| *set != 0) {
        let mut bytes = [0; MOST_BYTES];
        if memory.read(set, &mut bytes[..length]) != length {
            return None;
        }
        let is_set = |fd: &usize| bytes[fd / 8] & 1 << (fd % 8) != 0;
        found.extend((0..usize::try_from(count).ok()?).filter(is_set));
    }
    let fd = found.first().filter(|_| found.len() == 1)?;
    Some(Question::Descriptor { fd: i32::try_from(*fd).ok()?, file: File::Other })
}

/// A file that is opened for reading or writing only.
fn opening(tid: u32, directory: i32, path: u64, flags: u64, memory: &Memory) -> Option<Question> {
    let end = match flags & 0o3 {
        0 => End::Write,
        1 => End::Read,
        _ => return None,
    };
    let mut bytes = vec![0; LONGEST_PATH];
    let read = memory.read(path, &mut bytes);
    let length = bytes[..read].iter().position(|byte| *byte == 0).filter(|length| *length > 0)?;
    bytes.truncate(length);
    let directory = (directory != CURRENT_DIRECTORY).then_some(directory);
    Some(Question::Opening { tid, directory, path: bytes, end })
}

/// Words of locks that may be IDs of threads other than these, each with the address of a futex near which it stands.
///
/// They stand in the word itself or behind it: of a mutex 8 bytes, of a readers-writer lock 12 or 16
/// ([`crate::wait::locks`]).
fn words(snapshot: &ThreadSnapshot) -> Vec<(u32, u64)> {
    // Owners first: what else lies there is never looked up if there are many locks.
    const OFFSETS: [usize; 5] = [8, 0, 16, 12, 24];
    /// Locks of one word, which may lie in different memory.
    const MOST_LOCKS: usize = 4;
    /// FUTEX_TID_MASK (include/uapi/linux/futex.h)
    const TID_MASK: u32 = 0x3fff_ffff;
    /// PID_MAX_LIMIT (include/linux/threads.h)
    const MOST: u32 = 1 << 22;
    let futexes: Vec<&FutexMemory> =
        snapshot.threads.iter().filter_map(|thread| thread.futex.as_ref()).collect();
    if futexes.is_empty() {
        return Vec::new();
    }
    let own: BTreeSet<u32> = snapshot.threads.iter().map(|thread| thread.ns_tid).collect();
    let mut seen: HashMap<u32, Vec<u64>> = HashMap::new();
    let mut words = Vec::new();
    for offset in OFFSETS {
        for futex in &futexes {
            let start = FUTEX_MEMORY_BEFORE + offset;
            let known = futex.known.start <= start && start + 4 <= futex.known.end;
            let Some(bytes) = futex.bytes.get(start..start + 4).filter(|_| known) else { continue };
            let word = bytes.try_into().map_or(0, u32::from_le_bytes) & TID_MASK;
            // 1 is the first process of a namespace, and a value that most locks have somewhere.
            if !(2..=MOST).contains(&word) || own.contains(&word) {
                continue;
            }
            let locks = seen.entry(word).or_default();
            if locks.len() < MOST_LOCKS && !locks.contains(&futex.address) {
                locks.push(futex.address);
                words.push((word, futex.address));
            }
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::FUTEX_MEMORY;
    use crate::wait::tests::thread;

    fn asked(number: u32, args: [u64; 6]) -> Option<Question> {
        let call = Syscall { number, args };
        let memory = Memory::of(std::process::id());
        question(&Thread { syscall: Some(call), ..thread(1) }, &memory)
    }

    #[test]
    fn questions_of_calls() {
        let descriptor = |fd| Some(Question::Descriptor { fd, file: File::Other });
        let pollfd = [5i32.to_le_bytes(), [1, 0, 0, 0]].concat();
        let at = pollfd.as_ptr() as u64;
        assert_eq!(asked(7, [at, 1, 0, 0, 0, 0]), descriptor(5));
        assert_eq!(asked(7, [at, 2, 0, 0, 0, 0]), None, "an event loop");
        assert_eq!(asked(7, [8, 1, 0, 0, 0, 0]), None, "unreadable");
        let set = [0x40u64, 0];
        let at = set.as_ptr() as u64;
        assert_eq!(asked(23, [7, at, 0, at, 0, 0]), descriptor(6));
        let sets = [0x40u64, 0x10];
        assert_eq!(
            asked(23, [7, sets.as_ptr() as u64, &raw const sets[1] as u64, 0, 0, 0]),
            None,
            "two descriptors"
        );
        assert_eq!(asked(23, [u64::MAX, at, 0, 0, 0, 0]), None);
        assert_eq!(asked(45, [9, 0, 0, 0, 0, 0]), descriptor(9));
        assert_eq!(asked(73, [3, 2, 0, 0, 0, 0]), Some(Question::Lock { fd: 3, kind: LockKind::Flock }));
        assert_eq!(asked(72, [3, 7, 0, 0, 0, 0]), Some(Question::Lock { fd: 3, kind: LockKind::Posix }));
        assert_eq!(asked(72, [3, 6, 0, 0, 0, 0]), None);
        assert_eq!(asked(61, [u64::from(u32::MAX), 0, 0, 0, 0, 0]), Some(Question::Children(Children::Any)));
        assert_eq!(asked(61, [12, 0, 0, 0, 0, 0]), Some(Question::Children(Children::Process(12))));
        assert_eq!(
            asked(61, [-12i64 as u64, 0, 0, 0, 0, 0]),
            Some(Question::Children(Children::Group(Some(12))))
        );
        assert_eq!(asked(247, [3, 7, 0, 0, 0, 0]), Some(Question::Children(Children::Descriptor(7))));
        assert_eq!(asked(35, [0; 6]), None, "a sleep");
    }

    #[test]
    fn a_fifo_that_is_opened() {
        let at = c"fifo".as_ptr() as u64;
        let path = b"fifo".to_vec();
        let expected = Question::Opening { tid: 1, directory: None, path, end: End::Write };
        assert_eq!(asked(257, [-100i64 as u64, at, 0, 0, 0, 0]), Some(expected));
        assert_eq!(asked(257, [-100i64 as u64, at, 2, 0, 0, 0]), None, "it waits for nobody");
    }

    #[test]
    fn words_that_may_be_threads() {
        let mut bytes = [0; FUTEX_MEMORY];
        let mut put = |offset: usize, word: u32| {
            let start = FUTEX_MEMORY_BEFORE + offset;
            bytes[start..start + 4].copy_from_slice(&word.to_le_bytes());
        };
        put(0, 0x8000_0000 | 4711);
        put(8, 7);
        put(12, 1);
        put(16, 0x0fff_ffff);
        put(24, 4712);
        let futex = FutexMemory { address: 0x5000, bytes, known: 0..FUTEX_MEMORY_BEFORE + 24 };
        let threads = vec![Thread { futex: Some(futex), ..thread(7) }, thread(8)];
        let snapshot = ThreadSnapshot { threads, ..ThreadSnapshot::default() };
        assert_eq!(words(&snapshot), [(4711, 0x5000)], "7 is its own, and what lies behind was not read");
        let futex = |address| FutexMemory { address, bytes, known: 0..FUTEX_MEMORY };
        let threads = (0..9).map(|n| Thread { futex: Some(futex(0x5000 + n * 64)), ..thread(7) }).collect();
        let many = words(&ThreadSnapshot { threads, ..ThreadSnapshot::default() });
        assert_eq!(many.iter().filter(|(word, _)| *word == 4711).count(), 4, "{many:x?}");
        assert_eq!(many.len(), 8, "and four of 4712");
    }
}

//! Memory as gdb shows it of real locks: glibc 2.36 and musl 1.2.3.

use super::*;
use crate::wait::{FUTEX_MEMORY, Thread, tests::thread};

const OWNER: u32 = 0x6281;

/// Memory whose words from the futex on are `after`, and before it `before`, nearest last.
fn memory(address: u64, before: &[u32], after: &[u32]) -> FutexMemory {
    let mut bytes = [0u8; FUTEX_MEMORY];
    let mut put = |at: usize, words: &[u32]| {
        for (i, word) in words.iter().enumerate() {
            if let Some(to) = bytes.get_mut(at + 4 * i..at + 4 * i + 4) {
                to.copy_from_slice(&word.to_le_bytes());
            }
        }
    };
    put(FUTEX_MEMORY_BEFORE - 4 * before.len(), before);
    put(FUTEX_MEMORY_BEFORE, after);
    FutexMemory::whole(address, bytes)
}

fn threads() -> ThreadIds {
    // The owner is 7 to us and 0x6281 in its container.
    let snapshot = ThreadSnapshot {
        threads: vec![Thread { ns_tid: OWNER, ..thread(7) }, thread(8)],
        ..ThreadSnapshot::default()
    };
    ThreadIds::new(&snapshot)
}

fn lock_ref(layout: Layout, word: u64, op: u32, expected: u32) -> LockRef {
    LockRef {
        layout,
        futex: FutexWait {
            word,
            command: op & futex::CMD_MASK,
            shared: op & futex::PRIVATE_FLAG == 0,
            expected,
            timed: false,
        },
    }
}

fn mutex(op: u32, words: &[u32]) -> Lock {
    let word = 0x5627_8fbc_0360;
    decode(&lock_ref(Layout::PthreadMutex, word, op, 2), Some(&memory(word, &[], words)), &threads())
        .expect("a lock")
}

fn owner_of(lock: &Lock) -> Option<u32> {
    match lock.owner {
        Owner::Thread { tid, .. } => Some(tid),
        Owner::Elsewhere(_) | Owner::Unknown { .. } => None,
    }
}

fn why(lock: &Lock) -> &str {
    match &lock.owner {
        Owner::Thread { .. } | Owner::Elsewhere(_) => "known",
        Owner::Unknown { why, .. } => why,
    }
}

#[test]
fn glibc_mutexes_of_all_kinds() {
    for (name, op, words) in [
        ("normal", 0x80, [2, 0, OWNER, 1, 0x200]),
        ("recursive", 0x80, [2, 1, OWNER, 1, 1]),
        ("error checking", 0x80, [2, 0, OWNER, 1, 2]),
        ("adaptive", 0x80, [2, 0, OWNER, 1, 3]),
        ("robust", 0, [0x8000_6281, 1, OWNER, 1, 0x290]),
        ("with inheritance", 0x86, [0x8000_6281, 1, OWNER, 1, 0x220]),
        ("with inheritance, since 2.35", 0x8d, [0x8000_6281, 1, OWNER, 1, 0x220]),
        ("robust with inheritance", 6, [0x8000_6281, 1, OWNER, 1, 0x2b0]),
        ("with a ceiling", 0x80, [0x0008_0002, 0, OWNER, 1, 0x40]),
    ] {
        let lock = mutex(op, &words);
        assert_eq!((owner_of(&lock), lock.address), (Some(7), 0x5627_8fbc_0360), "{name}");
    }
}

#[test]
fn owners_that_cannot_be_told() {
    assert_eq!(why(&mutex(0x80, &[0, 0, 0, 0, 0])), RELEASED);
    assert_eq!(why(&mutex(0x80, &[2, 0, 0, 0, 0])), "the lock was just released or just taken");
    assert_eq!(
        why(&mutex(0, &[2, 0, 12, 1, 0x80])),
        "TID 12 is no thread of this process: the lock is shared between processes"
    );
    assert_eq!(
        why(&mutex(0x80, &[2, 0, 12, 1, 0])),
        "TID 12 is no thread of this process: the holder has ended without releasing it, or is one of another process (a fork copies locks that are held)"
    );
    assert_eq!(why(&mutex(0, &[0xc000_6281, 1, OWNER, 1, 0x90])), "its holder ended while it held the lock");
    for odd in [
        [77, 0, OWNER, 1, 0],
        [2, 0, OWNER, 1, 0x7777],
        [2, 0, 0x7fff_ffff, 1, 0],
        [0x8000_0001, 0, OWNER, 1, 0x10],
        // Priority inheritance without the command for it.
        [0x8000_6281, 1, OWNER, 1, 0x20],
    ] {
        assert_eq!(why(&mutex(0x80, &odd)), ODD, "{odd:x?}");
    }
    let word = 0x1000;
    let unread = FutexMemory { known: 0..0, ..FutexMemory::whole(word, [0; FUTEX_MEMORY]) };
    let of =
        |memory| decode(&lock_ref(Layout::PthreadMutex, word, 0x80, 2), memory, &threads()).expect("a lock");
    assert_eq!(why(&of(Some(&unread))), UNREADABLE);
    assert_eq!(why(&of(None)), UNREADABLE);
    // Memory of another futex says nothing.
    assert_eq!(why(&of(Some(&memory(0x2000, &[], &[2, 0, OWNER, 1, 0])))), UNREADABLE);
}

#[test]
fn musl_mutexes() {
    let musl = |kind: u32, word: u32| {
        let address = 0x5606_9d62_0124;
        let memory = memory(address, &[kind], &[word, 1]);
        decode(&lock_ref(Layout::PthreadMutex, address, 0x80, word), Some(&memory), &threads())
            .expect("a lock")
    };
    let normal = musl(0, 0x8000_0010);
    assert_eq!((why(&normal), normal.address), ("musl's normal mutex stores no owner", 0x5606_9d62_0120));
    for kind in [1, 2, 4] {
        assert_eq!(owner_of(&musl(kind, 0x8000_0000 | OWNER)), Some(7), "{kind}");
    }
    assert_eq!(
        why(&musl(9, 0x8000_0010)),
        "TID 16 is no thread of this process: the holder has ended without releasing it, or is one of another process (a fork copies locks that are held)"
    );
    assert_eq!(why(&musl(0x4000, 0x8000_0010)), ODD);
}

#[test]
fn glibc_rwlocks() {
    let base = 0x5627_8fbc_0320;
    let all = |fields: &[u32; 14], offset: u64, expected: u32| {
        let index = offset as usize / 4;
        let (before, after) = fields.split_at(index);
        let memory = memory(base + offset, before, after);
        let lock = lock_ref(Layout::PthreadRwlock, base + offset, 0x189, expected);
        decode(&lock, Some(&memory), &threads()).expect("a lock")
    };
    let written = [0x13, 0, 3, 3, 0, 0, OWNER, 0, 0, 0, 0, 0, 0, 0];
    for (offset, expected) in [(8, 3), (12, 3)] {
        let lock = all(&written, offset, expected);
        assert_eq!((owner_of(&lock), lock.address), (Some(7), base), "{offset}");
    }
    let read = [0x12, 0, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for (offset, expected) in [(8, 2), (12, 3)] {
        let lock = all(&read, offset, expected);
        assert_eq!((why(&lock), lock.address), ("held by 2 readers; a read lock stores no owners", base));
    }
    let prefers_writers = [0xe, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0];
    for (offset, expected) in [(0, 0xe), (8, 2)] {
        let lock = all(&prefers_writers, offset, expected);
        assert_eq!((why(&lock), lock.address), ("held by 1 reader; a read lock stores no owners", base));
    }
    assert_eq!(why(&all(&[0; 14], 8, 3)), RELEASED);
    assert_eq!(
        why(&all(&[0x13, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 8, 3)),
        "the lock was just released or just taken"
    );
    assert_eq!(why(&all(&[0x13, 0, 9, 3, 0, 0, OWNER, 0, 0, 0, 0, 0, 0, 0], 8, 3)), ODD);
    assert_eq!(why(&all(&[0x13, 0, 3, 3, 0, 0, OWNER, 7, 0, 0, 0, 0, 0, 0], 8, 3)), ODD);
    let shared = all(&[0x13, 0, 3, 3, 0, 0, 99, 1, 0, 0, 0, 0, 0, 0], 12, 3);
    assert!(why(&shared).contains("shared between processes"));
}

#[test]
fn other_locks() {
    let of = |layout, word: u64, expected, before: &[u32], after: &[u32]| {
        decode(&lock_ref(layout, word, 0x80, expected), Some(&memory(word, before, after)), &threads())
    };
    let musl = |value: u32| of(Layout::PthreadRwlock, 0xe0, value, &[], &[value, 1]).expect("a lock");
    assert_eq!(why(&musl(0xffff_ffff)), "musl's readers-writer locks store no owner");
    assert_eq!(why(&musl(0x8000_0003)), "held by 3 readers; a read lock stores no owners");
    let state = of(Layout::RustRwLockState, 0x100, 0, &[], &[0x7fff_ffff, 0]).expect("a lock");
    assert_eq!((why(&state), state.address), ("Rust's std RwLock stores no owner", 0x100));
    let notify = of(Layout::RustRwLockNotify, 0x104, 0, &[0x8000_0002], &[5]).expect("a lock");
    assert_eq!((why(&notify), notify.address), ("held by 2 readers; a read lock stores no owners", 0x100));
    let joined = of(Layout::Join, 0x7f73_a578_fa10, OWNER, &[], &[OWNER]).expect("a lock");
    assert_eq!(owner_of(&joined), Some(7));
    assert_eq!(of(Layout::Join, 0x40, OWNER, &[], &[0]), None);
    assert_eq!(of(Layout::Join, 0x40, 2, &[], &[2]), None);
    assert_eq!(of(Layout::Join, 0x40, 0, &[], &[0]), None);
    let rust = of(Layout::NoOwner("Rust's std Mutex stores no owner"), 0x40, 2, &[], &[2]).expect("a lock");
    assert_eq!(rust.owner, Owner::held("Rust's std Mutex stores no owner"));
    assert_eq!(of(Layout::Elsewhere, 0x40, 0, &[], &[0]), None);
}

proptest::proptest! {
    #[test]
    fn hostile(bytes in proptest::collection::vec(proptest::num::u8::ANY, FUTEX_MEMORY), word: u64, op: u32, expected: u32, pick in 0usize..7) {
        let layouts = [Layout::PthreadMutex, Layout::PthreadRwlock, Layout::Join, Layout::RustRwLockState,
            Layout::RustRwLockNotify, Layout::NoOwner("x"), Layout::Elsewhere];
        let bytes: [u8; FUTEX_MEMORY] = bytes.try_into().expect("as long");
        let memory = FutexMemory::whole(word, bytes);
        let lock = decode(&lock_ref(layouts[pick], word, op, expected), Some(&memory), &threads());
        // An owner is always a thread of the snapshot.
        let tid = lock.as_ref().and_then(owner_of);
        proptest::prop_assert!(tid.is_none_or(|tid| tid == 7 || tid == 8));
    }
}

/// A lock at the edge of what is mapped: the memory before the word, or behind the lock, is not there.
#[test]
fn a_lock_at_the_edge_of_its_mapping() {
    let word = 0x7f00_0000_1000;
    let whole = memory(word, &[], &[2, 0, 12, 1, 0]);
    let threads = ThreadIds { own: [(12, 1012)].into(), others: Others::default() };
    let futex = FutexWait { word, command: futex::WAIT, shared: false, expected: 2, timed: false };
    let lock = LockRef { futex, layout: Layout::PthreadMutex };
    let owner = |known: std::ops::Range<usize>| {
        let memory = FutexMemory { known, ..whole.clone() };
        decode(&lock, Some(&memory), &threads).expect("a lock").owner
    };
    let held = owner(0..FUTEX_MEMORY);
    assert!(matches!(held, Owner::Thread { tid: 1012, .. }), "{held:?}");
    assert_eq!(owner(FUTEX_MEMORY_BEFORE..FUTEX_MEMORY), held, "nothing lies before it");
    assert_eq!(owner(0..FUTEX_MEMORY_BEFORE + 40), held, "nothing lies behind it");
    // Its own words are needed.
    assert_eq!(owner(0..FUTEX_MEMORY_BEFORE + 16), Owner::unknown(UNREADABLE));
    assert_eq!(owner(0..0), Owner::unknown(UNREADABLE));
}

#[test]
fn threads_of_other_processes() {
    let other = |related| OtherThread {
        ns_tid: 400,
        tid: 1400,
        pid: 1399,
        thread_name: "flush".to_owned(),
        process_name: "parent".to_owned(),
        related,
    };
    let of = |kind: u32, others| {
        let threads = ThreadIds { own: HashMap::new(), others };
        let memory = memory(0x1000, &[], &[2, 0, 400, 1, kind]);
        decode(&lock_ref(Layout::PthreadMutex, 0x1000, 0x80, 2), Some(&memory), &threads).expect("a lock")
    };
    for (kind, copied) in [(0x80, false), (0, true)] {
        let lock = of(kind, Others { threads: vec![other(true)], nobody: vec![] });
        assert_eq!(lock.owner, Owner::Elsewhere(Elsewhere { thread: other(true), copied }));
    }
    let stranger = of(0, Others { threads: vec![other(false)], nobody: vec![] });
    assert!(why(&stranger).contains("need not have been the holder"), "{}", why(&stranger));
    let gone = of(0, Others { threads: vec![], nobody: vec![400] });
    assert!(why(&gone).contains("has ended"), "{}", why(&gone));
    let not_asked = of(0, Others::default());
    assert!(why(&not_asked).contains("or is one of another process"), "{}", why(&not_asked));
}

/// After the kernel has refused a mutex with priority inheritance, glibc waits at 0 on a word of its own stack.
#[test]
fn a_lock_that_the_kernel_has_refused() {
    let lock = decode(
        &lock_ref(Layout::PthreadMutex, 0x7f38_a12e_ce84, 0x80, 0),
        Some(&memory(0x7f38_a12e_ce84, &[], &[0, 0, 0, 0, 0])),
        &threads(),
    );
    let lock = lock.expect("a lock");
    assert!(why(&lock).contains("refused it for ever"), "{}", why(&lock));
}

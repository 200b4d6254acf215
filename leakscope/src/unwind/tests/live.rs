//! Walks of this process's own stack, against libgcc's unwinder.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Mutex;

use leakscope_common::unwind::{MappingEntry, ReadWord, Regs, StackEnd};

use crate::process::{ElfFile, MappingKind, maps};
use crate::unwind::{
    FileSlot, PendingReturns, UnwindTable, Walked, anonymous_entry, build, build_from_image, image_entry,
    mapping_entry, walk,
};

struct OwnMemory(File);

impl OwnMemory {
    fn open() -> Self {
        Self(File::open("/proc/self/mem").expect("own memory"))
    }
}

impl ReadWord for OwnMemory {
    fn word(&mut self, addr: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        self.0.read_exact_at(&mut bytes, addr).ok()?;
        Some(u64::from_le_bytes(bytes))
    }
}

pub(super) fn own_memory(start: u64, end: u64) -> Vec<u8> {
    let mut bytes = vec![0; (end - start) as usize];
    OwnMemory::open().0.read_exact_at(&mut bytes, start).expect("mapped");
    bytes
}

/// The table of everything executable in this process.
fn own_table() -> (UnwindTable, Vec<MappingEntry>) {
    let mut table = UnwindTable::new(u32::MAX, u32::MAX);
    let mut entries = Vec::new();
    for mapping in maps::executable(std::process::id()).expect("own maps") {
        entries.push(match &mapping.kind {
            MappingKind::File { path, .. } => {
                let elf = ElfFile::open(path).expect("a mapped file");
                let slot =
                    build(&elf, None).map_or(FileSlot::EMPTY, |rows| table.add_file(&rows).expect("fits"));
                mapping_entry(&elf, slot, &mapping).expect("executable")
            }
            MappingKind::Vdso => {
                let image = build_from_image(&own_memory(mapping.start, mapping.end)).expect("vDSO");
                let slot = table.add_file(&image.rows).expect("fits");
                image_entry(&image, slot, &mapping)
            }
            _ => anonymous_entry(&mapping),
        });
    }
    (table, entries)
}

/// What both unwinders saw from the same place.
#[derive(Debug)]
struct Walks {
    walked: Walked,
    libgcc: Vec<u64>,
}

impl Walks {
    fn addresses(&self) -> Vec<u64> {
        self.walked.frames.iter().map(|frame| frame.address).collect()
    }

    /// Both saw the same return addresses; the innermost address is each one's own.
    fn assert_same(&self) {
        assert_eq!(self.walked.end, StackEnd::Root);
        assert_eq!(self.addresses()[1..], self.libgcc[1..]);
    }
}

/// Walks from the caller's own frame: its registers, not those of a helper that returns.
#[inline(always)]
fn look(table: &(UnwindTable, Vec<MappingEntry>)) -> Walks {
    let (ip, sp, bp): (u64, u64, u64);
    // SAFETY: reads three registers and nothing else.
    unsafe {
        std::arch::asm!(
            "lea {ip}, [rip]",
            "mov {sp}, rsp",
            "mov {bp}, rbp",
            ip = out(reg) ip,
            sp = out(reg) sp,
            bp = out(reg) bp,
            options(nomem, nostack, preserves_flags),
        );
    }
    let walked = walk(
        Regs { ip, sp, bp, exact: 1 },
        &table.1,
        &table.0,
        &mut OwnMemory::open(),
        PendingReturns::default(),
    );
    let mut addresses = [std::ptr::null_mut(); 256];
    // SAFETY: the buffer holds as many pointers as the count says.
    let count = unsafe { libc::backtrace(addresses.as_mut_ptr(), addresses.len() as i32) };
    let libgcc = addresses[..count.max(0) as usize].iter().map(|&a| a as u64).collect();
    Walks { walked, libgcc }
}

#[inline(never)]
fn nested(depth: u32, table: &(UnwindTable, Vec<MappingEntry>)) -> Walks {
    let seen = if depth == 0 { look(table) } else { nested(depth - 1, table) };
    // Keeps the call above from becoming a jump.
    std::hint::black_box(seen)
}

#[test]
fn own_stack() {
    let table = own_table();
    // A library that is loaded by the first backtrace is no part of the stack.
    let seen = nested(20, &table);
    seen.assert_same();
    assert!(seen.walked.frames.len() > 22);
    let here = own_stack as *const () as u64;
    assert!(seen.addresses().iter().any(|&frame| frame > here && frame < here + 4096));
}

#[test]
fn deep_recursion_is_truncated() {
    let table = own_table();
    let seen = nested(400, &table);
    assert_eq!(seen.walked.end, StackEnd::Truncated);
    assert_eq!(seen.walked.frames.len(), leakscope_common::unwind::MAX_FRAMES);
    assert_eq!(seen.addresses()[1..], seen.libgcc[1..leakscope_common::unwind::MAX_FRAMES]);
}

#[inline(never)]
fn under<const BYTES: usize>(
    table: &(UnwindTable, Vec<MappingEntry>),
    inner: fn(&(UnwindTable, Vec<MappingEntry>)) -> Walks,
) -> Walks {
    let room = std::mem::MaybeUninit::<[u8; BYTES]>::uninit();
    std::hint::black_box(room.as_ptr());
    let seen = inner(table);
    std::hint::black_box(room.as_ptr());
    seen
}

#[test]
fn through_frames_of_many_mib() {
    let table = own_table();
    let seen = std::thread::scope(|scope| {
        let deep = || {
            under::<{ 600 << 10 }>(&table, |table| {
                under::<{ 4 << 20 }>(table, |table| under::<{ 64 << 20 }>(table, |table| nested(2, table)))
            })
        };
        let thread = std::thread::Builder::new().stack_size(100 << 20).spawn_scoped(scope, deep);
        thread.expect("a thread").join().expect("no panic")
    });
    seen.assert_same();
    assert!(seen.walked.frames.len() > 8);
}

static SEEN: Mutex<Vec<Walks>> = Mutex::new(Vec::new());

extern "C" fn compare(a: *const libc::c_void, _: *const libc::c_void) -> libc::c_int {
    // SAFETY: qsort passes pointers to elements, each the address of the table.
    let table = unsafe { &**a.cast::<*const (UnwindTable, Vec<MappingEntry>)>() };
    let seen = look(table);
    SEEN.lock().expect("not poisoned").push(seen);
    0
}

static TABLE: Mutex<Option<(UnwindTable, Vec<MappingEntry>)>> = Mutex::new(None);

extern "C" fn on_signal(_: libc::c_int) {
    let table = TABLE.lock().expect("not poisoned");
    let seen = look(table.as_ref().expect("set before"));
    SEEN.lock().expect("not poisoned").push(seen);
}

#[test]
fn through_the_c_library_and_a_signal_handler() {
    let table = own_table();
    let mut elements = [&raw const table; 2];
    // SAFETY: two elements of pointer size; the comparison only reads them.
    unsafe { libc::qsort(elements.as_mut_ptr().cast(), 2, size_of_val(&elements[0]), Some(compare)) };
    let seen = SEEN.lock().expect("not poisoned").pop().expect("compared");
    seen.assert_same();

    *TABLE.lock().expect("not poisoned") = Some(table);
    // SAFETY: the handler is async-signal-unsafe, but `raise` delivers the signal right here, where
    // no lock is held and nothing is being allocated. The old action is restored.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_signal as *const () as usize;
        let mut old = std::mem::zeroed();
        assert_eq!(libc::sigaction(libc::SIGUSR1, &raw const action, &raw mut old), 0);
        assert_eq!(libc::raise(libc::SIGUSR1), 0);
        assert_eq!(libc::sigaction(libc::SIGUSR1, &raw const old, std::ptr::null_mut()), 0);
    }
    let seen = SEEN.lock().expect("not poisoned").pop().expect("handled");
    seen.assert_same();
    // The handler, the trampoline, the interrupted raise, this test, its callers.
    assert!(seen.walked.frames.len() > 5);
}

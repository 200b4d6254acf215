//! Unwind rows and the step from one frame to its caller.
//!
//! A [`Row`] is one line of a file's `.eh_frame` table: from `pc` on (relative to the file's load
//! bias) the caller is found by this rule. Rows of a file are sorted by `pc` and reach to the next
//! row. [`step`] applies one row; it does no lookups and no allocation, so the kernel side, the
//! tests and the userspace walk all run the same code. What a row cannot hold is a [`WideRule`], which the
//! row points to.

mod step;
pub mod wide;

pub use step::{step, step_frame_pointer};
pub use wide::WideRule;

/// Bytes of text per bucket of the row index, as a shift: 1 KiB.
pub const BUCKET_SHIFT: u32 = 10;
/// Most frames a stack is unwound to.
pub const MAX_FRAMES: usize = 127;
/// The instruction `int3`, by which probes break into code.
pub const BREAKPOINT: u8 = 0xcc;
/// Bytes of stack read at once around the stack pointer.
pub const WINDOW_BYTES: usize = 1024;

/// How the canonical frame address (CFA) is found; the low 4 bits of [`Row::kinds`].
pub mod cfa {
    /// CFA = rsp + offset.
    pub const RSP: u8 = 1;
    /// CFA = rbp + offset.
    pub const RBP: u8 = 2;
    /// Lazy-binding PLT entry whose push ends at byte 11: CFA = rsp + 8, + 8 once `pc & 15 >= 11`.
    pub const PLT11: u8 = 3;
    /// Lazy-binding PLT entry whose push ends at byte 10.
    pub const PLT10: u8 = 4;
    /// CFA = *(rsp + 8 * high byte of the offset) + low byte of the offset; see [`super::Row::deref`].
    pub const DEREF_RSP: u8 = 5;
    /// CFA = *(rbp + 8 * high byte of the offset) + low byte of the offset.
    pub const DEREF_RBP: u8 = 6;
    /// The rule is a [`WideRule`](super::WideRule), at the index of the row space that the rest of the
    /// row holds: [`Row::wide`](super::Row::wide).
    pub const WIDE: u8 = 7;
    /// A rule that not even a wide one can hold.
    pub const UNSUPPORTED: u8 = 8;
    /// No function covers the addresses from here on.
    pub const NO_INFO: u8 = 9;
    /// Signal return trampoline: the registers are in the `rt_sigframe` at rsp.
    pub const SIGNAL: u8 = 10;
    /// The outermost frame: the return address is undefined.
    pub const END_OF_STACK: u8 = 11;
    /// Go's `asmcgocall`, which calls C on the thread's own stack; the row is made by
    /// [`super::Row::go_calls_c`]. So many words above rsp lies how far below its top the goroutine's
    /// stack pointer was, above that the goroutine, whose second word is that top. Without a goroutine the
    /// stack pointer itself. From there it is some words to the return address; if there are any, the
    /// first is the caller's rbp.
    pub const GO_CALLS_C: u8 = 13;
    /// Go's `systemstack` and `cgocallback`, which go on on another stack and leave rbp where they set it: the caller's
    /// rbp lies there, and above it the return address, wherever that stack is.
    pub const GO_CHANGES_STACK: u8 = 14;
}

/// Where the caller's rbp is; the high 4 bits of [`Row::kinds`].
pub mod rbp {
    /// rbp is unchanged.
    pub const SAME: u8 = 0;
    /// rbp was saved at CFA + offset.
    pub const CFA: u8 = 1;
    /// rbp cannot be recovered; it is kept as it is.
    pub const UNSUPPORTED: u8 = 2;
    /// rbp was saved at rbp + offset.
    pub const RBP: u8 = 3;
}

/// One unwind row, 8 bytes, as it lies in the row map.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// First address the row holds for, relative to the file's load bias.
    pub pc: u32,
    /// CFA offset: in units of 8 bytes for `RSP` and `RBP`; packed for the `DEREF` kinds.
    pub cfa_off: u16,
    /// CFA kind in the low 4 bits, rbp kind in the high 4.
    pub kinds: u8,
    /// Offset of the saved rbp in units of 8 bytes.
    pub rbp_off: i8,
}
const _: () = assert!(size_of::<Row>() == 8);

impl Row {
    /// A row of the given kinds; offsets already in the row's units.
    #[inline(always)]
    pub const fn new(pc: u32, cfa_kind: u8, cfa_off: u16, rbp_kind: u8, rbp_off: i8) -> Self {
        Self { pc, cfa_off, kinds: (cfa_kind & 15) | (rbp_kind << 4), rbp_off }
    }

    /// A row of [`cfa::GO_CALLS_C`]: words up to what is saved and from there to the return address, each at most 15,
    /// and where a goroutine has its number and the address behind its `go` statement, in words; 0 where that is not
    /// known.
    #[inline(always)]
    pub const fn go_calls_c(pc: u32, (up, frame): (u8, u8), (id, created_at): (u8, u8)) -> Self {
        let packed = (up & 15) as u16 | ((frame & 15) as u16) << 4 | (id as u16) << 8;
        Self { pc, cfa_off: packed, kinds: cfa::GO_CALLS_C, rbp_off: created_at as i8 }
    }

    /// A row whose rule is the wide one at this index of the row space, below [`Row::MOST_WIDE`].
    #[inline(always)]
    pub const fn wide(pc: u32, at: u32) -> Self {
        let kinds = cfa::WIDE | (at >> 16 << 4) as u8;
        Self { pc, cfa_off: at as u16, kinds, rbp_off: (at >> 20) as u8 as i8 }
    }

    /// One more than the largest index that [`Row::wide`] can hold.
    pub const MOST_WIDE: u32 = 1 << 28;

    /// Where the wide rule is.
    #[inline(always)]
    pub const fn wide_index(self) -> u32 {
        self.cfa_off as u32 | (self.rbp_kind() as u32) << 16 | (self.rbp_off as u8 as u32) << 20
    }

    /// The row as one word.
    #[inline(always)]
    pub const fn to_bits(self) -> u64 {
        self.pc as u64
            | (self.cfa_off as u64) << 32
            | (self.kinds as u64) << 48
            | (self.rbp_off as u8 as u64) << 56
    }

    /// The row that [`Row::to_bits`] made.
    #[inline(always)]
    pub const fn from_bits(bits: u64) -> Self {
        Self {
            pc: bits as u32,
            cfa_off: (bits >> 32) as u16,
            kinds: (bits >> 48) as u8,
            rbp_off: (bits >> 56) as i8,
        }
    }

    /// The packed offset of a `DEREF` row: `*(register + 8 * at) + add`.
    #[inline(always)]
    pub const fn deref(at: i8, add: u8) -> u16 {
        ((at as u8 as u16) << 8) | add as u16
    }

    /// CFA kind, one of [`cfa`].
    #[inline(always)]
    pub const fn cfa_kind(self) -> u8 {
        self.kinds & 15
    }

    /// rbp kind, one of [`rbp`].
    #[inline(always)]
    pub const fn rbp_kind(self) -> u8 {
        self.kinds >> 4
    }

    /// Whether two rows give the same rule, wherever they start.
    #[inline(always)]
    pub const fn same_rule(self, other: Self) -> bool {
        self.cfa_off == other.cfa_off && self.kinds == other.kinds && self.rbp_off == other.rbp_off
    }
}

/// One executable mapping of the target, as the kernel side looks it up; sorted by `start`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappingEntry {
    /// First address.
    pub start: u64,
    /// First address past the mapping.
    pub end: u64,
    /// Subtract it from an address to get the `pc` space of the file's rows.
    pub bias: u64,
    /// Index of the file's first bucket.
    pub bucket_base: u32,
    /// Number of buckets; one sentinel follows them. 0: no rows, frame pointers only.
    pub buckets: u32,
}
const _: () = assert!(size_of::<MappingEntry>() == 32);

impl MappingEntry {
    /// The address in the `pc` space of the file's rows; `None` if it lies outside that space.
    #[inline(always)]
    pub const fn relative(&self, ip: u64) -> Option<u32> {
        let relative = ip.wrapping_sub(self.bias);
        if relative >> 32 == 0 { Some(relative as u32) } else { None }
    }
}

/// A part of a file that is mapped as code, as the kernel knows it: what tells that it is the one whose rows were
/// uploaded, wherever it comes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FilePart {
    /// `inode.i_ino`
    pub inode: u64,
    /// `super_block.s_dev`: 12 bits of major and 20 bits of minor number.
    pub device: u64,
    /// `inode.i_size`, bytes.
    pub size: u64,
    /// Seconds of the time of its last change (`inode.i_ctime`): an inode may be another file's later.
    pub changed_s: u64,
    /// Where it begins in the file, bytes.
    pub offset: u64,
}
const _: () = assert!(size_of::<FilePart>() == 40);

/// Where the rows of a [`FilePart`] are.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartRows {
    /// The virtual address of its first byte.
    pub address: u64,
    /// See [`MappingEntry`].
    pub bucket_base: u32,
    /// See [`MappingEntry`].
    pub buckets: u32,
}
const _: () = assert!(size_of::<PartRows>() == 16);

/// The combined table of all files: the row space, and the bucket space that leads into it.
///
/// Bucket `b` of a file (counted from [`MappingEntry::bucket_base`]) holds the index of the file's
/// first row whose `pc` is at least `b << BUCKET_SHIFT`; one sentinel behind the last bucket holds
/// the end of the file's rows. The first row of a file has `pc` 0.
pub trait RowIndex {
    /// The bucket at this index of the bucket space.
    fn bucket(&self, index: u32) -> Option<u32>;
    /// The row at this index of the row space.
    fn row(&self, index: u32) -> Option<Row>;
    /// `value`. The kernel side hides from the verifier what it knows about the value: otherwise the
    /// two ends of a binary search would be tracked along every path.
    #[inline(always)]
    fn hide(&self, value: u32) -> u32 {
        value
    }
}

/// Binary steps that decide between all rows of a bucket: at most `1 << BUCKET_SHIFT` different
/// `pc`s start in one, and the row before them is a candidate too.
const BUCKET_STEPS: u32 = BUCKET_SHIFT + 1;

/// The row that holds at `relative`, an address in the `pc` space of the mapped file.
///
/// `None` means the same as a row of kind [`cfa::NO_INFO`]: no rows here, frame pointers only.
#[inline(always)]
pub fn find_row(index: &impl RowIndex, mapping: &MappingEntry, relative: u32) -> Option<Row> {
    let bucket = relative >> BUCKET_SHIFT;
    if bucket >= mapping.buckets {
        return None;
    }
    let at = mapping.bucket_base.wrapping_add(bucket);
    let mut low = index.bucket(at)?;
    let mut high = index.bucket(at.wrapping_add(1))?;
    // Rows below `low` start at or before the address, rows from `high` on start after it.
    for _ in 0..BUCKET_STEPS {
        if low >= high {
            break;
        }
        let middle = low.wrapping_add(high.wrapping_sub(low) >> 1);
        if index.row(middle)?.pc <= relative {
            low = middle.wrapping_add(1);
        } else {
            high = middle;
        }
        low = index.hide(low);
        high = index.hide(high);
    }
    // Never another file's row: the file's first row has pc 0, so it lies below `low`.
    if low == 0 { None } else { index.row(low.wrapping_sub(1)) }
}

/// Why a stack ended where it did. The numbers are on the wire and never reused.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StackEnd {
    /// The outermost frame was reached: unwind information says of its function that it has no caller.
    Root = 0,
    /// More than [`MAX_FRAMES`] frames.
    Truncated = 1,
    /// An address outside every known executable mapping.
    NoMapping = 2,
    /// A mapping without unwind rows, and the frame pointer did not help.
    NoRows = 3,
    /// A rule that needs what is not known: a register besides rsp and rbp of a frame that has called
    /// another one, or an expression that no row holds.
    Unsupported = 4,
    /// The stack could not be read.
    ReadFault = 5,
    /// The caller's frame would not lie above this one.
    NotAbove = 6,
    /// A return probe's trampoline whose record was not found.
    Trampoline = 7,
    /// A return address of 0. Some hand-written first frames have that, but so has a stack that was
    /// overwritten, so it is no root.
    NoReturnAddress = 8,
}

impl StackEnd {
    /// All ends, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Root,
        Self::Truncated,
        Self::NoMapping,
        Self::NoRows,
        Self::Unsupported,
        Self::ReadFault,
        Self::NotAbove,
        Self::Trampoline,
        Self::NoReturnAddress,
    ];

    /// The end with this number.
    pub fn from_number(n: u32) -> Option<Self> {
        Self::ALL.get(n as usize).copied()
    }
}

/// The registers that unwinding follows.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Regs {
    /// Instruction pointer.
    pub ip: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer register.
    pub bp: u64,
    /// 0: `ip` is a return address, whose call lies before it. Else it is an instruction about to run:
    /// [`Regs::INNERMOST`], or the address where the kernel saved the registers of a frame that a signal
    /// interrupted.
    pub exact: u64,
}

impl Regs {
    /// [`Regs::exact`] of the innermost frame.
    pub const INNERMOST: u64 = 1;

    /// The address to look the row up with.
    #[inline(always)]
    pub const fn lookup_ip(&self) -> u64 {
        if self.exact != 0 { self.ip } else { self.ip.wrapping_sub(1) }
    }
}

/// Hash of a stack to which the frame at `ip` is added; it begins with 0.
#[inline(always)]
pub const fn hash_frame(hash: u64, ip: u64) -> u64 {
    let hash = (hash ^ ip).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    hash ^ (hash >> 29)
}

/// Identifies a stack by the hash of its frames, how it ended, and the `go` statement of its goroutine, 0
/// without one. Never 0, the key of the site without a stack.
#[inline(always)]
pub const fn stack_identity(hash: u64, end: u64, created_at: u64) -> u64 {
    let hash = match created_at {
        0 => hash,
        statement => hash_frame(hash, statement),
    };
    let hash = hash ^ (end << 1);
    if hash == 0 { 1 } else { hash }
}

/// Reads 8-byte words of the target's memory, and registers.
pub trait ReadWord {
    /// The word at `addr`, or `None` where it cannot be read.
    fn word(&mut self, addr: u64) -> Option<u64>;

    /// The stack goes on on that of a goroutine: its number and the address behind the `go` statement that
    /// created it, 0 where that could not be read.
    #[inline(always)]
    fn goroutine(&mut self, _id: u64, _created_at: u64) {}

    /// A general register of the innermost frame, by the number that x86-64 encodes it with.
    #[inline(always)]
    fn register(&mut self, number: u8) -> Option<u64> {
        let _ = number;
        None
    }
}

#[cfg(feature = "user")]
mod pod {
    // SAFETY: `repr(C)` of integers without padding (sizes asserted above); every bit pattern is valid.
    unsafe impl aya::Pod for super::Row {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::MappingEntry {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::FilePart {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::PartRows {}
}

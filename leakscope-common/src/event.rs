//! Records of the ring buffer. Every record starts with a [`Header`].

use crate::unwind::MAX_FRAMES;

/// What a record is.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A stack on first sight: [`StackHeader`], then its frames.
    Stack = 1,
    /// The target mapped or unmapped a library, or ran code that no known mapping holds.
    MappingsChanged = 2,
    /// A thread of the target began: [`ThreadEvent`].
    ThreadStart = 3,
    /// A thread of the target ended: [`ThreadEvent`].
    ThreadExit = 4,
    /// The target replaced its program: [`ThreadEvent`].
    Exec = 5,
    /// The target's main thread ended: [`ThreadEvent`]. The kernel ties the probes to it.
    LeaderExit = 6,
    /// A wait of at least `--min-wait` ended: [`WaitEvent`].
    Wait = 7,
}

/// First 8 bytes of every record.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// A number of [`Kind`].
    pub kind: u32,
    /// Records of kind `Stack`: number of frames. Otherwise 0.
    pub count: u32,
}
const _: () = assert!(size_of::<Header>() == 8);

/// A stack on first sight; `header.count` frames follow as `u64`, innermost first.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackHeader {
    /// Kind and frame count.
    pub header: Header,
    /// Hash of the frames; the site's key.
    pub id: u64,
    /// A number of `StackEnd`.
    pub end: u32,
    /// Bytes of this header. 0 in recordings of before [`Self::created_at`] was there: their frames begin in its place.
    pub size: u32,
    /// When it was seen, CLOCK_MONOTONIC in ns.
    pub at_ns: u64,
    /// Of C that a goroutine calls, the address behind the `go` statement that created that; else 0.
    pub created_at: u64,
}
const _: () = assert!(size_of::<StackHeader>() == 40);

/// Marks a frame whose address is no return address; user addresses reach to bit 46 only.
pub const EXACT: u64 = 1 << 63;

/// A stack record as it is built in the kernel.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct StackRecord {
    /// The fixed part.
    pub fixed: StackHeader,
    /// Addresses, innermost first, with [`EXACT`] set where the address is of an instruction about
    /// to run (the innermost frame, and one that a signal interrupted), not a return address. One
    /// more than [`MAX_FRAMES`] so that a masked index is in bounds.
    pub frames: [u64; MAX_FRAMES + 1],
}
const _: () = assert!(size_of::<StackRecord>() == 40 + 1024);

/// Something that happened to a thread or to the process.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadEvent {
    /// Kind.
    pub header: Header,
    /// When, CLOCK_MONOTONIC in ns.
    pub at_ns: u64,
    /// Process.
    pub tgid: u32,
    /// Thread.
    pub tid: u32,
}
const _: () = assert!(size_of::<ThreadEvent>() == 24);

/// A single wait that ended.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitEvent {
    /// Kind.
    pub header: Header,
    /// When it began, CLOCK_MONOTONIC in ns.
    pub since_ns: u64,
    /// How long it took, ns.
    pub wait_ns: u64,
    /// Hash of the stack.
    pub site: u64,
    /// Thread.
    pub tid: u32,
    /// Always 0; fills the record to a multiple of 8.
    pub reserved: u32,
}
const _: () = assert!(size_of::<WaitEvent>() == 40);

#[cfg(feature = "user")]
mod pod {
    // SAFETY: `repr(C)` of integers without padding (sizes asserted above); every bit pattern is valid.
    unsafe impl aya::Pod for super::ThreadEvent {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::WaitEvent {}
}

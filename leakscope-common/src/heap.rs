//! Values of the maps of the heap account.

/// Allocator calls that may be pending at once in a thread: one, and one more for each signal handler
/// that allocates while it interrupts another.
pub const INFLIGHT_DEPTH: usize = 4;

/// A live block; the key is its address.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct LiveBlock {
    /// Requested size in bytes.
    pub size: u64,
    /// Hash of the allocating stack: key into the map of sites. 0: the map of sites was full.
    pub site: u64,
    /// When it was allocated, CLOCK_MONOTONIC in ns. A reallocation, which charges the block to its own site, leaves
    /// that as it is.
    pub at_ns: u64,
    /// Bytes that were there before: of a block that nobody saw being allocated, the size that it had when a
    /// reallocation showed it first, or the least since then. Only what it holds beyond that is charged to its site.
    /// 0: it is new, or all that was there before is gone.
    pub base: u64,
}
const _: () = assert!(size_of::<LiveBlock>() == 32);

impl LiveBlock {
    /// Bytes that were allocated while it was watched.
    #[must_use]
    pub const fn grown(&self) -> u64 {
        self.size.saturating_sub(self.base)
    }
}

/// Totals of a site; the key is the hash of its stack.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SiteTotals {
    /// Objects allocated since recording began.
    pub alloc_objects: u64,
    pub alloc_bytes: u64,
    /// Objects freed that this site had allocated.
    pub free_objects: u64,
    pub free_bytes: u64,
    /// 1 once the frames were sent over the ring buffer.
    pub sent: u64,
    /// Number of the goroutine that called the C code there; [`SEVERAL`] if more than one did, 0 if none is known.
    pub goroutine: u64,
}
const _: () = assert!(size_of::<SiteTotals>() == 48);

/// [`SiteTotals::goroutine`] of a site that several goroutines call.
pub const SEVERAL: u64 = u64::MAX;

impl SiteTotals {
    /// A site that nothing was charged to.
    pub const ZERO: Self =
        Self { alloc_objects: 0, alloc_bytes: 0, free_objects: 0, free_bytes: 0, sent: 0, goroutine: 0 };
}

/// Bit of [`PendingCall::function`]: an exception may leave the function.
pub const THROWS: u64 = 1 << 8;

/// A pending allocator call.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PendingCall {
    /// Stack pointer after the call will have returned; identifies the frame.
    pub cfa: u64,
    /// The caller's return address.
    pub return_address: u64,
    /// Requested size in bytes.
    pub size: u64,
    /// Site of the call.
    pub site: u64,
    /// When it was entered, ns.
    pub at_ns: u64,
    /// The block that a reallocation took out of the account, and its record.
    pub old_address: u64,
    /// The record of that block; `at_ns` 0 means there is none.
    pub old: LiveBlock,
    /// Address that posix_memalign stores to, or `extra` of xallocx.
    pub out: u64,
    /// Function number in the high 32 bits, effect in the low 8, [`THROWS`].
    pub function: u64,
}
const _: () = assert!(size_of::<PendingCall>() == 96);

/// The pending allocator calls of a thread; the key is its TID.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Inflight {
    /// How many of `calls` are pending.
    pub depth: u64,
    /// Outermost first.
    pub calls: [PendingCall; INFLIGHT_DEPTH],
}
const _: () = assert!(size_of::<Inflight>() == 8 + 96 * INFLIGHT_DEPTH);

impl Inflight {
    /// No call pending.
    pub const ZERO: Self = Self { depth: 0, calls: [PendingCall::ZERO; INFLIGHT_DEPTH] };
}

impl PendingCall {
    /// An empty slot.
    pub const ZERO: Self = Self {
        cfa: 0,
        return_address: 0,
        size: 0,
        site: 0,
        at_ns: 0,
        old_address: 0,
        old: LiveBlock { size: 0, site: 0, at_ns: 0, base: 0 },
        out: 0,
        function: 0,
    };
}

#[cfg(feature = "user")]
mod pod {
    // SAFETY: `repr(C)` of integers without padding (sizes asserted above); every bit pattern is valid.
    unsafe impl aya::Pod for super::LiveBlock {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::SiteTotals {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Inflight {}
}

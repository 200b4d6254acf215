//! What is traced in Go programs.

/// Bytes of a span's description that are sent; the largest one, of Go 1.21, has so many.
pub const SPAN_BYTES: usize = 168;

/// Bytes of the bits of a span with the most objects: 8 KiB of 8 bytes.
pub const BIT_BYTES: usize = 128;

/// Bit of a probe's cookie: it stands on the conditional jump of the check of the stack's size. Where
/// that jumps, the stack is moved and the function begins once more.
pub const BEFORE_GROWTH: u64 = 1;
/// Bit of the cookie of an allocation: the span is in rbx, not in rax.
pub const SPAN_IN_RBX: u64 = 2;

/// Where things lie in the target; the only element of the map `GO_PLACES`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct GoPlaces {
    /// Address of the heap's sweep generation (`runtime.mheap_.sweepgen`).
    pub sweep_generation: u64,
    /// Address of the byte that is not 0 while a collection marks (in `runtime.writeBarrier`); 0: not
    /// known.
    pub marking: u64,
    /// Offset of `gopc` in a goroutine.
    pub g_created_at: u32,
    /// Offset of `m` in a goroutine.
    pub g_m: u32,
    /// Offset of `p` in an `m`.
    pub m_p: u32,
    /// Bytes of a span's description.
    pub span_size: u32,
    /// Offset of `nelems` in a span.
    pub span_elements: u32,
    /// Offset of `allocBits` in a span.
    pub span_alloc_bits: u32,
}
const _: () = assert!(size_of::<GoPlaces>() == 40);

/// Goroutines of a `go` statement; the key is the address where the statement goes on.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct GoroutineTotals {
    /// Created since recording began.
    pub created: u64,
    /// Ended since, those from before included.
    pub exited: u64,
}
const _: () = assert!(size_of::<GoroutineTotals>() == 16);

/// A span is about to serve its first object since it was taken from the heap.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GoSample {
    /// Address of the span's description.
    pub span: u64,
    /// Address of the `p` that took it; 0 if it could not be read.
    pub p: u64,
    /// Number of the stack in the map `GO_STACKS`; negative where it could not be taken.
    pub stack: i64,
    /// The heap's sweep generation.
    pub generation: u32,
    /// Not 0: a collection marks, and what is allocated now is taken for live by it.
    pub marking: u32,
    /// The description.
    pub bytes: [u8; SPAN_BYTES],
    /// How many bytes of `bits` were read.
    pub bits_read: u64,
    /// One bit for each of its objects, at `allocBits`: whether it was live as the span was swept.
    pub bits: [u8; BIT_BYTES],
}
const _: () = assert!(size_of::<GoSample>() == 40 + SPAN_BYTES + BIT_BYTES);

#[cfg(feature = "user")]
mod pod {
    // SAFETY: `repr(C)` of integers without padding (size asserted above); every bit pattern is valid.
    unsafe impl aya::Pod for super::GoPlaces {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::GoroutineTotals {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::GoSample {}
}

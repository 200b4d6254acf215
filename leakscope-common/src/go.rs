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

/// Bytes of the blocks that the runtime's tiny allocator shares out (`maxTinySize`); the span class of those
/// (`tinySpanClass`, `runtime/mheap.go`).
pub const TINY: u64 = 16;
pub const TINY_CLASS: u64 = 5;
/// Largest size class (`maxSmallSize`).
pub const LARGEST_SMALL: u64 = 32768;
/// Bytes of the header of larger objects with pointers, from Go 1.22 on (`mallocHeaderSize`, `runtime/mbitmap.go`).
pub const HEADER: u64 = 8;
/// Offset of `PtrBytes` in a type (`internal/abi/type.go`, the same in all versions): 0 if it has no pointers.
pub const TYPE_POINTERS: u64 = 8;

/// Sizes of objects by size class: `class_to_size` (`runtime/sizeclasses.go`, `internal/runtime/gc/sizeclasses.go`),
/// the same from Go 1.19 to 1.27.
pub const CLASS_SIZES: [u16; 68] = [
    0, 8, 16, 24, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240, 256, 288, 320, 352, 384,
    416, 448, 480, 512, 576, 640, 704, 768, 896, 1024, 1152, 1280, 1408, 1536, 1792, 2048, 2304, 2688, 3072,
    3200, 3456, 4096, 4864, 5376, 6144, 6528, 6784, 6912, 8192, 9472, 9728, 10240, 10880, 12288, 13568,
    14336, 16384, 18432, 19072, 20480, 21760, 24576, 27264, 28672, 32768,
];

/// Sizes in steps of 8 bytes.
pub const SIZE_STEPS: usize = LARGEST_SMALL as usize / 8 + 1;

/// Size classes by size in steps of 8 bytes, rounded up.
pub const fn size_classes() -> [u8; SIZE_STEPS] {
    let mut classes = [0; SIZE_STEPS];
    let (mut step, mut class) = (1, 1);
    while step < SIZE_STEPS {
        if step * 8 > CLASS_SIZES[class] as usize {
            class += 1;
        }
        classes[step] = class as u8;
        step += 1;
    }
    classes
}

/// Slots of the map `GO_WINDOW`.
pub mod window {
    /// The phase: odd in a window, in which allocations are sampled; every window and every gap has a number of
    /// its own, in order.
    pub const PHASE: u32 = 0;
    /// Hits of the probes on the allocator's functions, in windows or not.
    pub const HITS: u32 = 1;
    /// Samples taken, of all windows.
    pub const TAKEN: u32 = 2;
    /// The phase of the window that opens next.
    pub const NEXT: u32 = 3;
    /// It opens with the hit of this number.
    pub const FROM: u32 = 4;
    /// It closes with the sample of this number.
    pub const LIMIT: u32 = 5;
    /// Here and in the next two, a bit for each span class that a window has seen: as a span of it is taken, no stack
    /// is needed.
    pub const SEEN: u32 = 6;
    pub const SLOTS: u32 = 9;
}

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
    /// Offset of `mcache` in a `p`.
    pub p_cache: u32,
    /// Offset of `tiny` in an `mcache`; `tinyoffset` follows it.
    pub cache_tiny: u32,
    /// Offset of `alloc` in an `mcache`.
    pub cache_alloc: u32,
    /// Offset of `spanclass` in a span.
    pub span_class: u32,
    /// Largest object that shares a span.
    pub largest_small: u32,
    /// Objects with pointers have a header if they are larger.
    pub largest_without_header: u32,
}
const _: () = assert!(size_of::<GoPlaces>() == 64);

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

/// [`GoSample::event`]: a span is about to serve its first object since it was taken from the heap.
pub const SPAN_TAKEN: u32 = 0;
/// [`GoSample::event`]: an object is about to be taken from a span, while a window is open. If the span has no
/// room, another one is taken for it next.
pub const OBJECT_TAKEN: u32 = 1;

/// A span or an object is taken.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GoSample {
    /// Address of the span's description.
    pub span: u64,
    /// Address of the `p` that took it; 0 if it could not be read.
    pub p: u64,
    /// Number of the stack in the map `GO_STACKS`; negative where it could not be taken, or is not needed.
    pub stack: i64,
    /// The heap's sweep generation.
    pub generation: u32,
    /// Not 0: a collection marks, and what is allocated now is taken for live by it.
    pub marking: u32,
    /// `SPAN_TAKEN` or `OBJECT_TAKEN`.
    pub event: u32,
    /// The span class of an object that is taken.
    pub class: u32,
    /// The phase that this happens in: odd in a window.
    pub phase: u64,
    /// Where the function returns to that an object is taken in; 0 for a span.
    pub caller: u64,
    /// The description.
    pub bytes: [u8; SPAN_BYTES],
    /// How many bytes of `bits` were read.
    pub bits_read: u64,
    /// One bit for each of its objects, at `allocBits`: whether it was live as the span was swept.
    pub bits: [u8; BIT_BYTES],
}
const _: () = assert!(size_of::<GoSample>() == 64 + SPAN_BYTES + BIT_BYTES);

#[cfg(feature = "user")]
mod pod {
    // SAFETY: `repr(C)` of integers without padding (size asserted above); every bit pattern is valid.
    unsafe impl aya::Pod for super::GoPlaces {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::GoroutineTotals {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::GoSample {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_by_size() {
        let classes = size_classes();
        for (bytes, class) in
            [(1u64, 1u8), (8, 1), (9, 2), (64, 6), (65, 7), (1024, 32), (1025, 33), (32768, 67)]
        {
            assert_eq!(classes[bytes.div_ceil(8) as usize], class, "{bytes}");
        }
        for (step, class) in classes.iter().enumerate().skip(1) {
            assert!(usize::from(CLASS_SIZES[usize::from(*class)]) >= step * 8);
            assert!(usize::from(CLASS_SIZES[usize::from(*class) - 1]) < step * 8);
        }
    }
}

//! The cookie of a probe: everything the kernel side must know about the function it stands on.

/// A general register, numbered as x86-64 encodes it; what the fields of a [`Cookie`] hold.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Register {
    Rax = 0,
    Rcx = 1,
    Rdx = 2,
    Rbx = 3,
    Rbp = 5,
    Rsi = 6,
    Rdi = 7,
    /// r8
    R8 = 8,
    /// r9
    R9 = 9,
    /// r10
    R10 = 10,
    /// r11
    R11 = 11,
    /// r12
    R12 = 12,
    /// r13
    R13 = 13,
    /// r14
    R14 = 14,
    /// r15
    R15 = 15,
}

/// The register number that means "no such argument" (rsp can hold no argument).
pub const NO_REGISTER: u8 = 4;

/// What an allocator function does to the account.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Returns a new block (malloc, calloc, memalign, operator new…).
    Allocate = 1,
    /// Frees `ptr` and returns a new block (realloc, reallocarray, rallocx). NULL with a size other
    /// than 0 means failure: the old block stays live.
    Reallocate = 2,
    /// Frees `ptr` (free, operator delete, dallocx…).
    Free = 3,
    /// Resizes `ptr` in place and returns the resulting usable size (xallocx).
    ResizeInPlace = 4,
    /// Returns 0 on success and stores the block through `out` (posix_memalign).
    AllocateOut = 5,
    /// Resizes `ptr` in place or returns NULL and leaves it as it is (mi_expand).
    Expand = 6,
    /// As `Reallocate`, but a failure frees the old block (mi_reallocf).
    ReallocateOrFree = 7,
}

/// Where the arguments are at the probed instruction, and what the function does with them.
///
/// Packed into the 64-bit cookie of the perf event: effect (bits 0-3), size (4-7), count (8-11),
/// pointer (12-15), out-pointer (16-19), extra (20-23), may throw (24), function index (32-47). Of a `free` that
/// its own library calls to empty a cache (25): the span of those calls' return addresses (16-23), and the
/// first of them as its distance from the probed instruction (48-63).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cookie(pub u64);

impl Cookie {
    /// Packs the parts; registers are [`Register`] numbers or [`NO_REGISTER`].
    ///
    /// `function` identifies the function (not the probe) among all traced ones: a return is
    /// matched to an entry only where it is equal. It must not be 0.
    pub const fn new(
        effect: Effect,
        size: u8,
        count: u8,
        pointer: u8,
        out: u8,
        extra: u8,
        function: u16,
    ) -> Self {
        Self(
            effect as u64
                | ((size & 15) as u64) << 4
                | ((count & 15) as u64) << 8
                | ((pointer & 15) as u64) << 12
                | ((out & 15) as u64) << 16
                | ((extra & 15) as u64) << 20
                | (function as u64) << 32,
        )
    }

    /// The same, of a function that an exception may leave.
    pub const fn throwing(self) -> Self {
        Self(self.0 | 1 << 24)
    }

    /// Whether an exception may leave the function: a call without a return is no loss then.
    #[inline(always)]
    pub const fn may_throw(self) -> bool {
        self.0 >> 24 & 1 != 0
    }

    /// The same, of a `free` whose calls that return to `first` bytes behind the probed instruction and up to
    /// `span` bytes further only empty a cache.
    pub const fn flushing(self, first: i16, span: u8) -> Self {
        let cleared = self.0 & !(0xff << 16 | 0xffff << 48);
        Self(cleared | 1 << 25 | (span as u64) << 16 | (first as u16 as u64) << 48)
    }

    /// Whether some calls only empty a cache.
    #[inline(always)]
    pub const fn has_flushes(self) -> bool {
        self.0 >> 25 & 1 != 0
    }

    /// Whether a call that returns to `return_address`, probed at `probed`, only empties a cache.
    #[inline(always)]
    pub const fn is_flush(self, probed: u64, return_address: u64) -> bool {
        let first = (self.0.cast_signed() >> 48).cast_unsigned();
        let into = return_address.wrapping_sub(probed.wrapping_add(first));
        self.has_flushes() && into < (self.0 >> 16 & 0xff)
    }

    /// The number of the [`Effect`].
    #[inline(always)]
    pub const fn effect(self) -> u8 {
        (self.0 & 15) as u8
    }
    /// Register of the size in bytes.
    #[inline(always)]
    pub const fn size(self) -> u8 {
        (self.0 >> 4 & 15) as u8
    }
    /// Register of the element count that the size is multiplied with.
    #[inline(always)]
    pub const fn count(self) -> u8 {
        (self.0 >> 8 & 15) as u8
    }
    /// Register of the pointer that is freed or resized.
    #[inline(always)]
    pub const fn pointer(self) -> u8 {
        (self.0 >> 12 & 15) as u8
    }
    /// Register of the address that the new block's address is stored to.
    #[inline(always)]
    pub const fn out(self) -> u8 {
        (self.0 >> 16 & 15) as u8
    }
    /// Register of xallocx's `extra`.
    #[inline(always)]
    pub const fn extra(self) -> u8 {
        (self.0 >> 20 & 15) as u8
    }
    /// The function's number, never 0.
    #[inline(always)]
    pub const fn function(self) -> u16 {
        (self.0 >> 32) as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_empty_a_cache() {
        let free = Cookie::new(Effect::Free, NO_REGISTER, NO_REGISTER, 7, NO_REGISTER, NO_REGISTER, 3);
        assert!(!free.is_flush(0x1000, 0x1000));
        for first in [0x159, -0x159] {
            let cookie = free.flushing(first, 0x30);
            let begin = 0x10_0000_u64.wrapping_add_signed(first.into());
            assert!(cookie.is_flush(0x10_0000, begin) && cookie.is_flush(0x10_0000, begin + 0x2f));
            assert!(!cookie.is_flush(0x10_0000, begin - 1) && !cookie.is_flush(0x10_0000, begin + 0x30));
            assert_eq!((cookie.effect(), cookie.pointer(), cookie.function()), (Effect::Free as u8, 7, 3));
            assert!(!cookie.may_throw());
        }
    }
}

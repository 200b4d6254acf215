//! What a call was given, read from the registers by the probe's cookie.

use crate::probe::{Cookie, Effect, NO_REGISTER};

/// The size of a call whose count times size overflows.
pub(super) const OVERFLOW: u64 = u64::MAX;

/// The arguments of an allocator call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// Bytes asked for; `u64::MAX` where the product overflows.
    pub size: u64,
    /// The block that is freed or resized; 0: none.
    pub pointer: u64,
    /// Where the block's address is stored to, or `extra` of xallocx.
    pub out: u64,
}

impl Arguments {
    /// Chooses from the general registers, by the numbers that x86-64 encodes them with. The one of
    /// [`NO_REGISTER`] is 0.
    #[inline(always)]
    pub fn read(cookie: Cookie, registers: &[u64; 16]) -> Self {
        let get = |number: u8| registers[number as usize & 15];
        let in_place = cookie.effect() == Effect::ResizeInPlace as u8;
        Self {
            size: size(get(cookie.size()), cookie.count(), get(cookie.count())),
            pointer: get(cookie.pointer()),
            out: if in_place { get(cookie.extra()) } else { get(cookie.out()) },
        }
    }
}

/// Bytes asked for: the size, or its product with the value of the register `counted_by`.
#[inline(always)]
fn size(size: u64, counted_by: u8, count: u64) -> u64 {
    if counted_by == NO_REGISTER {
        return size;
    }
    if (size | count) >> 32 != 0 {
        // By halves: BPF has no 128-bit product.
        let (large, small) = if size > count { (size, count) } else { (count, size) };
        let low = (large & 0xffff_ffff).wrapping_mul(small & 0xffff_ffff) >> 32;
        if small >> 32 != 0 || (large >> 32).wrapping_mul(small).wrapping_add(low) >> 32 != 0 {
            return OVERFLOW;
        }
    }
    size.wrapping_mul(count)
}

//! The two atomic operations of BPF that are used here. The BPF target of rustc offers no
//! read-modify-write atomics (`atomic_cas` is off), so they are written in BPF assembly.

use core::arch::asm;

/// `*p += value`.
///
/// # Safety
/// `p` points to an aligned u64 in a map value.
#[inline(always)]
pub(crate) unsafe fn add(p: *mut u64, value: u64) {
    // SAFETY: the caller's promise; BPF_ATOMIC | BPF_ADD of 64 bits.
    unsafe { asm!("lock *(u64 *)({p} + 0) += {value}", p = in(reg) p, value = in(reg) value) };
}

/// Stores `value` and returns what was there.
///
/// # Safety
/// `p` points to an aligned u64 in a map value.
#[inline(always)]
pub(crate) unsafe fn swap(p: *mut u64, value: u64) -> u64 {
    let mut value = value;
    // SAFETY: the caller's promise; BPF_ATOMIC | BPF_XCHG of 64 bits (BPF v3).
    unsafe { asm!("{value} = xchg_64({p} + 0, {value})", p = in(reg) p, value = inout(reg) value) };
    value
}

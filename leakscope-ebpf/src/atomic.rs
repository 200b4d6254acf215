//! The three atomic operations of BPF that are used here. The BPF target of rustc offers no
//! read-modify-write atomics (`atomic_cas` is off), so they are written in BPF assembly.

use core::arch::asm;

/// `*p += value`.
///
/// # Safety
/// `p` points to an aligned u64 in a map value, and no reference to it is in use.
#[inline(always)]
pub(crate) unsafe fn add(p: *mut u64, value: u64) {
    // SAFETY: valid and unreferenced by the caller's promise; BPF_ATOMIC | BPF_ADD of 64 bits, whoever else
    // writes.
    unsafe { asm!("lock *(u64 *)({p} + 0) += {value}", p = in(reg) p, value = in(reg) value) };
}

/// Stores `value` and returns what was there.
///
/// # Safety
/// `p` points to an aligned u64 in a map value, and no reference to it is in use.
#[inline(always)]
pub(crate) unsafe fn swap(p: *mut u64, value: u64) -> u64 {
    let mut value = value;
    // SAFETY: as in `add`; BPF_ATOMIC | BPF_XCHG of 64 bits (BPF v3).
    unsafe { asm!("{value} = xchg_64({p} + 0, {value})", p = in(reg) p, value = inout(reg) value) };
    value
}

/// Stores `new` if `*p` is `expected`; returns what was there.
///
/// # Safety
/// `p` points to an aligned u64 in a map value, and no reference to it is in use.
#[cfg(target_arch = "bpf")]
#[inline(always)]
unsafe fn compare_exchange(p: *mut u64, expected: u64, new: u64) -> u64 {
    let mut seen = expected;
    // SAFETY: as in `add`; BPF_ATOMIC | BPF_CMPXCHG of 64 bits (BPF v3).
    unsafe {
        asm!("r0 = cmpxchg_64({p} + 0, r0, {new})", p = in(reg) p, new = in(reg) new, inout("r0") seen);
    }
    seen
}

/// What lints see of it on other machines, which have no register of that name; never run.
///
/// # Safety
/// As above.
#[cfg(not(target_arch = "bpf"))]
unsafe fn compare_exchange(_: *mut u64, expected: u64, _: u64) -> u64 {
    expected
}

/// Tries of [`raise`]: each failed one means that another CPU has just raised it.
const RAISES: u32 = 4;

/// Raises `*p` to `value` if it is lower.
///
/// # Safety
/// `p` points to an aligned u64 in a map value, and no reference to it is in use.
#[inline(always)]
pub(crate) unsafe fn raise(p: *mut u64, value: u64) {
    // SAFETY: as in `add`; a raw and volatile read of one word.
    let mut seen = unsafe { core::ptr::read_volatile(p) };
    let mut round = 0;
    while round < RAISES {
        if seen >= value {
            break;
        }
        let expected = seen;
        // SAFETY: as in `add`.
        seen = unsafe { compare_exchange(p, expected, value) };
        if seen == expected {
            break;
        }
        round += 1;
    }
}

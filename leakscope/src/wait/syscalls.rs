//! System calls that block.

/// futex
pub const FUTEX: u32 = 202;
/// futex_wait
pub const FUTEX_WAIT: u32 = 455;
/// restart_syscall
pub const RESTART_SYSCALL: u32 = 219;

/// Whether the first argument is a descriptor.
pub fn takes_descriptor(number: u32) -> bool {
    [0, 1, 17, 18, 19, 20, 42, 43, 44, 45, 46, 47, 288].contains(&number)
}

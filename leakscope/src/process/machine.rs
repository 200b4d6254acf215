//! The machine that the process runs on.

/// Processors that are online.
pub fn processors() -> usize {
    // Not those that we may run on: the target may run elsewhere.
    // SAFETY: takes no pointers.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) }).unwrap_or(1).max(1)
}

//! The C library's interface, which every allocator may define.

use super::Effect;
use crate::probe::table::AllocatorFunction as F;
use crate::probe::table::Family::C;

/// From glibc and musl `stdlib.h` and `malloc.h`, and C23 (`free_sized`, `free_aligned_sized`). The internal
/// names matter where they stand on their own: in static musl, `free` only jumps to `__libc_free`.
pub(super) const FUNCTIONS: &[F] = &[
    F::allocate("malloc", C, 0),
    F::allocate("calloc", C, 1).count(0),
    F::reallocate("realloc", C, 0, 1),
    F::reallocate("reallocarray", C, 0, 2).count(1),
    F::free("free", C),
    F::free("cfree", C),
    F::allocate_out("posix_memalign", C),
    F::allocate("aligned_alloc", C, 1),
    F::allocate("memalign", C, 1),
    F::allocate("valloc", C, 0),
    F::allocate("pvalloc", C, 0),
    F::free("free_sized", C),
    F::free("free_aligned_sized", C),
    F::free("vfree", C),
    F::resize("reallocf", C, Effect::ReallocateOrFree, 0, 1),
    F::allocate("__libc_malloc", C, 0),
    F::allocate("__libc_calloc", C, 1).count(0),
    F::reallocate("__libc_realloc", C, 0, 1),
    F::reallocate("__libc_reallocarray", C, 0, 2).count(1),
    F::free("__libc_free", C),
    F::free("__libc_cfree", C),
    F::allocate("__libc_memalign", C, 1),
    F::allocate("__libc_valloc", C, 0),
    F::allocate("__libc_pvalloc", C, 0),
    F::allocate_out("__posix_memalign", C),
];

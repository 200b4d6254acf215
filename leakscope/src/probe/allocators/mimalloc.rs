//! mimalloc.

use crate::probe::table::AllocatorFunction as F;
use crate::probe::table::Family;
use super::{Allocator, Blame, Effect, Row};

const OWN: Family = Family::Own(Allocator::Mimalloc);

/// What mimalloc has once for the default heap and once for a heap given as the first argument;
/// `$h` is the number of leading heap arguments.
macro_rules! heap {
    ($prefix:literal, $h:literal) => {
        [
            F::allocate(concat!($prefix, "malloc"), OWN, $h),
            F::allocate(concat!($prefix, "malloc_small"), OWN, $h),
            F::allocate(concat!($prefix, "zalloc"), OWN, $h),
            F::allocate(concat!($prefix, "zalloc_small"), OWN, $h),
            F::allocate(concat!($prefix, "calloc"), OWN, $h + 1).count($h),
            F::allocate(concat!($prefix, "mallocn"), OWN, $h + 1).count($h),
            F::reallocate(concat!($prefix, "realloc"), OWN, $h, $h + 1),
            F::reallocate(concat!($prefix, "reallocn"), OWN, $h, $h + 2).count($h + 1),
            F::resize(concat!($prefix, "reallocf"), OWN, Effect::ReallocateOrFree, $h, $h + 1),
            F::reallocate(concat!($prefix, "rezalloc"), OWN, $h, $h + 1),
            F::reallocate(concat!($prefix, "recalloc"), OWN, $h, $h + 2).count($h + 1),
            F::allocate(concat!($prefix, "malloc_aligned"), OWN, $h),
            F::allocate(concat!($prefix, "malloc_aligned_at"), OWN, $h),
            F::allocate(concat!($prefix, "zalloc_aligned"), OWN, $h),
            F::allocate(concat!($prefix, "zalloc_aligned_at"), OWN, $h),
            F::allocate(concat!($prefix, "calloc_aligned"), OWN, $h + 1).count($h),
            F::allocate(concat!($prefix, "calloc_aligned_at"), OWN, $h + 1).count($h),
            F::reallocate(concat!($prefix, "realloc_aligned"), OWN, $h, $h + 1),
            F::reallocate(concat!($prefix, "realloc_aligned_at"), OWN, $h, $h + 1),
            F::reallocate(concat!($prefix, "rezalloc_aligned"), OWN, $h, $h + 1),
            F::reallocate(concat!($prefix, "rezalloc_aligned_at"), OWN, $h, $h + 1),
            F::reallocate(concat!($prefix, "recalloc_aligned"), OWN, $h, $h + 2).count($h + 1),
            F::reallocate(concat!($prefix, "recalloc_aligned_at"), OWN, $h, $h + 2).count($h + 1),
        ]
    };
}

/// Left out on purpose: functions that call a listed one for the block (`mi_strdup`, `mi_reallocarr`, `mi_cfree`,
/// `_aligned_malloc`), and `mi_heap_destroy`, which drops blocks without naming them.
pub(super) const ROW: Row = Row {
    name: "mimalloc",
    source: "mimalloc 2.0 to 3.5 mimalloc.h",
    functions: &[FUNCTIONS, &heap!("mi_", 0), &heap!("mi_heap_", 1), &heap!("mi_theap_", 1)],
    blame: Blame {
        prefixes: &[
            "_mi_", "mi_malloc", "mi_calloc", "mi_zalloc", "mi_realloc", "mi_new", "mi_heap_", "mi_theap_",
            "mi_page_", "mi_segment", "mi_arena", "mi_aligned_alloc", "mi_posix_memalign", "mi_memalign",
            "mi_strdup", "<mimalloc::MiMalloc as core::alloc::",
        ],
        modules: &["libmimalloc", "libmimalloc-secure"],
        ..Blame::NOTHING
    },
    ..Row::PLAIN
};

const FUNCTIONS: &[F] = &[
    F::resize("mi_expand", OWN, Effect::Expand, 0, 1),
    F::resize("mi__expand", OWN, Effect::Expand, 0, 1),
    F::free("mi_free", OWN),
    F::free("mi_free_size", OWN),
    F::free("mi_free_aligned", OWN),
    F::free("mi_free_size_aligned", OWN),
    F::free("mi_free_small", OWN),
    F::free("mi_free_nonnull", OWN),
    F::free("mi_free_small_nonnull", OWN),
    F::allocate_out("mi_posix_memalign", OWN),
    F::allocate("mi_memalign", OWN, 1),
    F::allocate("mi_aligned_alloc", OWN, 1),
    F::allocate("mi_valloc", OWN, 0),
    F::allocate("mi_pvalloc", OWN, 0),
    F::reallocate("mi_reallocarray", OWN, 0, 2).count(1),
    F::reallocate("mi_aligned_recalloc", OWN, 0, 2).count(1),
    F::reallocate("mi_aligned_offset_recalloc", OWN, 0, 2).count(1),
    F::allocate("mi_new", OWN, 0).throws(),
    F::allocate("mi_new_aligned", OWN, 0).throws(),
    F::allocate("mi_new_nothrow", OWN, 0).throws(),
    F::allocate("mi_new_aligned_nothrow", OWN, 0).throws(),
    F::allocate("mi_new_n", OWN, 1).count(0).throws(),
    F::reallocate("mi_new_realloc", OWN, 0, 1).throws(),
    F::reallocate("mi_new_reallocn", OWN, 0, 2).count(1).throws(),
    F::allocate("mi_heap_alloc_new", OWN, 1).throws(),
    F::allocate("mi_heap_alloc_new_n", OWN, 2).count(1).throws(),
];

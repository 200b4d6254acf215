//! jemalloc, with the prefixes in use: none, `je_`, and `_rjem_` of the Rust crate tikv-jemalloc-sys.

use crate::probe::table::AllocatorFunction as F;
use crate::probe::table::Family;
use super::{Allocator, Blame, Effect, Row};

const OWN: Family = Family::Own(Allocator::Jemalloc);

/// The non-standard interface under a prefix.
macro_rules! own {
    ($prefix:literal) => {
        [
            F::allocate(concat!($prefix, "mallocx"), OWN, 0),
            F::reallocate(concat!($prefix, "rallocx"), OWN, 0, 1),
            F::resize(concat!($prefix, "xallocx"), OWN, Effect::ResizeInPlace, 0, 1).extra(2),
            F::free(concat!($prefix, "dallocx"), OWN),
            F::free(concat!($prefix, "sdallocx"), OWN),
        ]
    };
}

/// The standard interface under a prefix.
macro_rules! standard {
    ($prefix:literal) => {
        [
            F::allocate(concat!($prefix, "malloc"), OWN, 0),
            F::allocate(concat!($prefix, "calloc"), OWN, 1).count(0),
            F::reallocate(concat!($prefix, "realloc"), OWN, 0, 1),
            F::free(concat!($prefix, "free"), OWN),
            F::free(concat!($prefix, "free_sized"), OWN),
            F::free(concat!($prefix, "free_aligned_sized"), OWN),
            F::allocate_out(concat!($prefix, "posix_memalign"), OWN),
            F::allocate(concat!($prefix, "aligned_alloc"), OWN, 1),
            F::allocate(concat!($prefix, "memalign"), OWN, 1),
            F::allocate(concat!($prefix, "valloc"), OWN, 0),
            F::allocate(concat!($prefix, "pvalloc"), OWN, 0),
        ]
    };
}

pub(super) const ROW: Row = Row {
    name: "jemalloc",
    source: "jemalloc 5.3 jemalloc.h",
    functions: &[
        &own!(""),
        &own!("je_"),
        &own!("_rjem_"),
        &standard!("je_"),
        &standard!("_rjem_"),
    ],
    // Without a prefix, its `malloc` is the standard one.
    markers: &["mallocx"],
    // google's tcmalloc has `sdallocx` too, as an alias of its own names.
    not_beside: &["TCMalloc"],
    blame: Blame {
        prefixes: &[
            "je_", "_rjem_", "_je_", "jemalloc_", "<tikv_jemallocator::Jemalloc as core::alloc::",
            "<jemallocator::Jemalloc as core::alloc::",
        ],
        modules: &["libjemalloc"],
        ..Blame::NOTHING
    },
    ..Row::PLAIN
};

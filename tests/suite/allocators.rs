//! Language by allocator by debug info: exact in each.
//!
//! Debug info goes with the preloaded and the shared variants, none with the linked and the static
//! ones; [`stacks`](crate::stacks) compares the two where that is what matters.

use anyhow::Result;
use leakscope_tests::programs::{
    Allocator, JEMALLOC_API, Library, MIMALLOC_API, SITES_C, SITES_CPP, SITES_RUST, SITES_RUST_JEMALLOC,
    TCMALLOC_API,
};

use crate::check;

macro_rules! matrix {
    ($($variant:ident: $allocator:expr, $debug:literal;)*) => {$(
        mod $variant {
            use super::*;

            #[test]
            fn c() -> Result<()> {
                check(&SITES_C.allocator($allocator).debug($debug), "threaded").map(drop)
            }

            #[test]
            fn cpp() -> Result<()> {
                check(&SITES_CPP.allocator($allocator).debug($debug), "all").map(drop)
            }

            #[test]
            fn rust() -> Result<()> {
                check(&SITES_RUST.allocator($allocator).debug($debug), "all").map(drop)
            }
        }
    )*};
}

matrix! {
    glibc: Allocator::Glibc, true;
    glibc_without_debug_info: Allocator::Glibc, false;
    glibc_static: Allocator::GlibcStatic, true;
    glibc_static_without_debug_info: Allocator::GlibcStatic, false;
    jemalloc_preloaded: Allocator::Preloaded(Library::Jemalloc), true;
    jemalloc_linked: Allocator::Linked(Library::Jemalloc), false;
    tcmalloc_preloaded: Allocator::Preloaded(Library::Tcmalloc), true;
    tcmalloc_linked: Allocator::Linked(Library::Tcmalloc), false;
    mimalloc_preloaded: Allocator::Preloaded(Library::Mimalloc), true;
    mimalloc_linked: Allocator::Linked(Library::Mimalloc), false;
}

/// In one thread nothing but the sites is live, so the totals must agree, too.
#[test]
fn totals_under_glibc() -> Result<()> {
    check(&SITES_C, "all").map(drop)
}

/// Every function with the prefix `_rjem_`.
#[test]
fn rust_with_its_own_jemalloc() -> Result<()> {
    check(&SITES_RUST_JEMALLOC, "all").map(drop)
}

#[test]
fn functions_of_jemalloc() -> Result<()> {
    check(&JEMALLOC_API, "all").map(drop)
}

#[test]
fn functions_of_tcmalloc() -> Result<()> {
    check(&TCMALLOC_API, "all").map(drop)
}

#[test]
fn functions_of_mimalloc() -> Result<()> {
    check(&MIMALLOC_API, "all").map(drop)
}

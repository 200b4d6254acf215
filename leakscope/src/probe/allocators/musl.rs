//! musl's malloc.

use super::{Blame, Row};

pub(super) const ROW: Row = Row {
    name: "musl malloc",
    source: "musl src/malloc, ldso/dynlink.c",
    // Of the libc, dynamic and static.
    markers: &["__dls2b", "__dls3", "__malloc_atfork", "__malloc_donate", "__libc_malloc_impl"],
    blame: Blame { names: &["__malloc_alloc_meta", "__simple_malloc", "default_malloc"], ..Blame::NOTHING },
    ..Row::PLAIN
};

//! glibc's malloc.

use super::{Blame, Row};

pub(super) const ROW: Row = Row {
    name: "glibc malloc",
    source: "glibc malloc/malloc.c, malloc/arena.c, malloc/hooks.c",
    malloc_is_also: &["__libc_malloc"],
    blame: Blame {
        names: &[
            "__libc_malloc", "__libc_calloc", "__libc_realloc", "__libc_memalign", "__libc_free", "__strdup",
            "__strndup", "__posix_memalign", "_int_malloc", "_int_realloc", "_int_memalign", "_int_free",
            "_mid_memalign", "sysmalloc", "tcache_init", "ptmalloc_init", "malloc_consolidate",
            "checked_request2size", "malloc_hook_ini", "realloc_hook_ini", "arena_get2", "__asprintf",
            "__vasprintf", "__vasprintf_internal", "__mmap", "__mmap64", "__sbrk", "__brk",
            "__default_morecore",
        ],
        ..Blame::NOTHING
    },
    ..Row::PLAIN
};

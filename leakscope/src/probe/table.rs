//! The allocator functions, as data: what each does to the account and which argument is what.
//!
//! Sources: glibc and musl `stdlib.h` and `malloc.h`; C23 (`free_sized`, `free_aligned_sized`);
//! jemalloc 5.3 `jemalloc.h` with the prefixes in use (none, `je_`, and `_rjem_` of the Rust crate
//! tikv-jemalloc-sys); gperftools 2.10 `tcmalloc.h`; google/tcmalloc `libc_override_gcc_and_weak.h`
//! and `internal_malloc_extension.h`; mimalloc 2.0 to 3.5 `mimalloc.h`; the Itanium C++ ABI for the
//! mangled operators.
//!
//! Left out on purpose: functions that call a listed one for the block (`strdup`, `mi_strdup`,
//! `mi_reallocarr`, `mi_cfree`, `_aligned_malloc`), and `mi_heap_destroy`, which drops blocks without naming
//! them.

use std::collections::HashMap;
use std::sync::LazyLock;

use leakscope_common::probe::Effect;

/// Whose interface a function belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// The C library's, under its public and internal names.
    C,
    /// C++ `operator new` and `operator delete`, under their mangled names.
    Operator,
    /// jemalloc's own functions.
    Jemalloc,
    /// tcmalloc's own functions (gperftools and google/tcmalloc).
    Tcmalloc,
    /// mimalloc's own functions.
    Mimalloc,
}

/// An allocator function: its symbol, its effect, and the index (from 0) of each argument of interest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocatorFunction {
    /// Symbol name, without a version.
    pub name: &'static str,
    /// What it does to the account.
    pub effect: Effect,
    /// The size in bytes, or of one element.
    pub size: Option<u8>,
    /// The number of elements.
    pub count: Option<u8>,
    /// The block that is freed or resized.
    pub pointer: Option<u8>,
    /// Where the new block's address is stored.
    pub out: Option<u8>,
    /// xallocx's `extra`.
    pub extra: Option<u8>,
    /// Whether it throws or runs the new handler, so that its return address must not be replaced.
    pub may_throw: bool,
    /// Whose interface it belongs to.
    pub family: Family,
}

impl AllocatorFunction {
    const fn new(name: &'static str, family: Family, effect: Effect) -> Self {
        Self {
            name,
            effect,
            size: None,
            count: None,
            pointer: None,
            out: None,
            extra: None,
            may_throw: false,
            family,
        }
    }

    const fn allocate(name: &'static str, family: Family, size: u8) -> Self {
        let mut f = Self::new(name, family, Effect::Allocate);
        f.size = Some(size);
        f
    }

    const fn resize(name: &'static str, family: Family, effect: Effect, pointer: u8, size: u8) -> Self {
        let mut f = Self::new(name, family, effect);
        f.pointer = Some(pointer);
        f.size = Some(size);
        f
    }

    const fn reallocate(name: &'static str, family: Family, pointer: u8, size: u8) -> Self {
        Self::resize(name, family, Effect::Reallocate, pointer, size)
    }

    const fn free(name: &'static str, family: Family) -> Self {
        let mut f = Self::new(name, family, Effect::Free);
        f.pointer = Some(0);
        f
    }

    const fn allocate_out(name: &'static str, family: Family) -> Self {
        let mut f = Self::new(name, family, Effect::AllocateOut);
        f.out = Some(0);
        f.size = Some(2);
        f
    }

    const fn count(mut self, count: u8) -> Self {
        self.count = Some(count);
        self
    }

    const fn extra(mut self, extra: u8) -> Self {
        self.extra = Some(extra);
        self
    }

    const fn throws(mut self) -> Self {
        self.may_throw = true;
        self
    }

    /// Whether the block is known only when the function returns.
    pub const fn needs_return(&self) -> bool {
        !matches!(self.effect, Effect::Free)
    }

    /// Whether it belongs to C++ `new` and `delete`, under whatever name: such a function may wrap
    /// `malloc` in the retry loop of the new handler.
    pub const fn is_operator(&self) -> bool {
        self.may_throw || matches!(self.family, Family::Operator)
    }

    /// Whether probing `self` in place of `other` gives the same account.
    pub fn same_account(&self, other: &Self) -> bool {
        self.effect == other.effect
            && self.size == other.size
            && self.count == other.count
            && self.pointer == other.pointer
            && self.out == other.out
            && self.extra == other.extra
    }
}

use AllocatorFunction as F;
use Family::{C, Jemalloc, Mimalloc, Operator, Tcmalloc};

/// The C library's interface. Its internal names matter where they stand on their own: in static
/// musl, `free` only jumps to `__libc_free`.
const STANDARD: &[F] = &[
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

/// Operators new run the new handler, which may throw, even where they are `nothrow` themselves.
const OPERATORS: &[F] = &[
    F::allocate("_Znwm", Operator, 0).throws(),
    F::allocate("_ZnwmRKSt9nothrow_t", Operator, 0).throws(),
    F::allocate("_ZnwmSt11align_val_t", Operator, 0).throws(),
    F::allocate("_ZnwmSt11align_val_tRKSt9nothrow_t", Operator, 0).throws(),
    F::allocate("_Znam", Operator, 0).throws(),
    F::allocate("_ZnamRKSt9nothrow_t", Operator, 0).throws(),
    F::allocate("_ZnamSt11align_val_t", Operator, 0).throws(),
    F::allocate("_ZnamSt11align_val_tRKSt9nothrow_t", Operator, 0).throws(),
    F::allocate("_Znwm12__hot_cold_t", Operator, 0).throws(),
    F::allocate("_ZnwmRKSt9nothrow_t12__hot_cold_t", Operator, 0).throws(),
    F::allocate("_ZnwmSt11align_val_t12__hot_cold_t", Operator, 0).throws(),
    F::allocate("_ZnwmSt11align_val_tRKSt9nothrow_t12__hot_cold_t", Operator, 0).throws(),
    F::allocate("_Znam12__hot_cold_t", Operator, 0).throws(),
    F::allocate("_ZnamRKSt9nothrow_t12__hot_cold_t", Operator, 0).throws(),
    F::allocate("_ZnamSt11align_val_t12__hot_cold_t", Operator, 0).throws(),
    F::allocate("_ZnamSt11align_val_tRKSt9nothrow_t12__hot_cold_t", Operator, 0).throws(),
    // These return the block in rax and its capacity in rdx.
    F::allocate("__size_returning_new", Operator, 0).throws(),
    F::allocate("__size_returning_new_hot_cold", Operator, 0).throws(),
    F::allocate("__size_returning_new_aligned", Operator, 0).throws(),
    F::allocate("__size_returning_new_aligned_hot_cold", Operator, 0).throws(),
    F::free("_ZdlPv", Operator),
    F::free("_ZdlPvm", Operator),
    F::free("_ZdlPvRKSt9nothrow_t", Operator),
    F::free("_ZdlPvSt11align_val_t", Operator),
    F::free("_ZdlPvmSt11align_val_t", Operator),
    F::free("_ZdlPvSt11align_val_tRKSt9nothrow_t", Operator),
    F::free("_ZdaPv", Operator),
    F::free("_ZdaPvm", Operator),
    F::free("_ZdaPvRKSt9nothrow_t", Operator),
    F::free("_ZdaPvSt11align_val_t", Operator),
    F::free("_ZdaPvmSt11align_val_t", Operator),
    F::free("_ZdaPvSt11align_val_tRKSt9nothrow_t", Operator),
];

/// jemalloc's non-standard interface under a prefix.
macro_rules! jemalloc_own {
    ($prefix:literal) => {
        [
            F::allocate(concat!($prefix, "mallocx"), Jemalloc, 0),
            F::reallocate(concat!($prefix, "rallocx"), Jemalloc, 0, 1),
            F::resize(concat!($prefix, "xallocx"), Jemalloc, Effect::ResizeInPlace, 0, 1).extra(2),
            F::free(concat!($prefix, "dallocx"), Jemalloc),
            F::free(concat!($prefix, "sdallocx"), Jemalloc),
        ]
    };
}

/// jemalloc's standard interface under a prefix.
macro_rules! jemalloc_standard {
    ($prefix:literal) => {
        [
            F::allocate(concat!($prefix, "malloc"), Jemalloc, 0),
            F::allocate(concat!($prefix, "calloc"), Jemalloc, 1).count(0),
            F::reallocate(concat!($prefix, "realloc"), Jemalloc, 0, 1),
            F::free(concat!($prefix, "free"), Jemalloc),
            F::free(concat!($prefix, "free_sized"), Jemalloc),
            F::free(concat!($prefix, "free_aligned_sized"), Jemalloc),
            F::allocate_out(concat!($prefix, "posix_memalign"), Jemalloc),
            F::allocate(concat!($prefix, "aligned_alloc"), Jemalloc, 1),
            F::allocate(concat!($prefix, "memalign"), Jemalloc, 1),
            F::allocate(concat!($prefix, "valloc"), Jemalloc, 0),
            F::allocate(concat!($prefix, "pvalloc"), Jemalloc, 0),
        ]
    };
}

const TCMALLOC: &[F] = &[
    F::allocate("tc_malloc", Tcmalloc, 0),
    F::allocate("tc_malloc_skip_new_handler", Tcmalloc, 0),
    F::allocate("tc_calloc", Tcmalloc, 1).count(0),
    F::reallocate("tc_realloc", Tcmalloc, 0, 1),
    F::free("tc_free", Tcmalloc),
    F::free("tc_free_sized", Tcmalloc),
    F::free("tc_cfree", Tcmalloc),
    F::allocate("tc_memalign", Tcmalloc, 1),
    F::allocate_out("tc_posix_memalign", Tcmalloc),
    F::allocate("tc_valloc", Tcmalloc, 0),
    F::allocate("tc_pvalloc", Tcmalloc, 0),
    F::allocate("tc_new", Tcmalloc, 0).throws(),
    F::allocate("tc_new_nothrow", Tcmalloc, 0).throws(),
    F::allocate("tc_new_aligned", Tcmalloc, 0).throws(),
    F::allocate("tc_new_aligned_nothrow", Tcmalloc, 0).throws(),
    F::allocate("tc_newarray", Tcmalloc, 0).throws(),
    F::allocate("tc_newarray_nothrow", Tcmalloc, 0).throws(),
    F::allocate("tc_newarray_aligned", Tcmalloc, 0).throws(),
    F::allocate("tc_newarray_aligned_nothrow", Tcmalloc, 0).throws(),
    F::free("tc_delete", Tcmalloc),
    F::free("tc_delete_sized", Tcmalloc),
    F::free("tc_delete_nothrow", Tcmalloc),
    F::free("tc_delete_aligned", Tcmalloc),
    F::free("tc_delete_sized_aligned", Tcmalloc),
    F::free("tc_delete_aligned_nothrow", Tcmalloc),
    F::free("tc_deletearray", Tcmalloc),
    F::free("tc_deletearray_sized", Tcmalloc),
    F::free("tc_deletearray_nothrow", Tcmalloc),
    F::free("tc_deletearray_aligned", Tcmalloc),
    F::free("tc_deletearray_sized_aligned", Tcmalloc),
    F::free("tc_deletearray_aligned_nothrow", Tcmalloc),
    F::allocate("TCMallocInternalMalloc", Tcmalloc, 0),
    F::allocate("TCMallocInternalCalloc", Tcmalloc, 1).count(0),
    F::reallocate("TCMallocInternalRealloc", Tcmalloc, 0, 1),
    F::reallocate("TCMallocInternalReallocArray", Tcmalloc, 0, 2).count(1),
    F::free("TCMallocInternalFree", Tcmalloc),
    F::free("TCMallocInternalFreeSized", Tcmalloc),
    F::free("TCMallocInternalFreeAlignedSized", Tcmalloc),
    F::free("TCMallocInternalCfree", Tcmalloc),
    F::free("TCMallocInternalSdallocx", Tcmalloc),
    F::allocate("TCMallocInternalMemalign", Tcmalloc, 1),
    F::allocate("TCMallocInternalAlignedAlloc", Tcmalloc, 1),
    F::allocate_out("TCMallocInternalPosixMemalign", Tcmalloc),
    F::allocate("TCMallocInternalValloc", Tcmalloc, 0),
    F::allocate("TCMallocInternalPvalloc", Tcmalloc, 0),
    F::allocate("TCMallocInternalNew", Tcmalloc, 0).throws(),
    F::allocate("TCMallocInternalNewNothrow", Tcmalloc, 0).throws(),
    F::allocate("TCMallocInternalNewAligned", Tcmalloc, 0).throws(),
    F::allocate("TCMallocInternalNewAlignedNothrow", Tcmalloc, 0).throws(),
    F::allocate("TCMallocInternalNewHotCold", Tcmalloc, 0).throws(),
    F::allocate("TCMallocInternalNewHotColdNothrow", Tcmalloc, 0).throws(),
    F::allocate("TCMallocInternalNewAlignedHotCold", Tcmalloc, 0).throws(),
    F::allocate("TCMallocInternalNewAlignedHotColdNothrow", Tcmalloc, 0).throws(),
    F::allocate("TCMallocInternalNewArray", Tcmalloc, 0).throws(),
    F::allocate("TCMallocInternalNewArrayNothrow", Tcmalloc, 0).throws(),
    F::allocate("TCMallocInternalNewArrayAligned", Tcmalloc, 0).throws(),
    F::allocate("TCMallocInternalNewArrayAlignedNothrow", Tcmalloc, 0).throws(),
    F::allocate("TCMallocInternalNewArrayHotCold", Tcmalloc, 0).throws(),
    F::allocate("TCMallocInternalNewArrayHotColdNothrow", Tcmalloc, 0).throws(),
    F::allocate("TCMallocInternalNewArrayAlignedHotCold", Tcmalloc, 0).throws(),
    F::allocate("TCMallocInternalNewArrayAlignedHotColdNothrow", Tcmalloc, 0).throws(),
    F::free("TCMallocInternalDelete", Tcmalloc),
    F::free("TCMallocInternalDeleteSized", Tcmalloc),
    F::free("TCMallocInternalDeleteNothrow", Tcmalloc),
    F::free("TCMallocInternalDeleteAligned", Tcmalloc),
    F::free("TCMallocInternalDeleteSizedAligned", Tcmalloc),
    F::free("TCMallocInternalDeleteAlignedNothrow", Tcmalloc),
    F::free("TCMallocInternalDeleteArray", Tcmalloc),
    F::free("TCMallocInternalDeleteArraySized", Tcmalloc),
    F::free("TCMallocInternalDeleteArrayNothrow", Tcmalloc),
    F::free("TCMallocInternalDeleteArrayAligned", Tcmalloc),
    F::free("TCMallocInternalDeleteArraySizedAligned", Tcmalloc),
    F::free("TCMallocInternalDeleteArrayAlignedNothrow", Tcmalloc),
];

/// What mimalloc has once for the default heap and once for a heap given as the first argument;
/// `$h` is the number of leading heap arguments.
macro_rules! mimalloc_heap {
    ($prefix:literal, $h:literal) => {
        [
            F::allocate(concat!($prefix, "malloc"), Mimalloc, $h),
            F::allocate(concat!($prefix, "malloc_small"), Mimalloc, $h),
            F::allocate(concat!($prefix, "zalloc"), Mimalloc, $h),
            F::allocate(concat!($prefix, "zalloc_small"), Mimalloc, $h),
            F::allocate(concat!($prefix, "calloc"), Mimalloc, $h + 1).count($h),
            F::allocate(concat!($prefix, "mallocn"), Mimalloc, $h + 1).count($h),
            F::reallocate(concat!($prefix, "realloc"), Mimalloc, $h, $h + 1),
            F::reallocate(concat!($prefix, "reallocn"), Mimalloc, $h, $h + 2).count($h + 1),
            F::resize(concat!($prefix, "reallocf"), Mimalloc, Effect::ReallocateOrFree, $h, $h + 1),
            F::reallocate(concat!($prefix, "rezalloc"), Mimalloc, $h, $h + 1),
            F::reallocate(concat!($prefix, "recalloc"), Mimalloc, $h, $h + 2).count($h + 1),
            F::allocate(concat!($prefix, "malloc_aligned"), Mimalloc, $h),
            F::allocate(concat!($prefix, "malloc_aligned_at"), Mimalloc, $h),
            F::allocate(concat!($prefix, "zalloc_aligned"), Mimalloc, $h),
            F::allocate(concat!($prefix, "zalloc_aligned_at"), Mimalloc, $h),
            F::allocate(concat!($prefix, "calloc_aligned"), Mimalloc, $h + 1).count($h),
            F::allocate(concat!($prefix, "calloc_aligned_at"), Mimalloc, $h + 1).count($h),
            F::reallocate(concat!($prefix, "realloc_aligned"), Mimalloc, $h, $h + 1),
            F::reallocate(concat!($prefix, "realloc_aligned_at"), Mimalloc, $h, $h + 1),
            F::reallocate(concat!($prefix, "rezalloc_aligned"), Mimalloc, $h, $h + 1),
            F::reallocate(concat!($prefix, "rezalloc_aligned_at"), Mimalloc, $h, $h + 1),
            F::reallocate(concat!($prefix, "recalloc_aligned"), Mimalloc, $h, $h + 2).count($h + 1),
            F::reallocate(concat!($prefix, "recalloc_aligned_at"), Mimalloc, $h, $h + 2).count($h + 1),
        ]
    };
}

const MIMALLOC: &[F] = &[
    F::resize("mi_expand", Mimalloc, Effect::Expand, 0, 1),
    F::resize("mi__expand", Mimalloc, Effect::Expand, 0, 1),
    F::free("mi_free", Mimalloc),
    F::free("mi_free_size", Mimalloc),
    F::free("mi_free_aligned", Mimalloc),
    F::free("mi_free_size_aligned", Mimalloc),
    F::free("mi_free_small", Mimalloc),
    F::free("mi_free_nonnull", Mimalloc),
    F::free("mi_free_small_nonnull", Mimalloc),
    F::allocate_out("mi_posix_memalign", Mimalloc),
    F::allocate("mi_memalign", Mimalloc, 1),
    F::allocate("mi_aligned_alloc", Mimalloc, 1),
    F::allocate("mi_valloc", Mimalloc, 0),
    F::allocate("mi_pvalloc", Mimalloc, 0),
    F::reallocate("mi_reallocarray", Mimalloc, 0, 2).count(1),
    F::reallocate("mi_aligned_recalloc", Mimalloc, 0, 2).count(1),
    F::reallocate("mi_aligned_offset_recalloc", Mimalloc, 0, 2).count(1),
    F::allocate("mi_new", Mimalloc, 0).throws(),
    F::allocate("mi_new_aligned", Mimalloc, 0).throws(),
    F::allocate("mi_new_nothrow", Mimalloc, 0).throws(),
    F::allocate("mi_new_aligned_nothrow", Mimalloc, 0).throws(),
    F::allocate("mi_new_n", Mimalloc, 1).count(0).throws(),
    F::reallocate("mi_new_realloc", Mimalloc, 0, 1).throws(),
    F::reallocate("mi_new_reallocn", Mimalloc, 0, 2).count(1).throws(),
    F::allocate("mi_heap_alloc_new", Mimalloc, 1).throws(),
    F::allocate("mi_heap_alloc_new_n", Mimalloc, 2).count(1).throws(),
];

const TABLES: &[&[F]] = &[
    STANDARD,
    &jemalloc_own!(""),
    &jemalloc_own!("je_"),
    &jemalloc_own!("_rjem_"),
    &jemalloc_standard!("je_"),
    &jemalloc_standard!("_rjem_"),
    TCMALLOC,
    MIMALLOC,
    &mimalloc_heap!("mi_", 0),
    &mimalloc_heap!("mi_heap_", 1),
    &mimalloc_heap!("mi_theap_", 1),
    OPERATORS,
];

static BY_NAME: LazyLock<HashMap<&'static str, (usize, &'static F)>> =
    LazyLock::new(|| functions().enumerate().map(|(rank, f)| (f.name, (rank, f))).collect());

/// All of them, the most canonical names first.
pub fn functions() -> impl Iterator<Item = &'static AllocatorFunction> {
    TABLES.iter().flat_map(|table| table.iter())
}

/// The function of that name.
pub fn lookup(name: &str) -> Option<&'static AllocatorFunction> {
    BY_NAME.get(name).map(|&(_, f)| f)
}

/// The place of a name in [`functions`]; the lowest among aliases is the one to show.
pub fn rank(name: &str) -> usize {
    BY_NAME.get(name).map_or(usize::MAX, |&(rank, _)| rank)
}

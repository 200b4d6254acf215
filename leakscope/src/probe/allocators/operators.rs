//! C++ `operator new` and `operator delete`, which every allocator may define.

use crate::probe::table::AllocatorFunction as F;
use crate::probe::table::Family::Operator;

/// Mangled by the Itanium C++ ABI; those with `hot_cold` and `size_returning` are from google/tcmalloc.
/// Operators new run the new handler, which may throw, even where they are `nothrow` themselves.
pub(super) const FUNCTIONS: &[F] = &[
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

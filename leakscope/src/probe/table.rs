//! The allocator functions, as data: what each does to the account and which argument is what.
//!
//! The functions themselves stand in [`allocators`], by whose they are. Left out on purpose are those that call a
//! listed one for the block (`strdup`).

use std::collections::HashMap;
use std::sync::LazyLock;

use leakscope_common::probe::Effect;

use super::allocators::{self, Allocator};

/// Whose interface a function belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// The C library's, under its public and internal names.
    C,
    /// C++ `operator new` and `operator delete`, under their mangled names.
    Operator,
    /// An allocator's own.
    Own(Allocator),
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
    pub(super) const fn new(name: &'static str, family: Family, effect: Effect) -> Self {
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

    pub(super) const fn allocate(name: &'static str, family: Family, size: u8) -> Self {
        let mut f = Self::new(name, family, Effect::Allocate);
        f.size = Some(size);
        f
    }

    pub(super) const fn resize(
        name: &'static str,
        family: Family,
        effect: Effect,
        pointer: u8,
        size: u8,
    ) -> Self {
        let mut f = Self::new(name, family, effect);
        f.pointer = Some(pointer);
        f.size = Some(size);
        f
    }

    pub(super) const fn reallocate(name: &'static str, family: Family, pointer: u8, size: u8) -> Self {
        Self::resize(name, family, Effect::Reallocate, pointer, size)
    }

    pub(super) const fn free(name: &'static str, family: Family) -> Self {
        let mut f = Self::new(name, family, Effect::Free);
        f.pointer = Some(0);
        f
    }

    pub(super) const fn allocate_out(name: &'static str, family: Family) -> Self {
        let mut f = Self::new(name, family, Effect::AllocateOut);
        f.out = Some(0);
        f.size = Some(2);
        f
    }

    pub(super) const fn count(mut self, count: u8) -> Self {
        self.count = Some(count);
        self
    }

    pub(super) const fn extra(mut self, extra: u8) -> Self {
        self.extra = Some(extra);
        self
    }

    pub(super) const fn throws(mut self) -> Self {
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

static BY_NAME: LazyLock<HashMap<&'static str, (usize, &'static AllocatorFunction)>> =
    LazyLock::new(|| functions().enumerate().map(|(rank, f)| (f.name, (rank, f))).collect());

/// All of them, the most canonical names first.
pub fn functions() -> impl Iterator<Item = &'static AllocatorFunction> {
    allocators::functions()
}

/// The function of that name.
pub fn lookup(name: &str) -> Option<&'static AllocatorFunction> {
    BY_NAME.get(name).map(|&(_, f)| f)
}

/// The place of a name in [`functions`]; the lowest among aliases is the one to show.
pub fn rank(name: &str) -> usize {
    BY_NAME.get(name).map_or(usize::MAX, |&(rank, _)| rank)
}

//! Which allocator functions a file defines.
//!
//! The dynamic linker's own `malloc` (exported by glibc's `ld.so` before 2.31, internal since) is
//! left out: it serves the linker until libc is relocated, its blocks are never freed, and once libc
//! is there the linker calls libc's functions. musl is linker and libc in one and is not affected.

use std::collections::{BTreeMap, BTreeSet};

use super::allocators::Allocator;
use super::image::{FunctionSymbol, for_each_function};
use super::place::PlaceError;
use super::table::{self, AllocatorFunction, Family};
use crate::process::ElfFile;

/// An allocator function of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its names, the most canonical first.
    pub names: Vec<&'static str>,
    /// What it does.
    pub function: AllocatorFunction,
    /// Virtual address in the file.
    pub address: u64,
    /// File offset.
    pub offset: u64,
    /// Bytes, 0 if the symbol does not say.
    pub size: u64,
    /// Whether its names promise different arguments or effects; the first name's count.
    pub ambiguous: bool,
}

/// Why a function has no probe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SkipReason {
    /// Its symbol names a resolver that picks the implementation when the program starts.
    #[error("an indirect function: its implementation is chosen at start-up")]
    Indirect,
    /// The symbol's address is in no executable segment.
    #[error("its symbol points outside of the file's code")]
    NotCode,
    /// A `static` function, which may be anything.
    #[error("a private function of that name, in a file that does not have both malloc and free")]
    Private,
    /// The file has more functions than any allocator.
    #[error("the file has more than {MAX_FUNCTIONS} allocator functions")]
    TooMany,
    /// The dynamic linker's own.
    #[error("the dynamic linker's own allocator, which never frees")]
    DynamicLinker,
    /// A C++ operator in a file without an allocator.
    #[error("this file has no allocator: its operators call one of another file")]
    NoAllocator,
    /// It calls others that have probes.
    #[error("calls {}, where the probe is", .0.join(", "))]
    Delegates(Vec<String>),
    /// Its code was moved to memory without a file.
    #[error(
        "the program has moved its code to memory without a file (huge pages), where the kernel places no probe"
    )]
    Remapped,
    /// No instruction can be probed.
    #[error(transparent)]
    Place(#[from] PlaceError),
}

impl SkipReason {
    /// Whether calls of the function go unseen; otherwise they are seen elsewhere, or are none of an
    /// allocator's.
    pub fn loses_events(&self) -> bool {
        matches!(self, Self::Indirect | Self::NotCode | Self::TooMany | Self::Remapped | Self::Place(_))
    }
}

/// A function without a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    pub names: Vec<&'static str>,
    /// Why.
    pub reason: SkipReason,
}

/// What a file defines.
#[derive(Debug, Default)]
pub(crate) struct Discovered {
    pub(crate) functions: Vec<Function>,
    pub(crate) skipped: Vec<Skipped>,
    /// Allocators that have a symbol of their own in it.
    pub(crate) marked: BTreeSet<Allocator>,
}

/// Functions of one file that are considered.
const MAX_FUNCTIONS: usize = 1000;

/// A function under construction.
#[derive(Default)]
struct Entry {
    size: u64,
    indirect: bool,
    /// Whether all of its names are local ones that any program may use for its own.
    private: bool,
    names: Vec<&'static str>,
}

/// Finds the functions of the table in both symbol tables, one for each file offset.
///
/// A linker makes hidden functions local (musl's `__libc_free`, an allocator inside a plugin), so
/// local symbols count too; but the plain C names only where `malloc` and `free` come together.
pub(crate) fn discover(elf: &ElfFile) -> Discovered {
    let mut found = Discovered::default();
    let mut by_address: BTreeMap<u64, Entry> = BTreeMap::new();
    for_each_function(elf, |symbol: &FunctionSymbol<'_>| {
        found.marked.extend(Allocator::marked_by(symbol.name));
        let Some(function) = table::lookup(symbol.name) else { return };
        let private = symbol.local && function.family == Family::C && !function.name.starts_with("__");
        let entry = by_address.entry(symbol.address).or_insert(Entry { private: true, ..Entry::default() });
        entry.size = entry.size.max(symbol.size);
        entry.indirect |= symbol.indirect;
        entry.private &= private;
        if !entry.names.contains(&function.name) {
            entry.names.push(function.name);
        }
    });
    let has = |name| by_address.values().any(|entry| entry.private && entry.names.contains(&name));
    let has_private_allocator = has("malloc") && has("free");
    let dynamic_linker = !by_address.is_empty() && is_dynamic_linker(elf);
    let mut offsets = BTreeMap::new();
    for (address, Entry { size, indirect, private, mut names }) in by_address {
        names.sort_by_key(|name| table::rank(name));
        let offset = elf.offset_of_address(address);
        let reason = match offset {
            _ if dynamic_linker => SkipReason::DynamicLinker,
            _ if indirect => SkipReason::Indirect,
            _ if private && !has_private_allocator => SkipReason::Private,
            _ if offsets.len() >= MAX_FUNCTIONS => SkipReason::TooMany,
            None => SkipReason::NotCode,
            Some(offset) => {
                // Hostile segments may map one offset at two addresses; one probe serves both.
                let known = offsets.entry(offset).or_insert((address, size, Vec::new()));
                known.2.extend(names);
                continue;
            }
        };
        found.skipped.push(Skipped { names, reason });
    }
    found.functions = offsets.into_iter().filter_map(|(offset, entry)| merge(offset, entry)).collect();
    found
}

/// One function of all the names at an offset.
fn merge(offset: u64, (address, size, names): (u64, u64, Vec<&'static str>)) -> Option<Function> {
    let mut function = *table::lookup(names.first()?)?;
    let others: Vec<_> = names.iter().filter_map(|name| table::lookup(name)).collect();
    let ambiguous = others.iter().any(|other| !other.same_account(&function));
    // Folded identical code can't throw under one name and not under another.
    function.may_throw = others.iter().all(|other| other.may_throw);
    Some(Function { names, function, address, offset, size, ambiguous })
}

/// Whether the file is glibc's dynamic linker.
pub fn is_dynamic_linker(elf: &ElfFile) -> bool {
    use object::{Object as _, ObjectSymbol as _};
    let Ok(parsed) = elf.parsed() else { return false };
    let mut symbols = parsed.dynamic_symbols().take(100_000);
    symbols.any(|s| !s.is_undefined() && s.name().is_ok_and(|name| name == "_rtld_global"))
}

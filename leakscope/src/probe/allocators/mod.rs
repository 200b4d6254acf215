//! The allocators that are told apart: one file and one line of the list each.
//!
//! A row has all that is known of an allocator: its functions, how it is recognised where it stands behind the
//! standard names, and what of it is never to blame for memory. An allocator without a row is traced all the
//! same where it defines the standard functions; it is only called unknown.

// A table of names is laid out by hand: a line each would make it five times as long.
#[rustfmt::skip]
mod glibc;
mod c;
#[rustfmt::skip]
mod jemalloc;
#[rustfmt::skip]
mod mimalloc;
mod musl;
mod operators;
#[rustfmt::skip]
mod tcmalloc;

use std::fmt;

use leakscope_common::probe::Effect;

use super::table::AllocatorFunction;

/// What is known of an allocator.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// What it is called in a report.
    pub name: &'static str,
    /// Where its functions and names are taken from.
    pub source: &'static str,
    /// Functions of its own, those first whose names are to be shown. Which of C's and C++'s functions it
    /// defines as well, each file tells. One that only calls another listed one need not be here.
    pub functions: &'static [&'static [AllocatorFunction]],
    /// Symbols, exported or not, by which a file tells that its standard `malloc` is this one's.
    pub markers: &'static [&'static str],
    /// Other names of the standard `malloc` that tell the same.
    pub malloc_is_also: &'static [&'static str],
    /// Its functions tell nothing where another name of the same code begins so: that one's allocator offers
    /// them as well.
    pub not_beside: &'static [&'static str],
    /// What of it is never to blame.
    pub blame: Blame,
}

impl Row {
    /// An allocator that defines the standard functions, and nothing that gives it away.
    const PLAIN: Self = Self {
        name: "unknown allocator",
        source: "",
        functions: &[],
        markers: &[],
        malloc_is_also: &[],
        not_beside: &[],
        blame: Blame::NOTHING,
    };
}

/// Code that only hands out memory on behalf of others.
#[derive(Clone, Copy, Debug)]
pub struct Blame {
    /// Functions, by their names without versions.
    pub names: &'static [&'static str],
    /// Beginnings of the names of functions, as they are demangled.
    pub prefixes: &'static [&'static str],
    /// Libraries, by their file names without a version.
    pub modules: &'static [&'static str],
}

impl Blame {
    const NOTHING: Self = Self { names: &[], prefixes: &[], modules: &[] };
}

/// Makes the allocators from their lines.
macro_rules! allocators {
    ($($(#[$doc:meta])* $allocator:ident = $row:expr;)*) => {
        /// An allocator implementation.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Allocator {
            $($(#[$doc])* $allocator,)*
        }

        impl Allocator {
            /// All of them. What a program may bring with it stands behind what its C library has.
            pub const ALL: &[Self] = &[$(Self::$allocator),*];

            /// What is known of it.
            pub const fn row(self) -> &'static Row {
                match self { $(Self::$allocator => const { &$row },)* }
            }
        }
    };
}

allocators! {
    /// glibc's malloc.
    Glibc = glibc::ROW;
    /// musl's malloc.
    Musl = musl::ROW;
    Jemalloc = jemalloc::ROW;
    /// gperftools' or google's tcmalloc.
    Tcmalloc = tcmalloc::ROW;
    Mimalloc = mimalloc::ROW;
    /// One that defines the standard functions and nothing else that is known.
    Other = Row::PLAIN;
}

impl Allocator {
    /// The one whose own symbol this is: a file that has it has this one behind its standard names.
    pub(super) fn marked_by(symbol: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|allocator| allocator.row().markers.contains(&symbol))
    }
}

impl fmt::Display for Allocator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().name)
    }
}

/// All functions: the standard ones of C, those of each allocator, the operators of C++.
pub(super) fn functions() -> impl Iterator<Item = &'static AllocatorFunction> {
    let own = Allocator::ALL.iter().flat_map(|allocator| allocator.row().functions.iter().copied().flatten());
    c::FUNCTIONS.iter().chain(own).chain(operators::FUNCTIONS)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::probe::table::Family;

    #[test]
    fn rows_are_whole_and_apart() {
        let mut functions_seen = BTreeSet::new();
        assert!(
            functions().all(|function| functions_seen.insert(function.name)),
            "a function has one meaning"
        );
        let mut markers_seen = BTreeSet::new();
        for allocator in Allocator::ALL.iter().filter(|allocator| **allocator != Allocator::Other) {
            let row = allocator.row();
            assert!(!row.source.is_empty() && row.name != Row::PLAIN.name, "{allocator:?}");
            let mut own = row.functions.iter().copied().flatten();
            assert!(own.all(|function| function.family == Family::Own(*allocator)), "{allocator:?}");
            assert!(row.markers.iter().all(|marker| markers_seen.insert(marker)), "{allocator:?}");
        }
    }
}

//! What the runtimes of languages add to what is known of any process: one folder (or file) and one row of
//! [`RUNTIMES`] each.
//!
//! The rest of leakscope knows no runtime by its name. It asks
//!
//! - [`detect()`] which runtime a process has, for the name that `attach`, `dump` and `top` give it;
//! - [`Runtimes::find`] what can be read of it, as frames, tasks and heap ([`Opened`]);
//! - [`rules()`] which code is never to blame, which functions wait, and which threads wait for work: the tables
//!   of all runtimes together, because a process may have code of several.
//!
//! Whoever adds a runtime writes its [`Runtime`], and adds its row; nothing else changes.

mod detect;
mod dotnet;
pub mod go;
mod java;
mod name;
mod native;
mod node;
mod opened;
mod python;
mod recorded;

pub use crate::collect::Log;
pub use detect::{Clues, Signs, by_contents, detect, library_by_contents, of};
pub use dotnet::DotNet;
pub use java::Java;
pub use name::RuntimeName;
pub use native::Native;
pub use node::Node;
pub use opened::{HoldersLimits, Observed, Opened, Options, Probing, Runtimes};
pub use python::Python;
pub use recorded::RecordedRuntime;

use std::fmt::Debug;
use std::sync::LazyLock;

use crate::probe::allocators::{Allocator, Blame};
use crate::process::{AddressSpace, Process};
use crate::symbol::{BlameRules, CodeTable, Owners};
use crate::wait::Rules;
use crate::wait::idle::IdleRule;
use crate::wait::primitives::Library;

/// All runtimes, most specific first: of two that a process shows the same kind of sign of, the first one counts.
/// The last one is what a process has that shows no sign of any.
pub static RUNTIMES: &[&dyn Runtime] = &[&go::Go, &Python, &Java, &Node, &DotNet, &Native];

/// What a language's runtime adds.
///
/// An implementation is a value without state: it is a row of [`RUNTIMES`] and lives as long as the program. All
/// but its name and its signs is optional, and most of that is tables: what a method gives never changes, so it
/// may be asked once or often. What needs a process is told by what [`detect()`] hands to it.
///
/// What must hold:
///
/// - The name is unique, in lower case, and never changes: it is in reports, and people filter by it.
/// - Signs are of the runtime, not of the language's usual libraries: a C program that speaks to Python is no
///   Python program, but one that has its interpreter mapped is.
/// - Blame rules may be asked of any frame of any process. A name that a program of another language could use
///   for its own code does not belong there.
/// - The bytes and names of a process are hostile: every reader bounds what it reads, and never panics.
pub trait Runtime: Debug + Sync {
    /// Its name, as `target.runtime` of a report and the column of `top` have it: `go`.
    fn name(&self) -> &'static str;

    /// What a process that has it is known by. Looked at once a process, by the session as it begins and by `top`
    /// as it first sees the process; [`detect()`] says which sign counts for more.
    fn signs(&self) -> Signs;

    /// Opens a process to read frames, tasks or the heap that only the runtime knows of; `None` if it is none of
    /// this runtime's, or nothing of it is read. Called once, before anything is attached. It looks for itself
    /// whether there is something to read, whatever runtime the process is named by.
    fn open(
        &self,
        _process: &Process,
        _space: &AddressSpace,
        _options: Options,
        _log: &mut dyn Log,
    ) -> Option<Box<dyn Opened>> {
        None
    }

    /// What there is to say of a process before it is opened, for `doctor`: one line, which begins with the
    /// language. `None` if there is nothing.
    fn describe(&self, _process: &Process, _space: &AddressSpace) -> Option<String> {
        None
    }

    /// What holds memory of its programs beside the allocator's functions, which do not see it: the reason that a
    /// report gives where much is resident and little was traced.
    fn own_heap(&self) -> Option<OwnHeap> {
        None
    }

    /// Why its programs usually have no allocator's function at all.
    fn no_allocator(&self) -> Option<&'static str> {
        None
    }

    /// Code of the runtime and its ecosystem that no stack is charged to. Part of [`rules()`].
    fn blame(&self) -> BlameRules {
        BlameRules::NONE
    }

    /// Loops in which its threads wait for work. Part of [`rules()`].
    fn idle_rules(&self) -> &'static [IdleRule] {
        &[]
    }

    /// Functions that run code of the language that has no frames of its own: whoever waits below one of them does
    /// so in code of the program.
    fn interpreters(&self) -> &'static [&'static str] {
        &[]
    }

    /// Its functions that wait, with the kind of wait and the layout of the lock. Part of [`rules()`].
    fn primitives(&self) -> &'static [Library] {
        &[]
    }
}

/// The tables that stacks are judged by: those of libraries, and those of all runtimes.
pub fn rules() -> &'static Rules {
    static RULES: LazyLock<Rules> = LazyLock::new(|| {
        Rules::with(
            RUNTIMES.iter().map(|runtime| runtime.blame()).chain(allocators()).collect::<Owners>(),
            RUNTIMES.iter().flat_map(|runtime| runtime.primitives()),
            RUNTIMES.iter().flat_map(|runtime| runtime.idle_rules()).copied(),
            RUNTIMES.iter().flat_map(|runtime| runtime.interpreters()).copied(),
        )
    });
    &RULES
}

/// What of each known allocator is never to blame, in a program of whatever language.
fn allocators() -> impl Iterator<Item = BlameRules> {
    Allocator::ALL.iter().map(|allocator| {
        let Blame { names, prefixes, modules } = allocator.row().blame;
        BlameRules { allocators: CodeTable { names, prefixes, modules, sources: &[] }, ..BlameRules::NONE }
    })
}

/// Memory that a runtime maps by itself.
#[derive(Clone, Copy, Debug)]
pub struct OwnHeap {
    /// Names of the programs and libraries that do so, without their versions: `libpython` is
    /// `libpython3.11.so.1.0`.
    pub files: &'static [&'static str],
    /// What the reader should know of it.
    pub why: &'static str,
}

/// What of that there is in a process, by the files that are mapped.
pub fn own_heap(space: &AddressSpace) -> Option<&'static str> {
    let names: Vec<&str> = space.modules().filter_map(|(_, m)| m.path.file_name()?.to_str()).collect();
    let is = |name: &str, file: &str| {
        let version = |rest: &str| rest.chars().all(|c| c.is_ascii_digit() || ".so".contains(c));
        name.strip_prefix(file).is_some_and(version)
    };
    let mapped = |heap: &OwnHeap| heap.files.iter().any(|file| names.iter().any(|name| is(name, file)));
    RUNTIMES.iter().filter_map(|runtime| runtime.own_heap()).find(mapped).map(|heap| heap.why)
}

/// What there is to say of a process by its runtimes before it is opened, a line each.
pub fn describe(process: &Process, space: &AddressSpace) -> impl Iterator<Item = String> {
    RUNTIMES.iter().filter_map(|runtime| runtime.describe(process, space))
}

/// The runtime with this name.
pub fn by_name(name: &str) -> Option<&'static dyn Runtime> {
    RUNTIMES.iter().copied().find(|runtime| runtime.name() == name)
}

#[cfg(test)]
mod tests;

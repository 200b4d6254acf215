//! The blame frame: whom a stack is charged to.

use std::collections::HashSet;

mod charging;
mod cpp;
mod program;

pub use charging::{Charging, wrapper_name};

/// What is known about a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlameInput<'a> {
    /// Demangled name, if it is known.
    pub function: Option<&'a str>,
    /// Path or name of the module.
    pub module: Option<&'a str>,
    /// Source file, if it is known.
    pub file: Option<&'a str>,
    /// Whether it lies in a function that is probed because it allocates, whatever that is called.
    pub allocator: bool,
    /// Whose code it is, and whether it lies in a library of the system: what is found out once of a frame that is on
    /// many stacks.
    pub known: Option<KnownFrame>,
}

/// What is known of a frame by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownFrame {
    owner: FrameOwner,
    foreign: bool,
}

/// Who wrote the code of a frame, nearest to the hardware first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FrameOwner {
    /// It hands out memory: malloc, `operator new`, and the wrappers around them.
    Allocator,
    /// The language's runtime and standard library, libc.
    Runtime,
    /// A known layer that runs the user's code: an executor, a framework.
    Framework,
    /// The rest.
    User,
}

/// How code is recognised.
#[derive(Clone, Copy, Debug)]
pub struct CodeTable {
    /// Names of functions, without the suffixes that compilers and linkers add.
    pub names: &'static [&'static str],
    /// Beginnings of the names, or of the paths, of functions.
    pub prefixes: &'static [&'static str],
    /// Names of files, without their versions: `libc` is `libc.so.6`.
    pub modules: &'static [&'static str],
    /// Parts of the paths of source files.
    pub sources: &'static [&'static str],
}

impl CodeTable {
    /// An empty one.
    pub const NONE: Self = Self { names: &[], prefixes: &[], modules: &[], sources: &[] };
}

/// The code of a runtime and its ecosystem that a stack is not charged to.
#[derive(Clone, Copy, Debug)]
pub struct BlameRules {
    /// What hands out memory. It counts before the rest: a `malloc` in libc is an allocator.
    pub allocators: CodeTable,
    /// The runtime and the standard library.
    pub runtime: CodeTable,
    /// Layers that run the user's code or hold its data.
    pub frameworks: CodeTable,
    /// Rust crates that are the runtime's: the first segments of paths.
    pub rust_crates: &'static [&'static str],
    /// Beginnings of the names of functions that only lead from code made at run time to what it calls.
    pub trampolines: &'static [&'static str],
    /// Beginnings of the names of functions that call nothing but the runtime's own code, also where that has no name.
    pub leads: &'static [&'static str],
}

impl BlameRules {
    /// No code.
    pub const NONE: Self = Self {
        allocators: CodeTable::NONE,
        runtime: CodeTable::NONE,
        frameworks: CodeTable::NONE,
        rust_crates: &[],
        trampolines: &[],
        leads: &[],
    };
}

/// Tables of one owner's code, put together.
#[derive(Debug, Default)]
struct Code {
    names: HashSet<&'static str>,
    prefixes: Vec<&'static str>,
    modules: Vec<&'static str>,
    sources: Vec<&'static str>,
}

impl Code {
    fn add(&mut self, table: &CodeTable) {
        self.names.extend(table.names);
        self.prefixes.extend(table.prefixes);
        self.modules.extend(table.modules);
        self.sources.extend(table.sources);
    }

    fn holds_module(&self, file: Option<&str>) -> bool {
        file.is_some_and(|file| self.modules.iter().any(|module| is_module(file, module)))
    }
}

/// Who owns which code, by the rules of all runtimes: a process may have code of several.
#[derive(Debug, Default)]
pub struct Owners {
    allocators: Code,
    runtime: Code,
    frameworks: Code,
    rust_crates: HashSet<&'static str>,
    trampolines: Vec<&'static str>,
    leads: Vec<&'static str>,
}

impl FromIterator<BlameRules> for Owners {
    fn from_iter<I: IntoIterator<Item = BlameRules>>(all: I) -> Self {
        let mut owners = Self::default();
        for rules in all {
            owners.allocators.add(&rules.allocators);
            owners.runtime.add(&rules.runtime);
            owners.frameworks.add(&rules.frameworks);
            owners.rust_crates.extend(rules.rust_crates);
            owners.trampolines.extend(rules.trampolines);
            owners.leads.extend(rules.leads);
        }
        owners
    }
}

impl Owners {
    /// The frame that a stack (innermost frame first) of any program is charged to.
    pub fn blame(&self, frames: &[BlameInput<'_>]) -> Option<usize> {
        self.charge(frames, &Charging::default())
    }

    /// The frame that a stack (innermost frame first) is charged to: the first that is the user's own.
    ///
    /// Where there is none, it is the first that belongs to a framework; else the first that is no
    /// allocator; else the outermost. `None` if there are no frames. A frame without a name counts by
    /// its module. Code made at run time that nothing names would tell nothing: what it called stands for it.
    ///
    /// A library that the system has for all programs does what it was told to: the first frame of the program's
    /// own files stands for it, if one is there that says more than that the program runs.
    pub fn charge(&self, frames: &[BlameInput<'_>], charging: &Charging) -> Option<usize> {
        let mut owners = Vec::with_capacity(frames.len());
        for at in 0..frames.len() {
            owners.push(self.owner_in(frames, at, charging));
            if owners[at] == FrameOwner::User {
                break;
            }
        }
        let blamed = blame_by(&owners)?;
        if owners[blamed] != FrameOwner::User {
            return Some(blamed);
        }
        if charging.is_foreign(&frames[blamed]) {
            return Some(self.own_beyond(frames, blamed, charging).unwrap_or(blamed));
        }
        let nameless = frames[blamed].function.is_none() && frames[blamed].module.is_none();
        if !nameless {
            return Some(blamed);
        }
        let called = frames[..blamed].iter().zip(&owners).rposition(|(frame, &owner)| {
            let leads = frame.function.is_some_and(|name| !has_prefix(name, &self.trampolines));
            leads && owner != FrameOwner::Allocator
        });
        Some(called.unwrap_or(blamed))
    }

    /// The user's frame that a stack is charged to which is not to be charged to any up to `at`; `at` itself if
    /// none lies beyond.
    pub fn charge_beyond(&self, frames: &[BlameInput<'_>], at: usize, charging: &Charging) -> usize {
        let is_users = |&at: &usize| self.owner_in(frames, at, charging) == FrameOwner::User;
        match (at.saturating_add(1)..frames.len()).find(is_users) {
            Some(next) if charging.is_foreign(&frames[next]) => {
                self.own_beyond(frames, next, charging).unwrap_or(next)
            }
            Some(next) => next,
            None => at,
        }
    }

    /// Who wrote the code of a frame of a stack, where the frames around it count, too.
    fn owner_in(&self, frames: &[BlameInput<'_>], at: usize, charging: &Charging) -> FrameOwner {
        let frame = &frames[at];
        let owner = self.owner(frame);
        let caller = || frames.get(at + 1).and_then(|caller| caller.function);
        if owner == FrameOwner::User
            && frame.function.is_none()
            && caller().is_some_and(|caller| has_prefix(caller, &self.leads))
        {
            return FrameOwner::Runtime;
        }
        let Some(name) = frame.function.filter(|_| owner != FrameOwner::Allocator) else { return owner };
        let for_container =
            || owner == FrameOwner::User && caller().is_some_and(|caller| cpp::allocates_for(name, caller));
        if charging.is_wrapper(name) || for_container() { FrameOwner::Allocator } else { owner }
    }

    /// The first frame beyond `at` that is of the program's own files and not where it begins.
    fn own_beyond(&self, frames: &[BlameInput<'_>], at: usize, charging: &Charging) -> Option<usize> {
        let own = |&at: &usize| {
            !charging.is_foreign(&frames[at]) && self.owner_in(frames, at, charging) == FrameOwner::User
        };
        let begins = |at: usize| {
            let main = frames[at].function.is_some_and(|name| name == "main" || name.ends_with("::main"));
            let caller = frames.get(at + 1).and_then(|frame| frame.function);
            main || caller.is_some_and(|name| STARTS.contains(&bare(name)))
        };
        (at + 1..frames.len()).find(own).filter(|&at| !begins(at))
    }

    /// What is known of a frame by itself, which need not be found out again on each stack.
    pub fn know(&self, frame: &BlameInput<'_>, charging: &Charging) -> KnownFrame {
        KnownFrame { owner: self.owner(frame), foreign: charging.is_foreign(frame) }
    }

    /// Who wrote the code of a frame.
    pub fn owner(&self, frame: &BlameInput<'_>) -> FrameOwner {
        if frame.allocator {
            return FrameOwner::Allocator;
        }
        if let Some(known) = frame.known {
            return known.owner;
        }
        let file = frame.module.map(|module| module.rsplit('/').next().unwrap_or(module));
        if let Some(name) = frame.function {
            let known =
                self.allocators.names.contains(bare(name)) || has_prefix(name, &self.allocators.prefixes);
            if known || cpp::allocates(name) {
                return FrameOwner::Allocator;
            }
            if self.is_runtime(name) {
                return FrameOwner::Runtime;
            }
        }
        if self.allocators.holds_module(file) {
            return FrameOwner::Allocator;
        }
        if self.runtime.holds_module(file) {
            return FrameOwner::Runtime;
        }
        if frame.file.is_some_and(|file| self.runtime.sources.iter().any(|part| is_source(file, part))) {
            return FrameOwner::Runtime;
        }
        let framework =
            frame.function.is_some_and(|name| has_prefix(path_of(name), &self.frameworks.prefixes));
        if framework || self.frameworks.holds_module(file) { FrameOwner::Framework } else { FrameOwner::User }
    }

    fn is_runtime(&self, name: &str) -> bool {
        self.runtime.names.contains(bare(name))
            || has_prefix(path_of(name), &self.runtime.prefixes)
            || is_rust_runtime(name, &self.rust_crates)
    }
}

/// What calls `main`: glibc csu/libc-start.c and sysdeps/x86_64/start.S; musl src/env/__libc_start_main.c.
const STARTS: &[&str] = &[
    "_start",
    "_start_c",
    "__libc_start_main",
    "__libc_start_main_impl",
    "__libc_start_call_main",
    "libc_start_main_stage2",
];

/// The frame to blame by who owns the frames, innermost first: the first of the user's, else of a framework's, else
/// that is no allocator, else the outermost. `None` if there are none.
pub fn blame_by(owners: &[FrameOwner]) -> Option<usize> {
    let first = |is: fn(FrameOwner) -> bool| owners.iter().position(|&owner| is(owner));
    first(|owner| owner == FrameOwner::User)
        .or_else(|| first(|owner| owner == FrameOwner::Framework))
        .or_else(|| first(|owner| owner != FrameOwner::Allocator))
        .or_else(|| owners.len().checked_sub(1))
}

/// Rust paths: `alloc::vec::Vec<T>::push`, `<alloc::vec::Vec<T> as Extend<T>>::extend`, and blanket
/// implementations (`<&mut F as core::ops::FnOnce<A>>::call_once`), but not a user's type with a
/// trait of the standard library.
fn is_rust_runtime(name: &str, crates: &HashSet<&str>) -> bool {
    // A path may begin with a type: `<&str as <alloc::ffi::c_str::CString>::new::SpecNewImpl>::spec_new_impl`.
    let in_crate = |path: &str| {
        path.trim_start_matches('<').split_once("::").is_some_and(|(first, _)| crates.contains(first))
    };
    let Some(inner) = name.strip_prefix('<') else { return in_crate(name) };
    let itself = self_type(inner).trim();
    let bare = strip_references(itself);
    let built_in = ["(", "[", "fn(", "unsafe ", "extern ", "for<"].iter().any(|p| bare.starts_with(p));
    if bare.contains("::") && !built_in {
        return in_crate(bare);
    }
    // A type parameter or a type of the language itself: the trait tells.
    inner[self_type(inner).len()..].strip_prefix(" as ").is_some_and(in_crate)
}

/// The text before ` as ` or the closing bracket, at depth 0.
fn self_type(inner: &str) -> &str {
    let mut depth = 0usize;
    for (at, c) in inner.char_indices() {
        match c {
            '<' | '(' | '[' => depth += 1,
            // `->` in a function type closes nothing.
            '>' if inner[..at].ends_with('-') => {}
            '>' if depth == 0 => return &inner[..at],
            '>' | ')' | ']' => depth = depth.saturating_sub(1),
            ' ' if depth == 0 && inner[at..].starts_with(" as ") => return &inner[..at],
            _ => {}
        }
    }
    inner
}

fn strip_references(mut name: &str) -> &str {
    loop {
        let next = ["&", "mut ", "dyn ", "*const ", "*mut "].iter().find_map(|p| name.strip_prefix(p));
        match next {
            Some(rest) => name = rest,
            None => return name,
        }
    }
}

/// A C++ name without what demanglers put before its path.
fn path_of(name: &str) -> &str {
    ["non-virtual thunk to ", "virtual thunk to ", "covariant return thunk to "]
        .iter()
        .find_map(|p| name.strip_prefix(p))
        .unwrap_or(name)
}

/// A C name without glibc's mark of an internal alias and without the suffixes of versions and of
/// parts that the compiler splits off.
fn bare(name: &str) -> &str {
    let name = name.strip_prefix("__GI_").unwrap_or(name);
    let end = name.find(['.', '@']).filter(|&at| at > 0).unwrap_or(name.len());
    &name[..end]
}

fn has_prefix(name: &str, table: &[&str]) -> bool {
    table.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether a source file is one of those that `part` stands for: with it in their path, or from the start behind `^`.
fn is_source(file: &str, part: &str) -> bool {
    part.strip_prefix('^').map_or_else(|| file.contains(part), |start| file.starts_with(start))
}

/// Whether the file name `name` is `module`, with any version: `libc` is `libc.so.6` and
/// `libc-2.31.so`; `python` is `python3.11`.
fn is_module(name: &str, module: &str) -> bool {
    name.strip_prefix(module).is_some_and(|rest| {
        let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.' || c == '-');
        rest.is_empty() || rest.starts_with("so") || rest.starts_with("cpython") || rest.starts_with("abi")
    })
}

#[cfg(test)]
mod tests;

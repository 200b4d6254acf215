//! The blame frame: whom a stack is charged to.

use super::blame_tables::{
    ALLOCATOR_MODULES, ALLOCATOR_NAMES, ALLOCATOR_PREFIXES, FRAMEWORK_MODULES, FRAMEWORK_PREFIXES,
    RUNTIME_MODULES, RUNTIME_NAMES, RUNTIME_PREFIXES, RUNTIME_SOURCES, RUST_RUNTIME_CRATES,
    TRAMPOLINE_PREFIXES,
};
use crate::probe::allocators::{Allocator, Blame};

/// What is known about a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlameInput<'a> {
    /// Demangled name, if it is known.
    pub function: Option<&'a str>,
    /// Path or name of the module.
    pub module: Option<&'a str>,
    /// Source file, if it is known.
    pub file: Option<&'a str>,
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

/// The frame that a stack (innermost frame first) is charged to: the first that is the user's own.
///
/// Where there is none, it is the first that belongs to a framework; else the first that is no
/// allocator; else the outermost. `None` if there are no frames. A frame without a name counts by
/// its module. Code made at run time that nothing names would tell nothing: what it called stands for it.
pub fn blame(frames: &[BlameInput<'_>]) -> Option<usize> {
    let owners: Vec<FrameOwner> = frames.iter().map(owner).collect();
    let users = owners.iter().position(|&owner| owner == FrameOwner::User);
    users
        .map(|at| {
            let nameless = frames[at].function.is_none() && frames[at].module.is_none();
            let called = frames[..at].iter().zip(&owners).rposition(|(frame, &owner)| {
                let leads = frame.function.is_some_and(|name| !has_prefix(name, TRAMPOLINE_PREFIXES));
                leads && owner != FrameOwner::Allocator
            });
            called.filter(|_| nameless).unwrap_or(at)
        })
        .or_else(|| owners.iter().position(|&owner| owner == FrameOwner::Framework))
        .or_else(|| owners.iter().position(|&owner| owner != FrameOwner::Allocator))
        .or_else(|| frames.len().checked_sub(1))
}

/// Who wrote the code of a frame.
pub fn owner(frame: &BlameInput<'_>) -> FrameOwner {
    let module = frame.module.map(|module| module.rsplit('/').next().unwrap_or(module));
    let module_in =
        |table: &[&str]| module.is_some_and(|name| table.iter().any(|module| is_module(name, module)));
    if let Some(name) = frame.function {
        if is_allocator(name) {
            return FrameOwner::Allocator;
        }
        if is_runtime(name) {
            return FrameOwner::Runtime;
        }
    }
    if module_in(ALLOCATOR_MODULES) || allocators().any(|blame| module_in(blame.modules)) {
        return FrameOwner::Allocator;
    }
    if module_in(RUNTIME_MODULES) {
        return FrameOwner::Runtime;
    }
    if frame.file.is_some_and(|file| RUNTIME_SOURCES.iter().any(|part| file.contains(part))) {
        return FrameOwner::Runtime;
    }
    let in_framework = frame.function.is_some_and(|name| has_prefix(path_of(name), FRAMEWORK_PREFIXES));
    if in_framework || module_in(FRAMEWORK_MODULES) { FrameOwner::Framework } else { FrameOwner::User }
}

fn is_allocator(name: &str) -> bool {
    let bare = bare(name);
    let known = ALLOCATOR_NAMES.contains(&bare) || has_prefix(name, ALLOCATOR_PREFIXES);
    known || allocators().any(|blame| blame.names.contains(&bare) || has_prefix(name, blame.prefixes))
}

/// What of each known allocator is never to blame.
fn allocators() -> impl Iterator<Item = Blame> {
    Allocator::ALL.iter().map(|allocator| allocator.row().blame)
}

fn is_runtime(name: &str) -> bool {
    RUNTIME_NAMES.contains(&bare(name))
        || has_prefix(path_of(name), RUNTIME_PREFIXES)
        || is_rust_runtime(name)
}

/// Rust paths: `alloc::vec::Vec<T>::push`, `<alloc::vec::Vec<T> as Extend<T>>::extend`, and blanket
/// implementations (`<&mut F as core::ops::FnOnce<A>>::call_once`), but not a user's type with a
/// trait of the standard library.
fn is_rust_runtime(name: &str) -> bool {
    let in_crate =
        |path: &str| path.split_once("::").is_some_and(|(first, _)| RUST_RUNTIME_CRATES.contains(&first));
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

//! Which stacks are the same in another build or another run.
//!
//! A frame is its function, without what a compiler adds to tell its copies apart: no address, no build
//! ID, no line. A frame without a function is its module; and, where both reports have the very same build
//! of that module, its place in it. Code made at run time has no module; within one account its address tells.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::human::file_name;
use crate::section::model::{Frame, Stack};

/// A stack, as far as it does not depend on the build.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct StackKey(Box<[u32]>);

/// Which frames of a stack count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frames {
    /// All.
    All,
    /// Those that are functions in the machine's terms, too.
    NotInlined,
}

/// What frames without a module lie in.
const MADE_AT_RUN_TIME: &str = "code made at run time";

/// Frames by number.
#[derive(Debug, Default)]
pub struct Keys<'a> {
    /// Whether the reports are of one account, in which addresses stay.
    one_account: bool,
    /// Build IDs that both reports have.
    shared: HashSet<&'a str>,
    /// Functions as the reports have them.
    functions: HashMap<(&'a str, bool), u32>,
    /// What tells frames apart.
    names: HashMap<String, u32>,
    /// Modules that differ, with frames that have no function.
    vague: HashSet<&'a str>,
}

impl<'a> Keys<'a> {
    /// For stacks of two reports, of `one_account` or not, in which there are `old` stacks and `new` ones.
    pub(crate) fn new(
        one_account: bool,
        old: impl Iterator<Item = &'a Stack>,
        new: impl Iterator<Item = &'a Stack>,
    ) -> Self {
        let (old, new) = (builds(old), builds(new));
        Self { one_account, shared: old.intersection(&new).copied().collect(), ..Self::default() }
    }

    /// The key of a stack; where there are no frames, why stands for them.
    pub(crate) fn stack(&mut self, stack: &'a Stack, which: Frames) -> StackKey {
        if stack.frames.is_empty() {
            let end = stack.end.as_ref().map(ToString::to_string).unwrap_or_default();
            return StackKey(Box::new([self.number(format!("\0end {end}"))]));
        }
        self.frames(&stack.frames, which)
    }

    /// The key of frames, whatever cuts them short.
    pub(crate) fn frames(&mut self, frames: &'a [Arc<Frame>], which: Frames) -> StackKey {
        let counts = |frame: &&Arc<Frame>| which == Frames::All || !frame.inlined;
        StackKey(frames.iter().filter(counts).map(|frame| self.frame(frame)).collect())
    }

    /// The number of a frame.
    pub(crate) fn frame(&mut self, frame: &'a Frame) -> u32 {
        if let Some(function) = frame.function.as_deref() {
            let go = frame.file.as_deref().is_some_and(|file| file.ends_with(".go"));
            if let Some(number) = self.functions.get(&(function, go)) {
                return *number;
            }
            let name = if go { Cow::Borrowed(function) } else { without_copy(function) };
            let number = self.number(name.into_owned());
            self.functions.insert((function, go), number);
            return number;
        }
        let Some(module) = frame.module.as_deref() else {
            if self.one_account {
                return self.number(format!("\0at {}", frame.address.unwrap_or_default()));
            }
            self.vague.insert(MADE_AT_RUN_TIME);
            return self.number("\0no module".to_owned());
        };
        let shared = |id| self.shared.contains(id);
        let known = self.one_account || frame.build_id.as_deref().is_some_and(shared);
        let name = match frame.offset.filter(|_| known) {
            Some(offset) => format!("\0{}+{offset}", library(module)),
            None => {
                self.vague.insert(file_name(module));
                format!("\0{}", library(module))
            }
        };
        self.number(name)
    }

    fn number(&mut self, name: String) -> u32 {
        let next = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        *self.names.entry(name).or_insert(next)
    }

    /// That stacks were matched by less than functions.
    pub(crate) fn note(&self) -> Option<String> {
        let mut modules: Vec<&str> = self.vague.iter().copied().collect();
        modules.sort_unstable();
        let more = modules.len().saturating_sub(3);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        modules.truncate(3);
        (!modules.is_empty()).then(|| {
            format!(
                "{}{more}: not the same build in both reports, or without a build ID, and frames in it have no \
                 function; such frames are all taken as one",
                modules.join(", ")
            )
        })
    }
}

/// The build IDs of all frames.
fn builds<'a>(stacks: impl Iterator<Item = &'a Stack>) -> HashSet<&'a str> {
    stacks.flat_map(|stack| &stack.frames).filter_map(|frame| frame.build_id.as_deref()).collect()
}

/// The file's name without the version of a library: `libssl.so` of `/lib/libssl.so.3.0.2`.
fn library(module: &str) -> &str {
    let name = file_name(module.strip_suffix(" (deleted)").unwrap_or(module));
    match name.find(".so.") {
        Some(at) => &name[..at + 3],
        None => name,
    }
}

/// What compilers append to the copies that they make of a function.
const COPIES: [&str; 8] = ["cold", "constprop", "isra", "part", "lto_priv", "llvm", "localalias", "warm"];

/// A function without the mark of a copy, and without the hash of a Rust compiler.
fn without_copy(function: &str) -> Cow<'_, str> {
    let mut name = function;
    // As demanglers show it: `f(int) [clone .isra.0]`.
    if let Some((start, _)) = name.split_once(" [clone ") {
        name = start;
    }
    while let Some((start, end)) = name.rsplit_once('.') {
        let number = !end.is_empty() && end.bytes().all(|b| b.is_ascii_digit());
        let marked = start.rsplit_once('.').is_some_and(|(_, mark)| COPIES.contains(&mark));
        if start.is_empty() || !(COPIES.contains(&end) || number && marked) {
            break;
        }
        name = start;
    }
    if let Some((start, hash)) = name.rsplit_once("::h")
        && hash.len() == 16
        && hash.bytes().all(|b| b.is_ascii_hexdigit())
    {
        name = start;
    }
    Cow::Borrowed(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_a_function_are_that_function() {
        for (function, name) in [
            ("main", "main"),
            ("f.isra.0", "f"),
            ("f.constprop.0.isra.0", "f"),
            ("f.cold", "f"),
            ("f.part.0.cold", "f"),
            ("f.llvm.1234567890", "f"),
            ("f(int) [clone .isra.0]", "f(int)"),
            ("core::ptr::drop::h0123456789abcdef", "core::ptr::drop"),
            ("hash::h01234567", "hash::h01234567"),
            ("version.2", "version.2"),
            (".cold", ".cold"),
            ("", ""),
        ] {
            assert_eq!(without_copy(function), name, "{function}");
        }
    }

    #[test]
    fn libraries_have_no_version() {
        for (module, name) in [
            ("/usr/lib/libssl.so.3.0.2", "libssl.so"),
            ("/srv/app (deleted)", "app"),
            ("/srv/app", "app"),
            ("libc.so.6", "libc.so"),
        ] {
            assert_eq!(library(module), name);
        }
    }
}

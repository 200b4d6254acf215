//! Whom stacks of one program are charged to, beyond what the tables of all programs say.

use std::collections::BTreeSet;
use std::path::Path;

use regex::RegexSet;

use super::program::Program;
use super::{BlameInput, bare};

/// Functions of one program that allocate on their callers' behalf, and the files that are its own.
#[derive(Clone, Debug, Default)]
pub struct Charging {
    named: RegexSet,
    found: BTreeSet<String>,
    /// Whether wrappers are not looked for.
    never_finds: bool,
    program: Program,
}

impl Charging {
    /// With the wrappers that the user names.
    pub fn new(wrappers: RegexSet) -> Self {
        Self { named: wrappers, ..Self::default() }
    }

    /// The same, without looking for further ones.
    #[must_use]
    pub fn never_finding(&self) -> Self {
        Self { never_finds: true, ..self.clone() }
    }

    /// Whether wrappers are looked for.
    pub fn finds(&self) -> bool {
        !self.never_finds
    }

    /// The expressions of the user's.
    pub fn expressions(&self) -> &[String] {
        self.named.patterns()
    }

    /// The same, of the program whose executable this is.
    #[must_use]
    pub fn of(&self, exe: Option<&Path>) -> Self {
        let exe = exe.map(|path| path.to_string_lossy()).unwrap_or_default();
        Self { program: Program::new(&exe), ..self.clone() }
    }

    /// Wrappers that were found by what they do.
    pub fn found(&self) -> &BTreeSet<String> {
        &self.found
    }

    /// Takes functions for wrappers from now on, as [`wrapper_name`] calls them.
    pub fn learn(&mut self, found: impl IntoIterator<Item = String>) {
        self.found.extend(found);
    }

    /// Whether a function allocates on its caller's behalf.
    pub fn is_wrapper(&self, function: &str) -> bool {
        (!self.found.is_empty() && self.found.contains(wrapper_name(function))) || self.is_named(function)
    }

    /// Whether it is one that the user has named.
    pub fn is_named(&self, function: &str) -> bool {
        !self.named.is_empty()
            && (self.named.is_match(function) || self.named.is_match(wrapper_name(function)))
    }

    /// Whether the user has named any.
    pub fn names_any(&self) -> bool {
        !self.named.is_empty()
    }

    /// Whether a frame lies in a library that is not the program's own.
    pub(super) fn is_foreign(&self, frame: &BlameInput<'_>) -> bool {
        match frame.known {
            Some(known) => known.foreign,
            None => frame.module.is_some_and(|module| self.program.is_foreign(module)),
        }
    }
}

/// What a function is called when it is told to be a wrapper: all parts that a compiler makes of it are one.
pub fn wrapper_name(function: &str) -> &str {
    bare(function)
}

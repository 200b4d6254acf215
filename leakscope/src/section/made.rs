//! What sections are made from.

use std::cell::Cell;
use std::collections::BTreeMap;

use super::holders::model::Resident;
use super::site::NameStack;
use crate::collect::Collected;
use crate::collect::heap::Sort;
use crate::losses;
use crate::runtime;
use crate::symbol::Charging;

/// How the numbers of a process come about that runs another program inside itself.
const INSIDE: &str = "only what the kernel sees of the process: what runs inside is not seen";

/// What was observed. A section takes its part of it.
pub struct Facts<'a, 'n> {
    /// What collectors have settled.
    pub collected: Collected<'a>,
    /// What is known by the runtime.
    pub runtime: runtime::Observed<'a>,
    /// Where resident memory is, by mappings, if that was looked at.
    pub resident: Option<&'a [Resident]>,
    /// The order of the sites of a runtime's heap, which those of the allocator's functions have already.
    pub sort: Sort,
    /// Whether the accounts stand still.
    pub ended: bool,
    /// Whether the process runs another program inside itself, of which nothing is seen.
    pub inside: bool,
    /// What was lost, by name.
    pub lost: &'a BTreeMap<String, u64>,
    /// Whom stacks are charged to.
    pub charging: &'a Charging,
    pub name: &'n mut NameStack<'n>,
    /// Whether stacks may do without names that there is no time to read now.
    pub hurried: &'n Cell<bool>,
}

impl Facts<'_, '_> {
    /// Whether nothing was lost that would make the numbers of a section inexact.
    pub fn whole(&self, section: &str) -> bool {
        !self.lost.keys().any(|name| losses::spoils_section(section, name))
    }

    /// How the numbers came about where they are not of the program that runs inside; else nothing.
    pub fn caveat(&self) -> Option<&'static str> {
        self.inside.then_some(INSIDE)
    }
}

/// A section that is made of what was observed.
pub trait Made: Sized {
    /// Makes it; `None` where nothing was observed that it is of.
    fn make(facts: &mut Facts<'_, '_>) -> Option<Self>;

    /// Sites whose stack never arrived, though it was taken.
    fn missing_stacks(&self) -> u64 {
        0
    }

    /// What was missed as that was read which it is made of, by name.
    fn losses(_facts: &Facts<'_, '_>) -> Vec<(String, u64)> {
        Vec::new()
    }
}

//! The section on the memory of the Go runtime: where resident memory is, and what its collector costs. It has no
//! sites.

pub(crate) mod answer;
mod build;
pub mod diff;
pub mod model;
pub mod parts;
mod table;
#[cfg(test)]
mod tests;
pub mod words;

use std::io;

use self::model::GoMemory;
use super::by::By;
use super::finding::Finding;
use super::focus::Focus;
use super::profile::{ProfileKind, Sample};
use super::stack::Stack;
use super::view::{Tab, Tabbed};
use super::{Context, Part, Section};
use crate::layout::page::{Page, Paint};

/// Where it stands among the sections: behind the heap.
const fn order(_: Part) -> u8 {
    0
}

impl Section for GoMemory {
    fn name(&self) -> &'static str {
        "go_memory"
    }

    fn exact(&self) -> bool {
        self.exact
    }

    fn stacks<'a>(&'a self, _: &mut dyn FnMut(&'a Stack)) {}

    fn select(&mut self, _: &Focus) -> Option<Finding> {
        None
    }

    fn group(&mut self, _: By) {}

    fn order(&self, part: Part) -> u8 {
        order(part)
    }

    fn print(&self, part: Part, _: &Context<'_>, page: &mut Page<'_>) -> io::Result<()> {
        match part {
            Part::Totals => {
                table::sentences(self).iter().try_for_each(|told| page.sentences(Paint::Plain, told))
            }
            Part::Urgent | Part::Tables | Part::Stacks => Ok(()),
        }
    }

    fn on_screen(&self) -> Vec<String> {
        table::in_short(self)
    }

    fn has_profile(&self, _: ProfileKind) -> bool {
        false
    }

    fn samples<'a>(&'a self, _: ProfileKind, _: &mut Vec<Sample<'a>>) {}

    fn profile_comments(&self, _: ProfileKind, _: &Context<'_>) -> Vec<String> {
        Vec::new()
    }
}

impl Tabbed for GoMemory {
    const TAB: Option<&'static Tab> = None;
}

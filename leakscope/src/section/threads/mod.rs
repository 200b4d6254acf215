//! The section on threads: who created them.

pub mod build;
pub mod diff;
pub(crate) mod group;
pub mod model;
mod samples;
pub(crate) mod select;
mod table;

use std::io;

use self::model::Threads;
use super::by::By;
use super::finding::Finding;
use super::focus::Focus;
use super::profile::{ProfileKind, Sample};
use super::stack::Stack;
use super::view::{Tab, Tabbed};
use super::{Context, Part, Section};
use crate::layout::page::Page;

/// Where it stands among the sections.
const fn order(part: Part) -> u8 {
    match part {
        Part::Totals => 3,
        Part::Urgent | Part::Tables | Part::Stacks => 3,
    }
}

impl Section for Threads {
    fn name(&self) -> &'static str {
        "threads"
    }

    fn stacks<'a>(&'a self, each: &mut dyn FnMut(&'a Stack)) {
        self.sites.iter().for_each(|site| each(&site.stack));
    }

    fn select(&mut self, focus: &Focus) -> Option<Finding> {
        select::select(self, focus);
        None
    }

    fn group(&mut self, by: By) {
        group::group(self, by);
    }

    fn order(&self, part: Part) -> u8 {
        order(part)
    }

    fn print(&self, part: Part, context: &Context<'_>, page: &mut Page<'_>) -> io::Result<()> {
        match part {
            Part::Totals => {
                let others = context.all.iter().filter(|section| section.name() != self.name());
                let counted = others.filter_map(|section| section.threads()).any(|threads| threads > 0);
                table::totals(self, counted, page)
            }
            Part::Tables => table::table(self, page),
            Part::Urgent | Part::Stacks => Ok(()),
        }
    }

    fn threads(&self) -> Option<u64> {
        self.alive
    }

    fn has_profile(&self, kind: ProfileKind) -> bool {
        kind == ProfileKind::Threadcreate
    }

    fn samples<'a>(&'a self, _: ProfileKind, out: &mut Vec<Sample<'a>>) {
        samples::samples(self, out);
    }

    fn profile_comments(&self, _: ProfileKind, _: &Context<'_>) -> Vec<String> {
        vec!["threads that began in the window".to_owned()]
    }
}

impl Tabbed for Threads {
    const TAB: Option<&'static Tab> = None;
}

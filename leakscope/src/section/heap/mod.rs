//! The section on the heap: what holds the memory.

pub mod answer;
pub mod build;
pub mod callers;
pub mod diff;
pub mod go;
pub(crate) mod group;
pub mod model;
pub mod place;
mod samples;
pub(crate) mod select;
mod sources;
mod table;
mod view;
pub mod words;
pub(crate) mod wrappers;

use std::io;

use self::model::Heap;
use super::by::By;
use super::finding::Finding;
use super::focus::Focus;
use super::profile::{ProfileKind, Sample, exactness};
use super::stack::Stack;
use super::view::Viewed;
use super::{Context, Part, Section};
use crate::human::bytes;
use crate::layout::page::Page;

/// The name of the source that the allocator's functions are.
pub(crate) const MALLOC: &str = "malloc";
/// The name of the source that the Go runtime is.
pub(crate) const GO: &str = "go";

/// Where it stands among the sections.
const fn order(part: Part) -> u8 {
    match part {
        Part::Totals => 0,
        Part::Urgent | Part::Tables | Part::Stacks => 1,
    }
}

impl Section for Heap {
    fn name(&self) -> &'static str {
        "heap"
    }

    fn exact(&self) -> bool {
        self.exact
    }

    fn stacks<'a>(&'a self, each: &mut dyn FnMut(&'a Stack)) {
        self.sites.iter().for_each(|site| each(&site.stack));
    }

    fn select(&mut self, focus: &Focus) -> Option<Finding> {
        Some(select::select(self, focus).into())
    }

    fn group(&mut self, by: By) {
        group::group(self, by);
    }

    fn complete(&mut self) {
        place::place(self, place::sort_of(&self.sites));
    }

    fn again(&self, said: &Finding) -> Option<Finding> {
        answer::again(self, said).map(Finding::from)
    }

    fn order(&self, part: Part) -> u8 {
        order(part)
    }

    fn print(&self, part: Part, context: &Context<'_>, page: &mut Page<'_>) -> io::Result<()> {
        match part {
            Part::Totals => table::totals(self, page),
            Part::Urgent => Ok(()),
            Part::Tables => table::table(self, context.window_ns, page),
            Part::Stacks => table::stacks(self, page),
        }
    }

    fn beside_memory(&self) -> Option<String> {
        let live = self.live_of();
        if !self.has(GO) {
            return Some(format!("; of what was traced, {} is live", bytes(self.totals.live_bytes)));
        }
        let c = (live(MALLOC) > 0)
            .then(|| format!("; of what C code allocated, {} is live", bytes(live(MALLOC))));
        let go = self.go_in_use_bytes.map(|n| format!("; {} in use on the Go heap", bytes(n)));
        Some(format!("{}{}", c.unwrap_or_default(), go.unwrap_or_default()))
    }

    fn has_profile(&self, kind: ProfileKind) -> bool {
        matches!(kind, ProfileKind::Heap | ProfileKind::Allocs)
    }

    fn samples<'a>(&'a self, kind: ProfileKind, out: &mut Vec<Sample<'a>>) {
        samples::samples(self, kind, out);
    }

    fn profile_comments(&self, _: ProfileKind, _: &Context<'_>) -> Vec<String> {
        let told = self.sources.iter().map(|source| {
            let error = source.error_bytes.filter(|b| *b > 0);
            let error = error.map(|b| format!(", off by up to {}", bytes(b))).unwrap_or_default();
            format!("{}: {}, {}{error}", source.name, exactness(source.exact), source.method)
        });
        told.collect()
    }

    fn viewed(&self) -> Option<&dyn Viewed> {
        Some(self)
    }
}

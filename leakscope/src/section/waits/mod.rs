//! The section on waits: what is stuck.

pub mod answer;
pub mod build;
pub mod diff;
pub(crate) mod group;
pub mod model;
mod samples;
pub(crate) mod select;
mod table;
mod view;
pub mod words;

use std::io;

use self::model::Waits;
use super::by::By;
use super::finding::Finding;
use super::focus::Focus;
use super::profile::{ProfileKind, Sample, exactness};
use super::stack::Stack;
use super::view::Viewed;
use super::{Context, Part, Section};
use crate::layout::page::Page;

/// Where it stands among the sections.
const fn order(part: Part) -> u8 {
    match part {
        Part::Totals => 2,
        Part::Urgent | Part::Tables | Part::Stacks => 2,
    }
}

impl Section for Waits {
    fn name(&self) -> &'static str {
        "waits"
    }

    fn exact(&self) -> bool {
        self.exact
    }

    fn stacks<'a>(&'a self, each: &mut dyn FnMut(&'a Stack)) {
        self.sites.iter().for_each(|site| each(&site.stack));
    }

    fn complete(&mut self) {
        self.count_stuck();
    }

    fn select(&mut self, focus: &Focus) -> Option<Finding> {
        Some(select::select(self, focus).into())
    }

    fn group(&mut self, by: By) {
        group::group(self, by);
    }

    fn order(&self, part: Part) -> u8 {
        order(part)
    }

    fn print(&self, part: Part, context: &Context<'_>, page: &mut Page<'_>) -> io::Result<()> {
        match part {
            Part::Totals => table::totals(self, page),
            Part::Urgent => table::deadlock::all(self, page),
            Part::Tables => {
                table::table(self, page)?;
                table::wakers::table(self, page)
            }
            Part::Stacks => {
                table::details(self, context.has_tasks(), page)?;
                table::wakers::long(self, page)
            }
        }
    }

    fn threads(&self) -> Option<u64> {
        Some(self.threads)
    }

    fn has_profile(&self, kind: ProfileKind) -> bool {
        // Threads are the tasks of a native process.
        matches!(kind, ProfileKind::Block | ProfileKind::Mutex | ProfileKind::Goroutine)
    }

    fn samples<'a>(&'a self, kind: ProfileKind, out: &mut Vec<Sample<'a>>) {
        match kind {
            ProfileKind::Goroutine => samples::all_threads(self, out),
            ProfileKind::Mutex => samples::contention(self, out),
            _ => samples::waits(self, out),
        }
    }

    fn profile_comments(&self, kind: ProfileKind, context: &Context<'_>) -> Vec<String> {
        let exact = exactness(self.exact);
        if kind == ProfileKind::Goroutine {
            return vec![format!("threads: {exact}, {}", self.method)];
        }
        let mut told = vec![
            format!("waits: {exact}, {}", self.method),
            "a wait that goes on counts as one, with its time so far; labels thread and lock are known only of waits \
             that go on"
                .to_owned(),
            self.whose_stacks(kind).to_owned(),
        ];
        if context.has_tasks() {
            told.push(
                "these are waits of threads; those of goroutines stand beside them where they were followed"
                    .to_owned(),
            );
        }
        told
    }

    fn viewed(&self) -> Option<&dyn Viewed> {
        Some(self)
    }
}

impl Waits {
    /// Whose stacks the samples of a profile have.
    fn whose_stacks(&self, kind: ProfileKind) -> &'static str {
        if kind != ProfileKind::Mutex || self.sites.iter().all(|site| site.waits.is_none()) {
            return "stacks are those of who waits";
        }
        "stacks are those of who released the lock: each is charged with the time that others waited between the \
         release before and its own, as far as releases woke somebody, and counts the waits that it ended; below \
         [still waiting] they are those of who waits"
    }
}

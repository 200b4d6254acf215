//! The section on goroutines: what they are stuck in.

pub(crate) mod answer;
pub(crate) mod build;
pub mod diff;
pub(crate) mod group;
mod growth;
mod leaked;
mod lock_answer;
mod lock_words;
mod locks;
pub mod model;
mod place_words;
mod places;
mod samples;
pub(crate) mod select;
mod stuck;
mod table;
mod view;
pub mod words;

use std::io;

use self::model::Goroutines;
use super::by::By;
use super::finding::Finding;
use super::focus::Focus;
use super::profile::{ProfileKind, Sample, exactness};
use super::stack::Stack;
use super::view::Viewed;
use super::{Context, Part, Section};
use crate::human::counted;
use crate::layout::page::Page;

/// Where it stands among the sections.
const fn order(part: Part) -> u8 {
    match part {
        Part::Totals => 1,
        Part::Urgent | Part::Tables | Part::Stacks => 0,
    }
}

impl Section for Goroutines {
    fn name(&self) -> &'static str {
        "goroutines"
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

    fn order(&self, part: Part) -> u8 {
        order(part)
    }

    fn print(&self, part: Part, _: &Context<'_>, page: &mut Page<'_>) -> io::Result<()> {
        match part {
            Part::Totals => table::totals(self, page),
            Part::Urgent => Ok(()),
            Part::Tables => {
                table::table(self, page)?;
                table::places(self, page)?;
                table::creations(self, page)
            }
            Part::Stacks => table::details(self, page),
        }
    }

    fn has_tasks(&self) -> bool {
        true
    }

    fn has_profile(&self, kind: ProfileKind) -> bool {
        match kind {
            ProfileKind::Goroutine | ProfileKind::Block => true,
            ProfileKind::Goroutineleak => self.leaked.is_some(),
            _ => false,
        }
    }

    fn samples<'a>(&'a self, kind: ProfileKind, out: &mut Vec<Sample<'a>>) {
        match kind {
            ProfileKind::Goroutineleak => samples::leaked(self, out),
            ProfileKind::Block => samples::still_waiting(self, out),
            _ => samples::samples(self, out),
        }
    }

    fn profile_comments(&self, kind: ProfileKind, _: &Context<'_>) -> Vec<String> {
        if kind == ProfileKind::Goroutineleak {
            return vec![
                "goroutines that can never run again, as far as several looks agree; a lower bound"
                    .to_owned(),
            ];
        }
        if kind == ProfileKind::Block {
            return vec![
                "goroutines that wait still, by the label state: each counts as one, with the time of the one of its \
                 stack that waits longest, as far as that is known"
                    .to_owned(),
            ];
        }
        let mut told = vec![format!("goroutines: {}, {}", exactness(self.exact), self.method)];
        if self.system > 0 {
            told.push(format!("the runtime's own {} are left out", counted(self.system, "goroutine")));
        }
        told
    }

    fn viewed(&self) -> Option<&dyn Viewed> {
        Some(self)
    }
}

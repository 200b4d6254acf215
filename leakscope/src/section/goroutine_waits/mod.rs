//! The section on waits of goroutines that have ended: Go's block and mutex profiles.

pub(crate) mod answer;
mod build;
pub mod diff;
pub(crate) mod group;
pub mod model;
mod samples;
pub(crate) mod select;
mod table;
pub mod words;

use std::io;

use self::model::GoroutineWaits;
use super::by::By;
use super::finding::Finding;
use super::focus::Focus;
use super::profile::{ProfileKind, Sample, exactness};
use super::stack::Stack;
use super::view::{Tab, Tabbed};
use super::{Context, Part, Section};
use crate::layout::page::{Page, Paint};

/// Where it stands among the sections: behind the goroutines.
const fn order(part: Part) -> u8 {
    match part {
        Part::Totals => 1,
        Part::Urgent | Part::Tables | Part::Stacks => 0,
    }
}

impl Section for GoroutineWaits {
    fn name(&self) -> &'static str {
        "goroutine_waits"
    }

    fn exact(&self) -> bool {
        self.exact
    }

    fn stacks<'a>(&'a self, each: &mut dyn FnMut(&'a Stack)) {
        self.sites.iter().for_each(|site| each(&site.stack));
        self.releases.iter().for_each(|release| each(&release.stack));
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

    fn print(&self, part: Part, _: &Context<'_>, page: &mut Page<'_>) -> io::Result<()> {
        match part {
            Part::Totals => table::totals(self, page),
            Part::Urgent => Ok(()),
            Part::Tables => {
                table::waits(self, page)?;
                table::releases(self, page)
            }
            Part::Stacks => {
                for release in page.style.shown(&self.releases) {
                    if page.titled(release.rank, "lock released, for which others waited")? {
                        page.stack(&release.stack, 2, Paint::Plain)?;
                    }
                }
                Ok(())
            }
        }
    }

    fn has_tasks(&self) -> bool {
        true
    }

    fn has_profile(&self, kind: ProfileKind) -> bool {
        matches!(kind, ProfileKind::Block | ProfileKind::Mutex)
    }

    fn samples<'a>(&'a self, kind: ProfileKind, out: &mut Vec<Sample<'a>>) {
        match kind {
            ProfileKind::Mutex => samples::contention(self, out),
            _ => samples::waits(self, out),
        }
    }

    fn profile_comments(&self, kind: ProfileKind, _: &Context<'_>) -> Vec<String> {
        let whose = match kind {
            ProfileKind::Mutex => "stacks are those of who released a lock that others waited for",
            _ => "stacks are those of who waited",
        };
        vec![
            format!("waits of goroutines that ended: {}, {}", exactness(self.exact), self.method),
            whose.to_owned(),
        ]
    }
}

impl Tabbed for GoroutineWaits {
    const TAB: Option<&'static Tab> = None;
}

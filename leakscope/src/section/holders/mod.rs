//! The section on what holds the memory now, whoever allocated it: where resident memory is, who holds the heap, and of
//! what types it is. So far holders are known of Go programs.

pub(crate) mod answer;
mod build;
pub mod diff;
pub mod model;
mod table;
#[cfg(test)]
mod tests;
mod view;
pub mod words;

use std::io;

use self::model::Holders;
use super::by::By;
use super::finding::Finding;
use super::focus::Focus;
use super::profile::{ProfileKind, Sample, sample};
use super::stack::Stack;
use super::view::Viewed;
use super::{Context, Part, Section};
use crate::layout::page::{Page, Paint};

/// Where it stands among the sections: at the end.
const fn order(part: Part) -> u8 {
    match part {
        Part::Totals => 1,
        Part::Urgent | Part::Tables | Part::Stacks => 9,
    }
}

impl Section for Holders {
    fn name(&self) -> &'static str {
        "holders"
    }

    fn exact(&self) -> bool {
        false
    }

    fn stacks<'a>(&'a self, each: &mut dyn FnMut(&'a Stack)) {
        self.ways.iter().for_each(|way| each(&way.stack));
    }

    fn select(&mut self, focus: &Focus) -> Option<Finding> {
        self.ways.retain(|way| focus.keeps(&way.stack));
        super::site::rank(&mut self.ways);
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
            Part::Tables => table::tables(self, page),
            Part::Stacks => table::places(self, page),
            Part::Urgent => Ok(()),
        }
    }

    fn has_profile(&self, kind: ProfileKind) -> bool {
        kind == ProfileKind::Memory && self.heap.is_some()
    }

    fn samples<'a>(&'a self, _: ProfileKind, out: &mut Vec<Sample<'a>>) {
        let Some(heap) = &self.heap else { return };
        let (mut bytes, mut objects) = (0_u64, 0_u64);
        for way in &self.ways {
            let mut sample = sample(&way.stack);
            sample.values = [way.objects, way.bytes, 0, 0];
            sample.weight = way.bytes;
            bytes = bytes.saturating_add(way.bytes);
            objects = objects.saturating_add(way.objects);
            out.push(sample);
        }
        let left = (heap.live_objects.saturating_sub(objects), heap.live_bytes.saturating_sub(bytes));
        if left.1 > 0 {
            let mut rest = super::profile::without_stack("not reached, or held in less common ways", left.0);
            rest.values = [left.0, left.1, 0, 0];
            rest.weight = left.1;
            out.push(rest);
        }
    }

    fn profile_comments(&self, _: ProfileKind, _: &Context<'_>) -> Vec<String> {
        vec!["what is held now, by the way from its holder: steps stand where functions do".to_owned()]
    }

    fn viewed(&self) -> Option<&dyn Viewed> {
        Some(self)
    }
}

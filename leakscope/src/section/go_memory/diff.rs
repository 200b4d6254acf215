//! What changed of the memory of the Go runtime.

use std::io;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::model::{GoMemory, PartGrowth};
use super::parts::Part as MemoryPart;
use super::words::GoMemorySaid;
use crate::human::signed_bytes;
use crate::layout::page::{Page, Paint};
use crate::section::finding::{Finding, Said as _};
use crate::section::growth::growth;
use crate::section::key::Keys;
use crate::section::{Between, Changed, Compared, Part, Retold, Sides};

/// What its parts have more or less.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GoMemoryDiff {
    /// Part by part; what is not known in both is not there.
    pub parts: Vec<PartGrowth>,
    /// What was returned to the system, new less old.
    pub released_growth_bytes: i64,
    /// Collections, new less old.
    pub collections_growth: i64,
}

fn parts(old: &GoMemory, new: &GoMemory) -> Vec<PartGrowth> {
    let grown = |part: MemoryPart| {
        let growth_bytes = growth(part.of(old)?, part.of(new)?);
        Some(PartGrowth { part, growth_bytes })
    };
    MemoryPart::ALL.into_iter().filter_map(grown).collect()
}

impl Compared for GoMemory {
    type Diff = GoMemoryDiff;
    const CALLED: Option<&'static str> = None;
    const CODES: &'static [&'static str] = GoMemorySaid::CODES;

    fn compare<'a>(
        _: &Sides<'_>,
        old: Option<&'a Self>,
        new: Option<&'a Self>,
        _: &mut Keys<'a>,
    ) -> Option<GoMemoryDiff> {
        let (old, new) = (old?, new?);
        Some(GoMemoryDiff {
            parts: parts(old, new),
            released_growth_bytes: growth(old.heap_released_bytes, new.heap_released_bytes),
            collections_growth: growth(old.gc.collections, new.gc.collections),
        })
    }

    fn before<'a>(_: &Sides<'_>, _: &'a Self, _: &'a Self, _: &mut Keys<'a>) -> Vec<u64> {
        Vec::new()
    }

    fn grow(&mut self, first: &Self, _: &[u64], _: Between) -> Option<Retold> {
        self.growth = Some(parts(first, self));
        None
    }
}

impl Changed for GoMemoryDiff {
    fn order(&self, part: Part) -> u8 {
        super::order(part)
    }

    fn print(&self, part: Part, page: &mut Page<'_>) -> io::Result<()> {
        if part != Part::Totals {
            return Ok(());
        }
        let called = |part: MemoryPart| match part {
            MemoryPart::Objects => "objects",
            MemoryPart::Room => "room between them",
            MemoryPart::Idle => "idle",
            MemoryPart::Stacks => "stacks",
            MemoryPart::Own => "the runtime's own",
            MemoryPart::Outside => "not the runtime's (about)",
        };
        let told: Vec<String> = self
            .parts
            .iter()
            .filter(|grown| grown.growth_bytes != 0)
            .map(|grown| format!("{} {}", called(grown.part), signed_bytes(grown.growth_bytes)))
            .collect();
        let told = if told.is_empty() { "as it was".to_owned() } else { told.join(", ") };
        page.sentences(Paint::Plain, &format!("Go memory: {told}"))
    }

    fn finding(&self) -> Option<Finding> {
        None
    }

    fn nothing(&self) -> Option<&'static str> {
        None
    }
}

//! What changed of threads.

use std::io;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::model::{ThreadSite, Threads};
use crate::human::{count, signed_count};
use crate::layout::page::{Page, Paint};
use crate::section::finding::Finding;
use crate::section::growth::growth;
use crate::section::key::Keys;
use crate::section::pairs::{name, shares};
use crate::section::{Between, Changed, Compared, Part, Retold, Section, Sides};

/// How many threads there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ThreadsDiff {
    /// In the old report.
    pub old_alive: u64,
    /// In the new report.
    pub new_alive: u64,
    /// New less old.
    pub growth: i64,
}

impl Compared for Threads {
    type Diff = ThreadsDiff;
    const CALLED: Option<&'static str> = None;
    const CODES: &'static [&'static str] = &[];

    fn compare<'a>(
        sides: &Sides<'_>,
        old: Option<&'a Self>,
        new: Option<&'a Self>,
        _: &mut Keys<'a>,
    ) -> Option<ThreadsDiff> {
        // Where nobody counted those that come and go, others may know how many there are.
        let alive = |threads: Option<&Self>, all: &[&dyn Section]| {
            let counted = threads.and_then(|threads| threads.alive);
            counted.or_else(|| all.iter().find_map(|section| section.threads()))
        };
        let (old_alive, new_alive) = (alive(old, sides.old)?, alive(new, sides.new)?);
        Some(ThreadsDiff { old_alive, new_alive, growth: growth(old_alive, new_alive) })
    }

    fn before<'a>(sides: &Sides<'_>, first: &'a Self, last: &'a Self, keys: &mut Keys<'a>) -> Vec<u64> {
        let key = |site: &'a ThreadSite, which| {
            name(sides.one_account, &site.site_id, || keys.stack(&site.stack, which))
        };
        shares(&first.sites, &last.sites, key, |site| site.alive)
    }

    fn grow(&mut self, first: &Self, before: &[u64], _: Between) -> Option<Retold> {
        for (site, old) in self.sites.iter_mut().zip(before) {
            site.growth = growth(*old, site.alive);
        }
        if let (Some(old), Some(new)) = (first.alive, self.alive) {
            self.growth = growth(old, new);
        }
        None
    }
}

impl Changed for ThreadsDiff {
    fn order(&self, part: Part) -> u8 {
        super::order(part)
    }

    fn print(&self, part: Part, page: &mut Page<'_>) -> io::Result<()> {
        if part != Part::Totals {
            return Ok(());
        }
        let (old, new) = (count(self.old_alive), count(self.new_alive));
        page.sentences(Paint::Plain, &format!("Threads: {old} → {new} ({})", signed_count(self.growth)))
    }

    fn finding(&self) -> Option<Finding> {
        None
    }

    fn nothing(&self) -> Option<&'static str> {
        None
    }
}

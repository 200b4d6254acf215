//! What changed of waits of goroutines.

use std::io;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::model::GoroutineWaits;
use super::words::GoroutineWaitsSaid;
use crate::human::{count, duration};
use crate::layout::page::{Page, Paint};
use crate::section::finding::{Finding, Said as _};
use crate::section::growth::growth;
use crate::section::key::Keys;
use crate::section::{Between, Changed, Compared, Part, Retold, Sides};

/// How much goroutines waited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GoroutineWaitsDiff {
    /// Waits that ended, in the old report.
    pub old_waits: u64,
    /// In the new report.
    pub new_waits: u64,
    /// Their time, in the old report.
    pub old_wait_ns: u64,
    /// In the new report.
    pub new_wait_ns: u64,
    /// New less old.
    pub growth_ns: i64,
    /// What releases of locks are charged with, in the old report.
    pub old_contention_ns: u64,
    /// In the new report.
    pub new_contention_ns: u64,
}

impl Compared for GoroutineWaits {
    type Diff = GoroutineWaitsDiff;
    const CALLED: Option<&'static str> = None;
    const CODES: &'static [&'static str] = GoroutineWaitsSaid::CODES;

    fn compare<'a>(
        _: &Sides<'_>,
        old: Option<&'a Self>,
        new: Option<&'a Self>,
        _: &mut Keys<'a>,
    ) -> Option<GoroutineWaitsDiff> {
        let (old, new) = (old?, new?);
        Some(GoroutineWaitsDiff {
            old_waits: old.waits,
            new_waits: new.waits,
            old_wait_ns: old.wait_ns,
            new_wait_ns: new.wait_ns,
            growth_ns: growth(old.wait_ns, new.wait_ns),
            old_contention_ns: old.contention_ns,
            new_contention_ns: new.contention_ns,
        })
    }

    fn before<'a>(_: &Sides<'_>, _: &'a Self, _: &'a Self, _: &mut Keys<'a>) -> Vec<u64> {
        Vec::new()
    }

    fn grow(&mut self, _: &Self, _: &[u64], _: Between) -> Option<Retold> {
        None
    }
}

impl Changed for GoroutineWaitsDiff {
    fn order(&self, part: Part) -> u8 {
        super::order(part)
    }

    fn print(&self, part: Part, page: &mut Page<'_>) -> io::Result<()> {
        if part != Part::Totals {
            return Ok(());
        }
        let told = format!(
            "Waits of goroutines that ended: {} → {}, {} → {} in all; for locks {} → {}",
            count(self.old_waits),
            count(self.new_waits),
            duration(self.old_wait_ns),
            duration(self.new_wait_ns),
            duration(self.old_contention_ns),
            duration(self.new_contention_ns),
        );
        page.sentences(Paint::Plain, &told)
    }

    fn finding(&self) -> Option<Finding> {
        None
    }

    fn nothing(&self) -> Option<&'static str> {
        None
    }
}

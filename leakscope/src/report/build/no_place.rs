//! Who holds the memory, and what is the answer where next to nothing is known of a Go heap.

use serde_json::Value;

use super::Answer;
use crate::report::Report;
use crate::section::finding::Finding;
use crate::section::holders::{self, words::HoldersSaid};

/// Less than this of a Go heap, whose place is not known, is not the answer.
const LITTLE: u64 = 1 << 20;

impl Answer {
    /// What holds the memory: the answer, where nobody asked for more.
    pub(super) fn holders(&mut self, report: &Report) {
        let Some(all) = &report.holders else { return };
        let alone = report.heap.is_none() && report.waits.is_none() && report.goroutines.is_none();
        let told = holders::answer::answer(all);
        if alone {
            let second = self.answer(told);
            self.first(holders::answer::findings(all).into_iter().map(Finding::from).chain(second));
        } else if self.knows_no_place()
            && let Some(grew) = holders::answer::grew(all)
        {
            // Who has grown says more than that it is not known where.
            let second = self.answer(grew);
            let others = holders::answer::findings(all).into_iter();
            let rest = others.filter(|said| !matches!(said, HoldersSaid::Grew { .. })).map(Finding::from);
            self.first(second.into_iter().chain([told.into()]).chain(rest));
        } else {
            self.0.last(told);
            holders::answer::findings(all).into_iter().for_each(|said| self.0.last(said));
        }
    }

    /// Whether all that was said of a Go heap names no place.
    fn knows_no_place(&self) -> bool {
        let nowhere = |said: &Finding| match said.code.name() {
            "go_heap_unplaced" => true,
            "go_heap_live" => said.args.get("most").is_none_or(Value::is_null),
            _ => false,
        };
        self.0.answer.as_ref().is_some_and(nowhere)
    }

    /// What has grown, or what goroutines do, is the answer where next to nothing is known of a Go heap.
    pub(super) fn beside_no_place(&mut self) {
        let little = |said: &Finding| {
            let bytes = |name: &str| said.args.get(name).and_then(Value::as_u64).unwrap_or(0);
            let beside = said.args.get("beside").and_then(|c| c.get("live_bytes")?.as_u64()).unwrap_or(0);
            bytes("alloc_bytes").max(bytes("live_bytes")).max(beside) < LITTLE
        };
        if !self.knows_no_place() || !self.0.answer.as_ref().is_some_and(little) {
            return;
        }
        let details = &mut self.0.details;
        let first = |wanted: &str| details.iter().position(|said| said.code.name().starts_with(wanted));
        let wanted = ["go_memory_grew", "goroutine_lock_contention", "goroutines_"];
        if let Some(at) = wanted.into_iter().find_map(first) {
            let said = details.remove(at);
            if let Some(second) = self.answer(said) {
                self.0.details.insert(at, second);
            }
        }
    }
}

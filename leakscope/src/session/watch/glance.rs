//! How things are in between, for who waits: a few numbers, no report. Nothing of it is in the account, and a recording
//! has none of it.

use std::time::{Duration, Instant};

use super::Watch;
use crate::bpf::BpfError;
use crate::failure::Failure;
use crate::section::label;
use crate::session::{Glance, Watcher, clock, usage};

/// A glance takes one in so many parts of the time at most.
const REST: u32 = 30;
/// Blocks are so many that reading them takes longer: they are not looked at again before the report.
const LONGEST: Duration = Duration::from_millis(200);
/// How long names are read for it.
const NAMING: Duration = Duration::from_millis(50);

impl Watch {
    /// Shows the numbers of now to who wants to see them, if it is time.
    pub(super) fn glance(&mut self, watcher: &mut dyn Watcher) -> Result<(), Failure> {
        let begun = Instant::now();
        let is_early = self.next_glance.is_some_and(|next| begun < next);
        if self.ties.is_none() || is_early || !watcher.wants_glances() {
            return Ok(());
        }
        let mut heap = None;
        let collectors = self.collectors.iter().filter(|_| self.glances_at_heap);
        self.source.act(|live| {
            // What cannot be read is left out: this is no part of the observation.
            heap = collectors.filter_map(|collector| collector.glance(live).ok().flatten()).next();
            Ok::<(), BpfError>(())
        })?;
        self.glances_at_heap &= begun.elapsed() < LONGEST;
        let place = heap.as_ref().and_then(|heap| heap.most).and_then(|stack| {
            let slice = self.naming.slice.replace(NAMING);
            self.naming.begin(false);
            let stack = self.naming.stack(stack, (&self.stacks, &self.space), true);
            self.naming.slice = slice;
            Some(label::name(&label::short(stack?.blamed()?)))
        });
        watcher.glance(&Glance {
            watched_ns: clock::monotonic_ns().saturating_sub(self.subject.started_ns),
            rss_bytes: (self.subject.rss_start, self.rss_last),
            live_bytes: heap.map(|heap| heap.live_bytes),
            place,
            cpu_ns: usage::own(0).cpu_ns,
        });
        self.next_glance = Some(Instant::now() + begun.elapsed() * REST);
        Ok(())
    }
}

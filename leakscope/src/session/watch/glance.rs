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
        let collectors = &self.collectors;
        self.source.act(|live| {
            for collector in collectors.iter() {
                heap = heap.take().or(collector.glance(live)?);
            }
            Ok::<(), BpfError>(())
        })?;
        let place = heap.as_ref().and_then(|heap| heap.most).and_then(|stack| {
            self.naming.slice = Some(NAMING);
            self.naming.begin(false);
            let stack = self.naming.stack(stack, (&self.stacks, &self.space), true);
            self.naming.slice = None;
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

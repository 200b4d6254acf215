//! Waits of threads, as the scheduler's events tell them.
//!
//! The kernel side times each wait (`THREADS`) and adds up by site (`WAIT_SITES`) and by who ended it (`WAKES`),
//! with the part in which it held what was waited for; that is told by the last releases of each futex
//! (`FUTEX_RELEASES`). Stacks whose frames were sent are in `WAIT_STACKS` and `WAKER_STACKS`. Threads that had
//! blocked before are found by a [`snapshot`], and entered. [`aggregate`] says what the maps show.

pub mod aggregate;
mod enter;

use std::ops::Range;

use leakscope_common::event::{Kind, WaitEvent};
use leakscope_common::wait::{ThreadState, WaitTotals, WakeKey, WakeTotals};

use self::aggregate::{LongWait, WaitAggregate, WaitObservation, WaitsSnapshot, site};
use super::snapshot::{self, Depth, Earlier, Snapshot};
use super::{Collected, Collector, Moment, Scene, Source, SourceError};
use crate::bpf::BpfError;
use crate::bpf::events::Record;
use crate::bpf::maps::MapSize;
use crate::bpf::object::{Global, Load, Object, Tracepoint};
use crate::process::AddressSpace;
use crate::recording::Rows;
use crate::wait::ThreadSnapshot;

/// Wait sites that the map holds: distinct stacks that block, for each thing that they wait on.
const WAIT_SITES: u32 = 1 << 14;
/// Pairs of waker and wait site.
const WAKES: u32 = 1 << 14;
/// Futexes whose releases are remembered.
const FUTEXES: u32 = 1 << 13;

/// What the section on waits is made from.
#[derive(Clone, Debug, Default)]
pub struct WaitAccount {
    /// The threads at the end of the window; `None` if the target is gone.
    pub threads: Option<ThreadSnapshot>,
    /// What happened in the window; `None` where nothing was traced.
    pub window: Option<WaitsSnapshot>,
    /// When the window began, CLOCK_MONOTONIC in ns.
    pub started_ns: u64,
    /// When the numbers are of.
    pub at_ns: u64,
    /// Whether the account stands still.
    pub ended: bool,
}

/// The maps as they were read.
#[derive(Debug, Default)]
struct Maps {
    threads: Vec<(u32, ThreadState)>,
    sites: Vec<(u64, WaitTotals)>,
    wakes: Vec<(WakeKey, WakeTotals)>,
}

/// The collector.
#[derive(Debug, Default)]
pub struct Waits {
    /// Waits of at least so many ns are sent one by one; 0: none.
    min_wait_ns: u64,
    /// The threads as they were at the last look.
    earlier: Earlier,
    snapshot: Option<Snapshot>,
    /// What the snapshot adds to the kernel side's counters.
    counters: Vec<u64>,
    maps: Maps,
    aggregate: WaitAggregate,
    account: WaitAccount,
}

impl Waits {
    /// Waits of at least `min_wait_ns` are listed one by one; 0: none.
    pub fn new(min_wait_ns: u64) -> Self {
        Self { min_wait_ns, ..Self::default() }
    }
}

impl Collector for Waits {
    fn load(&self) -> Load {
        let map = |name, entries| MapSize { name, entries };
        let tracepoint = |program, event| Tracepoint { program, event };
        Load {
            maps: vec![
                map("WAIT_SITES", WAIT_SITES),
                map("WAIT_STACKS", WAIT_SITES),
                map("WAKES", WAKES),
                map("WAKER_STACKS", WAKES),
                map("FUTEX_RELEASES", FUTEXES),
            ],
            globals: vec![Global { name: "MIN_WAIT", value: self.min_wait_ns }],
            tracepoints: vec![
                tracepoint("thread_switch", "sched_switch"),
                tracepoint("thread_waking", "sched_waking"),
            ],
            task_iterators: vec![snapshot::ITERATOR],
            ..Load::default()
        }
    }

    fn loaded(&mut self, object: &mut Object, _space: &AddressSpace) -> Result<(), BpfError> {
        // The site that takes what has no room at its own.
        object.insert("WAIT_SITES", 0u64, WaitTotals::ZERO)
    }

    /// Finds the threads that were blocked before recording began, and tells the kernel side of them.
    fn started(&mut self, scene: &mut Scene<'_>) -> Result<(), SourceError> {
        let begun = std::time::Instant::now();
        let mut snapshot = snapshot::take(scene, Depth::Blocked)?;
        snapshot.since(&mut self.earlier);
        let threads = &snapshot.threads.threads;
        let blocked: Vec<_> = threads
            .iter()
            .filter_map(|thread| Some((thread, thread.stack?, snapshot.switches(thread.tid)?)))
            .collect();
        let started_ns = scene.started_ns;
        scene.source.act(|live| -> Result<(), BpfError> {
            enter::enter_waits(&mut live.object, &blocked, started_ns)?;
            // A thread that ended before it was entered has left an entry that nothing would remove; one that
            // lives now removes it when it ends.
            let living = snapshot::living(&mut live.object)?;
            let ended = threads.iter().filter(|thread| !living.contains(&thread.tid));
            ended.map(|thread| thread.tid).try_for_each(|tid| enter::leave_wait(&mut live.object, tid))
        })?;
        scene.log.detail(&format!(
            "{} threads looked at in {:.1} ms",
            threads.len(),
            begun.elapsed().as_secs_f64() * 1e3
        ));
        Ok(())
    }

    fn takes(&self) -> &'static [Kind] {
        &[Kind::Wait]
    }

    fn event(&mut self, record: &Record, _window: &Range<u64>) {
        if let Some(wait) = record.as_value::<WaitEvent>() {
            let WaitEvent { since_ns, wait_ns, site: id, tid, .. } = wait;
            self.aggregate.long_wait(LongWait { tid, site: site(id), since_ns, wait_ns });
        }
    }

    fn look(&mut self, scene: &mut Scene<'_>) -> Result<(), SourceError> {
        // Before the account is read: a wait that is open in both began before the threads were looked at.
        let mut snapshot = snapshot::take(scene, Depth::Report)?;
        snapshot.since(&mut self.earlier);
        self.counters = snapshot.counters(scene.stacks);
        self.snapshot = Some(snapshot);
        Ok(())
    }

    fn read(&mut self, source: &mut Source) -> Result<(), SourceError> {
        self.maps.threads = source.rows("THREADS")?;
        let Rows(sites) = source.get("WAIT_SITES", |live| {
            let mut rows = live.object.read_map("WAIT_SITES")?;
            rows.iter_mut().for_each(|(_, totals)| without_kernel_address(totals));
            Ok(Rows(rows))
        })?;
        self.maps.sites = sites;
        self.maps.wakes = source.rows("WAKES")?;
        Ok(())
    }

    fn settle(&mut self, moment: &Moment<'_>) {
        let maps = std::mem::take(&mut self.maps);
        let mut window = self.aggregate.snapshot(WaitObservation {
            threads: &maps.threads,
            sites: &maps.sites,
            wakes: &maps.wakes,
        });
        let threads = self.snapshot.take().map(|snapshot| snapshot.threads).filter(|_| !moment.gone);
        // What blocked after the threads were looked at is another wait than the one that was seen.
        window.open.retain(|wait| threads.as_ref().is_none_or(|threads| wait.since_ns <= threads.at_ns));
        self.account = WaitAccount {
            at_ns: threads.as_ref().map_or(moment.at_ns, |threads| threads.at_ns),
            threads,
            window: Some(window),
            started_ns: moment.started_ns,
            ended: moment.last,
        };
    }

    fn add_counters(&self, counters: &mut [u64]) {
        counters.iter_mut().zip(&self.counters).for_each(|(all, own)| *all += own);
    }

    fn give<'a>(&'a self, to: &mut Collected<'a>) {
        to.waits = Some(&self.account);
    }
}

/// Takes the address of the kernel out that tells descriptors apart: it belongs neither into a report nor into a
/// recording.
fn without_kernel_address(totals: &mut WaitTotals) {
    let operations = totals.descriptor.operations;
    totals.descriptor.operations = u64::from(operations != 0);
    if operations != 0 && totals.object == operations {
        totals.object = 1;
    }
}

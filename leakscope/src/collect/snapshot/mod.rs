//! The thread snapshot: all threads of the target with their state, stack, and how long each has been blocked,
//! taken without stopping anything.
//!
//! The kernel's task iterator gives registers and scheduler state of every thread; stacks are read with
//! process_vm_readv and walked over our own unwind rows; then the iterator runs again, and a thread is
//! accepted only where its registers and its count of context switches did not change in between
//! ([`take()`]). [`clock`] tells how long a thread has been blocked, [`memory`] reads the target, `peers` asks who is at
//! the other end of what threads wait for.

pub mod clock;
pub mod memory;
mod peers;
mod take;

use std::collections::{BTreeMap, HashSet};

use leakscope_common::counter::{COUNTERS, Tally};
use serde::{Deserialize, Serialize};

pub use take::{ITERATOR, living, take, take_with_peers};

use super::waits::WaitAccount;
use super::{Collected, Collector, Moment, Scene, Source, SourceError};
use crate::bpf::object::Load;
use crate::process::machine;
use crate::stack::{RawStack, StackId, Stacks};
use crate::wait::ThreadSnapshot;

/// The threads at one moment, and what was learnt of them besides.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Snapshot {
    pub threads: ThreadSnapshot,
    /// Their stacks, each once.
    pub stacks: Vec<RawStack>,
    /// Context switches of each thread so far.
    switches: BTreeMap<u32, u64>,
    #[serde(skip)]
    known: HashSet<StackId>,
}

/// Context switches of the threads at an earlier moment (CLOCK_MONOTONIC, ns).
#[derive(Debug, Default)]
pub struct EarlierSwitches {
    at_ns: u64,
    switches: BTreeMap<u32, u64>,
}

impl Snapshot {
    fn add_stack(&mut self, stack: RawStack) {
        if self.known.insert(stack.id) {
            self.stacks.push(stack);
        }
    }

    /// Context switches of a thread so far.
    pub fn switches(&self, tid: u32) -> Option<u64> {
        self.switches.get(&tid).copied()
    }

    /// What a later snapshot needs to know of this one.
    pub fn earlier(&self) -> EarlierSwitches {
        EarlierSwitches { at_ns: self.threads.at_ns, switches: self.switches.clone() }
    }

    /// Where the kernel does not tell how long a thread has been blocked: at least since an earlier snapshot,
    /// if it has not run since.
    pub fn bound_by(&mut self, earlier: &EarlierSwitches) {
        let threads = &mut self.threads;
        for thread in threads.threads.iter_mut().filter(|t| t.blocked_at_least) {
            let now = self.switches.get(&thread.tid);
            if now.is_some() && now == earlier.switches.get(&thread.tid) {
                thread.blocked_ns = Some(threads.at_ns.saturating_sub(earlier.at_ns));
            }
        }
    }

    /// Its stacks by their end, numbered as the kernel side's counters.
    pub fn counters(&self, stacks: &Stacks) -> Vec<u64> {
        let mut counters = vec![0; COUNTERS as usize];
        for end in self.threads.threads.iter().filter_map(|t| Some(stacks.get(t.stack?)?.end)) {
            counters[Tally::StackEnd0 as usize + end as usize] += 1;
        }
        counters
    }
}

/// The collector of what is blocked at one moment, where nothing is traced.
#[derive(Debug, Default)]
pub struct Blocked {
    snapshot: Option<Snapshot>,
    counters: Vec<u64>,
    account: WaitAccount,
}

impl Collector for Blocked {
    fn load(&self) -> Load {
        Load { task_iterators: vec![ITERATOR], ..Load::default() }
    }

    fn look(&mut self, scene: &mut Scene<'_>) -> Result<(), SourceError> {
        let begun = std::time::Instant::now();
        let snapshot = take_with_peers(scene)?;
        scene.log.detail(&format!(
            "{} threads in {:.1} ms, {} stacks",
            snapshot.threads.threads.len(),
            begun.elapsed().as_secs_f64() * 1e3,
            scene.stacks.len()
        ));
        self.counters = snapshot.counters(scene.stacks);
        self.snapshot = Some(snapshot);
        Ok(())
    }

    fn read(&mut self, source: &mut Source) -> Result<(), SourceError> {
        self.account.processors = source.get("processors", |_| Ok(machine::processors()))?;
        Ok(())
    }

    fn settle(&mut self, _moment: &Moment<'_>) {
        let threads = self.snapshot.take().map(|snapshot| snapshot.threads);
        let at_ns = threads.as_ref().map_or(0, |threads| threads.at_ns);
        let processors = self.account.processors;
        self.account =
            WaitAccount { threads, window: None, started_ns: at_ns, at_ns, ended: true, processors };
    }

    fn add_counters(&self, counters: &mut [u64]) {
        counters.iter_mut().zip(&self.counters).for_each(|(all, own)| *all += own);
    }

    fn give<'a>(&'a self, to: &mut Collected<'a>) {
        to.waits = Some(&self.account);
    }
}

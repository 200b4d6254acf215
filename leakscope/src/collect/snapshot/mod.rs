//! The thread snapshot: all threads of the target with their state, stack, and how long each has been blocked,
//! taken without stopping anything.
//!
//! The kernel's task iterator gives registers and scheduler state of every thread; stacks are read with
//! process_vm_readv and walked over our own unwind rows; then the iterator runs again, and a thread is
//! accepted only where its registers and its count of context switches did not change in between
//! ([`take()`]). [`clock`] tells how long a thread has been blocked, [`memory`] reads the target, `peers` asks who is at
//! the other end of what threads wait for.

mod again;
pub mod clock;
mod looker;
pub mod memory;
mod peers;
mod running;
mod take;

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use leakscope_common::counter::{COUNTERS, Tally};
use serde::{Deserialize, Serialize};

pub use again::Earlier;
pub use take::{ITERATOR, living, take};

use again::Place;

use super::waits::WaitAccount;
use super::{Collected, Collector, Moment, Scene, Source, SourceError};
use crate::bpf::object::Load;
use crate::stack::{RawStack, StackId, Stacks};
use crate::wait::{AGAIN_NS, ThreadSnapshot};

/// How long after the first look at such threads the second one follows.
const SECOND_LOOK: Duration = Duration::from_millis(110);

/// The threads at one moment, and what was learnt of them besides.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Snapshot {
    pub threads: ThreadSnapshot,
    /// Their stacks, each once.
    pub stacks: Vec<RawStack>,
    /// Where each thread is, and how far it has come.
    places: BTreeMap<u32, Place>,
    #[serde(skip)]
    known: HashSet<StackId>,
}

/// What is looked at besides blocked threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Nothing.
    Blocked,
    /// All that a report tells: where running threads are, by samples, and who is at the other end of what threads
    /// wait for.
    Report,
}

impl Snapshot {
    fn add_stack(&mut self, stack: RawStack) {
        if self.known.insert(stack.id) {
            self.stacks.push(stack);
        }
    }

    /// Context switches of a thread so far.
    pub fn switches(&self, tid: u32) -> Option<u64> {
        self.places.get(&tid).map(|place| place.switches)
    }

    /// Tells since when the threads have been where they are, as far as earlier looks have seen them there, and
    /// takes this one in.
    pub fn since(&mut self, earlier: &mut Earlier) {
        earlier.renew(self.threads.at_ns, &self.places, &mut self.threads.threads);
    }

    /// Whether a thread has begun to wait just now, for a short time: it may do so again and again.
    fn may_come_back(&self) -> bool {
        let soon = |ns: Option<u64>| ns.is_some_and(|ns| ns <= AGAIN_NS);
        self.threads.threads.iter().any(|thread| soon(thread.limit_ns) && soon(thread.blocked_ns))
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
        let mut snapshot = take(scene, Depth::Report)?;
        let mut earlier = Earlier::default();
        snapshot.since(&mut earlier);
        if snapshot.may_come_back() {
            scene.source.act(|_| {
                std::thread::sleep(SECOND_LOOK);
                Ok::<(), SourceError>(())
            })?;
            snapshot = take(scene, Depth::Report)?;
            snapshot.since(&mut earlier);
        }
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

    fn read(&mut self, _source: &mut Source) -> Result<(), SourceError> {
        Ok(())
    }

    fn settle(&mut self, _moment: &Moment<'_>) {
        let threads = self.snapshot.take().map(|snapshot| snapshot.threads);
        let at_ns = threads.as_ref().map_or(0, |threads| threads.at_ns);
        self.account = WaitAccount { threads, window: None, started_ns: at_ns, at_ns, ended: true };
    }

    fn add_counters(&self, counters: &mut [u64]) {
        counters.iter_mut().zip(&self.counters).for_each(|(all, own)| *all += own);
    }

    fn give<'a>(&'a self, to: &mut Collected<'a>) {
        to.waits = Some(&self.account);
    }
}

//! Where facts about a process come from, one folder each.
//!
//! A [`Collector`] is one source of facts: what it needs of the kernel side, where it probes, which events are
//! its own, what it reads, and what it makes of that. On the kernel side it has programs and maps of its own,
//! which it alone names. A session holds no rule of any of them: it goes through the [list](Collectors) and
//! asks.
//!
//! # Order of calls
//!
//! 1. [`load`](Collector::load): what is to be loaded. All parts are loaded as one object.
//! 2. [`loaded`](Collector::loaded): first entries of its maps. Nothing is attached yet, nothing runs.
//! 3. [`plan`](Collector::plan), then [`sites`](Collector::sites) and [`placed`](Collector::placed): where it
//!    probes, in the order of attaching. Again whenever the target has mapped further files, while events and
//!    reports come, too.
//! 4. [`started`](Collector::started): recording is on, and every probe is active.
//! 5. [`event`](Collector::event): a record of one of the kinds that it [takes](Collector::takes). Records may
//!    come from the first probe on, and until the account is frozen; what lies outside of the window, it leaves
//!    out.
//! 6. For each report, in this order: [`look`](Collector::look) while the target runs on, then (for the last
//!    report) the account is frozen, [`read`](Collector::read), the events that have come until then,
//!    [`settle`](Collector::settle), and [`give`](Collector::give).
//!
//! # Who owns what
//!
//! A collector owns its numbers: what it has counted of events, what it measures growth from, and the value
//! that it gives to the report. What several need is the session's, and lent: the process and its address
//! space, interned stacks, unwind rows ([`Unwinding`]) and the loaded object. Whatever comes from the kernel or
//! the target while recording is read through a [`Source`], and through nothing else.
//!
//! Only what can be said of the whole is an error: that a map cannot be read, or that the target is gone. What
//! cannot be had of one file or thread is a loss, which it counts ([`losses`](Collector::losses)), or a warning.

pub mod heap;
pub mod linker;
pub mod snapshot;
pub mod source;
pub mod threads;
pub mod unwinding;
pub mod waits;

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use source::{Live, Source, SourceError};
pub use unwinding::{OwnRows, Unwinding};

use crate::bpf::BpfError;
use crate::bpf::attach::ProbeSite;
use crate::bpf::events::Record;
use crate::bpf::object::{Load, Object};
use crate::process::{AddressSpace, ModuleId, Process};
use crate::stack::{StackId, Stacks};
use heap::{HeapAccount, Sort};
use leakscope_common::event::Kind;
use threads::ThreadAccount;
use waits::WaitAccount;

/// One source of facts. The module says in which order its methods are called.
pub trait Collector: fmt::Debug {
    /// What it needs of the kernel side: programs, globals, and sizes of maps that depend on the target.
    fn load(&self) -> Load;

    /// Writes the first entries of its maps.
    fn loaded(&mut self, _object: &mut Object, _space: &AddressSpace) -> Result<(), BpfError> {
        Ok(())
    }

    /// Whether it places probes in the target's code, which a seccomp filter can turn into harm.
    fn probes(&self) -> bool {
        false
    }

    /// Looks for places to probe in files that are `new` in the address space. It is not asked for those of a
    /// process in which no probe may be placed.
    fn plan(&mut self, _space: &AddressSpace, _new: &[ModuleId], _log: &mut dyn Log) {}

    /// The places that were planned since it was asked before, in the order in which they are to be attached.
    fn sites(&mut self, _space: &AddressSpace, _log: &mut dyn Log) -> Vec<ProbeSite> {
        Vec::new()
    }

    /// What became of these places.
    fn placed(&mut self, _placed: Placed) {}

    /// Recording has begun.
    fn started(&mut self, _scene: &mut Scene<'_>) -> Result<(), SourceError> {
        Ok(())
    }

    /// The kinds of records that are its own. No two collectors take the same.
    fn takes(&self) -> &'static [Kind] {
        &[]
    }

    /// Takes in a record of such a kind. The window is in CLOCK_MONOTONIC, ns.
    fn event(&mut self, _record: &Record, _window: &Range<u64>) {}

    /// Looks at the target for a report, before the account is read. Not called once the target is gone.
    fn look(&mut self, _scene: &mut Scene<'_>) -> Result<(), SourceError> {
        Ok(())
    }

    /// Reads its maps.
    fn read(&mut self, source: &mut Source) -> Result<(), SourceError>;

    /// Makes of what was read and of events what the report is told.
    fn settle(&mut self, moment: &Moment<'_>);

    /// Adds what it has counted outside of the kernel side, numbered as the kernel side's counters.
    fn add_counters(&self, _counters: &mut [u64]) {}

    /// What was lost outside of the kernel side, by name, since recording began.
    fn losses(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    /// What can be told of the heap in between; nothing of the account changes.
    fn glance(&self, _live: &Live) -> Result<Option<HeapGlance>, BpfError> {
        Ok(None)
    }

    /// Puts what it has settled into the report's inputs.
    fn give<'a>(&'a self, to: &mut Collected<'a>);
}

/// What collectors have settled for one report: one value each, `None` where that one is not at work.
#[derive(Clone, Copy, Debug, Default)]
pub struct Collected<'a> {
    /// The account of the heap.
    pub heap: Option<&'a HeapAccount>,
    /// Blocked threads.
    pub waits: Option<&'a WaitAccount>,
    /// Threads that came and went.
    pub threads: Option<&'a ThreadAccount>,
}

/// What is on the heap in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeapGlance {
    /// Bytes in live blocks that were allocated meanwhile.
    pub live_bytes: u64,
    /// The stack that has most of them.
    pub most: Option<StackId>,
}

/// What is to be traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tracing {
    /// Calls of the allocator.
    pub heap: bool,
    /// Waits, and what ends them.
    pub waits: bool,
    /// Waits of at least so many ns are sent one by one; 0: none.
    pub min_wait_ns: u64,
    /// How waits of goroutines are followed, if waits are.
    #[serde(default)]
    pub goroutine_waits: Following,
}

impl Tracing {
    /// Whether waits of goroutines are followed.
    pub fn follows_goroutines(&self) -> bool {
        self.waits && self.goroutine_waits != Following::Off
    }
}

/// How waits of goroutines are followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Following {
    /// All the time while that costs little, else in windows.
    #[default]
    Auto,
    /// All the time, whatever that costs.
    Always,
    /// In windows.
    Windows,
    /// Not at all.
    Off,
}

/// What collectors are told of the user's wishes.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Wishes {
    pub tracing: Tracing,
    /// Order of sites.
    pub sort: Sort,
    /// Only blocks at least this old count as live.
    pub min_age: Duration,
    /// Most live blocks.
    pub max_live: u32,
    /// Leave out the probes on freeing functions; for tests.
    pub break_free_probes: bool,
}

/// Hears what collectors have to say on their way.
pub trait Log {
    /// A step, for those who want to know.
    fn detail(&mut self, line: &str);
    /// Something the user should know.
    fn warn(&mut self, line: &str);
}

/// What became of places to probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Probes that are attached now.
    pub attached: usize,
    /// Those that could not be.
    pub failed: usize,
    /// Whether recording was on already.
    pub recording: bool,
}

/// The target while it runs, and what is shared by all that look at it.
pub struct Scene<'a> {
    /// Where everything comes from.
    pub source: &'a mut Source,
    pub process: &'a Process,
    /// Its code.
    pub space: &'a AddressSpace,
    /// Stacks seen.
    pub stacks: &'a mut Stacks,
    /// When recording began, CLOCK_MONOTONIC in ns.
    pub started_ns: u64,
    /// Who is told of steps.
    pub log: &'a mut dyn Log,
}

/// The moment of a report.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// When it is, CLOCK_MONOTONIC in ns: what is in the account happened before.
    pub at_ns: u64,
    /// When recording began.
    pub started_ns: u64,
    /// The kernel side's counters, by number.
    pub counters: &'a [u64],
    /// Whether the target has ended or replaced its program.
    pub gone: bool,
    /// Whether it is the last report: the account stands still.
    pub last: bool,
}

/// The collectors of a session, in the order in which they are asked.
#[derive(Debug, Default)]
pub struct Collectors(Vec<Box<dyn Collector>>);

impl Collectors {
    /// All that the user's wishes ask for of a process with so many threads. This is the list: a new collector
    /// has its row here.
    pub fn of(wishes: &Wishes, threads: u64) -> Self {
        let mut all = Self::default();
        if wishes.tracing.heap {
            all.add(Box::new(heap::Heap::new(wishes)));
        }
        if wishes.tracing.waits {
            all.add(Box::new(waits::Waits::new(wishes.tracing.min_wait_ns)));
        }
        all.add(Box::new(threads::Threads::new(threads)));
        all
    }

    /// The threads at one moment, and nothing that is traced.
    pub fn of_one_look() -> Self {
        Self(vec![Box::new(snapshot::Blocked::default())])
    }

    /// Adds one: a runtime that is found in the target has its own.
    pub fn add(&mut self, collector: Box<dyn Collector>) {
        self.0.push(collector);
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &dyn Collector> {
        self.0.iter().map(|collector| &**collector)
    }

    /// All of them, to be asked.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Box<dyn Collector>> {
        self.0.iter_mut()
    }

    /// What all need of the kernel side.
    pub fn load(&self) -> Load {
        let mut load = Load::default();
        self.iter().for_each(|collector| load.add(collector.load()));
        load
    }

    /// Hands a record to the one that takes it.
    pub fn event(&mut self, record: &Record, window: &Range<u64>) {
        let takes =
            |collector: &&mut Box<dyn Collector>| collector.takes().iter().any(|kind| record.is(*kind));
        if let Some(collector) = self.iter_mut().find(takes) {
            collector.event(record, window);
        }
    }

    /// What all have settled.
    pub fn collected(&self) -> Collected<'_> {
        let mut collected = Collected::default();
        self.iter().for_each(|collector| collector.give(&mut collected));
        collected
    }
}

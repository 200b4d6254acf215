//! A process whose runtime can be read: what the session keeps of it, and asks it for.

use std::fmt::Debug;
use std::time::Duration;

use super::{RUNTIMES, Runtime, detect, go};
use crate::bpf::BpfError;
use crate::bpf::attach::Attached;
use crate::bpf::object::{Load, Object};
use crate::collect::{Log, OwnRows, Tracing};
use crate::process::{AddressSpace, ModuleId, Process};
use crate::symbol::{Names, NamesCode};

/// What the user chose of how runtimes are read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Where the layouts of Go's structures come from.
    pub go_layouts: go::LayoutSource,
    /// Whether the one look of `dump` is to prove which goroutines can never run again, which takes seconds.
    pub prove_leaks: bool,
    /// Up to how many bytes of a heap each report tells what holds them; `None`: not at all.
    pub most_held: Option<u64>,
    /// Whether what is opened was loaded after the session began.
    pub late: bool,
}

/// How a look at what holds the heap is bounded.
pub struct HoldersLimits<'a> {
    /// How long it may take.
    pub longest: Duration,
    /// Most bytes of objects; of a larger heap nothing is read.
    pub most_bytes: u64,
    /// Whether to go on.
    pub go_on: &'a dyn Fn() -> bool,
    /// Whether to look even where the look before was not long ago, measured by how long it took.
    pub anew: bool,
}

/// Where probes of a runtime are attached.
#[derive(Debug)]
pub struct Probing<'a> {
    /// The kernel side.
    pub object: &'a mut Object,
    /// Probes that are attached; they are taken away together.
    pub attached: &'a mut Attached,
    /// The target.
    pub process: &'a Process,
    /// Where its code lies.
    pub space: &'a AddressSpace,
    /// What is traced of it.
    pub tracing: Tracing,
}

/// A process of whose runtime something can be read, as [`Runtime::open`] found it. It lives as long as the
/// observation and keeps what it has read last.
///
/// The session calls [`rows`](Self::rows), [`names`](Self::names) and [`load`](Self::load) once, before
/// anything is attached (the first two again whenever [`look_again`](Self::look_again) says so); then [`attach`](Self::attach), unless nothing may be probed; then, for each report,
/// [`read_tasks`](Self::read_tasks), [`read_heap`](Self::read_heap) and [`observe`](Self::observe). `dump` attaches
/// nothing and reads tasks once. Every method but the last may do nothing.
///
/// What must hold: the target is never stopped or written to. What cannot be read (any more) leaves what was read
/// before as it is, and `observe` says why; only the end of the target while probes are attached is an error. What
/// is missed is counted as a loss by name ([`crate::losses`]).
pub trait Opened: Debug {
    /// The unwind rows of its code, by file.
    fn rows(&self) -> Vec<OwnRows> {
        Vec::new()
    }

    /// What names its code, each with the file that it is good for.
    fn names(&self) -> Vec<(ModuleId, Box<dyn NamesCode>)> {
        Vec::new()
    }

    /// Looks for what the target has loaded since; whether there are new rows and names.
    fn look_again(&mut self, _pid: u32, _space: &AddressSpace, _log: &mut dyn Log) -> bool {
        false
    }

    /// What it needs of the kernel side: sizes of maps of its own.
    fn load(&self, _tracing: Tracing) -> Load {
        Load::default()
    }

    /// Attaches the probes in the runtime. What cannot be attached is warned of.
    fn attach(&mut self, _probing: &mut Probing<'_>, _log: &mut dyn Log) -> Result<(), BpfError> {
        Ok(())
    }

    /// Reads all tasks. `now_ns` is CLOCK_MONOTONIC.
    fn read_tasks(&mut self, _now_ns: u64, _log: &mut dyn Log) {}

    /// Looks at what holds the heap now.
    fn read_holders(&mut self, _limits: &HoldersLimits<'_>, _log: &mut dyn Log) {}

    /// Reads the heap, and what the probes have counted.
    fn read_heap(&mut self, _object: &Object, _tracing: Tracing, _log: &mut dyn Log) {}

    /// The target has ended at this moment (CLOCK_MONOTONIC): what was read last is all there is.
    fn ended(&mut self, _at_ns: u64) {}

    /// Tells what was read last.
    fn observe<'a>(&'a self, into: &mut Observed<'a>);
}

/// What is known of a process by its runtime: what a report is made from. A runtime fills in the members that are
/// its own; those of sections that it has nothing for stay `None`.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// The runtime of the process.
    pub runtime: &'static dyn Runtime,
    /// Its version, as people call it: `go1.21.4`.
    pub version: Option<&'a str>,
    /// What makes the process, or a library in it, a Go program: goroutines and their heap.
    pub go: Option<go::Observed<'a>>,
}

impl Observed<'_> {
    /// The same without what holds the heap.
    pub const fn without_holders(mut self) -> Self {
        if let Some(go) = &mut self.go {
            (go.held, go.held_before, go.held_refused) = (None, None, None);
        }
        self
    }

    /// A process of whose runtime nothing is read.
    pub const fn unread(runtime: &'static dyn Runtime) -> Self {
        Self { runtime, version: None, go: None }
    }

    /// Why there is no allocator's function, if a runtime of the process needs none.
    pub fn no_allocator(&self) -> Option<&'static str> {
        let of_library = self.go.and_then(|_| go::Go.no_allocator());
        self.runtime.no_allocator().or(of_library)
    }
}

/// The runtimes of a process: the one that it is named by, and what can be read of that and of others in it (a
/// Python program may have loaded a library that is written in Go).
#[derive(Debug)]
pub struct Runtimes {
    runtime: &'static dyn Runtime,
    options: Options,
    /// In the order of [`RUNTIMES`].
    opened: Vec<Option<Box<dyn Opened>>>,
    /// Mappings that there were at the last look.
    mappings: usize,
}

impl Runtimes {
    /// Finds the runtimes of `process`.
    pub fn find(process: &Process, space: &AddressSpace, options: Options, log: &mut dyn Log) -> Self {
        Self {
            runtime: detect::of(process, space),
            options: Options { late: true, ..options },
            opened: RUNTIMES.iter().map(|runtime| runtime.open(process, space, options, log)).collect(),
            mappings: space.mappings().len(),
        }
    }

    /// Looks for what the process has loaded since; whether there are new rows and names.
    pub fn look_again(&mut self, process: &Process, space: &AddressSpace, log: &mut dyn Log) -> bool {
        let mappings = space.mappings().len();
        let new_files = std::mem::replace(&mut self.mappings, mappings) != mappings;
        let mut changed = false;
        for (runtime, opened) in RUNTIMES.iter().zip(&mut self.opened) {
            if let Some(opened) = opened {
                changed |= opened.look_again(process.through, space, log);
            } else if new_files {
                *opened = runtime.open(process, space, self.options, log);
                changed |= opened.is_some();
            }
        }
        changed
    }

    /// Up to how many bytes of a heap each report tells what holds them.
    pub fn most_held(&self) -> Option<u64> {
        self.options.most_held
    }

    /// The one that the process is named by.
    pub fn runtime(&self) -> &'static dyn Runtime {
        self.runtime
    }

    /// Whether there is anything to be read.
    pub fn is_read(&self) -> bool {
        self.opened().next().is_some()
    }

    /// What can be read.
    pub fn opened(&self) -> impl Iterator<Item = &dyn Opened> {
        self.opened.iter().flatten().map(|opened| &**opened)
    }

    /// The same, to read it.
    pub fn opened_mut(&mut self) -> impl Iterator<Item = &mut Box<dyn Opened>> {
        self.opened.iter_mut().flatten()
    }

    /// Unwind rows of code that only a runtime knows.
    pub fn rows(&self) -> impl Iterator<Item = OwnRows> {
        self.opened().flat_map(Opened::rows)
    }

    /// Has their code named by their own tables.
    pub fn name(&self, names: &mut Names) {
        for (module, by) in self.opened().flat_map(Opened::names) {
            names.ask(module, by);
        }
    }

    /// What was read last.
    pub fn observed(&self) -> Observed<'_> {
        let mut observed = Observed::unread(self.runtime);
        for opened in self.opened() {
            opened.observe(&mut observed);
        }
        observed
    }
}

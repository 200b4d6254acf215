//! All Go runtimes of a process: the program's own, and one for each library that is written in Go
//! (`-buildmode=c-shared`). A plugin has none: it is a part of the program.

mod environment;
mod held;
mod merge;
#[cfg(test)]
mod tests;

use std::cell::OnceCell;
use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use self::merge::Merged;
use super::Observed;
use super::opened::GoProcess;
use super::program;
use crate::bpf::BpfError;
use crate::bpf::object::{Load, Object};
use crate::collect::{OwnRows, Tracing};
use crate::process::{AddressSpace, ModuleId};
use crate::runtime::{self, HoldersLimits, Log, Opened, Options, Probing, Runtime as _};
use crate::symbol::NamesCode;

/// Most runtimes that are read.
pub const MOST: usize = 16;
/// How often one is tried that could not be read: it may just have been loaded.
const TRIES: u32 = 20;

/// What there is to say of one of the runtimes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoRuntimeSeen {
    /// Path of its file, as the target names it.
    pub file: String,
    /// `go1.21.4`
    pub version: String,
    /// Whether it was loaded after leakscope came.
    pub late: bool,
    /// Goroutines, where they were read.
    pub goroutines: Option<u64>,
    /// Memory that it has, released or not touched yet left out; where that was read.
    pub memory_bytes: Option<u64>,
    /// Whether its heap was sampled.
    pub sampled: bool,
}

/// The Go runtimes of a process.
#[derive(Debug)]
pub(super) struct GoRuntimes {
    /// By the addresses of their files, those that came later last.
    all: Vec<GoProcess>,
    options: Options,
    /// In the environment that the process began with.
    godebug: Option<String>,
    /// Files that were looked at while they were mapped.
    looked_at: HashSet<ModuleId>,
    tries: u32,
    /// What is told of them, the one with most memory first.
    told: OnceCell<Told>,
}

#[derive(Debug)]
struct Told {
    seen: Vec<GoRuntimeSeen>,
    /// All together, where there are several.
    merged: Option<Merged>,
}

impl GoRuntimes {
    /// Finds all of them; `None` if there is none.
    pub(super) fn find(pid: u32, space: &AddressSpace, options: Options, log: &mut dyn Log) -> Option<Self> {
        let mut found = program::find(pid, space, options.go_layouts);
        if found.len() > MOST {
            log.warn(&format!("{} Go runtimes are in the process; {MOST} of them are read", found.len()));
            found.truncate(MOST);
        }
        let all: Vec<GoProcess> =
            found.into_iter().map(|found| GoProcess::of(found, (pid, space), options, log)).collect();
        let looked_at = mapped(space).collect();
        let godebug = environment::godebug(pid);
        (!all.is_empty()).then(|| Self { all, options, godebug, looked_at, tries: 0, told: OnceCell::new() })
    }

    /// Takes in those of files that have come since.
    fn add_new(&mut self, pid: u32, space: &AddressSpace, log: &mut dyn Log) -> bool {
        let known = self.all.len();
        let late = Options { late: true, ..self.options };
        let new: Vec<ModuleId> = mapped(space).filter(|module| self.looked_at.insert(*module)).collect();
        if !new.is_empty() {
            self.tries = 0;
        }
        for module in new {
            if self.all.len() < MOST
                && let Some(found) = program::find_in(pid, space, late.go_layouts, module)
            {
                self.all.push(GoProcess::of(found, (pid, space), late, log));
            }
        }
        self.all.len() > known
    }

    fn told(&self) -> &Told {
        self.told.get_or_init(|| {
            let mut all: Vec<&GoProcess> = self.all.iter().collect();
            // Stable: where it is not known, the program comes first.
            all.sort_by_key(|one| std::cmp::Reverse(one.memory_bytes()));
            let seen = all.iter().map(|one| one.seen()).collect();
            Told { seen, merged: (all.len() > 1).then(|| Merged::of(&all)) }
        })
    }
}

/// The files that are mapped now.
fn mapped(space: &AddressSpace) -> impl Iterator<Item = ModuleId> + '_ {
    space.mappings().iter().filter_map(|mapped| mapped.module)
}

impl Opened for GoRuntimes {
    fn rows(&self) -> Vec<OwnRows> {
        self.all.iter().flat_map(GoProcess::rows).collect()
    }

    fn names(&self) -> Vec<(ModuleId, Box<dyn NamesCode>)> {
        self.all.iter().flat_map(GoProcess::names).collect()
    }

    fn load(&self, tracing: Tracing) -> Load {
        GoProcess::load(tracing)
    }

    fn attach(&mut self, probing: &mut Probing<'_>, log: &mut dyn Log) -> Result<(), BpfError> {
        self.told.take();
        self.all.iter_mut().for_each(|one| one.read_memory(log));
        // The kernel side samples one heap: the largest.
        let sizes = self.all.iter().enumerate().map(|(at, one)| (one.memory_bytes(), std::cmp::Reverse(at)));
        let Some((_, std::cmp::Reverse(at))) = sizes.max() else { return Ok(()) };
        let mut largest = self.all.remove(at);
        let mut attached = largest.attach(probing, log);
        for other in &mut self.all {
            attached = attached.and_then(|()| other.attach_beside(&largest, probing, log));
        }
        self.all.insert(at, largest);
        attached
    }

    fn look_again(&mut self, pid: u32, space: &AddressSpace, log: &mut dyn Log) -> bool {
        let mut changed = self.add_new(pid, space, log);
        if self.all.iter().any(|one| !one.is_read()) && self.tries < TRIES {
            self.tries += 1;
            for one in self.all.iter_mut().filter(|one| !one.is_read()) {
                let again = program::find_in(pid, space, self.options.go_layouts, one.module());
                changed |= again.is_some_and(|found| one.try_again(found, space));
            }
        }
        for one in &mut self.all {
            changed |= one.take_new_plugins((pid, space), log);
        }
        if changed {
            self.told.take();
        }
        changed
    }

    fn read_tasks(&mut self, now_ns: u64, log: &mut dyn Log) {
        self.told.take();
        self.all.iter_mut().for_each(|one| one.read_tasks(now_ns, log));
    }

    fn read_holders(&mut self, limits: &HoldersLimits<'_>, log: &mut dyn Log) {
        self.told.take();
        self.all.iter_mut().for_each(|one| {
            one.read_memory(log);
            one.read_holders(limits, log);
        });
    }

    fn read_heap(&mut self, object: &Object, tracing: Tracing, log: &mut dyn Log) {
        self.told.take();
        self.all.iter_mut().for_each(|one| one.read_heap(object, tracing, log));
    }

    fn ended(&mut self, at_ns: u64) {
        self.told.take();
        self.all.iter_mut().for_each(|one| one.ended(at_ns));
    }

    fn observe<'a>(&'a self, into: &mut runtime::Observed<'a>) {
        let Told { seen, merged } = self.told();
        // The program's own comes first, where it has one.
        let Some(first) = self.all.first() else { return };
        if into.runtime.name() == super::Go.name() {
            into.version = Some(first.version());
        }
        let observed = merged.as_ref().map_or_else(|| first.observed(), |merged| merged.observed());
        into.go = Some(Observed { runtimes: seen, godebug: self.godebug.as_deref(), ..observed });
    }
}

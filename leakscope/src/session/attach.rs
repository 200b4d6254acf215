//! The probes of a target: placed as collectors plan them, and moved from one kind of link to the other.

use std::collections::BTreeMap;
use std::time::Instant;

use leakscope_common::config::Handover;

use super::links::{self, Choice};
use super::{Told, Watcher};
use crate::bpf::BpfError;
use crate::bpf::attach::{Attached, Leaving, Links};
use crate::bpf::object::{Load, Object};
use crate::bpf::tables::Tables;
use crate::collect::linker::{LIBRARIES_CHANGED, linker_site};
use crate::collect::{Collectors, Live, Placed};
use crate::losses;
use crate::process::{AddressSpace, ModuleId};

/// The probes that are attached, and how.
#[derive(Debug)]
pub(super) struct Probes {
    pub(super) attached: Attached,
    /// Multi links that perf links have taken over from.
    leaving: Option<Leaving>,
    /// Whether they stay of the kind that they are: there is but one handover.
    stays: bool,
    /// Whether any probe may be placed.
    probing: bool,
    /// Tracepoints that are followed.
    pub(super) tracepoints: usize,
    /// Probes of our own that could not be attached.
    failed: u64,
}

/// Losses by name, each once.
pub(super) fn summed(all: impl IntoIterator<Item = (String, u64)>) -> Vec<(String, u64)> {
    let mut sums = BTreeMap::new();
    for (name, n) in all {
        let sum: &mut u64 = sums.entry(name).or_default();
        *sum = sum.saturating_add(n);
    }
    sums.into_iter().collect()
}

/// A loss with a name of its own.
pub(super) fn owned((name, n): (&'static str, u64)) -> (String, u64) {
    (name.to_owned(), n)
}

impl Probes {
    /// None yet. `probing` tells whether any may be placed.
    pub(super) fn new(choice: &Choice, probing: bool) -> Self {
        Self {
            attached: Attached::new(choice.links()),
            leaving: None,
            stays: false,
            probing,
            tracepoints: 0,
            failed: 0,
        }
    }

    /// What a session needs besides its collectors: it follows the libraries of the target, for the sake of the
    /// unwind rows.
    pub(super) fn load() -> Load {
        Load { probes: vec![LIBRARIES_CHANGED], ..Load::default() }
    }

    /// What could not be traced, by name.
    pub(super) fn losses(&self) -> [(&'static str, u64); 1] {
        [(losses::PROBES_FAILED, self.failed)]
    }

    /// Probes and tracepoints that are active.
    pub(super) fn active(&self) -> usize {
        self.attached.len() + self.tracepoints
    }

    /// Attaches what is to be probed in `modules`, as the collectors have planned. What cannot be attached is
    /// warned of and counted as lost; only the end of the target is an error.
    pub(super) fn attach(
        &mut self,
        object: &mut Object,
        target: (u32, &AddressSpace, &[ModuleId]),
        collectors: &mut Collectors,
        recording: bool,
        watcher: &mut dyn Watcher,
    ) -> Result<(), BpfError> {
        let (pid, space, modules) = target;
        if !self.probing {
            return Ok(());
        }
        let own: Vec<_> = modules.iter().filter_map(|&id| linker_site(space, id)).collect();
        let failed = &mut self.failed;
        self.attached.add_all(object, pid, &own, &mut |error| {
            watcher.warn(&error.to_string());
            *failed += 1;
        })?;
        for collector in collectors.iter_mut() {
            let sites = collector.sites(space, &mut Told(watcher));
            let mut failed = 0;
            let attached = self.attached.add_all(object, pid, &sites, &mut |error| {
                watcher.warn(&error.to_string());
                failed += 1;
            })?;
            collector.placed(Placed { attached, failed, recording });
        }
        Ok(())
    }

    /// Lets perf links take over from multi links. Where they cannot be had, the multi links stay.
    fn use_perf_links(
        &mut self,
        object: &mut Object,
        pid: u32,
        why: &str,
        watcher: &mut dyn Watcher,
    ) -> Result<(), BpfError> {
        if std::mem::replace(&mut self.stays, true) {
            return Ok(());
        }
        let begun = Instant::now();
        let Some(idle) = links::idle_place() else {
            watcher.warn("forked children pay for the probes, too: leakscope's own code is not found");
            return Ok(());
        };
        match self.attached.move_to_perf(object, pid, &idle) {
            Ok(leaving) => self.leaving = Some(leaving),
            Err(BpfError::TargetGone) => return Err(BpfError::TargetGone),
            Err(error) => {
                watcher.warn(&format!("forked children pay for the probes, too: {error}"));
                return Ok(());
            }
        }
        watcher.detail(&format!("{why}; went over in {:.1} ms", begun.elapsed().as_secs_f64() * 1e3));
        Ok(())
    }

    /// Looks whether the target has made processes, and goes over to perf links if it has. To be called now and
    /// then.
    pub(super) fn follow_children(
        &mut self,
        object: &mut Object,
        pid: u32,
        watcher: &mut dyn Watcher,
    ) -> Result<(), BpfError> {
        if self.leaving.take_if(|leaving| leaving.done()).is_some() {
            object.set_handover(Handover::Settled)?;
            watcher.detail("the multi links are gone");
        }
        if self.attached.links() == Links::Multi && !self.stays && object.has_children()? {
            let why = "perf links from now on: the target makes processes";
            match self.use_perf_links(object, pid, why, watcher) {
                // Its end is noticed elsewhere.
                Ok(()) | Err(BpfError::TargetGone) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes all probes away.
    pub(super) fn detach(self) {
        self.attached.detach();
        if let Some(leaving) = self.leaving {
            leaving.wait();
        }
    }

    /// Looks at the mappings again: rows, mapping table and probes follow. `recording` tells whether what is
    /// probed now has been at work unseen.
    pub(super) fn refresh(
        &mut self,
        live: &mut Live,
        (pid, space): (u32, &mut AddressSpace),
        collectors: &mut Collectors,
        recording: bool,
        watcher: &mut dyn Watcher,
    ) -> Result<(), BpfError> {
        let Live { object, unwinding } = live;
        let before = unwinding.mappings(space);
        // A process that has just ended has no mappings; its end is noticed elsewhere.
        let Ok(new) = space.refresh() else { return Ok(()) };
        unwinding.add_modules(space, &new);
        if new.is_empty() && unwinding.mappings(space) == before {
            // Nothing to learn: code that is in no mapping asks again only after a while.
            return Ok(());
        }
        unwinding.upload(object, space)?;
        Tables::refreshed(object)?;
        let shares = new.iter().find_map(|&id| links::shares(space.module(id)));
        if let Some(why) = shares.filter(|_| self.attached.links() == Links::Multi) {
            self.use_perf_links(object, pid, &why.to_string(), watcher)?;
        }
        if self.probing {
            collectors.iter_mut().for_each(|collector| collector.plan(space, &new, &mut Told(watcher)));
        }
        self.attach(object, (pid, space, &new), collectors, recording, watcher)
    }
}

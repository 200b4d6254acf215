//! Attaches: frees first, then returns, then entries; then one switch starts recording.

use super::clock;
use super::links::{self, Choice};
use super::modules::find_probes;
use super::prepare::{Prepared, Unwinding};
use super::probes::{FileProbes, FunctionNumbers, linker_code, linker_site, sites};
use super::signals::Signals;
use super::{Config, Log, Watcher};
use crate::bpf::BpfError;
use crate::bpf::attach::{Attached, Leaving, Links, Role};
use crate::bpf::events::Events;
use crate::bpf::object::Object;
use crate::bpf::tables::Tables;
use crate::failure::Failure;
use crate::losses;
use crate::probe::{CostClass, Exit};
use crate::process::{AddressSpace, Host, ModuleId, Process};
use crate::runtime::{Probing, Runtimes};
use leakscope_common::config::{Handover, RunState};
use std::time::Instant;

/// Everything that is active.
pub(super) struct Armed {
    pub(super) process: Process,
    pub(super) object: Object,
    pub(super) events: Events,
    pub(super) signals: Signals,
    pub(super) probes: Probes,
    pub(super) space: AddressSpace,
    /// The program that runs another one inside itself, if the target is one.
    pub(super) host: Option<&'static Host>,
    /// Its runtimes.
    pub(super) runtimes: Runtimes,
    pub(super) started_ns: u64,
    pub(super) started_at: String,
    pub(super) rss_start: Option<u64>,
}

/// The probes and the tables that follow the target's mappings.
pub(super) struct Probes {
    pub(super) attached: Attached,
    /// Multi links that perf links have taken over from.
    leaving: Option<Leaving>,
    /// Whether they stay of the kind that they are: there is but one handover.
    stays: bool,
    tables: Tables,
    unwinding: Unwinding,
    numbers: FunctionNumbers,
    /// Whether allocators are traced.
    heap: bool,
    /// Whether any probe may be placed.
    probing: bool,
    frees: bool,
    /// Probes that could not be attached.
    pub(super) failed: u64,
    /// Mappings that did not fit the table.
    pub(super) mappings_lost: u64,
    /// Files in which allocator functions were looked for.
    pub(super) files_searched: usize,
    /// Allocator probes whose instruction the kernel single-steps.
    pub(super) slow: usize,
    /// Tracepoints that are followed.
    tracepoints: usize,
    /// Attached probes on allocator functions.
    pub(super) allocator_probes: usize,
    /// Files with an allocator that were loaded while recording: their first calls went unseen.
    pub(super) loaded_late: u64,
    /// Functions that can return where no probe is.
    pub(super) exits_unseen: u64,
}

impl Probes {
    /// What could not be traced, by name.
    pub(super) fn losses(&self) -> Vec<(&'static str, u64)> {
        let own = [
            (losses::MAPPINGS_FULL, self.mappings_lost),
            (losses::PROBES_FAILED, self.failed),
            (losses::LOADED_LATE, self.loaded_late),
            (losses::EXITS_UNSEEN, self.exits_unseen),
        ];
        self.unwinding.losses().into_iter().chain(own).collect()
    }

    /// Probes and tracepoints that are active.
    pub(super) fn active(&self) -> usize {
        self.attached.len() + self.tracepoints
    }

    /// The table and the mappings for walks in userspace.
    pub(super) fn unwinding(&self) -> &Unwinding {
        &self.unwinding
    }

    /// Writes rows and mappings that the kernel side does not have yet.
    fn upload(&mut self, object: &mut Object, space: &AddressSpace) -> Result<(), BpfError> {
        let pending = self.unwinding.table.pending();
        self.tables.write_rows(pending.row_start, pending.rows, pending.bucket_start, pending.buckets)?;
        self.unwinding.table.mark_uploaded();
        self.mappings_lost = self.tables.publish(object, &self.unwinding.mappings(space))? as u64;
        Ok(())
    }

    /// Attaches the probes of `modules`. What cannot be attached is warned of and counted as lost; only
    /// the end of the target is an error.
    fn attach_modules(
        &mut self,
        object: &mut Object,
        pid: u32,
        space: &AddressSpace,
        modules: &[ModuleId],
        found: &[FileProbes],
        watcher: &mut dyn Watcher,
    ) -> Result<(), BpfError> {
        if !self.probing {
            return Ok(());
        }
        let mut all: Vec<_> = modules.iter().filter_map(|&id| linker_site(space, id)).collect();
        for file in found {
            for probe in &file.plan.probes {
                self.slow += usize::from(matches!(probe.placement.cost, CostClass::SingleStep(_)));
                let unseen = matches!(&probe.placement.exit, Exit::Instructions { complete: Err(_), .. });
                self.exits_unseen += u64::from(unseen);
            }
            for skipped in file.plan.skipped.iter().filter(|s| s.reason.loses_events()) {
                watcher.warn(&format!("{} is not traced: {}", skipped.names.join(", "), skipped.reason));
                self.failed += 1;
            }
            match sites(space, file, &mut self.numbers) {
                Some(sites) if self.frees => all.extend(sites),
                Some(sites) => {
                    let (left_out, kept): (Vec<_>, Vec<_>) =
                        sites.into_iter().partition(|s| s.role == Role::FreeEntry);
                    self.failed += left_out.len() as u64;
                    all.extend(kept);
                }
                None => self.failed += file.plan.probes.len() as u64,
            }
        }
        let known = self.attached.len();
        let failed = &mut self.failed;
        self.attached.add_all(object, pid, &all, &mut |error| {
            watcher.warn(&error.to_string());
            *failed += 1;
        })?;
        self.allocator_probes += self.attached.allocator_probes_from(known);
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

    /// Looks at the mappings again: rows, mapping table and probes follow. `recording` tells whether
    /// an allocator that is found now has been at work unseen.
    pub(super) fn refresh(
        &mut self,
        object: &mut Object,
        pid: u32,
        space: &mut AddressSpace,
        recording: bool,
        watcher: &mut dyn Watcher,
    ) -> Result<(), BpfError> {
        let before = self.unwinding.mappings(space);
        // A process that has just ended has no mappings; its end is noticed elsewhere.
        let Ok(new) = space.refresh() else { return Ok(()) };
        self.unwinding.add_modules(space, &new);
        if new.is_empty() && self.unwinding.mappings(space) == before {
            // Nothing to learn: code that is in no mapping asks again only after a while.
            return Ok(());
        }
        self.upload(object, space)?;
        Tables::refreshed(object)?;
        let shares = new.iter().find_map(|&id| links::shares(space.module(id)));
        if let Some(why) = shares.filter(|_| self.attached.links() == Links::Multi) {
            self.use_perf_links(object, pid, &why.to_string(), watcher)?;
        }
        let (found, warnings) = if self.heap { find_probes(space, &new) } else { Default::default() };
        for warning in &warnings {
            watcher.warn(warning);
        }
        let known = self.allocator_probes;
        self.attach_modules(object, pid, space, &new, &found, watcher)?;
        if recording && self.allocator_probes > known {
            self.loaded_late += found.iter().filter(|f| !f.plan.probes.is_empty()).count() as u64;
        }
        self.files_searched += new.len();
        Ok(())
    }
}

/// Loads, attaches, and starts recording.
pub(super) fn arm(prepared: Prepared, config: &Config, watcher: &mut dyn Watcher) -> Result<Armed, Failure> {
    let Prepared {
        process,
        mut space,
        mut runtimes,
        probes: planned,
        host,
        files_searched,
        unwinding,
        sizes,
    } = prepared;
    let probing = host.is_none_or(|host| host.probes);
    let choice = Choice::of(&process, &space);
    watcher.detail(&format!("probes by {choice}"));
    let mut object =
        Object::load(process.pid, sizes, Some(config.tracing), choice.links(), config.kernel_log)?;
    if let Some(why) = &object.no_return_probes {
        watcher.warn(&format!("stacks end where another tracer's return probe is pending: {why}"));
    }
    if config.kernel_log {
        object.follow_log()?;
    }
    watcher.detail("BPF programs loaded");
    let tables = Tables::map(&object, sizes)?;
    let mut probes = Probes {
        attached: Attached::new(choice.links()),
        leaving: None,
        stays: false,
        tables,
        unwinding,
        tracepoints: 0,
        numbers: FunctionNumbers::default(),
        heap: config.tracing.heap && probing,
        probing,
        frees: !config.break_free_probes,
        failed: 0,
        mappings_lost: 0,
        files_searched,
        slow: 0,
        allocator_probes: 0,
        exits_unseen: 0,
        loaded_late: 0,
    };
    if let Some(code) = linker_code(&space) {
        object.set_linker(&code)?;
    }
    probes.upload(&mut object, &space)?;
    watcher.detail("unwind rows uploaded");
    let events = Events::open(&mut object)?;
    probes.tracepoints = object.attach_tracepoints()?;
    let modules: Vec<ModuleId> = space.modules().map(|(id, _)| id).collect();
    probes.attach_modules(&mut object, process.pid, &space, &modules, &planned, watcher)?;
    for opened in runtimes.opened_mut().filter(|_| probing) {
        let mut probing = Probing {
            object: &mut object,
            attached: &mut probes.attached,
            process: &process,
            space: &space,
            tracing: config.tracing,
        };
        opened.attach(&mut probing, &mut Log(watcher))?;
    }
    // A library may have come while we read; from now on the linker's probe tells.
    probes.refresh(&mut object, process.pid, &mut space, false, watcher)?;
    if !process.is_alive() {
        return Err(BpfError::TargetGone.into());
    }
    let rss_start = process.rss_bytes();
    let started_at = clock::rfc3339_now();
    // Until here a signal ends us, and the kernel takes the probes away. From here on it is answered
    // with a report; before anybody is told that we are attached.
    let signals = Signals::listen(watcher.leaves_at_second_signal()).map_err(Failure::failed)?;
    let started_ns = clock::monotonic_ns();
    object.set_run_state(RunState::Recording)?;
    if object.execed()? {
        // It came before the switch, which has undone the freeze.
        object.set_run_state(RunState::Frozen)?;
        return Err(BpfError::TargetGone.into());
    }
    Ok(Armed {
        process,
        object,
        events,
        signals,
        probes,
        space,
        host,
        runtimes,
        started_ns,
        started_at,
        rss_start,
    })
}

//! Places probes and takes them away.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{slice, thread};

use aya::programs::uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLink, UProbeScope};
use aya::sys::{UProbeMultiFeature, is_uprobe_multi_supported};
use leakscope_common::config::Handover;
use leakscope_common::probe::Cookie;

use super::object::{Object, uprobe};
use super::{BpfError, chain};

/// A program that probes run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProbeProgram {
    /// The name of the one for perf links.
    pub perf: &'static str,
    /// The name of the one for multi links.
    pub multi: &'static str,
    /// Its place in the order in which perf links take over from multi links, lowest first.
    pub rank: u8,
}

impl ProbeProgram {
    /// The name of the one for this kind of link.
    pub(super) const fn name(self, links: Links) -> &'static str {
        match links {
            Links::Perf => self.perf,
            Links::Multi => self.multi,
        }
    }
}

/// How the kernel ties programs to places in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// One perf event a place. A forked child gets rid of a trap as it first meets it, and a child that shares
    /// the target's memory is traced as the target is.
    Perf,
    /// One link a program and file (`BPF_TRACE_UPROBE_MULTI`): placed and removed all at once. A forked child
    /// keeps the traps for as long as the link lives, and one that shares the memory is not traced.
    Multi,
}

impl Links {
    /// How long the kernel takes to remove so many probes, as measured on Linux 6.18: each perf event waits for
    /// grace periods of its own.
    pub fn removal(self, probes: usize) -> Duration {
        match self {
            Self::Perf => Duration::from_millis(115 * probes as u64),
            Self::Multi => Duration::from_millis(200),
        }
    }
}

/// Whether this kernel has multi links that select a process: `None` where we lack the rights to try. Linux 6.6
/// brought them; until 6.10 they selected a thread.
pub fn multi_links() -> Option<bool> {
    is_uprobe_multi_supported(UProbeMultiFeature::ProcessScopedPidFilter).ok()
}

/// One probe to attach.
#[derive(Clone, Debug)]
pub struct ProbeSite {
    /// What it runs.
    pub program: ProbeProgram,
    /// The function, for messages.
    pub function: String,
    /// Path that opens the file (`/proc/PID/map_files/…`).
    pub path: PathBuf,
    /// The file's name, for messages.
    pub file: String,
    /// Offset in the file.
    pub offset: u64,
    /// What the program is told.
    pub cookie: Cookie,
}

/// Attached probes.
#[derive(Debug)]
pub struct Attached {
    links: Links,
    fds: Vec<UProbeLink>,
    sites: Vec<ProbeSite>,
}

impl Attached {
    /// None yet; they will be attached by `links`.
    pub const fn new(links: Links) -> Self {
        Self { links, fds: Vec::new(), sites: Vec::new() }
    }

    /// How they are attached.
    pub const fn links(&self) -> Links {
        self.links
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.sites.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sites.is_empty()
    }

    /// Attaches `site` for the process `pid` only.
    pub fn add(&mut self, object: &mut Object, pid: u32, site: &ProbeSite) -> Result<(), BpfError> {
        self.fds.push(attach(object, pid, self.links, slice::from_ref(site))?);
        self.sites.push(site.clone());
        Ok(())
    }

    /// Attaches `sites` for the process `pid` only, in their order, and returns how many could be. `failed` hears
    /// of each that cannot; only the end of the process is an error.
    pub fn add_all(
        &mut self,
        object: &mut Object,
        pid: u32,
        sites: &[ProbeSite],
        failed: &mut dyn FnMut(&BpfError),
    ) -> Result<usize, BpfError> {
        let (links, before) = (self.links, self.len());
        let together = |a: &ProbeSite, b: &ProbeSite| a.program == b.program && a.path == b.path;
        for group in sites.chunk_by(|a, b| links == Links::Multi && together(a, b)) {
            match attach(object, pid, links, group) {
                Ok(link) => {
                    self.fds.push(link);
                    self.sites.extend_from_slice(group);
                    continue;
                }
                Err(BpfError::TargetGone) => return Err(BpfError::TargetGone),
                Err(error) if group.len() == 1 => {
                    failed(&error);
                    continue;
                }
                Err(_) => {}
            }
            // One place that cannot be probed fails them all: which one is it?
            for site in group {
                match self.add(object, pid, site) {
                    Ok(()) => {}
                    Err(BpfError::TargetGone) => return Err(BpfError::TargetGone),
                    Err(error) => failed(&error),
                }
            }
        }
        Ok(self.len() - before)
    }

    /// Lets perf links take over from multi links, without a gap and without counting anything twice; see
    /// [`Handover`]. The multi links are removed meanwhile; [`Leaving::done`] tells when they are gone.
    ///
    /// `idle` is a place in our own code that never runs. A hit that the perf link's program has left to the
    /// other one may be under way as the perf links take over: the kernel removes that link from its list while
    /// the hit goes through it (since Linux 6.12). Removing a probe waits until no such hit is under way
    /// (`uprobe_unregister_sync`), so one at that place is removed first.
    ///
    /// On an error everything is as it was.
    pub fn move_to_perf(
        &mut self,
        object: &mut Object,
        pid: u32,
        idle: &ProbeSite,
    ) -> Result<Leaving, BpfError> {
        let programs: HashSet<ProbeProgram> = self.sites.iter().map(|site| site.program).collect();
        object.load_probes(programs, Links::Perf)?;
        let barrier = attach(object, std::process::id(), Links::Multi, slice::from_ref(idle))?;
        object.set_handover(Handover::Attaching)?;
        let mut sites = self.sites.clone();
        sites.sort_by_key(|site| site.program.rank);
        let mut perf = Self { links: Links::Perf, fds: Vec::new(), sites: Vec::new() };
        for site in &sites {
            if let Err(error) = perf.add(object, pid, site) {
                perf.detach();
                object.set_handover(Handover::Settled)?;
                return Err(error);
            }
        }
        object.set_handover(Handover::TakenOver)?;
        let multi = std::mem::replace(self, perf);
        let thread = thread::Builder::new().spawn(move || {
            drop(barrier);
            multi.detach();
        });
        Ok(Leaving(thread.ok()))
    }

    /// Takes all probes away. The kernel waits for grace periods, so they are closed from many threads at once.
    pub fn detach(self) {
        let mut links = self.fds;
        let threads = links.len().min(64);
        thread::scope(|scope| {
            for remaining in (1..=threads).rev() {
                let share: Vec<UProbeLink> = links.split_off(links.len() - links.len() / remaining);
                if thread::Builder::new().spawn_scoped(scope, move || drop(share)).is_err() {
                    // No thread to be had: what is left is dropped here, one after the other.
                    break;
                }
            }
        });
    }
}

/// Multi links that are being removed.
#[derive(Debug)]
pub struct Leaving(Option<thread::JoinHandle<()>>);

impl Leaving {
    /// Whether they are gone. Closing a link returns once its programs have ended.
    pub fn done(&self) -> bool {
        self.0.as_ref().is_none_or(thread::JoinHandle::is_finished)
    }

    /// Waits until they are gone.
    pub fn wait(self) {
        if let Some(thread) = self.0 {
            // It cannot panic; and there is nothing else to be done about it.
            let _ = thread.join();
        }
    }
}

/// Attaches sites of one program and file by one call.
fn attach(object: &mut Object, pid: u32, links: Links, sites: &[ProbeSite]) -> Result<UProbeLink, BpfError> {
    let Some(first) = sites.first() else { return Err(BpfError::Missing("place for a probe")) };
    let error = |error: String| BpfError::Attach {
        function: first.function.clone(),
        file: first.file.clone(),
        error,
    };
    let scope = UProbeScope::OneProcess(NonZeroU32::new(pid).ok_or_else(|| error("PID 0".into()))?);
    let points = sites.iter().map(|site| UProbeAttachPoint {
        location: UProbeAttachLocation::AbsoluteOffset(site.offset),
        cookie: Some(site.cookie.0),
    });
    let program = uprobe(&mut object.ebpf, first.program.name(links))?;
    let id = match program.attach(points, &first.path, scope) {
        Ok(id) => id,
        Err(_) if !Path::new(&format!("/proc/{pid}")).exists() => return Err(BpfError::TargetGone),
        Err(e) => return Err(error(chain(&e))),
    };
    program.take_link(id).map_err(|e| error(chain(&e)))
}

//! The kernel side's account of waits of goroutines.

use std::ffi::CString;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use aya::maps::{Array, MapData};
use leakscope_common::go_wait::{GoWait, GoWaitTotals, slot};

use super::attach::{Links, ProbeProgram, multi_links};
use super::maps::MapSize;
use super::object::{Object, uprobe};
use super::{BpfError, chain, sys};

/// Where goroutines wait, and where they are woken.
const GO_WAITS: ProbeProgram = ProbeProgram { perf: "go_waits", multi: "go_waits_m", rank: 5 };

/// Sizes of the maps where waits of goroutines are followed: goroutines that wait, locks that are waited for, and
/// stacks.
pub const WAIT_MAPS: [MapSize; 3] = [
    MapSize { name: "GO_WAITS", entries: 1 << 18 },
    MapSize { name: "GO_SEMAPHORES", entries: 1 << 14 },
    MapSize { name: "GO_WAIT_SITES", entries: 1 << 13 },
];

/// The probes on waits of goroutines, and what is added up of them.
pub struct GoWaitProbes {
    state: Array<MapData, u64>,
    sites: OwnedFd,
    waits: OwnedFd,
    program: OwnedFd,
    path: CString,
    offsets: Vec<u64>,
    cookies: Vec<u64>,
    pid: u32,
    link: Option<OwnedFd>,
}

impl std::fmt::Debug for GoWaitProbes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GoWaitProbes")
            .field("pid", &self.pid)
            .field("link", &self.link)
            .finish_non_exhaustive()
    }
}

impl Object {
    /// The probes at these offsets of a file, each with its cookie; none stands yet. `settings` are slots of the
    /// kernel side's state. `None` where the kernel has no multi links.
    pub fn take_go_wait_probes(
        &mut self,
        pid: u32,
        path: &Path,
        places: &[(u64, u64)],
        settings: &[(u32, u64)],
    ) -> Result<Option<GoWaitProbes>, BpfError> {
        if places.is_empty() || multi_links() != Some(true) {
            return Ok(None);
        }
        self.load_probes([GO_WAITS], Links::Multi)?;
        let name = GO_WAITS.name(Links::Multi);
        let unusable = |e: &dyn std::error::Error| BpfError::Load(format!("{name}: {}", chain(e)));
        let fd = uprobe(&mut self.ebpf, name)?.fd().map_err(|e| unusable(&e))?;
        let program = fd.as_fd().try_clone_to_owned().map_err(|e| unusable(&e))?;
        let path = CString::new(path.as_os_str().as_bytes()).map_err(|e| unusable(&e))?;
        let map = |name| self.map_fd(name)?.try_clone_to_owned().map_err(|e| unusable(&e));
        let (sites, waits) = (map("GO_WAIT_SITES")?, map("GO_WAITS")?);
        let state = self.ebpf.take_map("GO_WAIT_STATE").ok_or(BpfError::Missing("GO_WAIT_STATE"))?;
        let state = Array::try_from(state).map_err(|_| BpfError::Missing("GO_WAIT_STATE"))?;
        let (offsets, cookies) = places.iter().copied().unzip();
        let mut probes =
            GoWaitProbes { state, sites, waits, program, path, offsets, cookies, pid, link: None };
        settings.iter().for_each(|(slot, value)| probes.set(*slot, *value));
        Ok(Some(probes))
    }
}

impl GoWaitProbes {
    /// Places them; nothing is recorded until a phase begins.
    pub fn place(&mut self) -> std::io::Result<()> {
        let program = self.program.as_fd();
        self.link = Some(sys::link_uprobes(program, &self.path, &self.offsets, &self.cookies, self.pid)?);
        Ok(())
    }

    /// Those that stand, to be taken away by closing them, which takes its time.
    pub fn take_probes(&mut self) -> Option<OwnedFd> {
        self.link.take()
    }

    /// Begins a phase of this length, which is odd; 0 ns: it goes on until it is ended.
    pub fn begin(&mut self, phase: u64, now_ns: u64, length_ns: u64) {
        self.set(slot::OPENED, now_ns);
        self.set(slot::LENGTH, length_ns);
        self.set(slot::PHASE, phase);
    }

    /// Ends it.
    pub fn end(&mut self, phase: u64) {
        self.set(slot::PHASE, (phase | 1) + 1);
    }

    /// How often the probes were hit while recording, in all.
    pub fn hits(&self) -> u64 {
        self.state.get(&slot::HITS, 0).unwrap_or(0)
    }

    /// What was added up, by stack. While it changes, an entry may be missing.
    pub fn sites(&self) -> std::io::Result<Vec<(u64, GoWaitTotals)>> {
        sys::read_all(self.sites.as_fd())
    }

    /// The goroutines that wait, or have waited.
    pub fn waits(&self) -> std::io::Result<Vec<(u64, GoWait)>> {
        sys::read_all(self.waits.as_fd())
    }

    fn set(&mut self, slot: u32, value: u64) {
        // An element of an array can always be written.
        let _ = self.state.set(slot, &value, 0);
    }
}

//! The kernel side's account of Go programs.

use std::ffi::CString;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use aya::maps::{Array, Map, MapData, StackTraceMap};
use leakscope_common::go::{GoPlaces, GoSample, GoroutineTotals, window};

use super::attach::{Links, ProbeProgram, multi_links};
use super::events::Ring;
use super::maps::{MapSize, addresses};
use super::object::{Object, uprobe};
use super::{BpfError, chain, sys};

/// Where a goroutine is created.
pub const GO_CREATED: ProbeProgram = ProbeProgram { perf: "go_created", multi: "go_created_m", rank: 5 };
/// Where one ends.
pub const GO_EXITED: ProbeProgram = ProbeProgram { perf: "go_exited", multi: "go_exited_m", rank: 5 };
/// Where a span is taken from the Go heap.
pub const GO_ALLOCATED: ProbeProgram =
    ProbeProgram { perf: "go_allocated", multi: "go_allocated_m", rank: 5 };
/// Where a small object is allocated. In windows only, so multi links alone place it: they come and go at once.
const GO_SAMPLED: ProbeProgram = ProbeProgram { perf: "go_sampled", multi: "go_sampled_m", rank: 5 };

/// Sizes of the maps where the heap is sampled: a ring buffer for about 24,000 samples, and their stacks of
/// 1 KiB each.
pub const HEAP_MAPS: [MapSize; 2] =
    [MapSize { name: "GO_SAMPLES", entries: 1 << 23 }, MapSize { name: "GO_STACKS", entries: 1 << 13 }];

impl Object {
    /// Loads the programs for a Go target, and tells them where things lie in it.
    pub fn load_go(&mut self, places: GoPlaces, links: Links) -> Result<(), BpfError> {
        self.load_probes([GO_CREATED, GO_EXITED, GO_ALLOCATED], links)?;
        self.set("GO_PLACES", 0, &places)
    }

    /// Goroutines by the address where the `go` statement goes on, as they are now.
    pub fn goroutine_totals(&self) -> Result<Vec<(u64, GoroutineTotals)>, BpfError> {
        self.read_map("GO_CREATIONS")
    }

    /// What opens windows in which objects are sampled: at these offsets of a file, each with its cookie. `None`
    /// where the kernel has no multi links.
    pub fn take_go_windows(
        &mut self,
        pid: u32,
        path: &Path,
        places: &[(u64, u64)],
    ) -> Result<Option<GoWindows>, BpfError> {
        if places.is_empty() || multi_links() != Some(true) {
            return Ok(None);
        }
        self.load_probes([GO_SAMPLED], Links::Multi)?;
        let name = GO_SAMPLED.name(Links::Multi);
        let unusable = |e: &dyn std::error::Error| BpfError::Load(format!("{name}: {}", chain(e)));
        let fd = uprobe(&mut self.ebpf, name)?.fd().map_err(|e| unusable(&e))?;
        let program = fd.as_fd().try_clone_to_owned().map_err(|e| unusable(&e))?;
        let path = CString::new(path.as_os_str().as_bytes()).map_err(|e| unusable(&e))?;
        let map = self.ebpf.take_map("GO_WINDOW").ok_or(BpfError::Missing("GO_WINDOW"))?;
        let state = Array::try_from(map).map_err(|_| BpfError::Missing("GO_WINDOW"))?;
        let (offsets, cookies) = places.iter().copied().unzip();
        Ok(Some(GoWindows { state, program, path, offsets, cookies, pid, link: None }))
    }

    /// Takes the samples' end of the ring buffer; once.
    pub fn take_go_samples(&mut self) -> Result<GoSamples, BpfError> {
        self.take_ring("GO_SAMPLES").map(GoSamples)
    }

    /// The stacks of samples, for another thread.
    pub fn go_stacks(&self) -> Option<GoStacks> {
        let Some(Map::StackTraceMap(data)) = self.ebpf.map("GO_STACKS") else { return None };
        let fd = data.fd().as_fd().try_clone_to_owned().ok()?;
        StackTraceMap::try_from(Map::StackTraceMap(MapData::from_fd(fd).ok()?)).ok().map(GoStacks)
    }

    /// The addresses of a sample's stack, innermost first: the first one is of an instruction, the
    /// others are return addresses.
    pub fn go_stack(&self, number: u32) -> Option<Vec<u64>> {
        self.stack_trace("GO_STACKS", number)
    }
}

/// Stacks of samples of the Go heap.
#[derive(Debug)]
pub struct GoStacks(StackTraceMap<MapData>);

impl GoStacks {
    /// The addresses of one, as [`Object::go_stack`] has them.
    pub fn get(&self, number: u32) -> Option<Vec<u64>> {
        addresses(&self.0, number)
    }
}

/// The samples of the Go heap, as they come.
#[derive(Debug)]
pub struct GoSamples(Ring);

impl GoSamples {
    /// The next one, if there is one.
    pub fn take(&mut self) -> Option<GoSample> {
        self.0.next(sys::value_of).flatten()
    }
}

/// The probes on the functions that allocate small objects, which stand there in windows only.
pub struct GoWindows {
    state: Array<MapData, u64>,
    program: OwnedFd,
    path: CString,
    offsets: Vec<u64>,
    cookies: Vec<u64>,
    pid: u32,
    link: Option<OwnedFd>,
}

impl std::fmt::Debug for GoWindows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GoWindows").field("pid", &self.pid).field("link", &self.link).finish_non_exhaustive()
    }
}

/// What is counted of windows, in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowState {
    /// Odd while one is open.
    pub phase: u64,
    /// Hits of the probes.
    pub hits: u64,
    /// Samples taken.
    pub taken: u64,
}

impl GoWindows {
    /// Places the probes; nothing is sampled yet.
    pub fn place(&mut self) -> std::io::Result<()> {
        let program = self.program.as_fd();
        let link = sys::link_uprobes(program, &self.path, &self.offsets, &self.cookies, self.pid)?;
        self.link = Some(link);
        Ok(())
    }

    /// The probes, to be taken away by closing them, which takes its time.
    pub fn take_probes(&mut self) -> Option<OwnedFd> {
        self.link.take()
    }

    /// How it stands.
    pub fn look(&self) -> Option<WindowState> {
        let slot = |slot| self.state.get(&slot, 0).ok();
        Some(WindowState {
            phase: slot(window::PHASE)?,
            hits: slot(window::HITS)?,
            taken: slot(window::TAKEN)?,
        })
    }

    /// Lets the window of this phase open with the hit of the number `from`; it closes by itself with the sample of
    /// the number `limit`.
    pub fn arm(&mut self, phase: u64, from: u64, limit: u64) {
        self.set(window::FROM, from);
        self.set(window::LIMIT, limit);
        self.set(window::NEXT, phase);
    }

    /// Goes on in a new window.
    pub fn go_on(&mut self, phase: u64, limit: u64) {
        self.set(window::LIMIT, limit);
        self.set(window::PHASE, phase);
    }

    /// Begins a gap; no window opens any more.
    pub fn close(&mut self, phase: u64) {
        self.set(window::NEXT, 0);
        self.set(window::PHASE, phase);
    }

    /// Tells of which span classes windows have seen objects, a bit each.
    pub fn set_seen(&mut self, classes: [u64; 3]) {
        for (slot, classes) in (window::SEEN..).zip(classes) {
            self.set(slot, classes);
        }
    }

    fn set(&mut self, slot: u32, value: u64) {
        // An element of an array can always be written.
        let _ = self.state.set(slot, &value, 0);
    }
}

//! Loads the embedded BPF object.

use std::os::fd::{AsFd as _, BorrowedFd};

use aya::maps::{Array, Map, MapData};
use aya::programs::{BtfTracePoint, Iter, Program, ProgramInfo, UProbe};
use aya::{Btf, Ebpf, EbpfLoader, include_bytes_aligned};
use leakscope_common::config::{Handover, RunState, state};

use super::attach::{Links, ProbeProgram};
use super::growing::Growing;
use super::maps::MapSize;
use super::sys::Barrier;
use super::{BpfError, btf, chain};

static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/leakscope.bpf.o"));

/// A program on a tracepoint of the kernel (`tp_btf`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracepoint {
    pub program: &'static str,
    /// The tracepoint.
    pub event: &'static str,
}

/// A global of the kernel side that is set before the programs are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Global {
    pub name: &'static str,
    pub value: u64,
}

/// What is loaded of the kernel side, and how.
#[derive(Clone, Debug, Default)]
pub struct Load {
    /// Maps that are larger than the object says.
    pub maps: Vec<MapSize>,
    pub globals: Vec<Global>,
    /// Programs on tracepoints.
    pub tracepoints: Vec<Tracepoint>,
    pub probes: Vec<ProbeProgram>,
    /// Iterators over all tasks of the machine.
    pub task_iterators: Vec<&'static str>,
}

impl Load {
    /// Adds what another part needs.
    pub fn add(&mut self, other: Self) {
        self.maps.extend(other.maps);
        self.globals.extend(other.globals);
        self.tracepoints.extend(other.tracepoints);
        self.probes.extend(other.probes);
        for name in other.task_iterators {
            if !self.task_iterators.contains(&name) {
                self.task_iterators.push(name);
            }
        }
    }
}

/// The loaded programs and maps.
#[derive(Debug)]
pub struct Object {
    pub(super) ebpf: Ebpf,
    /// Maps of live blocks that are added.
    pub(super) growing: Option<Growing>,
    barrier: Barrier,
    /// Those whose programs are loaded.
    tracepoints: Vec<Tracepoint>,
    /// Why pending return probes can't be seen through on this kernel, if so.
    pub no_return_probes: Option<String>,
}

impl Object {
    /// Loads the programs that trace the process `pid`, those of probes for `links`. Nothing is attached yet.
    /// With `log`, the kernel side's diagnostics go to the `log` crate.
    pub fn load(pid: u32, load: &Load, links: Links, log: bool) -> Result<Self, BpfError> {
        let blob = std::fs::read("/sys/kernel/btf/vmlinux").unwrap_or_default();
        let unusable = |e: &dyn std::error::Error| BpfError::Load(format!("kernel BTF: {}", chain(e)));
        let (offsets, no_return_probes) = btf::kernel_offsets(&blob).map_err(|e| unusable(&e))?;
        let no_return_probes = no_return_probes.map(|e| e.to_string());
        let kernel_btf = Btf::parse(&blob, aya::Endianness::default()).map_err(|e| unusable(&e))?;
        let log_level = if log { aya_log::Level::Debug as u8 } else { 0 };
        let mut loader = EbpfLoader::new();
        loader
            .btf(&kernel_btf)
            .override_global("TARGET", &pid, true)
            .override_global("OFFSETS", &offsets, true)
            .override_global(aya_log::LEVEL, &log_level, false);
        for global in &load.globals {
            loader.override_global(global.name, &global.value, true);
        }
        for map in &load.maps {
            loader.map_max_entries(map.name, map.entries.max(1));
        }
        let mut ebpf = loader.load(OBJECT).map_err(|e| BpfError::Load(chain(&e)))?;
        for name in &load.task_iterators {
            let iterator: &mut Iter = program(&mut ebpf, name)?;
            iterator
                .load("task", &kernel_btf)
                .map_err(|e| BpfError::Load(format!("{name}: {}", chain(&e))))?;
        }
        for Tracepoint { program: name, event } in &load.tracepoints {
            let program: &mut BtfTracePoint = program(&mut ebpf, name)?;
            program.load(event, &kernel_btf).map_err(|e| BpfError::Load(format!("{name}: {}", chain(&e))))?;
            log_size(name, program.info().ok());
        }
        let barrier = Barrier::new().map_err(|e| BpfError::Load(format!("barrier: {e}")))?;
        let mut object =
            Self { ebpf, growing: None, barrier, tracepoints: load.tracepoints.clone(), no_return_probes };
        object.load_probes(load.probes.iter().copied(), links)?;
        Ok(object)
    }

    /// Loads the programs of probes for this kind of link.
    pub(super) fn load_probes(
        &mut self,
        programs: impl IntoIterator<Item = ProbeProgram>,
        links: Links,
    ) -> Result<(), BpfError> {
        for name in programs.into_iter().map(|program| program.name(links)) {
            let program = uprobe(&mut self.ebpf, name)?;
            program.load().map_err(|e| BpfError::Load(format!("{name}: {}", chain(&e))))?;
            log_size(name, program.info().ok());
        }
        Ok(())
    }

    /// Follows the kernel side's diagnostics from now on. Must be called within a tokio runtime.
    pub fn follow_log(&mut self) -> Result<(), BpfError> {
        let failed = |error| BpfError::Map { what: "follow the kernel side's log", error };
        let logger = aya_log::EbpfLogger::init(&mut self.ebpf)
            .map_err(|e| failed(std::io::Error::other(chain(&e))))?;
        // SAFETY: the map's descriptor stays the same for as long as the logger lives.
        let mut logger =
            unsafe { tokio::io::unix::AsyncFd::register(logger) }.map_err(|e| failed(e.into()))?;
        tokio::spawn(async move {
            while let Ok(mut guard) = logger.readable_mut().await {
                guard.get_inner_mut().flush();
                guard.clear_ready();
            }
        });
        Ok(())
    }

    /// Attaches the tracepoints. Returns how many there are.
    pub fn attach_tracepoints(&mut self) -> Result<usize, BpfError> {
        for Tracepoint { program: name, event } in &self.tracepoints {
            let program: &mut BtfTracePoint = program(&mut self.ebpf, name)?;
            program.attach().map_err(|e| BpfError::Attach {
                function: (*event).to_owned(),
                file: "the kernel".to_owned(),
                error: chain(&e),
            })?;
        }
        Ok(self.tracepoints.len())
    }

    /// Switches recording on or off.
    pub fn set_run_state(&mut self, run: RunState) -> Result<(), BpfError> {
        self.set_state(state::RUN, run as u64)
    }

    /// Stops recording and waits until no program changes the account any more.
    pub fn freeze(&mut self) -> Result<(), BpfError> {
        self.set_run_state(RunState::Frozen)?;
        self.wait_for_programs()
    }

    /// Enters a phase of the handover from multi to perf links.
    pub fn set_handover(&mut self, phase: Handover) -> Result<(), BpfError> {
        self.set_state(state::HANDOVER, phase as u64)
    }

    /// Whether the target has replaced its program since the attach.
    pub fn execed(&mut self) -> Result<bool, BpfError> {
        self.state(state::EXECED).map(|v| v != 0)
    }

    /// Whether the target has made a process since the attach, with a copy of its memory or with that itself.
    pub fn has_children(&mut self) -> Result<bool, BpfError> {
        Ok(self.state(state::FORKED)? != 0 || self.state(state::SHARED)? != 0)
    }

    fn state(&mut self, slot: u32) -> Result<u64, BpfError> {
        let map: Array<_, u64> =
            Array::try_from(self.map_mut("STATE")?).map_err(|_| BpfError::Missing("STATE"))?;
        map.get(&slot, 0)
            .map_err(|e| BpfError::Map { what: "read the state", error: std::io::Error::other(chain(&e)) })
    }

    /// Waits until no program runs that began before.
    pub(super) fn wait_for_programs(&self) -> Result<(), BpfError> {
        self.barrier.wait().map_err(|error| BpfError::Map { what: "wait for running programs", error })
    }

    /// Writes a slot of the map `STATE`.
    pub fn set_state(&mut self, slot: u32, value: u64) -> Result<(), BpfError> {
        let mut map: Array<_, u64> =
            Array::try_from(self.map_mut("STATE")?).map_err(|_| BpfError::Missing("STATE"))?;
        map.set(slot, &value, 0)
            .map_err(|e| BpfError::Map { what: "write the state", error: std::io::Error::other(chain(&e)) })
    }

    pub(super) fn map_mut(&mut self, name: &'static str) -> Result<&mut Map, BpfError> {
        self.ebpf.map_mut(name).ok_or(BpfError::Missing(name))
    }

    /// The map's file descriptor.
    pub(super) fn map_fd(&self, name: &'static str) -> Result<BorrowedFd<'_>, BpfError> {
        let data: &MapData = match self.ebpf.map(name).ok_or(BpfError::Missing(name))? {
            Map::Array(data) | Map::HashMap(data) | Map::RingBuf(data) | Map::PerCpuArray(data) => data,
            _ => return Err(BpfError::Missing(name)),
        };
        Ok(data.fd().as_fd())
    }

    /// Kernel memory of all maps, bytes.
    pub fn map_bytes(&self) -> u64 {
        let maps = self.ebpf.maps().filter_map(|(_, map)| match map {
            Map::Array(data) | Map::HashMap(data) | Map::RingBuf(data) | Map::PerCpuArray(data) => {
                memlock(data.fd().as_fd())
            }
            _ => None,
        });
        maps.sum::<u64>() + self.added_bytes()
    }

    /// Times that the kernel skipped a program because it was running already, over all programs.
    pub fn recursion_misses(&self) -> u64 {
        use std::os::fd::AsRawFd as _;
        self.ebpf
            .programs()
            .filter_map(|(_, program)| fdinfo(program.fd().ok()?.as_fd().as_raw_fd(), "recursion_misses:"))
            .sum()
    }
}

/// Kernel memory of a map, bytes.
pub(super) fn memlock(map: BorrowedFd<'_>) -> Option<u64> {
    use std::os::fd::AsRawFd as _;
    fdinfo(map.as_raw_fd(), "memlock:")
}

/// A number that the kernel tells about one of our descriptors.
fn fdinfo(fd: std::os::fd::RawFd, field: &str) -> Option<u64> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
    info.lines().find_map(|l| l.strip_prefix(field))?.trim().parse().ok()
}

pub(super) fn uprobe<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut UProbe, BpfError> {
    program(ebpf, name)
}

/// A program of the kind that it must be.
pub(super) fn program<'a, P>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut P, BpfError>
where
    &'a mut P: TryFrom<&'a mut Program>,
{
    ebpf.program_mut(name).ok_or(BpfError::Missing(name))?.try_into().map_err(|_| BpfError::Missing(name))
}

fn log_size(name: &str, info: Option<ProgramInfo>) {
    if let Some(n) = info.and_then(|i| i.verified_instruction_count()) {
        log::debug!("{name}: {n} instructions verified");
    }
}

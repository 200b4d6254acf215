//! Loads the embedded BPF object.

use std::os::fd::{AsFd as _, BorrowedFd};

use aya::maps::{Array, HashMap, Map, MapData};
use aya::programs::{BtfTracePoint, UProbe};
use aya::{Btf, Ebpf, EbpfLoader, include_bytes_aligned};
use leakscope_common::config::{KernelOffsets, RunState, state};
use leakscope_common::heap::SiteTotals;

use super::sys::Barrier;
use super::{BpfError, btf, chain};

static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/leakscope.bpf.o"));

/// uprobe programs of the object.
const UPROBES: [&str; 5] =
    ["alloc_entry", "alloc_return", "alloc_ret_instruction", "free_entry", "libraries_changed"];
/// tp_btf programs of the object and their tracepoints.
const TRACEPOINTS: [(&str, &str); 3] = [
    ("thread_start", "sched_process_fork"),
    ("thread_exit", "sched_process_exit"),
    ("exec", "sched_process_exec"),
];

/// Sizes of the maps.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Live blocks.
    pub live: u32,
    /// Sites.
    pub sites: u32,
    /// Unwind rows.
    pub rows: u32,
    /// Buckets of the row index.
    pub buckets: u32,
}

/// The loaded programs and maps.
#[derive(Debug)]
pub struct Object {
    pub(super) ebpf: Ebpf,
    barrier: Barrier,
    /// Why pending return probes can't be seen through on this kernel, if so.
    pub no_return_probes: Option<String>,
}

impl Object {
    /// Loads all programs for the process `pid`. Nothing is attached yet. With `log`, the kernel
    /// side's diagnostics go to the `log` crate.
    pub fn load(pid: u32, sizes: Sizes, log: bool) -> Result<Self, BpfError> {
        let blob = std::fs::read("/sys/kernel/btf/vmlinux").unwrap_or_default();
        let (offsets, no_return_probes) = match btf::kernel_offsets(&blob) {
            Ok(offsets) => (offsets, None),
            Err(e) => (KernelOffsets::default(), Some(e.to_string())),
        };
        let kernel_btf = Btf::parse(&blob, aya::Endianness::default())
            .map_err(|e| BpfError::Load(format!("kernel BTF: {}", chain(&e))))?;
        let log_level = if log { aya_log::Level::Debug as u8 } else { 0 };
        let mut ebpf = EbpfLoader::new()
            .btf(Some(&kernel_btf))
            .override_global("TARGET", &pid, true)
            .override_global("OFFSETS", &offsets, true)
            .override_global(aya_log::LEVEL, &log_level, false)
            .map_max_entries("LIVE", sizes.live)
            .map_max_entries("SITES", sizes.sites)
            .map_max_entries("ROWS", sizes.rows.max(1))
            .map_max_entries("BUCKETS", sizes.buckets.max(1))
            .load(OBJECT)
            .map_err(|e| BpfError::Load(chain(&e)))?;
        for name in UPROBES {
            let program = uprobe(&mut ebpf, name)?;
            program.load().map_err(|e| BpfError::Load(format!("{name}: {}", chain(&e))))?;
            if let Some(n) = program.info().ok().and_then(|i| i.verified_instruction_count()) {
                log::debug!("{name}: {n} instructions verified");
            }
        }
        for (name, tracepoint) in TRACEPOINTS {
            let program: &mut BtfTracePoint = ebpf
                .program_mut(name)
                .ok_or(BpfError::Missing(name))?
                .try_into()
                .map_err(|_| BpfError::Missing(name))?;
            program
                .load(tracepoint, &kernel_btf)
                .map_err(|e| BpfError::Load(format!("{name}: {}", chain(&e))))?;
        }
        let barrier = Barrier::new().map_err(|e| BpfError::Load(format!("barrier: {e}")))?;
        let mut object = Self { ebpf, barrier, no_return_probes };
        // The site that takes the blocks whose own site did not fit.
        let mut sites: HashMap<_, u64, SiteTotals> =
            HashMap::try_from(object.map_mut("SITES")?).map_err(|_| BpfError::Missing("SITES"))?;
        sites
            .insert(0, SiteTotals::ZERO, 0)
            .map_err(|e| BpfError::Load(format!("map of sites: {}", chain(&e))))?;
        Ok(object)
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

    /// Attaches the tracepoints that follow threads and exec.
    pub fn attach_tracepoints(&mut self) -> Result<(), BpfError> {
        for (name, tracepoint) in TRACEPOINTS {
            let program: &mut BtfTracePoint = self
                .ebpf
                .program_mut(name)
                .ok_or(BpfError::Missing(name))?
                .try_into()
                .map_err(|_| BpfError::Missing(name))?;
            program.attach().map_err(|e| BpfError::Attach {
                function: tracepoint.to_owned(),
                file: "the kernel".to_owned(),
                error: chain(&e),
            })?;
        }
        Ok(())
    }

    /// Switches recording on or off.
    pub fn set_run_state(&mut self, run: RunState) -> Result<(), BpfError> {
        self.set_state(state::RUN, run as u64)
    }

    /// Whether the target has replaced its program since the attach.
    pub fn execed(&mut self) -> Result<bool, BpfError> {
        let map: Array<_, u64> =
            Array::try_from(self.map_mut("STATE")?).map_err(|_| BpfError::Missing("STATE"))?;
        map.get(&state::EXECED, 0)
            .map(|v| v != 0)
            .map_err(|e| BpfError::Map { what: "read the state", error: std::io::Error::other(chain(&e)) })
    }

    /// Waits until no program runs that began before.
    pub(super) fn wait_for_programs(&self) -> Result<(), BpfError> {
        self.barrier.wait().map_err(|error| BpfError::Map { what: "wait for running programs", error })
    }

    pub(super) fn set_state(&mut self, slot: u32, value: u64) -> Result<(), BpfError> {
        let mut map: Array<_, u64> =
            Array::try_from(self.map_mut("STATE")?).map_err(|_| BpfError::Missing("STATE"))?;
        map.set(slot, value, 0)
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
        use std::os::fd::AsRawFd as _;
        self.ebpf
            .maps()
            .filter_map(|(_, map)| match map {
                Map::Array(data) | Map::HashMap(data) | Map::RingBuf(data) | Map::PerCpuArray(data) => {
                    Some(data)
                }
                _ => None,
            })
            .filter_map(|data| fdinfo(data.fd().as_fd().as_raw_fd(), "memlock:"))
            .sum()
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

/// A number that the kernel tells about one of our descriptors.
fn fdinfo(fd: std::os::fd::RawFd, field: &str) -> Option<u64> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
    info.lines().find_map(|l| l.strip_prefix(field))?.trim().parse().ok()
}

pub(super) fn uprobe<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut UProbe, BpfError> {
    ebpf.program_mut(name).ok_or(BpfError::Missing(name))?.try_into().map_err(|_| BpfError::Missing(name))
}

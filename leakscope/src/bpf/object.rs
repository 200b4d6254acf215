//! Loads the embedded BPF object.

use std::os::fd::{AsFd as _, BorrowedFd};

use aya::maps::{Array, HashMap, Map, MapData, MapError};
use aya::programs::{BtfTracePoint, Iter, Program, ProgramInfo, UProbe};
use aya::{Btf, Ebpf, EbpfLoader, include_bytes_aligned};
use leakscope_common::config::{Handover, RunState, state};
use leakscope_common::heap::SiteTotals;
use leakscope_common::wait::{CreationTotals, WaitTotals};

use super::attach::{Links, Role};
use super::sys::Barrier;
use super::{BpfError, btf, chain};

static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/leakscope.bpf.o"));

/// `BPF_NOEXIST` (uapi/linux/bpf.h).
const BPF_NOEXIST: u64 = 1;
/// The probes of the heap's account.
const HEAP: [Role; 5] =
    [Role::AllocEntry, Role::AllocReturn, Role::AllocRetInstruction, Role::FreeEntry, Role::LibrariesChanged];
/// tp_btf programs that follow threads and exec, and their tracepoints.
const LIFECYCLE: [(&str, &str); 3] = [
    ("thread_start", "sched_process_fork"),
    ("thread_exit", "sched_process_exit"),
    ("exec", "sched_process_exec"),
];
/// Those that follow waits.
const WAITS: [(&str, &str); 2] = [("thread_switch", "sched_switch"), ("thread_waking", "sched_waking")];
/// The task iterator.
pub(super) const THREAD_SNAPSHOT: &str = "thread_snapshot";

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
    /// Threads.
    pub threads: u32,
    /// Wait sites.
    pub wait_sites: u32,
    /// Pairs of waker and wait site.
    pub wakes: u32,
    /// Stacks that create threads.
    pub creations: u32,
    /// Bytes of the ring buffer for samples of the Go heap: a power of two, a page at least.
    pub go_samples: u32,
    /// Stacks of such samples.
    pub go_stacks: u32,
}

impl Sizes {
    /// Nothing is traced; only the census is wanted.
    pub const CENSUS: Self = Self {
        live: 1,
        sites: 1,
        rows: 1,
        buckets: 1,
        threads: 1,
        wait_sites: 1,
        wakes: 1,
        creations: 1,
        go_samples: 4096,
        go_stacks: 1,
    };
}

/// What is to be traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracing {
    /// Calls of the allocator.
    pub heap: bool,
    /// Waits, and what ends them.
    pub waits: bool,
    /// Waits of at least so many ns are sent one by one; 0: none.
    pub min_wait_ns: u64,
}

/// The loaded programs and maps.
#[derive(Debug)]
pub struct Object {
    pub(super) ebpf: Ebpf,
    barrier: Barrier,
    /// tp_btf programs that are loaded, and their tracepoints.
    tracepoints: Vec<(&'static str, &'static str)>,
    /// Why pending return probes can't be seen through on this kernel, if so.
    pub no_return_probes: Option<String>,
}

impl Object {
    /// Loads the programs that trace the process `pid` by `links`, or for no tracing only the census. Nothing
    /// is attached yet. With `log`, the kernel
    /// side's diagnostics go to the `log` crate.
    pub fn load(
        pid: u32,
        sizes: Sizes,
        tracing: Option<Tracing>,
        links: Links,
        log: bool,
    ) -> Result<Self, BpfError> {
        let blob = std::fs::read("/sys/kernel/btf/vmlinux").unwrap_or_default();
        let unusable = |e: &dyn std::error::Error| BpfError::Load(format!("kernel BTF: {}", chain(e)));
        let (offsets, no_return_probes) = btf::kernel_offsets(&blob).map_err(|e| unusable(&e))?;
        let no_return_probes = no_return_probes.map(|e| e.to_string());
        let kernel_btf = Btf::parse(&blob, aya::Endianness::default()).map_err(|e| unusable(&e))?;
        let log_level = if log { aya_log::Level::Debug as u8 } else { 0 };
        let mut ebpf = EbpfLoader::new()
            .btf(&kernel_btf)
            .override_global("TARGET", &pid, true)
            .override_global("OFFSETS", &offsets, true)
            .override_global(aya_log::LEVEL, &log_level, false)
            .override_global("MIN_WAIT", &tracing.map_or(0, |t| t.min_wait_ns), true)
            .map_max_entries("LIVE", sizes.live)
            .map_max_entries("SITES", sizes.sites)
            .map_max_entries("ROWS", sizes.rows.max(1))
            .map_max_entries("BUCKETS", sizes.buckets.max(1))
            .map_max_entries("THREADS", sizes.threads)
            .map_max_entries("WAIT_SITES", sizes.wait_sites)
            .map_max_entries("WAIT_STACKS", sizes.wait_sites)
            .map_max_entries("WAKES", sizes.wakes)
            .map_max_entries("WAKER_STACKS", sizes.wakes)
            .map_max_entries("CREATIONS", sizes.creations)
            .map_max_entries("GO_SAMPLES", sizes.go_samples)
            .map_max_entries("GO_STACKS", sizes.go_stacks)
            .load(OBJECT)
            .map_err(|e| BpfError::Load(chain(&e)))?;
        let snapshot: &mut Iter = program(&mut ebpf, THREAD_SNAPSHOT)?;
        snapshot
            .load("task", &kernel_btf)
            .map_err(|e| BpfError::Load(format!("{THREAD_SNAPSHOT}: {}", chain(&e))))?;
        let (heap, waits) = tracing.map_or((false, false), |t| (t.heap, t.waits));
        let tracepoints: Vec<_> = LIFECYCLE
            .into_iter()
            .filter(|_| tracing.is_some())
            .chain(WAITS.into_iter().filter(|_| waits))
            .collect();
        for (name, tracepoint) in &tracepoints {
            let program: &mut BtfTracePoint = program(&mut ebpf, name)?;
            program
                .load(tracepoint, &kernel_btf)
                .map_err(|e| BpfError::Load(format!("{name}: {}", chain(&e))))?;
            log_size(name, program.info().ok());
        }
        let barrier = Barrier::new().map_err(|e| BpfError::Load(format!("barrier: {e}")))?;
        let mut object = Self { ebpf, barrier, tracepoints, no_return_probes };
        // The linker's notification is followed for the sake of the unwind rows, too.
        let probes: &[Role] = match tracing {
            None => &[],
            Some(_) if heap => &HEAP,
            Some(_) => &[Role::LibrariesChanged],
        };
        object.load_probes(probes.iter().copied(), links)?;
        // The sites that take what has no room at its own.
        object.insert("SITES", 0u64, SiteTotals::ZERO)?;
        object.insert("WAIT_SITES", 0u64, WaitTotals::ZERO)?;
        object.insert("CREATIONS", 0u64, CreationTotals::default())?;
        Ok(object)
    }

    /// Loads the programs of probes for this kind of link.
    pub(super) fn load_probes(
        &mut self,
        roles: impl IntoIterator<Item = Role>,
        links: Links,
    ) -> Result<(), BpfError> {
        for name in roles.into_iter().map(|role| role.program(links)) {
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
        for (name, tracepoint) in &self.tracepoints {
            let program: &mut BtfTracePoint = program(&mut self.ebpf, name)?;
            program.attach().map_err(|e| BpfError::Attach {
                function: (*tracepoint).to_owned(),
                file: "the kernel".to_owned(),
                error: chain(&e),
            })?;
        }
        Ok(self.tracepoints.len())
    }

    /// Stops following what the tracepoints tell.
    pub fn detach_tracepoints(&mut self) {
        for (name, _) in &self.tracepoints {
            let program: Result<&mut BtfTracePoint, _> = program(&mut self.ebpf, name);
            if let Ok(program) = program {
                // What cannot be detached goes with the process.
                let _ = program.unload();
            }
        }
    }

    /// Inserts into a hash map; a key that is there already keeps its value.
    pub(super) fn insert<K: aya::Pod, V: aya::Pod>(
        &mut self,
        map: &'static str,
        key: K,
        value: V,
    ) -> Result<(), BpfError> {
        let mut map: HashMap<_, K, V> =
            HashMap::try_from(self.map_mut(map)?).map_err(|_| BpfError::Missing(map))?;
        match map.insert(&key, &value, BPF_NOEXIST) {
            Ok(()) => Ok(()),
            Err(MapError::SyscallError(e)) if e.io_error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
            Err(e) => Err(BpfError::Map {
                what: "write a map of the kernel side",
                error: std::io::Error::other(chain(&e)),
            }),
        }
    }

    /// Removes an entry, if it is there.
    pub(super) fn remove<K: aya::Pod, V: aya::Pod>(
        &mut self,
        map: &'static str,
        key: K,
    ) -> Result<(), BpfError> {
        let mut map: HashMap<_, K, V> =
            HashMap::try_from(self.map_mut(map)?).map_err(|_| BpfError::Missing(map))?;
        match map.remove(&key) {
            Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
            Err(MapError::SyscallError(e)) if e.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            Err(e) => Err(BpfError::Map {
                what: "write a map of the kernel side",
                error: std::io::Error::other(chain(&e)),
            }),
        }
    }

    /// Switches recording on or off.
    pub fn set_run_state(&mut self, run: RunState) -> Result<(), BpfError> {
        self.set_state(state::RUN, run as u64)
    }

    /// Tells the kernel side where the dynamic linker's code lies.
    pub fn set_linker(&mut self, code: &std::ops::Range<u64>) -> Result<(), BpfError> {
        self.set_state(state::LINKER_START, code.start)?;
        self.set_state(state::LINKER_END, code.end)
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

    pub(super) fn set_state(&mut self, slot: u32, value: u64) -> Result<(), BpfError> {
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

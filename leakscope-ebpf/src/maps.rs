//! Maps and load-time globals. Sizes that depend on the target are set by the loader.

use aya_ebpf::EbpfContext;
use aya_ebpf::Global;
use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, BPF_NOEXIST};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, PerCpuArray, ProgramArray, RingBuf, StackTrace};
use leakscope_common::config::{KernelOffsets, MAX_MAPPINGS, RunState, state};
use leakscope_common::counter::{COUNTERS as COUNTER_SLOTS, Loss, Tally};
use leakscope_common::go::{GoPlaces, GoroutineTotals};
use leakscope_common::heap::{Inflight, LiveBlock, SiteTotals};
use leakscope_common::unwind::{MappingEntry, Row};
use leakscope_common::wait::{CreationTotals, ThreadState, WaitStack, WaitTotals, WakeKey, WakeTotals};

use crate::known::{self, KnownStack};
use crate::stack::Scratch;
use crate::unwind::CachedRow;

/// The target's process ID.
#[unsafe(no_mangle)]
pub(crate) static TARGET: Global<u32> = Global::new(0);
/// Offsets of kernel structures.
#[unsafe(no_mangle)]
pub(crate) static OFFSETS: Global<KernelOffsets> = Global::new(KernelOffsets::ZERO);
/// Waits of at least so many ns are sent one by one; 0: none.
#[unsafe(no_mangle)]
pub(crate) static MIN_WAIT: Global<u64> = Global::new(0);

/// Scratch slots a CPU.
pub(crate) const SCRATCH_SLOTS: u32 = 4;
/// Entries of the per-CPU cache of rows.
pub(crate) const CACHED_ROWS: u32 = 4096;

/// Empty for ever; see [`on_the_own_stack`]. One for each kind of link: the kernel lets no programs of two kinds
/// share such a map (`__bpf_prog_map_compatible`).
#[map]
pub(crate) static NOWHERE: ProgramArray = ProgramArray::with_max_entries(1, 0);
/// The one for programs of multi links.
#[map]
pub(crate) static NOWHERE_MULTI: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Makes the kernel run a probe on the thread's kernel stack.
///
/// Since Linux 6.13 programs of kprobe type that need 64 bytes of stack or more get a stack of their own per
/// CPU (kernel/bpf/verifier.c, `bpf_enable_priv_stack`). A uprobe's program can be preempted, and another
/// thread may run it on the same CPU meanwhile: both would write to that one stack. A program that could
/// tail-call gets none (`check_max_stack_depth`). The call is never made: there is no target 0, which the
/// verifier knows and takes the branch away.
#[inline(always)]
pub(crate) fn on_the_own_stack(ctx: &impl EbpfContext, nowhere: &ProgramArray) {
    if TARGET.load() == 0 {
        // SAFETY: the context is the kernel's; where nothing is to be called the helper returns.
        unsafe { nowhere.tail_call(ctx, 0) };
    }
}

#[map]
pub(crate) static STATE: Array<u64> = Array::with_max_entries(state::SLOTS, 0);
#[map]
pub(crate) static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(COUNTER_SLOTS, 0);
#[map]
pub(crate) static ROWS: Array<Row> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub(crate) static BUCKETS: Array<u32> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub(crate) static MAPPINGS: Array<MappingEntry> = Array::with_max_entries(2 * MAX_MAPPINGS, BPF_F_MMAPABLE);
#[map]
pub(crate) static ROW_CACHE: PerCpuArray<CachedRow> = PerCpuArray::with_max_entries(CACHED_ROWS, 0);
#[map]
pub(crate) static KNOWN_STACKS: PerCpuArray<KnownStack> = PerCpuArray::with_max_entries(known::ENTRIES, 0);
#[map]
pub(crate) static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(SCRATCH_SLOTS, 0);
#[map]
pub(crate) static LIVE: HashMap<u64, LiveBlock> = HashMap::with_max_entries(1, 0);
#[map]
pub(crate) static SITES: HashMap<u64, SiteTotals> = HashMap::with_max_entries(1, 0);
#[map]
pub(crate) static INFLIGHT: HashMap<u32, Inflight> = HashMap::with_max_entries(32768, BPF_F_NO_PREALLOC);
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 22, 0);

/// Threads that have blocked, or were created while recording.
#[map]
pub(crate) static THREADS: HashMap<u32, ThreadState> = HashMap::with_max_entries(1, 0);
#[map]
pub(crate) static WAIT_SITES: HashMap<u64, WaitTotals> = HashMap::with_max_entries(1, 0);
/// Their stacks.
#[map]
pub(crate) static WAIT_STACKS: HashMap<u64, WaitStack> = HashMap::with_max_entries(1, 0);
#[map]
pub(crate) static WAKES: HashMap<WakeKey, WakeTotals> = HashMap::with_max_entries(1, 0);
/// Stacks of wakers: 1 once the frames were sent.
#[map]
pub(crate) static WAKER_STACKS: HashMap<u64, u64> = HashMap::with_max_entries(1, 0);
#[map]
pub(crate) static CREATIONS: HashMap<u64, CreationTotals> = HashMap::with_max_entries(1, 0);

/// Where things lie in a Go target.
#[map]
pub(crate) static GO_PLACES: Array<GoPlaces> = Array::with_max_entries(1, 0);
/// Goroutines by `go` statement.
#[map]
pub(crate) static GO_CREATIONS: HashMap<u64, GoroutineTotals> =
    HashMap::with_max_entries(8192, BPF_F_NO_PREALLOC);
/// Samples of the Go heap.
#[map]
pub(crate) static GO_SAMPLES: RingBuf = RingBuf::with_byte_size(4096, 0);
/// Their stacks.
#[map]
pub(crate) static GO_STACKS: StackTrace = StackTrace::with_max_entries(1, 0);

/// The value at `key`, made if it is missing; `None` where the map is full.
#[inline(always)]
pub(crate) fn entry<K, V>(map: &HashMap<K, V>, key: K, new: &V) -> Option<*mut V> {
    if let Some(found) = map.get_ptr_mut(&key) {
        return Some(found);
    }
    let _ = map.insert(&key, new, BPF_NOEXIST as u64);
    map.get_ptr_mut(&key)
}

/// Whether the account may change.
#[inline(always)]
pub(crate) fn recording() -> bool {
    slot(state::RUN) == RunState::Recording as u64
}

/// A slot of `STATE`.
#[inline(always)]
pub(crate) fn slot(index: u32) -> u64 {
    match STATE.get_ptr(index) {
        // SAFETY: a pointer into the array map; userspace may write at any time, so read once.
        Some(p) => unsafe { core::ptr::read_volatile(p) },
        None => 0,
    }
}

/// Adds 1 to a slot of `STATE`.
#[inline(always)]
pub(crate) fn add_to_slot(index: u32) {
    if let Some(p) = STATE.get_ptr_mut(index) {
        add(p, 1);
    }
}

/// Counts a loss.
#[inline(always)]
pub(crate) fn lose(loss: Loss) {
    bump(loss as u32);
}

/// Counts `n` losses of a kind.
#[inline(always)]
pub(crate) fn lose_some(loss: Loss, n: u64) {
    if let Some(p) = COUNTERS.get_ptr_mut(loss as u32) {
        add(p, n);
    }
}

/// Counts something seen.
#[inline(always)]
pub(crate) fn tally(tally: Tally) {
    bump(tally as u32);
}

/// Adds 1 to a counter of this CPU.
#[inline(always)]
pub(crate) fn bump(index: u32) {
    if let Some(p) = COUNTERS.get_ptr_mut(index) {
        // A probe may preempt another one on this CPU, so even a per-CPU counter is added to
        // atomically.
        add(p, 1);
    }
}

/// Atomic add to a map value.
#[inline(always)]
pub(crate) fn add(p: *mut u64, value: u64) {
    // SAFETY: `p` points to an aligned u64 in a map value, which stays valid while the program runs.
    unsafe { crate::atomic::add(p, value) };
}

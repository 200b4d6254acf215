//! The section on the memory of the Go runtime.

use super::model::{GoCollector, GoCpu, GoMemory, PartGrowth};
use super::parts::Part;
use crate::runtime::go::mem_stats::{CpuTime, MemStats, MemoryAccount};
use crate::section::growth::growth;
use crate::section::made::{Facts, Made};

impl Made for GoMemory {
    fn make(facts: &mut Facts<'_, '_>) -> Option<Self> {
        Some(go_memory(facts.runtime.go?.memory?))
    }
}

/// Makes the section.
pub(super) fn go_memory(account: &MemoryAccount) -> GoMemory {
    let MemoryAccount { first, last, old } = account;
    let mut memory = parts(last);
    memory.exact = last.off_by_bytes == 0 && old.is_none();
    memory.old.clone_from(old);
    memory.gc = collector(last);
    if first.at_ns == last.at_ns {
        return memory;
    }
    let before = parts(first);
    let grown = |part: Part| {
        let growth_bytes = growth(part.of(&before)?, part.of(&memory)?);
        Some(PartGrowth { part, growth_bytes })
    };
    memory.growth = Some(Part::ALL.into_iter().filter_map(grown).collect());
    memory.gc.collections_in_window = Some(last.collections.wrapping_sub(first.collections).into());
    memory.gc.cpu_in_window = in_window(first, last);
    memory
}

/// CPU time between the last collections of two looks.
fn in_window(first: &MemStats, last: &MemStats) -> Option<GoCpu> {
    // Before the first collection the collector had taken nothing, but the rest is not known.
    let (was, is) = (first.cpu?, last.cpu?);
    let cpu = GoCpu {
        collector_ns: is.collector_ns.checked_sub(was.collector_ns)?,
        used_ns: is.used_ns.checked_sub(was.used_ns)?,
        all_ns: is.all_ns.checked_sub(was.all_ns)?,
    };
    (last.collections != first.collections && cpu.all_ns > 0).then_some(cpu)
}

fn parts(stats: &MemStats) -> GoMemory {
    GoMemory {
        off_by_bytes: stats.off_by_bytes,
        heap_in_use_bytes: stats.heap_in_use_bytes,
        heap_objects_bytes: stats.heap_alloc_bytes.min(stats.heap_in_use_bytes),
        heap_room_bytes: stats.heap_in_use_bytes.saturating_sub(stats.heap_alloc_bytes),
        heap_idle_bytes: stats.heap_free_bytes,
        heap_released_bytes: stats.heap_released_bytes,
        stack_bytes: stats.stack_bytes,
        own_bytes: stats.own_bytes(),
        thread_stack_bytes: stats.thread_stack_bytes,
        mspan_bytes: stats.mspan_bytes,
        mcache_bytes: stats.mcache_bytes,
        profile_bytes: stats.profile_bytes,
        gc_bytes: stats.gc_bytes,
        other_bytes: stats.other_bytes,
        mspan_in_use_bytes: stats.mspan_in_use_bytes,
        mcache_in_use_bytes: stats.mcache_in_use_bytes,
        total_bytes: stats.ready_bytes,
        outside_bytes: stats.anonymous_bytes.map(|bytes| bytes.saturating_sub(stats.ready_bytes)),
        ..GoMemory::default()
    }
}

fn collector(stats: &MemStats) -> GoCollector {
    GoCollector {
        gogc: stats.gc_percent,
        gomemlimit_bytes: stats.limit_bytes,
        next_gc_bytes: stats.next_gc_bytes,
        limit_governs: stats.limit_governs,
        live_after_gc_bytes: stats.marked_bytes,
        collections: stats.collections.into(),
        forced_collections: stats.forced_collections.into(),
        since_last_gc_ns: stats.last_gc_ns.map(|at| stats.at_ns.saturating_sub(at)),
        pause_ns: stats.pause_ns,
        cpu_fraction: stats.gc_cpu_fraction,
        cpu: stats.cpu.map(cpu),
        cpu_in_window: None,
        collections_in_window: None,
    }
}

const fn cpu(time: CpuTime) -> GoCpu {
    GoCpu { collector_ns: time.collector_ns, used_ns: time.used_ns, all_ns: time.all_ns }
}

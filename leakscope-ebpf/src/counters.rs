//! What was lost and what was seen, counted per CPU.

use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;
use leakscope_common::counter::{COUNTERS as SLOTS, Loss, Tally};

use crate::shared::Value;

#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(SLOTS, 0);

/// Counts a loss.
#[inline(always)]
pub(crate) fn lose(loss: Loss) {
    add(loss as u32, 1);
}

/// Counts `n` losses of a kind.
#[inline(always)]
pub(crate) fn lose_some(loss: Loss, n: u64) {
    add(loss as u32, n);
}

/// Counts something seen.
#[inline(always)]
pub(crate) fn tally(tally: Tally) {
    add(tally as u32, 1);
}

/// Counts a stack by the number of its end.
#[inline(always)]
pub(crate) fn tally_end(end: u64) {
    add(Tally::StackEnd0 as u32 + (end as u32 & 15), 1);
}

/// Adds to a counter of this CPU: atomically, because a probe may preempt another one on it.
#[inline(always)]
fn add(index: u32, n: u64) {
    if let Some(counter) = Value::of_cpu(&COUNTERS, index) {
        counter.word().add(n);
    }
}

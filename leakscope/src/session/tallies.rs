//! What the kernel side counted beside the account.

use leakscope_common::counter::Tally;

/// What the kernel side counted that is no loss, for those who want to know.
pub(super) fn tallies(counters: &[u64]) -> String {
    let named = [
        (Tally::NestedCalls, "calls inside another allocator call"),
        (Tally::FailedCalls, "failed calls"),
        (Tally::EarlyReturns, "returns of calls from before the recording"),
        (Tally::CallUnwound, "calls left by an exception"),
        (Tally::CacheFlushes, "frees by which libc emptied a thread's cache"),
        (Tally::LinkerFrees, "frees of the dynamic linker's own older blocks"),
        (Tally::FramePointerStacks, "stacks that needed frame pointers"),
    ];
    let count = |tally: Tally| counters.get(tally as usize).copied().unwrap_or(0);
    named.map(|(tally, what)| format!("{} {what}", count(tally))).join(", ")
}

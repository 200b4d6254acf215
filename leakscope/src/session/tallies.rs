//! What the kernel side counted beside the account.

use std::time::Duration;

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

/// How long a report took: until all was read, until it was made, and until it was written.
pub(super) fn times(read: Duration, made: Duration, written: Duration) -> String {
    let [read, made, written] = [read, made, written].map(|time| time.as_secs_f64());
    format!("a report was read in {read:.3} s, made after {made:.3} s, and written after {written:.3} s")
}

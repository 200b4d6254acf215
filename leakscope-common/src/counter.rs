//! Numbered counters: what was lost, and what was merely seen. Numbers are never reused.
//!
//! A loss is one row of the list below; the rest follows from the list. What the kernel side cannot count has
//! a row in `leakscope/src/losses.rs`.

/// A part of a report that a loss can make inexact.
///
/// It says exact only if no loss of its own occurred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Domain {
    /// How many blocks and bytes are live, were allocated and freed.
    Heap,
    /// How many threads waited, where and how long.
    Waits,
    /// The list of single waits over `--min-wait`.
    LongWaits,
    /// Who ended waits.
    Wakers,
    /// How many threads began and ended, and who created them.
    Threads,
    /// Where something happened. The numbers are right without it.
    Stacks,
    /// Goroutines and the Go heap.
    Go,
    /// How long goroutines waited, where, and what ended that.
    GoWaits,
}

/// Makes the losses from their rows: the meaning for who reads the code, the variant and its number, the name
/// in reports, the domains that it makes inexact, and the sentence for who reads a report, after a number.
macro_rules! losses {
    ($($(#[$doc:meta])* $loss:ident = $number:literal, $name:literal, [$($domain:ident),+], $sentence:literal;)*) => {
        /// Something that was lost. Indexes the per-CPU counter map.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Loss {
            $($(#[$doc])* $loss = $number,)*
        }

        impl Loss {
            /// All losses, by number.
            pub const ALL: &[Self] = &[$(Self::$loss),*];

            /// The name in reports: what it belongs to, a dot, and what was lost.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$loss => $name,)* }
            }

            /// What it means for the reader of a report.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$loss => $sentence,)* }
            }

            /// What it makes inexact.
            pub const fn spoils(self) -> &'static [Domain] {
                match self { $(Self::$loss => &[$(Domain::$domain),+],)* }
            }
        }
    };
}

losses! {
    /// A block was allocated while the map of live blocks was full.
    LiveFull = 0, "heap.live_full", [Heap],
        "allocations not recorded because the map of live blocks was full; raise --max-live";
    /// A new site while the map of sites was full; its blocks are charged to no stack.
    SitesFull = 1, "heap.sites_full", [Heap],
        "blocks whose stack was dropped because the map of sites was full";
    /// An allocator call of a thread for which no in-flight record could be made.
    InflightFull = 2, "heap.inflight_full", [Heap],
        "allocator calls not recorded: too many threads inside an allocator";
    /// An allocator call that never returned: longjmp, exit in the call, or a missed return probe.
    CallAbandoned = 3, "heap.call_abandoned", [Heap],
        "allocator calls that never returned (longjmp, thread exit) or whose return was missed";
    /// A block was returned at an address that the account held as live: its free was missed.
    FreeMissed = 4, "heap.free_missed", [Heap],
        "blocks handed out again although no free of them was seen";
    /// posix_memalign's result could not be read from the target.
    OutUnreadable = 5, "heap.out_unreadable", [Heap],
        "allocations whose address could not be read back";
    /// No scratch space was free on this CPU; the event was not recorded.
    ScratchBusy = 6, "heap.scratch_busy", [Heap],
        "events not recorded because no scratch space was free";
    /// The ring buffer was full when a new stack was to be sent (it is tried again).
    RingFull = 7, "stacks.ring_full", [Stacks],
        "times a new stack did not fit the ring buffer and had to be sent again";
    /// A lifecycle event did not fit the ring buffer.
    EventLost = 8, "events.ring_full", [Threads, Stacks],
        "thread or mapping events that did not fit the ring buffer";
    /// An element count times a size overflowed, and yet the call succeeded.
    SizeOverflow = 9, "heap.size_overflow", [Heap],
        "allocations whose count times size overflows; their size is unknown";
    /// A block that was freed or moved could not be taken out of the map of live blocks.
    FreeFailed = 10, "heap.free_failed", [Heap],
        "freed blocks that the kernel could not take out of the account; they look live";
    /// A thread that blocked while the map of threads was full.
    WaitThreadsFull = 11, "waits.threads_full", [Waits],
        "waits not recorded because the map of threads was full";
    /// A wait at a new site while the map of wait sites was full; it is charged to no stack.
    WaitSitesFull = 12, "waits.sites_full", [Waits],
        "waits whose stack was dropped because the map of wait sites was full";
    /// A wake-up while the map of wakes was full: the wait is counted, its waker is not.
    WakesFull = 13, "waits.wakes_full", [Waits, Wakers],
        "waits whose waker was dropped because the map of wakes was full";
    /// No scratch space was free on this CPU as a thread blocked; the wait was not recorded.
    WaitScratchBusy = 14, "waits.scratch_busy", [Waits],
        "waits not recorded because no scratch space was free";
    /// No scratch space was free as a thread woke another one or created one: its stack is missing.
    OtherScratchBusy = 15, "stacks.scratch_busy", [Stacks],
        "stacks of wakers or of creators of threads that could not be taken";
    /// A long wait did not fit the ring buffer.
    LongWaitLost = 16, "waits.long_waits_lost", [LongWaits],
        "waits over --min-wait that did not fit the ring buffer; they are counted";
    /// A thread was created by a new stack while the map of creating stacks was full.
    CreationsFull = 17, "threads.sites_full", [Threads],
        "threads whose creating stack was dropped because its map was full";
    /// A thread was created while the map of threads was full: its end will not be counted to its site.
    CreatedThreadsFull = 18, "threads.threads_full", [Threads],
        "threads whose end cannot be charged to their creator because the map of threads was full";
    /// A waker's stack that did not fit the map of stacks; it may have no frames.
    WakerStacksFull = 19, "stacks.wakers_full", [Stacks],
        "stacks of wakers that may lack their frames because a map was full";
    /// A wait ended, and no wake-up had been seen.
    WakerMissed = 20, "wakers.missed", [Wakers],
        "waits that are counted, but whose waker was not seen";
    /// A wait whose begin or end was not seen: a thread blocked that was blocked as far as we knew, or its
    /// count of context switches tells of more than were seen.
    WaitEndMissed = 21, "waits.ends_missed", [Waits],
        "waits whose begin or end was not seen; they are in no number";
    /// A sample of the Go heap did not fit its ring buffer.
    GoSampleLost = 22, "go.samples_lost", [Go],
        "samples of the Go heap that did not fit the ring buffer: estimates are low, and may hold garbage";
    /// A sample of the Go heap whose stack could not be taken.
    GoStackLost = 23, "go.sample_stacks_lost", [Go],
        "samples of the Go heap without a stack; they are charged to no site";
    /// A goroutine was created or ended while the map of `go` statements was full.
    GoCreationsFull = 24, "go.creation_sites_full", [Go],
        "goroutines whose creation or end was charged to no site: its map was full";
    /// An allocator call while another was pending of which no stack told whether it was made by that one or
    /// by a signal handler in between; it was left to the pending one.
    NestingUnsure = 25, "heap.nesting_unsure", [Heap],
        "allocator calls inside another that a signal handler may have made; they are not counted";
    /// A wait at a futex that went through more hands than are remembered.
    HoldersMerged = 26, "wakers.holders_merged", [Wakers],
        "waits for a futex in which the time of a holder is charged to the next one, for want of room to remember it";
    /// A block was allocated, and the kernel could not make an entry of the map of live blocks.
    LiveNoMemory = 27, "heap.live_no_memory", [Heap],
        "allocations not recorded because the kernel had no memory for them";
    /// A goroutine that waits, a stack or a semaphore that its map had no room for.
    GoWaitsFull = 28, "go.waits_full", [GoWaits],
        "waits of goroutines, or their locks, that are missing in the account because a map was full";
    /// A goroutine began to wait while it was noted as waiting.
    GoWaitEndMissed = 29, "go.wait_ends_missed", [GoWaits],
        "waits of goroutines whose end was not seen; they are in no number";
    /// No scratch space was free on this CPU for the stack of a goroutine.
    GoWaitStackLost = 30, "go.wait_stacks_lost", [GoWaits],
        "waits of goroutines, or releases of locks, whose stack could not be taken; they are charged to no site";
}

/// Something counted that is no loss. Shares the map and the numbering with [`Loss`]; 38 and 39 were
/// used by an earlier version.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tally {
    /// Hits of allocation entries.
    AllocEntries = 32,
    /// Hits of returns.
    AllocReturns = 33,
    /// Hits of frees.
    Frees = 34,
    /// Frees of blocks that were not in the account (mostly from before the attach).
    UnknownFrees = 35,
    /// Calls made by the allocator to itself, left to the outer call.
    NestedCalls = 36,
    /// Allocator calls that returned no block.
    FailedCalls = 37,
    /// Stacks with frames that were found by frame pointer.
    FramePointerStacks = 40,
    /// Returns without a recorded entry: of calls that were under way as recording began.
    EarlyReturns = 41,
    /// Freed objects that were in the account.
    FreedObjects = 42,
    /// Allocator calls left by an exception or by thread exit, where that is no loss.
    CallUnwound = 43,
    /// Returns seen at `ret` instructions, which the kernel single-steps.
    RetInstructions = 44,
    /// Waits that ended.
    Waits = 45,
    /// Wake-ups of blocked threads.
    Wakes = 46,
    /// Calls of free by which the allocator empties a cache as its thread ends; the program made none of them.
    CacheFlushes = 47,
    /// Stacks by their end: 48 + the number of `StackEnd`.
    StackEnd0 = 48,
    /// Frees by the dynamic linker of blocks that were not in the account: its tables for threads and libraries.
    LinkerFrees = 63,
    /// Hits of the probes on the Go heap.
    GoHeapHits = 64,
    /// Stacks taken there.
    GoHeapStacks = 65,
    /// Hits of the probes on waits of goroutines.
    GoWaitHits = 66,
}

/// Slots in the counter map.
pub const COUNTERS: u32 = 67;

#[cfg(test)]
mod tests {
    use super::*;

    /// Reports and saved recordings know losses by these numbers and names: new ones follow, and none changes.
    const PINNED: &[(u32, &str)] = &[
        (0, "heap.live_full"),
        (1, "heap.sites_full"),
        (2, "heap.inflight_full"),
        (3, "heap.call_abandoned"),
        (4, "heap.free_missed"),
        (5, "heap.out_unreadable"),
        (6, "heap.scratch_busy"),
        (7, "stacks.ring_full"),
        (8, "events.ring_full"),
        (9, "heap.size_overflow"),
        (10, "heap.free_failed"),
        (11, "waits.threads_full"),
        (12, "waits.sites_full"),
        (13, "waits.wakes_full"),
        (14, "waits.scratch_busy"),
        (15, "stacks.scratch_busy"),
        (16, "waits.long_waits_lost"),
        (17, "threads.sites_full"),
        (18, "threads.threads_full"),
        (19, "stacks.wakers_full"),
        (20, "wakers.missed"),
        (21, "waits.ends_missed"),
        (22, "go.samples_lost"),
        (23, "go.sample_stacks_lost"),
        (24, "go.creation_sites_full"),
        (25, "heap.nesting_unsure"),
        (26, "wakers.holders_merged"),
        (27, "heap.live_no_memory"),
        (28, "go.waits_full"),
        (29, "go.wait_ends_missed"),
        (30, "go.wait_stacks_lost"),
    ];

    #[test]
    fn numbers_and_names_stay() {
        assert!(Loss::ALL.iter().map(|&loss| (loss as u32, loss.name())).eq(PINNED.iter().copied()));
        assert!(
            Loss::ALL.iter().all(|&loss| (loss as u32) < Tally::AllocEntries as u32),
            "tallies begin there"
        );
    }
}

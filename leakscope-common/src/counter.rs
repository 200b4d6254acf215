//! Numbered counters: what was lost, and what was merely seen. Numbers are never reused.

/// Something that was lost. Indexes the per-CPU counter map.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Loss {
    /// A block was allocated while the map of live blocks was full.
    LiveFull = 0,
    /// A new site while the map of sites was full; its blocks are charged to no stack.
    SitesFull = 1,
    /// An allocator call of a thread for which no in-flight record could be made.
    InflightFull = 2,
    /// An allocator call that never returned: longjmp, exit in the call, or a missed return probe.
    CallAbandoned = 3,
    /// A block was returned at an address that the account held as live: its free was missed.
    FreeMissed = 4,
    /// posix_memalign's result could not be read from the target.
    OutUnreadable = 5,
    /// No scratch space was free on this CPU; the event was not recorded.
    ScratchBusy = 6,
    /// The ring buffer was full when a new stack was to be sent (it is tried again).
    RingFull = 7,
    /// A lifecycle event did not fit the ring buffer.
    EventLost = 8,
    /// An element count times a size overflowed, and yet the call succeeded.
    SizeOverflow = 9,
    /// A block that was freed or moved could not be taken out of the map of live blocks.
    FreeFailed = 10,
    /// A thread that blocked while the map of threads was full.
    WaitThreadsFull = 11,
    /// A wait at a new site while the map of wait sites was full; it is charged to no stack.
    WaitSitesFull = 12,
    /// A wake-up while the map of wakes was full: the wait is counted, its waker is not.
    WakesFull = 13,
    /// No scratch space was free on this CPU as a thread blocked; the wait was not recorded.
    WaitScratchBusy = 14,
    /// No scratch space was free as a thread woke another one or created one: its stack is missing.
    OtherScratchBusy = 15,
    /// A long wait did not fit the ring buffer.
    LongWaitLost = 16,
    /// A thread was created by a new stack while the map of creating stacks was full.
    CreationsFull = 17,
    /// A thread was created while the map of threads was full: its end will not be counted to its site.
    CreatedThreadsFull = 18,
    /// A waker's stack that did not fit the map of stacks; it may have no frames.
    WakerStacksFull = 19,
    /// A wait ended, and no wake-up had been seen.
    WakerMissed = 20,
    /// A wait whose begin or end was not seen: a thread blocked that was blocked as far as we knew, or its
    /// count of context switches tells of more than were seen.
    WaitEndMissed = 21,
    /// A sample of the Go heap did not fit its ring buffer.
    GoSampleLost = 22,
    /// A sample of the Go heap whose stack could not be taken.
    GoStackLost = 23,
    /// A goroutine was created or ended while the map of `go` statements was full.
    GoCreationsFull = 24,
    /// An allocator call while another was pending of which no stack told whether it was made by that one or
    /// by a signal handler in between; it was left to the pending one.
    NestingUnsure = 25,
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
}

/// Slots in the counter map.
pub const COUNTERS: u32 = 64;

impl Loss {
    /// All losses.
    pub const ALL: [Self; 26] = [
        Self::LiveFull,
        Self::SitesFull,
        Self::InflightFull,
        Self::CallAbandoned,
        Self::FreeMissed,
        Self::OutUnreadable,
        Self::ScratchBusy,
        Self::RingFull,
        Self::EventLost,
        Self::SizeOverflow,
        Self::FreeFailed,
        Self::WaitThreadsFull,
        Self::WaitSitesFull,
        Self::WakesFull,
        Self::WaitScratchBusy,
        Self::OtherScratchBusy,
        Self::LongWaitLost,
        Self::CreationsFull,
        Self::CreatedThreadsFull,
        Self::WakerStacksFull,
        Self::WakerMissed,
        Self::WaitEndMissed,
        Self::GoSampleLost,
        Self::GoStackLost,
        Self::GoCreationsFull,
        Self::NestingUnsure,
    ];

    /// The name in reports: the domain, a dot, and what was lost.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LiveFull => "heap.live_full",
            Self::SitesFull => "heap.sites_full",
            Self::InflightFull => "heap.inflight_full",
            Self::CallAbandoned => "heap.call_abandoned",
            Self::FreeMissed => "heap.free_missed",
            Self::OutUnreadable => "heap.out_unreadable",
            Self::ScratchBusy => "heap.scratch_busy",
            Self::RingFull => "stacks.ring_full",
            Self::EventLost => "events.ring_full",
            Self::SizeOverflow => "heap.size_overflow",
            Self::FreeFailed => "heap.free_failed",
            Self::WaitThreadsFull => "waits.threads_full",
            Self::WaitSitesFull => "waits.sites_full",
            Self::WakesFull => "waits.wakes_full",
            Self::WaitScratchBusy => "waits.scratch_busy",
            Self::OtherScratchBusy => "stacks.scratch_busy",
            Self::LongWaitLost => "waits.long_waits_lost",
            Self::CreationsFull => "threads.sites_full",
            Self::CreatedThreadsFull => "threads.threads_full",
            Self::WakerStacksFull => "stacks.wakers_full",
            Self::WakerMissed => "wakers.missed",
            Self::WaitEndMissed => "waits.ends_missed",
            Self::GoSampleLost => "go.samples_lost",
            Self::GoStackLost => "go.sample_stacks_lost",
            Self::GoCreationsFull => "go.creation_sites_full",
            Self::NestingUnsure => "heap.nesting_unsure",
        }
    }

    /// What it means for the reader of a report.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::LiveFull => {
                "allocations not recorded because the map of live blocks was full; raise --max-live"
            }
            Self::SitesFull => "blocks whose stack was dropped because the map of sites was full",
            Self::InflightFull => "allocator calls not recorded: too many threads inside an allocator",
            Self::CallAbandoned => {
                "allocator calls that never returned (longjmp, thread exit) or whose return was missed"
            }
            Self::FreeMissed => "blocks handed out again although no free of them was seen",
            Self::OutUnreadable => "allocations whose address could not be read back",
            Self::ScratchBusy => "events not recorded because no scratch space was free",
            Self::RingFull => "times a new stack did not fit the ring buffer and had to be sent again",
            Self::EventLost => "thread or mapping events that did not fit the ring buffer",
            Self::FreeFailed => {
                "freed blocks that the kernel could not take out of the account; they look live"
            }
            Self::WaitThreadsFull => "waits not recorded because the map of threads was full",
            Self::WaitSitesFull => "waits whose stack was dropped because the map of wait sites was full",
            Self::WakesFull => "waits whose waker was dropped because the map of wakes was full",
            Self::WaitScratchBusy => "waits not recorded because no scratch space was free",
            Self::OtherScratchBusy => "stacks of wakers or of creators of threads that could not be taken",
            Self::LongWaitLost => "waits over --min-wait that did not fit the ring buffer; they are counted",
            Self::CreationsFull => "threads whose creating stack was dropped because its map was full",
            Self::CreatedThreadsFull => {
                "threads whose end cannot be charged to their creator because the map of threads was full"
            }
            Self::WaitEndMissed => "waits whose begin or end was not seen; they are in no number",
            Self::WakerMissed => "waits that are counted, but whose waker was not seen",
            Self::WakerStacksFull => "stacks of wakers that may lack their frames because a map was full",
            Self::GoSampleLost => {
                "samples of the Go heap that did not fit the ring buffer: estimates are low, and may hold garbage"
            }
            Self::GoStackLost => "samples of the Go heap without a stack; they are charged to no site",
            Self::GoCreationsFull => {
                "goroutines whose creation or end was charged to no site: its map was full"
            }
            Self::NestingUnsure => {
                "allocator calls inside another that a signal handler may have made; they are not counted"
            }
            Self::SizeOverflow => "allocations whose count times size overflows; their size is unknown",
        }
    }
}

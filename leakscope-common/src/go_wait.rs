//! Waits of goroutines: what the probes in the runtime note, and what is added up of it.

/// What a probe stands on: the bits [`EVENT`](cookie::EVENT) of its cookie.
pub mod cookie {
    pub const EVENT: u64 = 3 << 8;
    /// The entry of `semacquire1(addr, lifo, profile, …)`.
    pub const BEGINS: u64 = 1 << 8;
    /// A call of `gopark` by a function that waits; the kind of wait is in the bits from [`KIND`] on.
    pub const PARKS: u64 = 2 << 8;
    /// A goroutine is about to be made ready; where its address is, is in the bits from [`KIND`] on.
    pub const READIED: u64 = 3 << 8;
    /// The lowest bit of the kind.
    pub const KIND: u64 = 16;
    /// In rax.
    pub const IN_RAX: u64 = 0;
    /// At the beginning of the `sudog` in rax.
    pub const SUDOG_IN_RAX: u64 = 1;
    /// At the beginning of the `sudog` in rbx.
    pub const SUDOG_IN_RBX: u64 = 2;
    /// The first variable of the closure in rax.
    pub const CLOSURE_IN_RAX: u64 = 3;
}

/// Kinds of waits of goroutines: those that Go's block profile counts.
pub mod kind {
    pub const RECEIVE: u64 = 1;
    pub const SEND: u64 = 2;
    pub const SELECT: u64 = 3;
    /// `sync.Mutex`, `sync.RWMutex`, `sync.WaitGroup`, and locks of files.
    pub const SEMAPHORE: u64 = 4;
    pub const CONDITION: u64 = 5;
    /// No wait, but the stack that ended waits for a lock.
    pub const UNLOCK: u64 = 6;
}

/// Flags of `semacquire1` (`semaProfileFlags`, `runtime/sema.go`): whether its waits are in the block and in the mutex
/// profile.
pub const IN_BLOCK_PROFILE: u64 = 1;
pub const IN_MUTEX_PROFILE: u64 = 2;

/// Slots of the map `GO_WAIT_STATE`.
pub mod slot {
    /// Odd while waits are recorded. A wait counts if it begins and ends in one phase.
    pub const PHASE: u32 = 0;
    /// When the phase began, CLOCK_MONOTONIC in ns.
    pub const OPENED: u32 = 1;
    /// How long it takes, ns; 0: until it is ended.
    pub const LENGTH: u32 = 2;
    /// Offset of `curg` in an `m`.
    pub const M_CURG: u32 = 3;
    /// Offset of `m` in a goroutine.
    pub const G_M: u32 = 4;
    /// Offset of `sched.sp` in a goroutine.
    pub const SCHED_SP: u32 = 5;
    /// Offset of `sched.pc`.
    pub const SCHED_PC: u32 = 6;
    /// Offset of `sched.bp`.
    pub const SCHED_BP: u32 = 7;
    /// Not 0 where an unlock is charged with the waits of all that still wait, too (from Go 1.22 on).
    pub const CHARGES_ALL: u32 = 8;
    /// Hits of the probes while recording.
    pub const HITS: u32 = 9;
    pub const SLOTS: u32 = 10;
}

/// Bits of [`GoWait::state`].
pub mod state {
    pub const KIND: u64 = 7;
    /// It is parked.
    pub const PARKED: u64 = 1 << 3;
    /// It has been in `semacquire1` since.
    pub const BEGUN: u64 = 1 << 4;
    /// It was woken, and this wait was counted: if it parks once more, that is part of it.
    pub const COUNTED: u64 = 1 << 5;
    /// It goes to the head of the queue.
    pub const FIRST: u64 = 1 << 6;
    /// The wait is in the mutex profile.
    pub const LOCK: u64 = 1 << 7;
    /// The lowest bit of the phase.
    pub const PHASE: u64 = 16;
}

/// A goroutine that waits; the key is its address.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct GoWait {
    /// Bits of [`state`].
    pub state: u64,
    /// Since when it waits, as far as that was not counted yet.
    pub since_ns: u64,
    /// When it went for the semaphore.
    pub begun_ns: u64,
    /// Address of the semaphore.
    pub semaphore: u64,
    /// The stack; 0 where it could not be taken.
    pub site: u64,
}
const _: () = assert!(size_of::<GoWait>() == 40);

/// A semaphore that goroutines wait for: what the runtime's queue (`semaRoot`, `runtime/sema.go`) would know if the
/// mutex profile were on. The key is its address.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct GoSemaphore {
    /// The phase that this is of.
    pub phase: u64,
    /// Goroutines in the queue.
    pub queued: u64,
    /// `acquiretime` of the first one.
    pub head_ns: u64,
    /// `acquiretime` of the last one.
    pub tail_ns: u64,
    /// `waiters` of the first one: those behind it. As in the runtime, it stays 1 where only one is left.
    pub waiters: u64,
}
const _: () = assert!(size_of::<GoSemaphore>() == 40);

impl GoSemaphore {
    /// What the release at `now` is charged with that wakes the first one, as `semrelease1` does; `all`: with the waits
    /// of those behind, too. Where one is behind, it is the last one, and `dequeue` has set its `acquiretime` to now
    /// before it looks at that of the last one.
    #[inline(always)]
    pub const fn charge(&self, now: u64, all: bool) -> u64 {
        let head = now.saturating_sub(self.head_ns);
        if !all || self.waiters == 0 {
            return head;
        }
        let tail = if self.queued == 2 { 0 } else { now.saturating_sub(self.tail_ns) };
        head.wrapping_add((head / 2).wrapping_add(tail / 2).wrapping_mul(self.waiters))
    }

    /// `waiters` after that.
    #[inline(always)]
    pub const fn left(&self) -> u64 {
        if self.waiters > 1 { self.waiters - 1 } else { self.waiters }
    }
}

/// What was added up of one stack; the key is its hash. 0: it could not be taken.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct GoWaitTotals {
    /// One of [`kind`].
    pub kind: u64,
    /// 1 once its frames were sent over the ring buffer.
    pub sent: u64,
    /// Waits that ended; of an unlocking stack: that it ended.
    pub waits: u64,
    /// Their time, ns; of an unlocking stack: what it is charged with.
    pub wait_ns: u64,
    /// The longest, ns.
    pub max_ns: u64,
    /// Of phases that have a length: the waits, each for as many of its length as the phase could have missed, in
    /// parts of [`PARTS`]. Those that take most of the phase are left out.
    pub scaled_waits: u64,
    /// The same of their time.
    pub scaled_ns: u64,
    /// Those that were left out.
    pub long_waits: u64,
}
const _: () = assert!(size_of::<GoWaitTotals>() == 64);

/// Parts of a wait in [`GoWaitTotals::scaled_waits`].
pub const PARTS: u64 = 1 << 10;

/// The longest wait that counts in a phase of that length: a longer one stands for too many.
#[inline(always)]
pub const fn longest(length_ns: u64) -> u64 {
    length_ns / 4 * 3
}

/// For how many waits one stands, in parts, that was seen in a phase of that length: it had to begin early enough to
/// end in it. The length is less than 2 s, and the wait not longer than [`longest`].
#[inline(always)]
pub const fn stands_for(wait_ns: u64, length_ns: u64) -> u64 {
    match length_ns.wrapping_mul(PARTS).checked_div(length_ns.wrapping_sub(wait_ns)) {
        Some(parts) => parts,
        None => 0,
    }
}

#[cfg(feature = "user")]
mod pod {
    // SAFETY: `repr(C)` of integers without padding (sizes asserted above); every bit pattern is valid.
    unsafe impl aya::Pod for super::GoWait {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::GoWaitTotals {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The queue as `runtime/sema.go` (Go 1.27) keeps it, with the times of each.
    #[test]
    fn an_unlock_is_charged_as_the_runtime_does() {
        let alone = GoSemaphore { phase: 1, queued: 1, head_ns: 100, tail_ns: 100, waiters: 0 };
        assert_eq!(alone.charge(150, true), 50);
        assert_eq!(alone.left(), 0);
        // Two more wait, the last one since 130: avg(50, 20) each.
        let three = GoSemaphore { phase: 1, queued: 3, head_ns: 100, tail_ns: 130, waiters: 2 };
        assert_eq!(three.charge(150, true), 50 + 2 * 35);
        assert_eq!(three.charge(150, false), 50, "before Go 1.22");
        let two = GoSemaphore { phase: 1, queued: 2, head_ns: 100, tail_ns: 130, waiters: 1 };
        assert_eq!(two.charge(150, true), 50 + 25, "the last one counts as if it had just come");
        assert_eq!(three.left(), 1);
        // The last one still counts itself as behind the first: as in the runtime.
        let last = GoSemaphore { phase: 1, queued: 1, head_ns: 150, tail_ns: 150, waiters: 1 };
        assert_eq!(last.charge(170, true), 40);
        assert_eq!(last.left(), 1);
        // Clocks of two CPUs, or a queue that was not seen whole.
        assert_eq!(alone.charge(90, true), 0);
    }

    #[test]
    fn a_short_wait_stands_for_itself_and_a_long_one_for_more() {
        let length = 100_000_000;
        assert_eq!(stands_for(0, length), PARTS);
        assert_eq!(stands_for(length / 2, length), 2 * PARTS);
        assert_eq!(stands_for(longest(length), length), 4 * PARTS);
        assert_eq!(stands_for(length, length), 0);
    }
}

//! Who held a futex while others waited for it: its last releases, and how a wait is split over them.
//!
//! What a thread waits for at a lock is held by one thread after another, and the last of them only ends the wait.
//! Each is charged with its own part, as in Go's mutex profile: `semrelease1` (src/runtime/sema.go) charges a
//! release with the time that those who wait have waited since the release before it. There the waiters are
//! in a list that the release walks; here a wait looks back, as it ends, at the releases that were seen during it.
//!
//! A release is seen if it wakes somebody. One that finds nobody waiting delays nobody. One whose waiter was woken
//! before, and is on its way, is not seen: its time is part of the next one's.

/// Releases of a futex that are remembered.
pub const RELEASES: usize = 8;

/// A release of a futex.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Release {
    /// When it woke a waiter, CLOCK_MONOTONIC in ns; 0: none.
    pub at_ns: u64,
    /// Hash of the stack that released; 0: it could not be taken.
    pub stack: u64,
}

/// The last releases of a futex; the key is its address.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Releases {
    /// In the order of time; the empty ones come first.
    pub last: [Release; RELEASES],
    /// The time of the newest release whose part has become the next one's.
    pub merged_ns: u64,
}
const _: () = assert!(size_of::<Releases>() == 16 * RELEASES + 8);

impl Releases {
    /// A futex that nothing is known of.
    pub const ZERO: Self = Self { last: [Release { at_ns: 0, stack: 0 }; RELEASES], merged_ns: 0 };
}

/// [`Releases`], wherever they are. Others may write them meanwhile: then a part of a wait goes to a wrong holder,
/// and all parts still add up to the wait.
pub trait History {
    /// A release; `index` is below [`RELEASES`].
    fn release(&self, index: usize) -> Release;

    fn set_release(&mut self, index: usize, release: Release);

    fn set_merged_ns(&mut self, at_ns: u64);
}

/// Remembers a release that wakes a thread which has waited since `since_ns`.
///
/// The kernel wakes those first who have waited longest, so releases before that time matter to nobody and make
/// room. Where there is none to spare, the release with the shortest part gives it to the next one. Successive
/// releases by one stack are one: the stack is what is charged.
#[inline(always)]
pub fn remember(history: &mut impl History, release: Release, since_ns: u64) {
    let newest = history.release(RELEASES - 1);
    if newest.at_ns != 0 && newest.stack == release.stack {
        history.set_release(RELEASES - 1, release);
        return;
    }
    let (mut shortest, mut shortest_ns, mut shortest_at) = (0, u64::MAX, 0);
    let mut from = since_ns;
    let mut index = 0;
    while index < RELEASES {
        let at = history.release(index).at_ns;
        let part = at.saturating_sub(from);
        if part < shortest_ns {
            (shortest, shortest_ns, shortest_at) = (index, part, at);
        }
        if at > from {
            from = at;
        }
        index += 1;
    }
    if shortest_ns > 0 {
        history.set_merged_ns(shortest_at);
    }
    index = 0;
    while index < RELEASES - 1 {
        if index >= shortest {
            let next = history.release(index + 1);
            history.set_release(index, next);
        }
        index += 1;
    }
    history.set_release(RELEASES - 1, release);
}

/// Splits a wait that began at `since_ns` and was ended at `until_ns`: calls `charge` with the stack of each release
/// between the two, and with its part. Returns where the part of who ended the wait begins. What `charge` has no
/// room for (`false`) goes to the next one.
#[inline(always)]
pub fn split(
    history: &impl History,
    since_ns: u64,
    until_ns: u64,
    mut charge: impl FnMut(u64, u64) -> bool,
) -> u64 {
    let mut from = since_ns;
    let mut index = 0;
    while index < RELEASES {
        let Release { at_ns, stack } = history.release(index);
        if at_ns > from && at_ns < until_ns && charge(stack, at_ns.wrapping_sub(from)) {
            from = at_ns;
        }
        index += 1;
    }
    from
}

#[cfg(feature = "user")]
mod pod {
    // SAFETY: `repr(C)` of integers without padding (size asserted above); every bit pattern is valid.
    unsafe impl aya::Pod for super::Releases {}
}

#[cfg(test)]
mod tests {
    use super::*;

    impl History for Releases {
        fn release(&self, index: usize) -> Release {
            self.last[index]
        }

        fn set_release(&mut self, index: usize, release: Release) {
            self.last[index] = release;
        }

        fn set_merged_ns(&mut self, at_ns: u64) {
            self.merged_ns = at_ns;
        }
    }

    /// What each release is charged with, in order, and what is left to who ended the wait.
    fn parts(history: &Releases, since_ns: u64, until_ns: u64) -> (Vec<(u64, u64)>, u64) {
        let mut parts = Vec::new();
        let from = split(history, since_ns, until_ns, |stack, ns| {
            parts.push((stack, ns));
            true
        });
        (parts, until_ns - from)
    }

    const SLOW: u64 = 1;
    const QUICK: u64 = 2;

    /// Four wait for one that holds for 20 ms, and pass the lock on in a moment.
    #[test]
    fn a_convoy_is_charged_to_the_slow_one() {
        let mut history = Releases::ZERO;
        let begun = [1_000, 2_000, 3_000, 4_000];
        for (release, since) in [(SLOW, 21_000), (QUICK, 21_010), (QUICK, 21_020), (QUICK, 21_030)]
            .map(|(stack, at_ns)| Release { stack, at_ns })
            .into_iter()
            .zip(begun)
        {
            remember(&mut history, release, since);
        }
        assert_eq!(parts(&history, 1_000, 21_000), (vec![], 20_000), "the first one waited for it alone");
        assert_eq!(parts(&history, 2_000, 21_010), (vec![(SLOW, 19_000)], 10));
        assert_eq!(parts(&history, 4_000, 21_030), (vec![(SLOW, 17_000)], 30), "one stack is one holder");
        assert_eq!(history.merged_ns, 0);
    }

    #[test]
    fn releases_before_all_waits_make_room() {
        let mut history = Releases::ZERO;
        for n in 1..=100 {
            remember(&mut history, Release { at_ns: 10 * n, stack: n }, (10 * n).saturating_sub(15));
        }
        assert_eq!(history.merged_ns, 0);
        assert_eq!(parts(&history, 975, 1_000), (vec![(98, 5), (99, 10)], 10));
    }

    /// A hundred wait, each for all before it, and none of them by the stack of another.
    #[test]
    fn the_longest_holds_are_remembered() {
        let mut history = Releases::ZERO;
        for n in 1..=100 {
            let long = if n >= 50 { 1_000_000 } else { 0 };
            remember(&mut history, Release { at_ns: 1_000 + n + long, stack: n }, 900);
        }
        assert_ne!(history.merged_ns, 0);
        let (parts, _) = parts(&history, 900, 1_001_101);
        assert!(parts.iter().any(|(stack, ns)| *stack == 50 && *ns >= 1_000_000), "{parts:?}");
        assert_eq!(parts[0], (1, 101), "it held while the others came");
    }

    #[test]
    fn what_has_no_room_goes_to_the_next() {
        let mut history = Releases::ZERO;
        for (at_ns, stack) in [(20, 5), (30, 6), (40, 7)] {
            remember(&mut history, Release { at_ns, stack }, 10);
        }
        let mut charged = Vec::new();
        let from = split(&history, 10, 50, |stack, ns| {
            charged.push((stack, ns));
            stack != 5
        });
        assert_eq!((charged, from), (vec![(5, 10), (6, 20), (7, 10)], 40));
        assert_eq!(split(&history, 45, 50, |_, _| false), 45);
        assert_eq!(split(&history, 60, 50, |_, _| true), 60, "woken before it was seen to block");
    }

    /// Others write while it is read: whatever the order, the parts are those of the wait.
    #[test]
    fn parts_add_up_in_any_order() {
        let mut history = Releases::ZERO;
        for (index, at_ns) in [50, 20, 90, 20, 0, u64::MAX, 70, 95].into_iter().enumerate() {
            history.last[index] = Release { at_ns, stack: index as u64 };
        }
        for (since, until) in [(0, 100), (30, 80), (95, 96), (0, u64::MAX)] {
            let (parts, left) = parts(&history, since, until);
            assert_eq!(parts.iter().map(|part| part.1).sum::<u64>() + left, until - since);
        }
        remember(&mut history, Release { at_ns: 10, stack: 9 }, 60);
        assert_eq!(history.last[RELEASES - 1].stack, 9);
    }
}

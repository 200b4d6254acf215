//! Who held the futexes that others waited for: their last releases.

use aya_ebpf::macros::map;
use aya_ebpf::maps::LruHashMap;
use leakscope_common::release::{History, RELEASES, Release, Releases, remember, split};

use crate::shared::{Value, word};

/// The last releases of each futex. What has not been used for longest makes room.
#[map]
static FUTEX_RELEASES: LruHashMap<u64, Releases> = LruHashMap::with_max_entries(1, 0);

/// What a futex starts with: too large for the BPF stack.
static NEW_RELEASES: Releases = Releases::ZERO;

impl History for Value<Releases> {
    #[inline(always)]
    fn release(&self, index: usize) -> Release {
        let index = index & (RELEASES - 1);
        Release { at_ns: word!(self, last[index].at_ns).load(), stack: word!(self, last[index].stack).load() }
    }

    #[inline(always)]
    fn set_release(&mut self, index: usize, release: Release) {
        let index = index & (RELEASES - 1);
        word!(self, last[index].at_ns).store(release.at_ns);
        word!(self, last[index].stack).store(release.stack);
    }

    #[inline(always)]
    fn set_merged_ns(&mut self, at_ns: u64) {
        word!(self, merged_ns).store(at_ns);
    }
}

/// A release of `futex` wakes a thread that has waited for it since `since_ns`.
#[inline(always)]
pub(super) fn released(futex: u64, release: Release, since_ns: u64) {
    let new: &Releases = &NEW_RELEASES;
    // Without room it is missed, which the end of the wait tells.
    if let Some(mut history) = Value::entry(&FUTEX_RELEASES, &futex, new) {
        remember(&mut history, release, since_ns);
    }
}

/// Where the part of who ended a wait begins, and whether every holder before has got its own.
pub(super) struct Split {
    pub(super) from_ns: u64,
    pub(super) whole: bool,
}

/// Charges a wait for `futex` to those who released it meanwhile: see [`split`]. `noted`: the release that ended
/// the wait was among them.
#[inline(always)]
pub(super) fn earlier(
    futex: u64,
    since_ns: u64,
    until_ns: u64,
    noted: bool,
    mut charge: impl FnMut(u64, u64) -> bool,
) -> Split {
    let Some(history) = Value::find(&FUTEX_RELEASES, &futex) else {
        return Split { from_ns: since_ns, whole: !noted };
    };
    let mut whole = word!(history, merged_ns).load() <= since_ns;
    let from_ns = split(&history, since_ns, until_ns, |stack, ns| {
        let charged = charge(stack, ns);
        whole &= charged;
        charged
    });
    Split { from_ns, whole }
}

//! Where the members lie that the account is read from.

use super::super::bytes::u64_at;
use super::super::offsets::Offsets;

/// Largest structure that is read; `mstats` of Go 1.19 has 13,512 bytes.
const LARGEST: usize = 1 << 15;
/// Shards of the statistics that must agree (`consistentHeapStats.stats`, `runtime/mstats.go`).
const SHARDS: usize = 3;

/// Members of a structure, each of 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Members<const N: usize> {
    /// Bytes of the structure, as far as it is read.
    pub size: usize,
    pub at: [usize; N],
}

impl<const N: usize> Members<N> {
    /// `None` if one is not known, or lies where it cannot.
    fn new(offsets: &Offsets, structure: &str, names: [&str; N]) -> Option<Self> {
        let whole = offsets.find(structure, "__size").filter(|size| *size <= LARGEST)?;
        let mut at = [0; N];
        for (place, name) in at.iter_mut().zip(names) {
            *place = offsets.find(structure, name).filter(|at| at.saturating_add(8) <= whole)?;
        }
        Some(Self { size: at.iter().max()? + 8, at })
    }

    /// Their values, `from` being where the structure begins.
    pub(super) fn values(&self, bytes: &[u8], from: usize) -> Option<[u64; N]> {
        let mut values = [0; N];
        for (value, at) in values.iter_mut().zip(self.at) {
            *value = u64_at(bytes, from.checked_add(at)?)?;
        }
        Some(values)
    }
}

/// All that is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Of `gcControllerState` (`runtime/mgcpacer.go`), in the order of [`super::reading::Controller`].
    pub controller: Members<12>,
    /// Of `mstats` (`runtime/mstats.go`), in the order of [`super::reading::Stats`].
    pub stats: Members<12>,
    /// Of `heapStatsDelta`: released, in the heap, in stacks, in work buffers.
    pub delta: Members<4>,
    /// Of the same: unrolled programs of the collector, up to Go 1.24.
    pub pointer_bits: Option<usize>,
    /// From one shard to the next.
    pub shard: usize,
    /// Of `mheap`: pages in use, bytes of spans' descriptions, bytes of caches.
    pub heap: [usize; 3],
}

impl Layout {
    /// `None` where the version's layout is not known.
    pub(super) fn new(offsets: &Offsets) -> Option<Self> {
        let controller = Members::new(
            offsets,
            "gcControllerState",
            [
                "gcPercent",
                "memoryLimit",
                "gcPercentHeapGoal",
                "sweepDistMinTrigger",
                "triggered",
                "heapMarked",
                "heapInUse",
                "heapReleased",
                "heapFree",
                "totalAlloc",
                "totalFree",
                "mappedReady",
            ],
        )?;
        let stats = Members::new(
            offsets,
            "mstats",
            [
                "stacks_sys",
                "mspan_sys",
                "mcache_sys",
                "buckhash_sys",
                "gcMiscSys",
                "other_sys",
                "last_gc_unix",
                "pause_total_ns",
                "numgc",
                "gc_cpu_fraction",
                "last_gc_nanotime",
                "heapStats",
            ],
        )?;
        let delta =
            Members::new(offsets, "heapStatsDelta", ["released", "inHeap", "inStacks", "inWorkBufs"])?;
        let shard = offsets.find("heapStatsDelta", "__size")?;
        // All shards come before what else is read.
        let last = stats.at[11].checked_add(shard.checked_mul(SHARDS)?)?;
        let heap = |member| offsets.find("mheap", member).filter(|at| *at < 1 << 20);
        let used = offsets.find("fixalloc", "inuse").filter(|at| *at < LARGEST)?;
        (last <= stats.size).then_some(Self {
            controller,
            stats,
            delta,
            pointer_bits: offsets.find("heapStatsDelta", "inPtrScalarBits").filter(|at| *at < shard),
            shard,
            heap: [heap("pagesInUse")?, heap("spanalloc")? + used, heap("cachealloc")? + used],
        })
    }

    /// The sums over all shards: released, in the heap, in stacks, and what the collector works with.
    pub(super) fn shards(&self, stats: &[u8]) -> Option<[u64; 4]> {
        let mut sums = [0u64; 4];
        for shard in 0..SHARDS {
            let from = self.stats.at[11].checked_add(self.shard.checked_mul(shard)?)?;
            let bits = match self.pointer_bits {
                Some(at) => u64_at(stats, from.checked_add(at)?)?,
                None => 0,
            };
            let [released, heap, stacks, work] = self.delta.values(stats, from)?;
            for (sum, part) in sums.iter_mut().zip([released, heap, stacks, work.wrapping_add(bits)]) {
                // A shard alone may be negative.
                *sum = sum.wrapping_add(part);
            }
        }
        Some(sums)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::go::offsets::VERSIONS;

    #[test]
    fn every_version_has_what_is_needed() {
        for minor in VERSIONS {
            let layout = Layout::new(&Offsets::of(minor)).expect("a layout");
            assert!(layout.controller.size <= 424 && layout.stats.size < 8192, "{minor}");
            let bits = minor < 25;
            assert_eq!((layout.pointer_bits.is_some(), layout.shard), (bits, if bits { 1176 } else { 1168 }));
        }
    }

    #[test]
    fn members_lie_within_their_structure() {
        for (structure, member) in [
            ("gcControllerState", "__size"),
            ("gcControllerState", "mappedReady"),
            ("mstats", "numgc"),
            ("mstats", "heapStats"),
            ("heapStatsDelta", "__size"),
            ("heapStatsDelta", "inHeap"),
            ("mheap", "spanalloc"),
            ("fixalloc", "inuse"),
        ] {
            for lie in [usize::MAX, usize::MAX - 8, 1 << 40] {
                let mut offsets = Offsets::of(27);
                offsets.set(structure, member, lie);
                assert_eq!(Layout::new(&offsets), None, "{structure}.{member} at {lie:#x}");
            }
        }
    }
}

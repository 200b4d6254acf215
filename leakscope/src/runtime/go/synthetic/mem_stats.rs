//! What the synthetic program's runtime accounts for: an account that adds up.

use super::Synthetic;
use super::bytes::Bytes;
use super::heap::PAGES_IN_USE;
use crate::runtime::go::offsets::Offsets;

/// `runtime.pageSize`
const PAGE: u64 = 8192;
/// Bytes in spans in use, of stacks, free, returned, of work buffers.
pub const IN_USE: u64 = PAGES_IN_USE * PAGE;
pub const STACKS: u64 = 4 * PAGE;
pub const FREE: u64 = 3 * PAGE;
pub const RELEASED: u64 = 9 * PAGE;
const WORK: u64 = 2 * PAGE;
/// What each of the runtime's own parts takes.
pub const PART: u64 = 5000;
/// Collections, and the collector's part of the CPU time.
pub const COLLECTIONS: u32 = 4;
pub const FRACTION: f64 = 0.25;

/// Lays out `gcController`, `memstats` and `work.cpuStats`.
pub(super) fn variables(made: &mut Synthetic, file: &mut Bytes, offsets: &Offsets) -> [u64; 3] {
    let controller = structure(
        offsets,
        "gcControllerState",
        &[
            ("gcPercent", 100),
            ("memoryLimit", i64::MAX.cast_unsigned()),
            ("gcPercentHeapGoal", 4 << 20),
            ("triggered", u64::MAX),
            ("heapMarked", 1000),
            ("heapInUse", IN_USE),
            ("heapReleased", RELEASED),
            ("heapFree", FREE),
            ("totalAlloc", 90_000),
            ("totalFree", 80_000),
            ("mappedReady", IN_USE + FREE + STACKS + WORK + 6 * PART),
        ],
    );
    let controller = made.put(file, "controller", &controller);
    let mut stats = structure(
        offsets,
        "mstats",
        &[
            ("stacks_sys", PART),
            ("mspan_sys", PART),
            ("mcache_sys", PART),
            ("buckhash_sys", PART),
            ("gcMiscSys", PART),
            ("other_sys", PART),
            ("pause_total_ns", 7),
            ("numgc", COLLECTIONS.into()),
            ("gc_cpu_fraction", FRACTION.to_bits()),
            ("last_gc_nanotime", 500),
        ],
    );
    // The shards have only sums in common.
    let member = |member| offsets.find("heapStatsDelta", member).expect("known");
    for (shard, sign) in [(0, 2i64), (1, -1)] {
        for (name, bytes) in
            [("released", RELEASED), ("inHeap", IN_USE), ("inStacks", STACKS), ("inWorkBufs", WORK)]
        {
            let at = member("__size") * shard + member(name);
            stats[at..][..8].copy_from_slice(&(bytes.cast_signed() * sign).to_le_bytes());
        }
    }
    let last = offsets.find("mstats", "last_gc_nanotime").expect("known") + 8;
    let stats = made.put(file, "statistics", &stats[..last]);
    let ms = |ms: u64| (ms * 1_000_000).to_le_bytes();
    let cpu: Vec<u8> = [100, 120, 50, 30, 300, 1, 2, 3, 200, 497, 1000].into_iter().flat_map(ms).collect();
    let cpu = made.put(file, "CPU time", &cpu);
    [controller, stats, cpu]
}

fn structure(offsets: &Offsets, name: &str, members: &[(&str, u64)]) -> Vec<u8> {
    let at = |member| offsets.find(name, member).expect("known");
    let mut bytes = vec![0; at("__size")];
    for (member, word) in members {
        let width = if matches!(*member, "gcPercent" | "numgc") { 4 } else { 8 };
        bytes[at(member)..][..width].copy_from_slice(&word.to_le_bytes()[..width]);
    }
    bytes
}

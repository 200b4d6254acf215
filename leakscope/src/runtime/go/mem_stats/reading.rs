//! The words of the runtime that its account is made of, as they were read at once.

use super::super::bytes::u64_at;
use super::super::memory::Piece;
use super::super::program::Program;
use super::layout::Layout;
use crate::runtime::go::heap::spans::PAGE;

/// Most memory of a process.
const MOST: u64 = 1 << 47;
/// The sums may be off by one in so many, and by [`SLACK`].
const TOLERATED: u64 = 16;
const SLACK: u64 = 4 << 20;

/// Where the variables lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Variables {
    /// `runtime.mheap_`
    pub heap: u64,
    /// `runtime.gcController`
    pub controller: u64,
    /// `runtime.memstats`; `None` where it is still looked for.
    pub stats: Option<u64>,
    /// `runtime.work.cpuStats`
    pub cpu: Option<u64>,
}

/// `runtime.gcController`, as far as it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Controller {
    /// GOGC; negative: off.
    pub percent: i32,
    /// GOMEMLIMIT.
    pub limit: u64,
    /// Size of the heap at which it is to be collected, by GOGC.
    pub goal: u64,
    /// No goal lies below.
    pub least_goal: u64,
    /// Size at which the collection that goes on began; else all bits are set.
    pub triggered: u64,
    /// What the last collection found live.
    pub marked: u64,
    pub in_use: u64,
    pub released: u64,
    pub free: u64,
    pub allocated: u64,
    pub freed: u64,
    /// All that is mapped and not released.
    pub ready: u64,
}

/// `runtime.memstats`, as far as it is read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stats {
    /// Thread stacks, spans' descriptions, caches, profiles, the collector's, others.
    pub own: [u64; 6],
    pub last_unix_ns: u64,
    pub pause_ns: u64,
    pub collections: u32,
    pub forced: u32,
    pub cpu_fraction: f64,
    /// By CLOCK_MONOTONIC; 0: never.
    pub last_ns: u64,
    /// Of all shards.
    pub released: u64,
    pub in_heap: u64,
    pub stacks: u64,
    pub work: u64,
}

/// `cpuStats` (`runtime/mstats.go`): eleven numbers in the same order since Go 1.20, as of the end of the last
/// collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CpuStats(pub [u64; 11]);

/// CPU time below this tells nothing.
const LEAST_CPU_NS: i64 = 1_000_000;
/// Bytes of it.
pub(super) const CPU_STATS: usize = 88;

impl CpuStats {
    /// What the collector took, without what it did on processors that had nothing else to do: the numerator of
    /// `gc_cpu_fraction` (`gcMarkTermination`, `runtime/mgc.go`).
    pub(super) fn collecting(&self) -> u64 {
        self.0[4].saturating_sub(self.0[2])
    }

    /// What went by on all processors that it may use.
    pub(super) fn all(&self) -> u64 {
        self.0[10]
    }

    /// What went by on those that had nothing to do.
    pub(super) fn idle(&self) -> u64 {
        self.0[8].saturating_add(self.0[2]).min(self.all())
    }

    /// Whether the parts make up the sums, and the collector's part is that which the runtime tells elsewhere, as of
    /// the end of the last collection (`accumulate`, `runtime/mstats.go`). Pauses of the one that goes on are beside it.
    pub(super) fn is_sound(&self, fraction: f64) -> bool {
        let [assist, dedicated, idle_mark, pauses, collector, returning, more, returned, idle, user, all] =
            self.0.map(u64::cast_signed);
        let sum = |parts: &[i64]| parts.iter().fold(0, |sum: i64, part| sum.wrapping_add(*part));
        let since = sum(&[collector, returned, idle, user]).wrapping_sub(all);
        let told = (collector.wrapping_sub(idle_mark).wrapping_sub(since)) as f64;
        sum(&[assist, dedicated, idle_mark, pauses]) == collector
            && sum(&[returning, more]) == returned
            && [assist, dedicated, idle_mark, pauses, returned, idle, since].iter().all(|part| (0..=all).contains(part))
            && all >= LEAST_CPU_NS
            // Their quotient has 53 bits.
            && (told - fraction * all as f64).abs() <= 1.0 + all as f64 / 1e12
    }
}

/// All of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reading {
    pub controller: Controller,
    pub stats: Option<Stats>,
    /// Bytes in spans in use, as the heap itself counts them.
    pub heap_in_use: u64,
    /// Bytes of spans' descriptions in use, and of caches.
    pub descriptions: [u64; 2],
    pub cpu: Option<CpuStats>,
}

impl Reading {
    /// Reads it; `None` if it cannot be read.
    pub(super) fn of(program: &Program, layout: &Layout, at: &Variables) -> Option<Self> {
        let heap = |member: usize| (at.heap.wrapping_add(member as u64), 8);
        let mut pieces: Vec<Piece> = layout.heap.iter().map(|member| heap(*member)).collect();
        pieces.push((at.controller, layout.controller.size));
        pieces.push((at.stats.unwrap_or(0), layout.stats.size));
        pieces.push((at.cpu.unwrap_or(0), CPU_STATS));
        let read = program.memory().read_many(&pieces);
        let word = |piece| u64_at(read.get(piece)?, 0);
        let cpu = read
            .get(5)
            .filter(|_| at.cpu.is_some())
            .and_then(|bytes| bytes.as_chunks::<8>().0.try_into().ok());
        Some(Self {
            heap_in_use: word(0)?.saturating_mul(PAGE),
            descriptions: [word(1)?, word(2)?],
            controller: Controller::of(layout.controller.values(read.get(3)?, 0)?),
            stats: match at.stats {
                Some(_) => Some(Stats::of(layout, read.get(4)?)?),
                None => None,
            },
            cpu: cpu.map(|words: [[u8; 8]; 11]| CpuStats(words.map(u64::from_le_bytes))),
        })
    }

    /// By how much the parts miss the sum that the runtime keeps of them: 0 where all is of one moment
    /// (`readmemstats_m`, `runtime/mstats.go`, has the same check, with the world stopped).
    pub(super) fn off_by(&self) -> Option<u64> {
        let stats = self.stats?;
        let own = stats.own.iter().fold(0u64, |sum, part| sum.saturating_add(*part));
        let parts = [self.controller.in_use, self.controller.free, stats.stacks, stats.work, own];
        let sum = parts.iter().fold(0u64, |sum, part| sum.saturating_add(*part));
        let off = [
            (sum, self.controller.ready),
            (stats.in_heap, self.controller.in_use),
            (stats.released, self.controller.released),
        ];
        off.iter().map(|(a, b)| a.abs_diff(*b)).max()
    }

    /// Whether there is an account beside the controller: what every program has is there, and the sums agree as far
    /// as they can while it goes on.
    pub(super) fn has_account(&self) -> bool {
        let Some(Stats { own: [_, spans, caches, _, collector, other], in_heap, stacks, .. }) = self.stats
        else {
            return false;
        };
        let there =
            [spans, caches, collector, other, in_heap, stacks].iter().all(|part| (1..MOST).contains(part));
        let tolerated = self.controller.ready / TOLERATED + SLACK;
        there && self.has_controller() && self.off_by().is_some_and(|off| off <= tolerated)
    }

    /// Whether the controller can be one: what it says of itself fits together, and to the heap.
    pub(super) fn has_controller(&self) -> bool {
        let Controller { percent, limit, in_use, released, free, allocated, freed, ready, .. } =
            self.controller;
        let pages = [in_use, released, free].iter().all(|bytes| bytes.is_multiple_of(PAGE) && *bytes < MOST);
        let held = in_use.saturating_add(free) <= ready.saturating_add(ready / 8).saturating_add(PAGE);
        // It goes on while it is read.
        let near = in_use.abs_diff(self.heap_in_use) <= in_use / 4 + (1 << 20);
        percent >= -1
            && limit <= i64::MAX.cast_unsigned()
            && pages
            && in_use > 0
            && ready < MOST
            && held
            && near
            && allocated >= freed
    }
}

impl Controller {
    fn of(words: [u64; 12]) -> Self {
        let [
            percent,
            limit,
            goal,
            least_goal,
            triggered,
            marked,
            in_use,
            released,
            free,
            allocated,
            freed,
            ready,
        ] = words;
        Self {
            percent: (percent as u32).cast_signed(),
            limit,
            goal,
            least_goal,
            triggered,
            marked,
            in_use,
            released,
            free,
            allocated,
            freed,
            ready,
        }
    }

    /// Bytes of objects, dead ones that were not swept included.
    pub(super) fn objects(&self) -> u64 {
        self.allocated.saturating_sub(self.freed)
    }
}

impl Stats {
    fn of(layout: &Layout, bytes: &[u8]) -> Option<Self> {
        let words = layout.stats.values(bytes, 0)?;
        let [released, in_heap, stacks, work] = layout.shards(bytes)?;
        Some(Self {
            own: *words.first_chunk()?,
            last_unix_ns: words[6],
            pause_ns: words[7],
            // `numforcedgc` follows it.
            collections: words[8] as u32,
            forced: (words[8] >> 32) as u32,
            cpu_fraction: f64::from_bits(words[9]),
            last_ns: words[10],
            released,
            in_heap,
            stacks,
            work,
        })
    }
}

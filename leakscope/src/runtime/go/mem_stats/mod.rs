//! What the runtime accounts for by itself: the numbers of `runtime.ReadMemStats` and of `runtime/metrics`, read
//! without the program's help.
//!
//! [`find()`] finds the variables, [`read()`] reads them all at once. The runtime keeps a sum of the parts: as long as
//! these do not add up to it, they are read again, and what is left is told.

mod find;
mod goal;
mod layout;
mod reading;
#[cfg(test)]
mod tests;
mod watch;

use std::fs;

use serde::{Deserialize, Serialize};

pub use self::find::{Places, find};
use self::goal::goal;
use self::reading::{Reading, Stats};
pub use self::watch::{MemoryAccount, MemoryWatch};
use super::error::GoError;
use super::program::Program;

/// How often it is read until the parts add up.
const LOOKS: usize = 32;

/// The account at one moment. The names are those of `runtime.MemStats`, where it has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MemStats {
    /// When it was read (CLOCK_MONOTONIC).
    pub at_ns: u64,
    /// By how much the parts miss the sum that the runtime keeps: it went on while it was read.
    pub off_by_bytes: u64,
    /// `HeapAlloc`, less what processors have taken since they last told.
    pub heap_alloc_bytes: u64,
    /// `HeapInuse`
    pub heap_in_use_bytes: u64,
    /// `HeapIdle` less `HeapReleased`
    pub heap_free_bytes: u64,
    /// `HeapReleased`
    pub heap_released_bytes: u64,
    /// `StackInuse`
    pub stack_bytes: u64,
    /// `StackSys` less `StackInuse`
    pub thread_stack_bytes: u64,
    /// `MSpanInuse`
    pub mspan_in_use_bytes: u64,
    /// `MSpanSys`
    pub mspan_bytes: u64,
    /// `MCacheInuse`
    pub mcache_in_use_bytes: u64,
    /// `MCacheSys`
    pub mcache_bytes: u64,
    /// `BuckHashSys`
    pub profile_bytes: u64,
    /// `GCSys`
    pub gc_bytes: u64,
    /// `OtherSys`
    pub other_bytes: u64,
    /// `Sys` less `HeapReleased`
    pub ready_bytes: u64,
    /// What the last collection found live; `None` before the first one.
    pub marked_bytes: Option<u64>,
    /// `NextGC`; `None`: never.
    pub next_gc_bytes: Option<u64>,
    /// Whether GOMEMLIMIT says when that is, not GOGC.
    pub limit_governs: bool,
    /// GOGC; `None`: off.
    pub gc_percent: Option<u32>,
    /// GOMEMLIMIT; `None`: off.
    pub limit_bytes: Option<u64>,
    /// `NumGC`
    pub collections: u32,
    /// `NumForcedGC`
    pub forced_collections: u32,
    /// `LastGC` by CLOCK_MONOTONIC; `None` before the first one.
    pub last_gc_ns: Option<u64>,
    /// `PauseTotalNs`
    pub pause_ns: u64,
    /// `GCCPUFraction`
    pub gc_cpu_fraction: f64,
    /// CPU time as of the end of the last collection; `None` where the version keeps none, or before the first one.
    pub cpu: Option<CpuTime>,
    /// Resident memory of the process that is of no file.
    pub anonymous_bytes: Option<u64>,
}

/// CPU time since the program began, as its runtime measures it: by the clock, on processors that it may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuTime {
    /// Of the collector, without what it did on processors that had nothing else to do.
    pub collector_ns: u64,
    /// Of all that had something to do.
    pub used_ns: u64,
    /// That went by on all processors.
    pub all_ns: u64,
}

impl MemStats {
    /// Bytes of memory that the runtime needs for itself.
    pub fn own_bytes(&self) -> u64 {
        let parts = [
            self.thread_stack_bytes,
            self.mspan_bytes,
            self.mcache_bytes,
            self.profile_bytes,
            self.gc_bytes,
            self.other_bytes,
        ];
        parts.iter().fold(0, |sum, part| sum.saturating_add(*part))
    }
}

/// Reads the account of a program that runs as `pid`.
pub fn read(program: &Program, places: &mut Places, pid: u32) -> Result<MemStats, GoError> {
    let mut reading = best_of(program, places).ok_or(GoError::Gone)?;
    if places.at.cpu.is_none() && reading.stats.is_some_and(|stats| stats.collections > 0) {
        places.find_cpu(program);
        reading = best_of(program, places).ok_or(GoError::Gone)?;
    }
    let at_ns = monotonic_ns();
    let (true, Some(stats)) = (reading.has_account(), reading.stats) else {
        return Err(GoError::SelfCheck {
            check: "the parts of its memory add up to the runtime's own sum",
            failed: 1,
            of: 1,
        });
    };
    Ok(MemStats { at_ns, anonymous_bytes: anonymous(pid), ..told(&reading, &stats, program.minor) })
}

/// Of several readings the first whose parts add up, or the one that comes nearest.
fn best_of(program: &Program, places: &Places) -> Option<Reading> {
    let off = |reading: &Reading| reading.off_by().unwrap_or(u64::MAX);
    let mut best: Option<Reading> = None;
    for _ in 0..LOOKS {
        let reading = Reading::of(program, &places.layout, &places.at)?;
        if best.is_none_or(|best| off(&reading) < off(&best)) {
            best = Some(reading);
        }
        if off(&reading) == 0 {
            break;
        }
    }
    best
}

pub(super) fn monotonic_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec.cast_unsigned().saturating_mul(1_000_000_000).saturating_add(time.tv_nsec.cast_unsigned())
}

fn told(reading: &Reading, stats: &Stats, minor: u32) -> MemStats {
    let controller = reading.controller;
    let goal = goal(&controller, minor);
    let collected = stats.collections > 0;
    let [thread_stack_bytes, mspan_bytes, mcache_bytes, profile_bytes, gc_bytes, other_bytes] = stats.own;
    // What the collector says of CPU time may be of a place that looks like it: it is believed as often as it holds.
    let cpu = reading.cpu.filter(|cpu| collected && cpu.is_sound(stats.cpu_fraction));
    MemStats {
        off_by_bytes: reading.off_by().unwrap_or(u64::MAX),
        heap_alloc_bytes: controller.objects(),
        heap_in_use_bytes: controller.in_use,
        heap_free_bytes: controller.free,
        heap_released_bytes: controller.released,
        stack_bytes: stats.stacks,
        thread_stack_bytes,
        mspan_in_use_bytes: reading.descriptions[0].min(mspan_bytes),
        mspan_bytes,
        mcache_in_use_bytes: reading.descriptions[1].min(mcache_bytes),
        mcache_bytes,
        profile_bytes,
        gc_bytes: gc_bytes.saturating_add(stats.work),
        other_bytes,
        ready_bytes: controller.ready,
        marked_bytes: collected.then_some(controller.marked),
        next_gc_bytes: goal.bytes,
        limit_governs: goal.by_limit,
        gc_percent: u32::try_from(controller.percent).ok(),
        limit_bytes: (controller.limit < i64::MAX.cast_unsigned()).then_some(controller.limit),
        collections: stats.collections,
        forced_collections: stats.forced,
        last_gc_ns: collected.then_some(stats.last_ns),
        pause_ns: stats.pause_ns,
        gc_cpu_fraction: if (0.0..=1.0).contains(&stats.cpu_fraction) { stats.cpu_fraction } else { 0.0 },
        cpu: cpu.map(|cpu| CpuTime {
            collector_ns: cpu.collecting(),
            used_ns: cpu.all().saturating_sub(cpu.idle()),
            all_ns: cpu.all(),
        }),
        ..MemStats::default()
    }
}

/// Resident memory of `pid` that is of no file (`/proc/PID/status`).
fn anonymous(pid: u32) -> Option<u64> {
    sum_of(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

fn sum_of(status: &str) -> Option<u64> {
    let kib = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix(" kB")?.trim().parse().ok()
    };
    kib("RssAnon")?.checked_add(kib("RssShmem").unwrap_or(0))?.checked_mul(1024)
}

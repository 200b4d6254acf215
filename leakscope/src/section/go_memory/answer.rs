//! What answers "where does the memory of a Go program go, and what does its collector cost?".

use super::model::{GoCpu, GoMemory};
use super::parts::Part;
use super::words::{CpuShare, GoMemorySaid};

/// A part below this says nothing.
const NOTABLE: u64 = 16 << 20;
/// So is one in so many of all.
const SHARE: u64 = 4;
/// Collections from which a share of the CPU time says something.
const FEW: u64 = 10;
/// Share of the CPU time that is worth a word, in percent; at the memory limit a smaller one is.
const BUSY: f64 = 25.0;
const BUSY_AT_LIMIT: f64 = 10.0;
/// Share of all processors' time that is, where no other is known.
const BUSY_OF_ALL: f64 = 10.0;
/// CPU time that the collector must have taken.
const LEAST_NS: u64 = 200_000_000;

/// That the collector takes much of the CPU time; `None` if it does not.
pub(crate) fn collector(memory: &GoMemory) -> Option<GoMemorySaid> {
    let gc = &memory.gc;
    let share = share(memory)?;
    let live_bytes = gc.live_after_gc_bytes?;
    let limit_bytes = gc.gomemlimit_bytes.filter(|_| gc.limit_governs);
    // Where little is live, the limit only says when garbage is collected.
    let at_limit = limit_bytes.filter(|limit| live_bytes >= limit / 2);
    let least = match (at_limit, share.of_all) {
        (Some(_), _) => BUSY_AT_LIMIT,
        (None, true) => BUSY_OF_ALL,
        (None, false) => BUSY,
    };
    if share.percent < least {
        return None;
    }
    let collections = gc.collections_in_window.filter(|_| share.in_window).unwrap_or(gc.collections);
    Some(match at_limit {
        Some(limit_bytes) => GoMemorySaid::AtLimit { share, collections, limit_bytes, live_bytes },
        None => GoMemorySaid::Busy { share, collections, live_bytes, gogc: gc.gogc, limit_bytes },
    })
}

/// The collector's share of the CPU time: in the window where there is one, else since the program began.
fn share(memory: &GoMemory) -> Option<CpuShare> {
    let gc = &memory.gc;
    let of = |cpu: GoCpu, in_window| {
        let percent = 100.0 * cpu.collector_ns as f64 / cpu.used_ns.max(1) as f64;
        (cpu.collector_ns >= LEAST_NS).then_some(CpuShare { percent, in_window, of_all: false })
    };
    let since_start = || CpuShare { percent: 100.0 * gc.cpu_fraction, in_window: false, of_all: true };
    if let Some(collections) = gc.collections_in_window {
        // What it did before is no news of a window in which it rests.
        return match (gc.cpu_in_window, gc.cpu) {
            _ if collections < FEW => None,
            (Some(cpu), _) => of(cpu, true),
            (None, Some(_)) => None,
            (None, None) => Some(since_start()),
        };
    }
    // What the program asks for is its own doing.
    if gc.collections.saturating_sub(gc.forced_collections) < FEW {
        return None;
    }
    gc.cpu.map_or_else(|| Some(since_start()), |cpu| of(cpu, false))
}

/// Where the resident memory is, or what it has grown by, if something else than live objects explains a notable
/// part. `rss` is the resident set at the start and at the end.
pub(crate) fn resident(memory: &GoMemory, rss: (Option<u64>, Option<u64>)) -> Option<GoMemorySaid> {
    let rss_bytes = rss.1?;
    let grown = rss.0.map_or(0, |start| rss_bytes.saturating_sub(start));
    if let Some(said) = grew(memory, grown) {
        return Some(said);
    }
    let notable = |bytes: u64| bytes >= NOTABLE && bytes >= rss_bytes / SHARE;
    let uncollected = uncollected(memory);
    if notable(uncollected) {
        return Some(GoMemorySaid::Uncollected { bytes: uncollected, rss_bytes });
    }
    let parts = Part::ALL.into_iter().filter(|part| *part != Part::Objects);
    let sizes = parts.filter_map(|part| Some((part, part.of(memory)?)));
    let (part, bytes) = sizes.max_by_key(|(_, bytes)| *bytes).filter(|(_, bytes)| notable(*bytes))?;
    Some(GoMemorySaid::Holds { part, bytes, rss_bytes, in_use_bytes: memory.heap_in_use_bytes })
}

/// What was allocated since the last collection, where there will be none any more.
fn uncollected(memory: &GoMemory) -> u64 {
    let gc = &memory.gc;
    match (gc.gogc, gc.gomemlimit_bytes) {
        (None, None) => memory.heap_objects_bytes.saturating_sub(gc.live_after_gc_bytes.unwrap_or(0)),
        _ => 0,
    }
}

/// Which part has grown most, if it explains a notable part of what RSS has grown by.
fn grew(memory: &GoMemory, rss_growth_bytes: u64) -> Option<GoMemorySaid> {
    if rss_growth_bytes < NOTABLE {
        return None;
    }
    let most = memory.growth.iter().flatten().max_by_key(|grown| grown.growth_bytes)?;
    let bytes = u64::try_from(most.growth_bytes).ok()?;
    (bytes >= rss_growth_bytes / SHARE).then_some(GoMemorySaid::Grew {
        part: most.part,
        bytes,
        rss_growth_bytes,
        in_use_bytes: memory.heap_in_use_bytes,
        uncollected: uncollected(memory) >= bytes / 2,
    })
}

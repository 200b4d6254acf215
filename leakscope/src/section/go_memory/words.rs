//! What is said of the memory of the Go runtime, and in what words.

use serde::Serialize;

use super::parts::Part;
use crate::human::{bytes, counted};
use crate::section::finding::findings;

/// The collector's share of CPU time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CpuShare {
    pub percent: f64,
    /// Whether it is of the window, not since the program began.
    pub in_window: bool,
    /// Whether it is of the time of all processors, not of what was used.
    pub of_all: bool,
}

findings! {
    /// What is said of the memory of the Go runtime.
    pub enum GoMemorySaid, in the words of text {
        /// The heap is so near the limit that it is collected all the time.
        Warning AtLimit = "go_gc_at_memory_limit" {
            share: CpuShare,
            collections: u64,
            limit_bytes: u64,
            live_bytes: u64,
        },
        /// The collector takes much of the CPU time.
        Warning Busy = "go_gc_busy" {
            share: CpuShare,
            collections: u64,
            live_bytes: u64,
            gogc: Option<u32>,
            limit_bytes: Option<u64>,
        },
        /// A part of memory that is no live object is notable.
        Note Holds = "go_memory_holds" { part: Part, bytes: u64, rss_bytes: u64, in_use_bytes: u64, },
        /// The collector is off.
        Note Uncollected = "go_memory_uncollected" { bytes: u64, rss_bytes: u64, },
        /// What the growth of RSS is.
        Note Grew = "go_memory_grew" {
            part: Part,
            bytes: u64,
            rss_growth_bytes: u64,
            in_use_bytes: u64,
            uncollected: bool,
        },
        /// The account could not be read.
        Note Unknown = "go_memory_unknown" { why: String, },
    }
}

fn text(said: &GoMemorySaid) -> String {
    match said {
        GoMemorySaid::AtLimit { share, collections, limit_bytes, live_bytes } => format!(
            "{}: the heap is at GOMEMLIMIT={}, and the last of {} left {} live.",
            takes(share),
            bytes(*limit_bytes),
            counted(*collections, "collection"),
            bytes(*live_bytes)
        ),
        GoMemorySaid::Busy { share, collections, live_bytes, gogc, limit_bytes } => {
            let by = match (limit_bytes, gogc) {
                (Some(limit), _) => format!("GOMEMLIMIT={}", bytes(*limit)),
                (None, Some(percent)) => format!("GOGC={percent}"),
                (None, None) => "GOGC=off".to_owned(),
            };
            let collections = counted(*collections, "collection");
            format!("{}: {collections} by {by}, the last left {} live.", takes(share), bytes(*live_bytes))
        }
        GoMemorySaid::Holds { part, bytes: held, rss_bytes, in_use_bytes } => {
            let resident = not_all(*held, *rss_bytes);
            format!("{}{resident}; RSS is {}.", holds(*part, *held, *in_use_bytes), bytes(*rss_bytes))
        }
        GoMemorySaid::Uncollected { bytes: held, rss_bytes } => format!(
            "{} on the Go heap was allocated since the last collection, and the collector is off (GOGC=off): what of it \
             is garbage stays{}; RSS is {}.",
            bytes(*held),
            not_all(*held, *rss_bytes),
            bytes(*rss_bytes)
        ),
        GoMemorySaid::Grew { part, bytes: grown, rss_growth_bytes, in_use_bytes, uncollected } => {
            let off = " The collector is off (GOGC=off), so what of it is garbage stays.";
            let off = if *uncollected && *part == Part::Objects { off } else { "" };
            let grew = bytes(*rss_growth_bytes);
            let resident = not_all(*grown, *rss_growth_bytes);
            format!("RSS grew by {grew}: {}{resident}.{off}", more(*part, *grown, *in_use_bytes))
        }
        GoMemorySaid::Unknown { why } => {
            format!("What memory the Go runtime has is not known: {why}.")
        }
    }
}

/// What the runtime holds is resident as far as it was touched.
fn not_all(bytes: u64, resident_bytes: u64) -> &'static str {
    if bytes > resident_bytes { ", not all of it resident" } else { "" }
}

fn takes(share: &CpuShare) -> String {
    let of = if share.of_all { "the time of all processors" } else { "the CPU time that the program used" };
    let when = if share.in_window { "while leakscope watched" } else { "since it began" };
    format!("Garbage collection took {:.0} % of {of} {when}", share.percent)
}

/// What becomes of idle memory.
const IDLE: &str = "it was freed, and is used again or goes back to the system bit by bit";
/// What is not the runtime's.
const OUTSIDE: &str = "mapped by the program (mmap), or of C";

fn holds(part: Part, held: u64, in_use: u64) -> String {
    let held_in_words = bytes(held);
    match part {
        Part::Objects => format!("{held_in_words} on the Go heap is objects"),
        Part::Room => format!(
            "{held_in_words} of the {} in use on the Go heap is free room between objects (fragmentation)",
            bytes(in_use)
        ),
        Part::Idle => format!("{held_in_words} on the Go heap is idle: {IDLE}"),
        Part::Stacks => format!("{held_in_words} is stacks of goroutines, ended ones included"),
        Part::Own => format!("The Go runtime takes {held_in_words} for itself"),
        Part::Outside => {
            format!("About {held_in_words} of memory is not the Go runtime's, but {OUTSIDE}")
        }
    }
}

fn more(part: Part, grown: u64, in_use: u64) -> String {
    let grown = bytes(grown);
    match part {
        Part::Objects => format!("{grown} more in objects on the Go heap, garbage included"),
        Part::Room => format!(
            "{grown} more free room between objects on the Go heap (fragmentation), whose spans take {}",
            bytes(in_use)
        ),
        Part::Idle => format!("{grown} more that is idle on the Go heap: {IDLE}"),
        Part::Stacks => format!("{grown} more in stacks of goroutines"),
        Part::Own => format!("{grown} more that the Go runtime takes for itself"),
        Part::Outside => format!("about {grown} more that is not the Go runtime's, but {OUTSIDE}"),
    }
}

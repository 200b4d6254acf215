//! What is said of the heap, and in what words.

mod go;

use serde::Serialize;

use self::go::{go_live, go_unplaced};
use crate::human::{bytes, count, counted, cut, duration, share, signed_bytes};
use crate::section::finding::findings;
use crate::section::label::LONGEST_NAME;

/// Where most is from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Most {
    /// One place.
    Place {
        /// Its part.
        bytes: u64,
        /// The frame that is charged.
        place: String,
        /// Distinct stacks that lead there.
        stacks: u64,
        /// Other places that have about as much: nine tenths at least.
        alike: u64,
        /// The caller below which most was allocated, and how much, where others have as much.
        below: Option<(String, u64)>,
    },
    /// A function of which several lines together have notably more than any place.
    Function {
        /// Its part.
        bytes: u64,
        /// What it is called.
        function: String,
        /// Places in it that have a part.
        lines: u64,
        /// Whether these are lines, not addresses.
        known: bool,
        /// The one that has most.
        line: String,
        /// What that has.
        line_bytes: u64,
    },
    /// So many places that none holds a notable part.
    Spread {
        /// How many.
        places: u64,
        /// What the largest has.
        largest_bytes: u64,
        /// The caller below which most was allocated, and how much; none where only the outermost has so much.
        below: Option<(String, u64)>,
    },
}

/// What C code has in a Go program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BesideGo {
    /// Bytes in live blocks that were allocated while leakscope watched.
    pub live_bytes: u64,
    /// These blocks.
    pub live_objects: u64,
    /// Where most is from.
    pub most: Option<Most>,
    /// What was lost of them.
    pub lost: Lost,
    /// Frees of blocks that were not seen allocated, where they are notable.
    pub unseen_frees: u64,
}

/// What could not be recorded, where that can change the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// Allocations that are not in the account.
    pub allocations: u64,
    /// Frees that are not.
    pub frees: u64,
}

/// Blocks that are older than the recording, and were reallocated since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Older {
    /// How many.
    pub blocks: u64,
    /// What they held as they were first seen, or the least since.
    pub bytes: u64,
}

findings! {
    /// What is said of the heap.
    pub enum HeapSaid, in the words of text {
        /// No call was seen.
        Note NothingAllocated = "heap_nothing_allocated" {},
        /// All is freed again.
        Note NothingLeft = "heap_nothing_left" { alloc_objects: u64, min_age_ns: u64, older: Older, },
        /// So much is live.
        Note Live = "heap_live" {
            live_bytes: u64,
            live_objects: u64,
            min_age_ns: u64,
            most: Option<Most>,
            lost: Lost,
            unseen_frees: u64,
        },
        /// Who calls the function that most is charged to.
        Note Callers = "heap_callers" {
            function: String,
            callers: Vec<(String, u64)>,
            bytes: u64,
            wrapper: Option<String>,
        },
        /// What was lost can change the answer.
        Warning Lost = "heap_lost" { allocations: u64, frees: u64, live_objects: u64, table_full: bool, },
        /// Blocks of which no stack is known.
        Warning Unplaced = "heap_unplaced" { unplaced_bytes: u64, live_bytes: u64, },
        /// Blocks from before were reallocated; `lost` tells whether some may be new ones that were not recorded.
        Note Older = "heap_older" { older: Older, lost: bool, },
        /// A Go program whose C code allocates nothing, and whose own heap is not read.
        Note NoC = "heap_no_c_code" {},
        /// Of a Go heap no site is known.
        Note GoUnplaced = "go_heap_unplaced" { in_use_bytes: Option<u64>, alloc_bytes: u64, most: Option<String>, most_bytes: u64, },
        /// So much is live in a Go program.
        Note GoLive = "go_heap_live" {
            in_use_bytes: Option<u64>,
            live_bytes: u64,
            live_objects: u64,
            since_attach: bool,
            exact: bool,
            most: Option<Most>,
            beside: Option<BesideGo>,
            unsampled_bytes: Option<u64>,
        },
        /// There is nothing to probe.
        Warning NoAllocator = "heap_no_allocator" { files: u64, reason: Option<String>, },
        /// Memory grew while no probe was hit.
        Warning GrownElsewhere = "memory_grown_elsewhere" {
            growth_bytes: u64,
            live_bytes: u64,
            reason: Option<String>,
        },
        /// Memory grew by more than what is live explains.
        Warning GrownUnexplained = "memory_grown_unexplained" {
            growth_bytes: u64,
            live_bytes: u64,
            lost: bool,
            reason: Option<String>,
        },
        /// What a part of the stacks holds.
        Note Selected = "heap_selected" { live_bytes: u64, of_bytes: u64, },
        /// It grew from report to report.
        Note Grew = "heap_grew" {
            growth_bytes: i64,
            old_bytes: u64,
            new_bytes: u64,
            most: Growth,
            traced: bool,
            unseen_frees: u64,
        },
        /// What was kept in two windows of one process.
        Note Rates = "heap_rates" { old_bytes_per_s: u64, new_bytes_per_s: u64, most: Option<Rate>, },
        /// It did not, but a site did.
        Note SiteGrew = "heap_site_grew" { growth_bytes: i64, most: Growth, },
    }
}

/// The place that grew most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Growth {
    /// By so much.
    pub bytes: i64,
    /// The frame to blame.
    pub place: String,
}

/// The place that kept most a second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rate {
    /// The frame that is charged.
    pub place: String,
    /// Bytes a second of the old window.
    pub old_bytes_per_s: u64,
    /// Bytes a second of the new window.
    pub new_bytes_per_s: u64,
}

fn text(said: &HeapSaid) -> String {
    match said {
        HeapSaid::NothingAllocated {} => "Nothing was allocated while leakscope watched.".to_owned(),
        HeapSaid::NothingLeft { alloc_objects, min_age_ns, older } => format!(
            "No blocks{} are left of {} allocated{} while leakscope watched{}.",
            old(*min_age_ns),
            counted(*alloc_objects, "block"),
            if older.blocks > 0 { " or reallocated" } else { "" },
            beside(*older, *min_age_ns)
        ),
        HeapSaid::Older { older, lost } => from_before(*older, *lost),
        HeapSaid::Live { live_bytes, live_objects, min_age_ns, most, lost, unseen_frees } => {
            let are = if *live_objects == 1 { "is" } else { "are" };
            let (held, blocks) = (bytes(*live_bytes), counted(*live_objects, "block"));
            let (old, how) = (old(*min_age_ns), how_sure(*lost));
            let held = format!("{held} in {blocks} allocated while leakscope watched{old} {are} still live");
            let sentence = and_most(format!("{how}{held}"), *live_bytes, most.as_ref(), *lost);
            sentence + &meanwhile(*unseen_frees)
        }
        HeapSaid::Callers { function, callers, bytes, wrapper } => {
            called(function, callers, *bytes, wrapper.as_deref())
        }
        HeapSaid::Lost { .. } | HeapSaid::Unplaced { .. } => incomplete(said).unwrap_or_default(),
        HeapSaid::NoC {} => {
            "No C code allocated anything while leakscope watched; the Go runtime's own heap was \
                             not looked at."
                .to_owned()
        }
        HeapSaid::GoUnplaced { .. } => go_unplaced(said),
        HeapSaid::GoLive { .. } => go_live(said).unwrap_or_default(),
        HeapSaid::NoAllocator { .. }
        | HeapSaid::GrownElsewhere { .. }
        | HeapSaid::GrownUnexplained { .. } => untraced(said).unwrap_or_default(),
        HeapSaid::Selected { live_bytes, of_bytes } => {
            format!("{} of {} live", bytes(*live_bytes), bytes(*of_bytes))
        }
        HeapSaid::Grew { growth_bytes, old_bytes, new_bytes, most, traced, unseen_frees } => format!(
            "{} grew by {}, from {} to {}; {} from {}.{}",
            if *traced { "Live memory that leakscope saw allocated" } else { "Live memory" },
            bytes(growth_bytes.unsigned_abs()),
            bytes(*old_bytes),
            bytes(*new_bytes),
            crate::section::growth::part(most.bytes, *growth_bytes),
            most.place,
            meanwhile(*unseen_frees)
        ),
        HeapSaid::Rates { old_bytes_per_s, new_bytes_per_s, most } => {
            rates(*old_bytes_per_s, *new_bytes_per_s, most.as_ref())
        }
        HeapSaid::SiteGrew { growth_bytes, most } => format!(
            "Live memory did not grow ({}), but that from {} did: {}.",
            signed_bytes(*growth_bytes),
            most.place,
            signed_bytes(most.bytes)
        ),
    }
}

/// A share that is never less than it is.
fn at_most(part: u64, all: u64) -> String {
    let percent = (u128::from(part) * 100).div_ceil(u128::from(all.max(1)));
    format!("{percent} %")
}

/// What was kept a second in two windows of one process.
fn rates(old: u64, new: u64, most: Option<&Rate>) -> String {
    if (old, new) == (0, 0) {
        return "Of what was allocated in either window, nothing is known to have been kept to its end."
            .to_owned();
    }
    let kept = format!(
        "Of what was allocated, {} a second was kept in the old window and {} a second in the new one",
        bytes(old),
        bytes(new)
    );
    match most {
        Some(Rate { place, old_bytes_per_s, new_bytes_per_s }) => format!(
            "{kept}; most of the new one at {place}: {} a second, and {} a second in the old one.",
            bytes(*new_bytes_per_s),
            bytes(*old_bytes_per_s)
        ),
        None => format!("{kept}."),
    }
}

/// What left the heap besides: a full cache that drops what is old is no leak.
fn meanwhile(unseen_frees: u64) -> String {
    match unseen_frees {
        0 => String::new(),
        1 => " Meanwhile 1 block was freed that leakscope had not seen allocated.".to_owned(),
        n => format!(" Meanwhile {} blocks were freed that leakscope had not seen allocated.", count(n)),
    }
}

/// Who calls a function, and how to charge these instead.
fn called(function: &str, callers: &[(String, u64)], all: u64, wrapper: Option<&str>) -> String {
    let told: Vec<String> =
        callers.iter().map(|(name, bytes)| format!("{name} ({})", share(*bytes, all))).collect();
    let known = callers.iter().map(|(_, bytes)| bytes).fold(0u64, |sum, bytes| sum.saturating_add(*bytes));
    let more = if known < all { " and others" } else { "" };
    let hint =
        wrapper.map(|name| format!(" If it allocates on their behalf, --wrapper '{name}' charges them."));
    format!(
        "{} allocated it for {}{more}.{}",
        cut(function, LONGEST_NAME),
        told.join(", "),
        hint.unwrap_or_default()
    )
}

/// Why the account does not explain the memory.
fn untraced(said: &HeapSaid) -> Option<String> {
    Some(match said {
        HeapSaid::NoAllocator { files, reason } => format!(
            "No allocator function was found in the {} that the target maps{}: its heap cannot be traced.",
            counted(*files, "file"),
            because(reason)
        ),
        HeapSaid::GrownElsewhere { growth_bytes, live_bytes, reason } => format!(
            "{}: no allocator function was called, so the memory comes from elsewhere, such as mmap or an allocator \
             of the program's own{}.",
            grew(*growth_bytes, *live_bytes),
            because(reason)
        ),
        HeapSaid::GrownUnexplained { growth_bytes, live_bytes, lost, reason } => format!(
            "{}; {} of the growth is not explained: {}{}.",
            grew(*growth_bytes, *live_bytes),
            bytes(growth_bytes.saturating_sub(*live_bytes)),
            elsewhere(*lost),
            because(reason)
        ),
        _ => return None,
    })
}

/// That blocks of a certain age were asked for.
fn old(min_age_ns: u64) -> String {
    if min_age_ns > 0 { format!(" that are {} old or older", duration(min_age_ns)) } else { String::new() }
}

/// That what is left was there before.
fn beside(older: Older, min_age_ns: u64) -> String {
    if older.blocks == 0 {
        return String::new();
    }
    let (were, have) = if older.blocks == 1 { ("was", "has") } else { ("were", "have") };
    let grown = if min_age_ns == 0 { format!(" and {have} not grown since") } else { String::new() };
    format!(", beside {} from before the attach that {were} reallocated{grown}", some(older))
}

fn some(older: Older) -> String {
    format!("{} (at least {})", counted(older.blocks, "block"), bytes(older.bytes))
}

/// What is counted of blocks from before.
fn from_before(older: Older, lost: bool) -> String {
    let (are, were, they, their, have) = match older.blocks {
        1 => ("is", "was", "it", "its", "has"),
        _ => ("are", "were", "they", "their", "have"),
    };
    let which = if lost {
        format!(
            "that {were} reallocated {are} older than the attach, or {their} allocation could not be recorded"
        )
    } else {
        format!("{are} older than the attach and {were} reallocated while leakscope watched")
    };
    format!(
        "{} {which}: only what {they} {have} grown by since {their} smallest size that was seen is counted. How large \
         {they} {were} at the attach is not known.",
        some(older)
    )
}

/// What the numbers are, where some are missing.
fn how_sure(lost: Lost) -> &'static str {
    match (lost.allocations, lost.frees) {
        (0, 0) => "",
        (_, 0) => "At least ",
        (0, _) => "Up to ",
        _ => "About ",
    }
}

fn and_most(held: String, live_bytes: u64, most: Option<&Most>, lost: Lost) -> String {
    let that = if lost == Lost::default() { "that" } else { "what was recorded" };
    match most {
        Some(Most::Place { bytes, place, alike, below, .. }) => {
            let alike = match alike {
                0 => String::new(),
                1 => ", and about as much from another place".to_owned(),
                n => format!(", and about as much from each of {} other places", count(*n)),
            };
            let below = below.as_ref().map(|(caller, bytes)| {
                format!("; {} was allocated below {caller}", share(*bytes, live_bytes))
            });
            let below = below.unwrap_or_default();
            format!("{held}; {} of {that} from {place}{alike}{below}.", share(*bytes, live_bytes))
        }
        Some(Most::Function { bytes, function, lines, known, line, line_bytes }) => format!(
            "{held}; {} of {that} from {lines} {} of {function}, the largest part, {}, at {line}.",
            share(*bytes, live_bytes),
            if *known { "lines" } else { "places" },
            share(*line_bytes, live_bytes)
        ),
        Some(Most::Spread { places, largest_bytes, below }) => {
            let spread = format!(
                "{held}, from {} of which none has more than {} of {that}",
                counted(*places, "place"),
                at_most(*largest_bytes, live_bytes)
            );
            match below {
                Some((caller, bytes)) => {
                    format!("{spread}; {} was allocated below {caller}.", share(*bytes, live_bytes))
                }
                None => format!("{spread}."),
            }
        }
        None => format!("{held}."),
    }
}

/// What is missing in the account.
fn incomplete(said: &HeapSaid) -> Option<String> {
    Some(match said {
        HeapSaid::Lost { allocations, frees, live_objects, table_full } => {
            let mut parts = Vec::new();
            if *allocations > 0 {
                parts.push(format!(
                    "{} could not be recorded, beside {} that are told as live: the place that holds most may be \
                     another one",
                    counted(*allocations, "allocation"),
                    counted(*live_objects, "block")
                ));
            }
            if *frees > 0 {
                parts.push(format!(
                    "{} could not be recorded: so many blocks are told as live that are not",
                    counted(*frees, "free")
                ));
            }
            let mend = if *table_full { " The table of live blocks was full: raise --max-live." } else { "" };
            format!("{}.{mend}", parts.join("; "))
        }
        HeapSaid::Unplaced { unplaced_bytes, live_bytes } => format!(
            "{} of {} live ({}) have no stack, so they are in no place: it did not get through to leakscope, or \
             there were more distinct stacks than it keeps.",
            bytes(*unplaced_bytes),
            bytes(*live_bytes),
            share(*unplaced_bytes, *live_bytes)
        ),
        _ => return None,
    })
}

fn because(reason: &Option<String>) -> String {
    reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default()
}

fn grew(growth_bytes: u64, live_bytes: u64) -> String {
    format!("RSS grew by {}, and {} of live blocks were traced", bytes(growth_bytes), bytes(live_bytes))
}

/// Where memory can be that is in no live block. What was lost is part of it.
fn elsewhere(lost: bool) -> &'static str {
    if lost {
        "allocations that could not be recorded are part of it; the rest can be mapped directly (mmap), the \
         allocator's own overhead, freed blocks that it keeps, or memory from before the attach that was touched \
         only now"
    } else {
        "it can be mapped directly (mmap), the allocator's own overhead, freed blocks that it keeps, or memory from \
         before the attach that was touched only now"
    }
}

//! What is said of the heap of a Go program.

use super::{BesideGo, HeapSaid, Lost, and_most, how_sure, meanwhile};
use crate::human::{bytes, counted, share};

/// What is live in a Go program: exact counts of its C code and what is known of Go's heap are told one by one, the
/// larger first.
pub(super) fn go_live(said: &HeapSaid) -> Option<String> {
    let HeapSaid::GoLive {
        in_use_bytes,
        live_bytes,
        live_objects,
        since_attach,
        exact,
        most,
        beside,
        unsampled_bytes,
    } = said
    else {
        return None;
    };
    let mut go =
        in_use_bytes.map_or_else(String::new, |n| format!("{} are in use on the Go heap; ", bytes(n)));
    let about = if *exact { "" } else { "about " };
    let objects = counted(*live_objects, "object");
    let are = if *live_objects == 1 { "is" } else { "are" };
    let known = match (live_objects, since_attach) {
        (0, true) => "of what was allocated while leakscope watched, nothing is known to be live".to_owned(),
        (0, false) => "no place of it is known".to_owned(),
        (_, true) => format!(
            "{about}{} in {objects} allocated on it while leakscope watched {are} still live",
            bytes(*live_bytes)
        ),
        // Of few samples each stands for much.
        (_, false) if !exact && in_use_bytes.is_some_and(|n| n < *live_bytes) => format!(
            "the samples of its own memory profile stand for more, about {} in {objects}, as they are few",
            bytes(*live_bytes)
        ),
        (_, false) => {
            format!("{about}{} in {objects} {are} live by its last garbage collection", bytes(*live_bytes))
        }
    };
    go.push_str(&and_most(known, *live_bytes, most.as_ref(), Lost::default()));
    if most.is_none() && *live_objects > 0 {
        go.push_str(" No place of it is sure enough to be named.");
    }
    // Nine tenths explain it.
    let rest = |in_use: u64| live_bytes.saturating_mul(10) < in_use.saturating_mul(9);
    if *since_attach && in_use_bytes.is_some_and(rest) {
        go.push_str(" The rest of that heap is older, or not yet collected");
        let other = unsampled_bytes.map(|n| format!(", or of another Go runtime ({})", bytes(n)));
        go.push_str(&other.unwrap_or_default());
        go.push('.');
    }
    let go = capitalized(&go);
    let Some(BesideGo { live_bytes: c_bytes, live_objects, most, lost, unseen_frees }) = beside else {
        return Some(go);
    };
    let are = if *live_objects == 1 { "is" } else { "are" };
    let c = format!(
        "{}{} in {} allocated by C code while leakscope watched {are} still live",
        how_sure(*lost),
        bytes(*c_bytes),
        counted(*live_objects, "block")
    );
    let c = and_most(c, *c_bytes, most.as_ref(), *lost) + &meanwhile(*unseen_frees);
    Some(if c_bytes > live_bytes { format!("{c} {go}") } else { format!("{go} {c}") })
}

/// A Go heap of which nothing is known to be live.
pub(super) fn go_unplaced(said: &HeapSaid) -> String {
    let HeapSaid::GoUnplaced { in_use_bytes, alloc_bytes, most, most_bytes } = said else {
        return String::new();
    };
    let in_use = in_use_bytes.map(|n| format!(", of {} in use", bytes(n))).unwrap_or_default();
    let part = |place| format!(", {} of that at {place}", share(*most_bytes, *alloc_bytes));
    let most = most.as_ref().map(part).unwrap_or_default();
    let allocated = match alloc_bytes {
        0 => String::new(),
        n => format!(
            " About {} were allocated on it while leakscope watched{most}; none of that has survived a garbage collection \
             yet.",
            bytes(*n)
        ),
    };
    format!("Nothing that is live on the Go heap is known by its place{in_use}.{allocated}")
}

fn capitalized(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map_or_else(String::new, |first| first.to_uppercase().chain(rest).collect())
}

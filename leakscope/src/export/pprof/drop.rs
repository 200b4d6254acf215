//! What readers leave out at the inner end of stacks, so that they begin with the frame that is charged: the allocator,
//! the language's runtime, and what wraps them. The frames are in the file all the same.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use crate::export::profile::Profile;
use crate::human::sanitize_for_files;
use crate::section::label::function;

/// Most functions that are named, those with most weight.
const MOST: usize = 1000;
/// Brackets that belong to a name; at any other `(` the parameters begin (`simplifyFunc` of
/// github.com/google/pprof/profile/prune.go).
const RESERVED: [&str; 2] = ["(anonymous namespace)", "operator()"];

/// A regular expression of the functions that stand only inside of charged frames; empty where there are none.
///
/// A reader drops the outermost frame that it matches and all within, so a function that is charged somewhere, or
/// calls what is charged, is not among them. Profiles of a program in Go are as its own are, which drop nothing.
pub(super) fn drop_frames(profile: &Profile<'_>) -> String {
    if profile.reports.iter().any(|report| report.goroutines.is_some() || report.go_memory.is_some()) {
        return String::new();
    }
    let mut inside: HashMap<String, u64> = HashMap::new();
    let mut outside: HashSet<String> = HashSet::new();
    for sample in &profile.samples {
        let blame = sample.blame.unwrap_or(0).min(sample.frames.len());
        let (inner, outer) = sample.frames.split_at(blame);
        for frame in inner {
            let weight = inside.entry(matched(&function(frame)).to_owned()).or_default();
            *weight = weight.saturating_add(sample.weight);
        }
        outside.extend(outer.iter().map(|frame| matched(&function(frame)).to_owned()));
    }
    let mut dropped: Vec<(String, u64)> =
        inside.into_iter().filter(|(name, _)| !name.is_empty() && !outside.contains(name)).collect();
    dropped.sort_unstable_by(|a, b| (Reverse(a.1), &a.0).cmp(&(Reverse(b.1), &b.0)));
    let names: Vec<String> =
        dropped.iter().take(MOST).map(|(name, _)| regex::escape(&sanitize_for_files(name))).collect();
    names.join("|")
}

/// What readers match of a name: what comes before its parameters.
fn matched(name: &str) -> &str {
    let mut from = 0;
    while let Some(at) = name[from..].find('(') {
        let at = from + at;
        let reserved = RESERVED.iter().find_map(|reserved| {
            let start = at.checked_sub(reserved.find('(')?)?;
            name.get(start..)?.starts_with(reserved).then_some(start + reserved.len())
        });
        match reserved {
            Some(end) => from = end,
            None => return &name[..at],
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::profile::ProfileKind;
    use crate::export::table::tests::samples;
    use crate::section::model::{Site, Stack, StackEnd};

    fn profile(stacks: &[(&[&str], u64)]) -> String {
        let mut report = samples::heap();
        let heap = report.heap.as_mut().expect("a heap");
        let like = heap.sites.swap_remove(0);
        heap.sites = Vec::new();
        for (names, blame) in stacks {
            let frames: Vec<_> = names.iter().map(|name| samples::frame(name, None)).collect();
            let stack = Stack {
                frames: frames.into(),
                blame: Some(*blame),
                end: Some(StackEnd::Root),
                ..Stack::default()
            };
            heap.sites.push(Site { stack, ..like.clone() });
        }
        drop_frames(&Profile::of_all(&[&report], ProfileKind::Heap).expect("a profile"))
    }

    #[test]
    fn what_is_dropped() {
        let plain: (&[&str], u64) = (&["malloc", "make(int)", "work", "main"], 2);
        assert_eq!(profile(&[plain]), "make|malloc");
        // Charged somewhere itself.
        assert_eq!(profile(&[plain, (&["malloc", "make(long)", "main"], 1)]), "malloc");
        // Nothing is below what is charged.
        assert_eq!(profile(&[(&["work", "main"], 0)]), "");
        assert_eq!(profile(&[(&["operator new[](unsigned long)", "work"], 1)]), r"operator new\[\]");
    }

    #[test]
    fn what_readers_match() {
        assert_eq!(matched("std::vector<int>::push_back(int const&)"), "std::vector<int>::push_back");
        assert_eq!(matched("(anonymous namespace)::make(int)"), "(anonymous namespace)::make");
        assert_eq!(matched("main::{closure}::operator()(int) const"), "main::{closure}::operator()");
        assert_eq!(matched("main.(*Pool).get"), "main.");
        assert_eq!([matched("malloc"), matched(""), matched("(")], ["malloc", "", ""]);
    }
}

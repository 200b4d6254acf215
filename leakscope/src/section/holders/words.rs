//! What is said of what holds the memory, and in what words.

use serde::Serialize;

use super::model::{AllocatedAt, Container};
use crate::human::{bytes, count, counted, file_name};
use crate::section::finding::findings;

/// A holder, as a sentence tells of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Told {
    /// Who, in words.
    pub holder: String,
    /// What follows that to name a part of it, if it has no name.
    pub type_name: Option<String>,
    pub held_bytes: u64,
    pub container: Option<Container>,
    /// Whether the container's path names the holder.
    pub named: bool,
    /// The place that allocated most of the samples.
    pub allocated: Option<AllocatedAt>,
    /// How much of what was sampled that is, in percent.
    pub share: u64,
}

findings! {
    /// What is said of what holds the memory.
    pub enum HoldersSaid, in the words of text {
        /// Who holds most.
        Note Most = "memory_held" { told: Told, live_bytes: u64, },
        /// Who holds most of what has come.
        Note Grew = "memory_held_grew" { told: Told, growth_bytes: i64, all_growth_bytes: i64, },
        /// Who holds more than in another report.
        Note GrewSince = "memory_held_grew_since" { holder: String, growth_bytes: i64, all_growth_bytes: i64, },
        /// Much was not reached.
        Note Unreached = "memory_unreached" { unreached_bytes: u64, live_bytes: u64, },
        /// The heap was not read.
        Note Unknown = "memory_holders_unknown" { why: String, },
        /// Where resident memory is.
        Note Resident = "memory_resident" { told: String, },
    }
}

fn text(said: &HoldersSaid) -> String {
    let told = told(said);
    // Names stay as they are.
    told.strip_prefix("a ").map_or_else(|| told.clone(), |rest| format!("A {rest}"))
}

fn told(said: &HoldersSaid) -> String {
    match said {
        HoldersSaid::Most { told, live_bytes } => most(told, *live_bytes),
        HoldersSaid::Grew { told, growth_bytes, all_growth_bytes } => {
            grew(&told.holder, *growth_bytes, *all_growth_bytes, "at the first look")
        }
        HoldersSaid::GrewSince { holder, growth_bytes, all_growth_bytes } => {
            grew(holder, *growth_bytes, *all_growth_bytes, "in the old report")
        }
        HoldersSaid::Unreached { unreached_bytes, live_bytes } => format!(
            "{} of the {} on the heap was not reached from any holder: garbage that no collection has found yet, or what \
             moved while it was read.",
            bytes(*unreached_bytes),
            bytes(*live_bytes)
        ),
        HoldersSaid::Unknown { why } => format!("What holds the memory is not known: {why}."),
        HoldersSaid::Resident { told } => format!("Resident memory: {told}."),
    }
}

/// That a holder holds more.
fn grew(holder: &str, by: i64, all: i64, when: &str) -> String {
    let signed = if all < 0 { "less" } else { "more" };
    format!(
        "{holder} holds {} more than {when}. The heap has {} {signed} in all, garbage included.",
        bytes(by.unsigned_abs()),
        bytes(all.unsigned_abs())
    )
}

fn most(told: &Told, live_bytes: u64) -> String {
    let live = bytes(live_bytes);
    let held = match &told.container {
        Some(container) => contained(told, container, &live),
        None => {
            let of_type = told.type_name.as_ref().map(|name| format!(" (a {name})")).unwrap_or_default();
            format!("{}{of_type} holds {} of the {live} on the heap", told.holder, bytes(told.held_bytes))
        }
    };
    format!("{held}{}.", allocated(told))
}

/// Entries of a container.
pub(super) fn entries(container: &Container) -> String {
    match container.entries {
        1 => "1 entry".to_owned(),
        n => format!("{} entries", count(n)),
    }
}

fn contained(told: &Told, container: &Container, live: &str) -> String {
    // What lies between is not known.
    let path = container.path.trim_start_matches(" →").trim_start();
    let who = match (told.named, path.is_empty()) {
        (true, false) => path.to_owned(),
        (false, false) => format!("{path} of {}", told.holder),
        (_, true) => told.holder.clone(),
    };
    let held = bytes(container.held_bytes);
    let entries = entries(container);
    let is = if container.objects == 1 {
        format!(
            "{who} is a {} with {entries} and holds {held} of the {live} on the heap",
            container.type_name
        )
    } else {
        let all = counted(container.objects, "value");
        format!(
            "{who} is {all} of {} with {entries} in all, which hold {held} of the {live} on the heap",
            container.type_name
        )
    };
    // What else the holder has.
    if told.held_bytes > container.held_bytes + container.held_bytes / 10 && !path.is_empty() {
        format!("{is} ({} in all {})", told.holder, bytes(told.held_bytes))
    } else {
        is
    }
}

fn allocated(told: &Told) -> String {
    let Some(at) = &told.allocated else { return String::new() };
    let by = if told.share >= 100 { String::new() } else { format!(" ({} % by samples)", told.share) };
    format!("; allocated at {} {}:{}{by}", at.function, file_name(&at.file), at.line)
}

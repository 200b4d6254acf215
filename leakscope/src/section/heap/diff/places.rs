//! What changed at places: lines of the code, with all stacks that are charged to them.

use std::cmp::Reverse;
use std::collections::HashMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{HeapSite, Rates};
use crate::section::Sides;
use crate::section::by::By;
use crate::section::group::{FrameKey, add, key};
use crate::section::growth::{Change, growth};
use crate::section::label::name;
use crate::section::site::{rank, ranked};

/// A place, in both reports or in one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HeapPlace {
    /// Its place in the list, from 1: by growth, or by rate where the windows are two of one process.
    pub rank: u64,
    /// What happened to it.
    pub change: Change,
    /// What it is called in tables.
    pub label: String,
    /// Name of the source.
    pub source: String,
    /// Live bytes in the old report.
    pub old_live_bytes: u64,
    /// Live bytes in the new report.
    pub new_live_bytes: u64,
    /// Change of live bytes; null of two windows of one process.
    pub growth_bytes: Option<i64>,
    /// Live blocks in the old report.
    pub old_live_objects: u64,
    /// Live blocks in the new report.
    pub new_live_objects: u64,
    /// Change of live blocks; null of two windows of one process.
    pub growth_objects: Option<i64>,
    /// Live blocks that are older than the recording, and were reallocated since, in the old report.
    #[serde(default)]
    pub old_older_blocks: u64,
    /// Live blocks that are older than the recording, and were reallocated since, in the new report.
    #[serde(default)]
    pub new_older_blocks: u64,
    /// What these held as they were first seen, or the least since, in the old report.
    #[serde(default)]
    pub old_older_bytes: u64,
    /// What these held as they were first seen, or the least since, in the new report.
    #[serde(default)]
    pub new_older_bytes: u64,
    /// What was allocated and kept a second of the old window; null of a moment.
    pub old_bytes_per_s: Option<u64>,
    /// What was allocated and kept a second of the new window; null of a moment.
    pub new_bytes_per_s: Option<u64>,
    /// Stacks of the old report.
    pub old_stacks: u64,
    /// Stacks of the new report.
    pub new_stacks: u64,
    /// Rank of the site of it that says most.
    pub site: u64,
}

ranked!(HeapPlace);

/// What tells places apart; lines do so in one build only.
type Key = (Option<FrameKey>, String, String);

fn key_of(site: &HeapSite, one_build: bool) -> Key {
    let by = if one_build { By::Place } else { By::Function };
    let frame = by.frame(&site.stack);
    let why = if frame.is_none() { site.stack.told(name) } else { String::new() };
    let key = frame.as_ref().map(|frame| {
        let (module, function, file, line, at) = key(frame);
        // Files move from build to build.
        if one_build { (module, function, file, line, at) } else { (None, function, None, None, None) }
    });
    (key, site.source.clone(), why)
}

/// Adds up the sites, which are ranked, by place.
pub(super) fn places(sites: &[HeapSite], sides: &Sides<'_>, rates: Rates) -> Vec<HeapPlace> {
    let mut known: HashMap<Key, usize> = HashMap::new();
    let mut places: Vec<HeapPlace> = Vec::new();
    for (number, site) in (1..).zip(sites) {
        let next = places.len();
        let at = *known.entry(key_of(site, sides.one_build)).or_insert(next);
        if at == next {
            places.push(HeapPlace {
                rank: 0,
                change: Change::Same,
                label: site.stack.told(name),
                source: site.source.clone(),
                old_live_bytes: 0,
                new_live_bytes: 0,
                growth_bytes: None,
                old_live_objects: 0,
                new_live_objects: 0,
                growth_objects: None,
                old_older_blocks: 0,
                new_older_blocks: 0,
                old_older_bytes: 0,
                new_older_bytes: 0,
                old_bytes_per_s: None,
                new_bytes_per_s: None,
                old_stacks: 0,
                new_stacks: 0,
                // Sites are ranked: the first says most.
                site: number,
            });
        }
        let place = &mut places[at];
        add(&mut place.old_live_bytes, site.old_live_bytes);
        add(&mut place.new_live_bytes, site.new_live_bytes);
        add(&mut place.old_live_objects, site.old_live_objects);
        add(&mut place.new_live_objects, site.new_live_objects);
        add(&mut place.old_older_blocks, site.old_older_blocks);
        add(&mut place.new_older_blocks, site.new_older_blocks);
        add(&mut place.old_older_bytes, site.old_older_bytes);
        add(&mut place.new_older_bytes, site.new_older_bytes);
        add(&mut place.old_stacks, site.old_stacks);
        add(&mut place.new_stacks, site.new_stacks);
    }
    for place in &mut places {
        let grown = growth(place.old_live_bytes, place.new_live_bytes);
        place.change = change(place, grown);
        place.growth_bytes = rates.are_growth().then_some(grown);
        place.growth_objects =
            rates.are_growth().then(|| growth(place.old_live_objects, place.new_live_objects));
        (place.old_bytes_per_s, place.new_bytes_per_s) = rates.of(place.old_live_bytes, place.new_live_bytes);
    }
    if !rates.are_growth() {
        places.sort_by_key(|place| Reverse((place.new_bytes_per_s, place.old_bytes_per_s)));
    } else if sides.by_objects {
        places.sort_by_key(|place| (unchanged(place), Reverse((place.growth_objects, place.growth_bytes))));
    } else {
        places.sort_by_key(|place| (unchanged(place), Reverse((place.growth_bytes, place.growth_objects))));
    }
    rank(&mut places);
    places
}

/// What did not change is last: tables leave it out.
fn unchanged(place: &HeapPlace) -> bool {
    (place.growth_bytes, place.growth_objects) == (Some(0), Some(0))
}

fn change(place: &HeapPlace, grown: i64) -> Change {
    match grown {
        _ if place.old_stacks == 0 => Change::New,
        _ if place.new_stacks == 0 => Change::Gone,
        1.. => Change::Grown,
        0 => Change::Same,
        _ => Change::Shrunk,
    }
}

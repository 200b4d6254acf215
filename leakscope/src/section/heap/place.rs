//! Places: where in the code memory is from. A place is all stacks that are charged to one line; how they came there
//! is told below it.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use foldhash::fast::FixedState;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::callers::callers;
use super::model::{Heap, Site};
use crate::collect::heap::Sort;
use crate::section::by::By;
use crate::section::frame::Frame;
use crate::section::group::{FrameKey, add, add_known, add_signed, key};
use crate::section::label::name;
use crate::section::model::Stack;
use crate::section::site::{Ranked as _, StackSite, ranked};

/// A place and what the stacks that are charged to it hold together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Place {
    /// Place in the order asked for, from 1.
    pub rank: u64,
    /// Identifies it within this build of the program.
    pub place_id: String,
    /// What it is called in tables: function, file and line, as far as they are known.
    pub label: String,
    /// Function, if it is known.
    pub function: Option<Arc<str>>,
    /// Source file, if it is known.
    pub file: Option<Arc<str>>,
    /// Line in it.
    pub line: Option<u32>,
    /// File that the code is in.
    pub module: Option<Arc<str>>,
    /// Name of the source.
    pub source: String,
    /// Distinct stacks of live blocks.
    pub stacks: u64,
    /// Bytes requested in live blocks; of older blocks only what they have grown by.
    pub live_bytes: u64,
    /// Live blocks; of older ones only those that have grown.
    pub live_objects: u64,
    /// Live blocks that are older than the recording, and were reallocated here last.
    #[serde(default)]
    pub older_blocks: u64,
    /// What these held as they were first seen, or the least since.
    #[serde(default)]
    pub older_bytes: u64,
    /// Bytes allocated.
    pub alloc_bytes: u64,
    /// Blocks allocated.
    pub alloc_objects: u64,
    /// Change of `live_bytes` since the report before.
    pub growth_bytes: i64,
    /// Age of the oldest live block.
    pub oldest_age_ns: Option<u64>,
    /// Age of the youngest live block.
    pub youngest_age_ns: Option<u64>,
    /// Objects that were looked at, where the numbers are estimates.
    pub samples: Option<u64>,
    /// The stack that holds most of it, and where that stands among the sites. Not in the JSON, where it is the
    /// first site of this place.
    #[serde(skip)]
    pub most: Largest,
}

/// The stack of a place that holds most.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Largest {
    /// The number of its site.
    pub site: usize,
    /// The stack.
    pub stack: Stack,
}

ranked!(Place);

impl StackSite for Place {
    fn site_id(&self) -> &str {
        &self.place_id
    }

    fn stack(&self) -> &Stack {
        &self.most.stack
    }

    fn stack_mut(&mut self) -> &mut Stack {
        &mut self.most.stack
    }
}

impl Place {
    /// A place at which nothing is yet.
    fn new(site: &Site, number: usize, key: &Key) -> Self {
        let frame = site.stack.shown();
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        Self {
            rank: 0,
            place_id: format!("{:016x}", hasher.finish()),
            label: site.label.to_string(),
            function: frame.and_then(|frame| frame.function.clone()),
            file: frame.and_then(|frame| frame.file.clone()),
            line: frame.and_then(|frame| frame.line),
            module: frame.and_then(|frame| frame.module.clone()),
            source: site.source.clone(),
            stacks: 0,
            live_bytes: 0,
            live_objects: 0,
            older_blocks: 0,
            older_bytes: 0,
            alloc_bytes: 0,
            alloc_objects: 0,
            growth_bytes: 0,
            oldest_age_ns: None,
            youngest_age_ns: None,
            samples: None,
            most: Largest { site: number, stack: Stack::default() },
        }
    }

    fn add(&mut self, site: &Site) {
        self.stacks += u64::from(site.live_objects > 0);
        add(&mut self.live_bytes, site.live_bytes);
        add(&mut self.live_objects, site.live_objects);
        add(&mut self.older_blocks, site.older_blocks);
        add(&mut self.older_bytes, site.older_bytes);
        add(&mut self.alloc_bytes, site.alloc_bytes);
        add(&mut self.alloc_objects, site.alloc_objects);
        add_signed(&mut self.growth_bytes, site.growth_bytes);
        self.oldest_age_ns = self.oldest_age_ns.max(site.oldest_age_ns);
        self.youngest_age_ns = [self.youngest_age_ns, site.youngest_age_ns].into_iter().flatten().min();
        add_known(&mut self.samples, site.samples);
    }
}

/// What tells places apart: the frame, the source, and where there is no frame, why.
type Key = (Option<FrameKey>, String, Option<String>);

fn key_of(site: &Site) -> Key {
    let frame = By::Place.frame(&site.stack);
    let why = frame.is_none().then(|| site.stack.told(name));
    (frame.as_ref().map(key), site.source.clone(), why)
}

/// The number of a site's place, which is made where it is the first.
fn place_of(site: &Site, number: usize, known: &mut HashMap<Key, usize>, places: &mut Vec<Place>) -> usize {
    let key = key_of(site);
    if let Some(&at) = known.get(&key) {
        return at;
    }
    places.push(Place::new(site, number, &key));
    known.insert(key, places.len() - 1);
    places.len() - 1
}

/// Names the sites and adds them up by place; places are ranked as `sort` says. Whatever changes the sites of a
/// section has to do this again.
pub(crate) fn place(heap: &mut Heap, sort: Sort) {
    let mut known: HashMap<Key, usize> = HashMap::new();
    // What was found for a frame that many stacks share: no text is made or compared for the others.
    let mut shared: HashMap<*const Frame, (Arc<str>, usize), FixedState> = HashMap::default();
    let mut places: Vec<Place> = Vec::new();
    for (number, site) in heap.sites.iter_mut().enumerate() {
        let handle = site.stack.shown().map(std::ptr::from_ref);
        let same = handle.and_then(|handle| shared.get(&handle));
        let at = match same.filter(|(_, at)| places[*at].source == site.source) {
            Some((label, at)) => {
                site.label = Arc::clone(label);
                *at
            }
            None => {
                site.label = site.stack.told(name).into();
                let at = place_of(site, number, &mut known, &mut places);
                shared.extend(handle.map(|handle| (handle, (Arc::clone(&site.label), at))));
                at
            }
        };
        places[at].add(site);
        // Until they are ranked, the place's number stands for its rank.
        site.place = at as u64;
    }
    for (number, site) in heap.sites.iter().enumerate() {
        let most = &mut places[site.place as usize].most;
        if number != most.site && site.live_bytes > heap.sites[most.site].live_bytes {
            most.site = number;
        }
    }
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by(|&a, &b| compare(sort, &places[a], &places[b]));
    let mut ranks = vec![0; places.len()];
    order.iter().zip(1..).for_each(|(&at, rank)| ranks[at] = rank);
    for site in &mut heap.sites {
        site.place = ranks[site.place as usize];
    }
    for (place, rank) in places.iter_mut().zip(&ranks) {
        place.set_rank(*rank);
        place.most.stack = heap.sites[place.most.site].stack.clone();
    }
    places.sort_by_key(|place| place.rank);
    heap.places = places;
    heap.callers = callers(heap);
}

/// The order that the sites of a saved report are in.
pub(crate) fn sort_of(sites: &[Site]) -> Sort {
    let is = |holds: fn(&Site, &Site) -> bool| sites.windows(2).all(|two| holds(&two[0], &two[1]));
    if is(|a, b| a.live_bytes >= b.live_bytes) {
        Sort::LiveBytes
    } else if is(|a, b| a.live_objects >= b.live_objects) {
        Sort::LiveObjects
    } else if is(|a, b| a.growth_bytes >= b.growth_bytes) {
        Sort::Growth
    } else if is(|a, b| a.oldest_age_ns >= b.oldest_age_ns) {
        Sort::Age
    } else {
        Sort::LiveBytes
    }
}

/// The order asked for; equals are told apart by bytes, then by how they came.
fn compare(sort: Sort, a: &Place, b: &Place) -> std::cmp::Ordering {
    let primary = match sort {
        Sort::LiveBytes => b.live_bytes.cmp(&a.live_bytes),
        Sort::LiveObjects => b.live_objects.cmp(&a.live_objects),
        Sort::Growth => b.growth_bytes.cmp(&a.growth_bytes),
        Sort::Age => b.oldest_age_ns.cmp(&a.oldest_age_ns),
    };
    primary.then(b.live_bytes.cmp(&a.live_bytes)).then(b.alloc_bytes.cmp(&a.alloc_bytes))
}

/// Sites by the rank of their place, from 1: the largest first.
pub(crate) fn stacks_of(heap: &Heap) -> HashMap<u64, Vec<&Site>> {
    let mut stacks: HashMap<u64, Vec<&Site>> = HashMap::new();
    for site in heap.sites.iter().filter(|site| site.live_objects > 0) {
        stacks.entry(site.place).or_default().push(site);
    }
    stacks.values_mut().for_each(|sites| sites.sort_by_key(|site| std::cmp::Reverse(site.live_bytes)));
    stacks
}

//! Goroutines by site, and how their numbers change from one look to the next.
//!
//! A site is a stack with what is done in it: state, wait reason, creator, first function, labels. Its
//! number is made from these as text, so that it is the same in the next look and in another process.
//! Between looks only counts are kept, by number: a site that is empty now is not listed, it shows in
//! the growth of the total.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::difference;
use super::locks::{self, GoCircle, GoLock};
use super::text_id::TextId;
use crate::runtime::go::blame::blame_goroutine;
use crate::runtime::go::goroutine::{
    Blocked, GoFrame, GoStack, GoStackEnd, GoState, Goroutine, GoroutineSnapshot, Wakes,
};

/// Goroutines of a site that are named.
pub const SAMPLE: usize = 5;

/// A stack with more sets of labels than this is one site: programs that label each request would
/// have a site for each.
pub const MOST_LABEL_SETS: usize = 32;

/// Goroutines that do the same in the same place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GoSite {
    /// Made from everything that tells it from others.
    pub id: u64,
    /// The number that does not tell labels.
    pub place: u64,
    /// Change, since the first look, of all goroutines there are with this `place`; `None` in that one.
    pub place_growth: Option<i64>,
    /// The same of all goroutines in the function to blame that have this creator, whatever they do there.
    #[serde(default)]
    pub spot_growth: Option<i64>,
    /// The same of all goroutines that have this creator.
    #[serde(default)]
    pub creator_growth: Option<i64>,
    /// What can wake them.
    #[serde(default)]
    pub wakes: Wakes,
    /// How many of them wait in a circle of locks, or behind one.
    #[serde(default)]
    pub deadlocked: u64,
    /// How many of them can never run again, as was shown by what others reach.
    #[serde(default)]
    pub leaked: u64,
    /// How many goroutines do it now.
    pub count: u64,
    /// Change of `count` since the look before; `None` in the first one.
    pub growth: Option<i64>,
    /// Change of `count` since the first look; `None` in that one.
    pub growth_since_first: Option<i64>,
    /// What they do, one state for all.
    pub state: GoState,
    /// Why they wait, in the program's own words; `None` if they do not.
    pub wait_reason: Option<Arc<str>>,
    /// How long the one that waits longest has waited at least, where any has seen a garbage collection.
    pub longest_blocked_ns: Option<u64>,
    /// Whether they wait and none has seen a garbage collection.
    pub since_last_gc: bool,
    /// Whether they are the runtime's own.
    pub system: bool,
    /// The stack that they share, innermost frame first.
    pub frames: Vec<GoFrame>,
    /// Why there are no more.
    pub end: GoStackEnd,
    /// Where they were created.
    pub created_by: Option<GoFrame>,
    /// The function of their `go` statement.
    pub start_function: Option<Arc<str>>,
    /// Labels, those that all have.
    pub labels: BTreeMap<String, String>,
    /// Distinct sets of labels among them.
    pub label_sets: u64,
    /// The lowest of their numbers.
    pub ids: Vec<u64>,
    /// How many are bound to their threads.
    pub locked_to_thread: u64,
    /// The lowest IDs of the threads that they are on.
    pub tids: Vec<u32>,
}

/// The goroutines at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GoroutineSites {
    /// Sites, those with most goroutines first.
    pub sites: Vec<GoSite>,
    /// Goroutines, those of the runtime apart: as Go's own profile counts.
    pub total: u64,
    /// Goroutines of the runtime itself, which Go's own profiles leave out.
    pub system: u64,
    /// Change of `total` since the look before; `None` in the first one.
    pub growth: Option<i64>,
    /// Change of `total` since the first look; `None` in that one.
    pub growth_since_first: Option<i64>,
    /// Time since the first look.
    pub since_first_ns: Option<u64>,
    /// Time since the look before.
    pub since_previous_ns: Option<u64>,
    /// Goroutines that had to be read again.
    pub retried: u64,
    /// Goroutines whose stack could not be read.
    pub unread: u64,
    /// Locks that goroutines wait for, those with most of them first.
    #[serde(default)]
    pub locks: Vec<GoLock>,
    /// Circles of goroutines that wait for each other's locks; equal ones once.
    #[serde(default)]
    pub circles: Vec<GoCircle>,
    /// What was missed as they were read, by name; none that is 0.
    #[serde(with = "crate::losses::of_goroutines")]
    pub losses: Vec<(&'static str, u64)>,
}

/// What is remembered of a look.
#[derive(Debug)]
struct Counts {
    at_ns: u64,
    total: u64,
    /// By the numbers of the site, of the site whatever its labels, of the spot and of the creator.
    sites: HashMap<u64, u64>,
}

/// Remembers what growth is measured from.
#[derive(Debug, Default)]
pub struct GoroutineAggregate {
    first: Option<Counts>,
    previous: Option<Counts>,
    /// Sites that had too many sets of labels.
    merged: HashSet<u64>,
    /// Path of the program's own module, whose code is to blame first.
    main_module: Option<String>,
}

/// A site while goroutines are counted.
#[derive(Clone, Debug)]
struct Group {
    /// The number that does not tell labels.
    base: u64,
    /// The number of the function to blame and the creator, and that of the creator.
    spot: u64,
    creator: u64,
    id: u64,
    /// Index of one of them, which stands for all.
    example: usize,
    count: u64,
    longest: Option<u64>,
    since_last_gc: bool,
    labels: BTreeMap<String, String>,
    label_sets: u64,
    ids: Vec<u64>,
    locked: u64,
    tids: Vec<u32>,
    deadlocked: u64,
    leaked: u64,
}

/// Changes of numbers.
#[derive(Clone, Copy, Debug)]
struct Growth {
    since_previous: Option<i64>,
    since_first: Option<i64>,
    of_place: Option<i64>,
    of_spot: Option<i64>,
    of_creator: Option<i64>,
}

impl GoroutineAggregate {
    /// For the program with this main module.
    pub fn of(main_module: Option<&str>) -> Self {
        Self { main_module: main_module.map(ToOwned::to_owned), ..Self::default() }
    }

    /// Adds up a snapshot. Growth is measured from the one before and from the first.
    pub fn sites(&mut self, read: &GoroutineSnapshot) -> GoroutineSites {
        let (groups, places) = groups(read, self.main_module.as_deref());
        let groups = self.merge(groups);
        let mut now = Counts { at_ns: read.at_ns, total: 0, sites: HashMap::with_capacity(groups.len()) };
        let mut summed = GoroutineSites {
            retried: read.retried,
            locks: locks::wanted(read, &places),
            circles: locks::circles(read, &places),
            losses: read.losses.iter().filter(|(_, n)| *n > 0).copied().collect(),
            ..GoroutineSites::default()
        };
        for group in &groups {
            for number in group.numbers() {
                *now.sites.entry(number).or_default() += group.count;
            }
        }
        for group in groups {
            let since = |before: &Option<Counts>, number: u64| {
                let at = |counts: &Counts| counts.sites.get(&number).copied().unwrap_or(0);
                Some(difference(at(&now), at(before.as_ref()?)))
            };
            let growth = Growth {
                since_previous: since(&self.previous, group.id),
                since_first: since(&self.first, group.id),
                of_place: since(&self.first, group.base),
                of_spot: since(&self.first, group.spot),
                of_creator: since(&self.first, group.creator),
            };
            let Some(site) = site(group, read, growth) else { continue };
            *(if site.system { &mut summed.system } else { &mut summed.total }) += site.count;
            summed.unread += if site.end == GoStackEnd::Unreadable { site.count } else { 0 };
            summed.sites.push(site);
        }
        summed.sites.sort_by(|a, b| b.count.cmp(&a.count).then(a.id.cmp(&b.id)));
        now.total = summed.total;
        let growth = |before: &Option<Counts>| Some(difference(now.total, before.as_ref()?.total));
        let span = |before: &Option<Counts>| Some(now.at_ns.saturating_sub(before.as_ref()?.at_ns));
        summed.growth = growth(&self.previous);
        summed.growth_since_first = growth(&self.first);
        summed.since_previous_ns = span(&self.previous);
        summed.since_first_ns = span(&self.first);
        if self.first.is_none() {
            self.first = Some(Counts { sites: now.sites.clone(), ..now });
        }
        self.previous = Some(now);
        summed
    }

    /// Makes one site of those that differ in too many labels, from now on.
    fn merge(&mut self, groups: Vec<Group>) -> Vec<Group> {
        let mut sets: HashMap<u64, usize> = HashMap::new();
        for group in &groups {
            *sets.entry(group.base).or_default() += 1;
        }
        // What is gone is forgotten.
        self.merged.retain(|base| sets.contains_key(base));
        self.merged.extend(sets.iter().filter(|(_, n)| **n > MOST_LABEL_SETS).map(|(base, _)| *base));
        let mut merged: HashMap<u64, Group> = HashMap::new();
        let mut rest = Vec::with_capacity(groups.len());
        for group in groups {
            if !self.merged.contains(&group.base) {
                rest.push(group);
            } else if let Some(into) = merged.get_mut(&group.base) {
                into.absorb(group);
            } else {
                merged.insert(group.base, Group { id: group.base, ..group });
            }
        }
        rest.extend(merged.into_values());
        rest
    }
}

impl Group {
    /// What it counts for.
    fn numbers(&self) -> impl Iterator<Item = u64> {
        let labelled = (self.id != self.base).then_some(self.id);
        [self.base, self.spot, self.creator].into_iter().chain(labelled)
    }

    fn add(&mut self, goroutine: &Goroutine) {
        self.count += 1;
        self.deadlocked += u64::from(goroutine.deadlocked);
        self.leaked += u64::from(goroutine.leaked);
        match goroutine.blocked {
            Blocked::AtLeast(ns) => self.longest = self.longest.max(Some(ns)),
            Blocked::SinceLastGc => self.since_last_gc = true,
            Blocked::No | Blocked::Unknown => {}
        }
        keep_lowest(&mut self.ids, [goroutine.id]);
        keep_lowest(&mut self.tids, goroutine.tid);
        self.locked += u64::from(goroutine.locked_to_thread);
    }

    fn absorb(&mut self, other: Self) {
        self.count += other.count;
        self.longest = self.longest.max(other.longest);
        self.since_last_gc |= other.since_last_gc;
        self.labels.retain(|key, value| other.labels.get(key) == Some(value));
        self.label_sets += other.label_sets;
        self.locked += other.locked;
        self.deadlocked += other.deadlocked;
        self.leaked += other.leaked;
        keep_lowest(&mut self.ids, other.ids);
        keep_lowest(&mut self.tids, other.tids);
    }
}

fn keep_lowest<T: Ord + Copy>(kept: &mut Vec<T>, more: impl IntoIterator<Item = T>) {
    for one in more {
        if let Err(at) = kept.binary_search(&one)
            && at < SAMPLE
        {
            kept.insert(at, one);
            kept.truncate(SAMPLE);
        }
    }
}

/// The goroutines by everything that tells sites apart, and the number of the place of each.
fn groups(read: &GoroutineSnapshot, main_module: Option<&str>) -> (Vec<Group>, Vec<u64>) {
    let stacks: Vec<u64> = read
        .stacks
        .iter()
        .map(|stack| {
            let mut id = TextId::new();
            id.frames(&stack.frames).number(stack.end as u64);
            id.finish()
        })
        .collect();
    let labels: Vec<u64> = read.labels.iter().map(labels_id).collect();
    let without = labels_id(&BTreeMap::new());
    let blamed: Vec<Option<&GoFrame>> = read.stacks.iter().map(|stack| blamed(stack, main_module)).collect();
    let mut groups: Vec<Group> = Vec::new();
    let mut places = vec![0; read.goroutines.len()];
    let mut index: HashMap<(u64, u64), usize> = HashMap::new();
    for (example, goroutine) in read.goroutines.iter().enumerate() {
        // A stack that is not there has no site.
        let Some(stack) = stacks.get(goroutine.stack) else { continue };
        let base = base_id(*stack, goroutine);
        places[example] = base;
        let set = goroutine.labels.and_then(|at| labels.get(at)).copied().unwrap_or(without);
        let at = *index.entry((base, set)).or_insert_with(|| {
            let mut id = TextId::new();
            id.number(base).number(set);
            let creator = creator_id(goroutine);
            groups.push(Group {
                base,
                spot: spot_id(creator, blamed.get(goroutine.stack).copied().flatten()),
                creator,
                id: id.finish(),
                example,
                count: 0,
                longest: None,
                since_last_gc: false,
                labels: goroutine.labels.and_then(|at| read.labels.get(at)).cloned().unwrap_or_default(),
                label_sets: 1,
                ids: Vec::new(),
                locked: 0,
                tids: Vec::new(),
                deadlocked: 0,
                leaked: 0,
            });
            groups.len() - 1
        });
        groups[at].add(goroutine);
    }
    (groups, places)
}

fn blamed<'a>(stack: &'a GoStack, main_module: Option<&str>) -> Option<&'a GoFrame> {
    stack.frames.get(usize::try_from(blame_goroutine(&stack.frames, main_module)?).ok()?)
}

fn labels_id(labels: &BTreeMap<String, String>) -> u64 {
    let mut id = TextId::new();
    for (key, value) in labels {
        id.text(key).text(value);
    }
    id.number(labels.len() as u64).finish()
}

fn base_id(stack: u64, goroutine: &Goroutine) -> u64 {
    let mut id = TextId::new();
    id.number(stack).text(goroutine.state.name()).maybe(goroutine.wait_reason.as_deref());
    if goroutine.wakes != Wakes::Unknown {
        id.number(goroutine.wakes as u64);
    }
    match &goroutine.created_by {
        Some(frame) => id.number(1).frame(frame),
        None => id.number(0),
    };
    id.maybe(goroutine.start_function.as_deref()).number(u64::from(goroutine.system)).finish()
}

fn creator_id(goroutine: &Goroutine) -> u64 {
    let mut id = TextId::new();
    if let Some(frame) = &goroutine.created_by {
        id.frame(frame);
    }
    id.text("creator").maybe(goroutine.start_function.as_deref()).number(u64::from(goroutine.system)).finish()
}

fn spot_id(creator: u64, blamed: Option<&GoFrame>) -> u64 {
    // Not its line: in a loop they are now here, now there.
    let mut id = TextId::new();
    id.maybe(blamed.map(|frame| &*frame.function));
    id.text("spot").number(creator).finish()
}

fn site(group: Group, read: &GoroutineSnapshot, growth: Growth) -> Option<GoSite> {
    let example = read.goroutines.get(group.example)?;
    let stack = read.stacks.get(example.stack)?;
    Some(GoSite {
        id: group.id,
        place: group.base,
        place_growth: growth.of_place,
        spot_growth: growth.of_spot,
        creator_growth: growth.of_creator,
        wakes: example.wakes,
        deadlocked: group.deadlocked,
        leaked: group.leaked,
        count: group.count,
        growth: growth.since_previous,
        growth_since_first: growth.since_first,
        state: example.state,
        wait_reason: example.wait_reason.clone(),
        longest_blocked_ns: group.longest,
        since_last_gc: group.since_last_gc && group.longest.is_none(),
        system: example.system,
        frames: stack.frames.clone(),
        end: stack.end,
        created_by: example.created_by.clone(),
        start_function: example.start_function.clone(),
        labels: group.labels,
        label_sets: group.label_sets,
        ids: group.ids,
        locked_to_thread: group.locked,
        tids: group.tids,
    })
}

#[cfg(test)]
pub(crate) mod tests;

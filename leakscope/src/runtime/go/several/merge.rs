//! What several runtimes of one process are doing, as one.
//!
//! What can be added up is added up. What cannot (the goal of a collector, its pauses) is that of the one with most
//! memory.

use std::collections::BTreeMap;

use super::held::held;
use crate::runtime::go::Observed;
use crate::runtime::go::aggregate::goroutine_sites::GoSite;
use crate::runtime::go::aggregate::{GoHeapSnapshot, GoroutineSites, number_in};
use crate::runtime::go::creations::GoCreation;
use crate::runtime::go::heap_account::{GoHeap, SizeClass, is_since_attach};
use crate::runtime::go::held::GoHeld;
use crate::runtime::go::leaked::GoLeaks;
use crate::runtime::go::mem_stats::{MemStats, MemoryAccount};
use crate::runtime::go::named::{GoCode, GoFile};
use crate::runtime::go::opened::GoProcess;
use crate::runtime::go::waits::GoWaits;

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Merged {
    files: Vec<GoFile>,
    main_module: Option<String>,
    settings: Vec<(String, String)>,
    snapshot: Option<GoroutineSites>,
    leaks: Option<GoLeaks>,
    creations: Option<Vec<GoCreation>>,
    refused: Option<String>,
    waits: Option<GoWaits>,
    heap: Option<GoHeapSnapshot>,
    memory: Option<MemoryAccount>,
    memory_refused: Option<String>,
    held: Option<GoHeld>,
    held_before: Option<GoHeld>,
    held_refused: Option<String>,
    has_c: bool,
}

impl Merged {
    /// Of these, the one with most memory first.
    pub(super) fn of(all: &[&GoProcess]) -> Self {
        let told: Vec<(&str, Observed<'_>)> = all.iter().map(|one| (one.path(), one.observed())).collect();
        let late = all.iter().map(|one| one.is_late());
        let first = told.first().map(|(_, observed)| *observed).unwrap_or_default();
        let reasons = |why: &dyn for<'a> Fn(&Observed<'a>) -> Option<&'a str>| {
            let each =
                told.iter().filter_map(|(file, one)| Some(format!("of {}: {}", name(file), why(one)?)));
            let all: Vec<String> = each.collect();
            (!all.is_empty()).then(|| all.join("; "))
        };
        Self {
            files: all.iter().flat_map(|one| one.files()).collect(),
            main_module: first.code.main_module.map(ToOwned::to_owned),
            settings: first.settings.to_vec(),
            snapshot: goroutines(
                told.iter()
                    .zip(late.clone())
                    .filter_map(|((file, one), late)| Some(Part { file, late, sites: one.snapshot? })),
            ),
            leaks: leaks(told.iter().map(|(file, one)| (*file, one.leaks))),
            creations: told.iter().map(|(_, one)| one.creations).collect::<Option<Vec<_>>>().map(creations),
            refused: reasons(&|one| one.refused),
            // Those of one runtime are followed.
            waits: told.iter().find_map(|(_, one)| one.waits).cloned(),
            heap: heap(told.iter().filter_map(|(file, one)| Some((*file, one.heap?)))),
            memory: memory(told.iter().zip(late).filter_map(|((_, one), late)| Some((late, one.memory?)))),
            memory_refused: reasons(&|one| one.memory_refused),
            held: held(told.iter().filter_map(|(file, one)| Some((*file, one.held?)))),
            held_before: held(told.iter().filter_map(|(file, one)| Some((*file, one.held_before?)))),
            held_refused: reasons(&|one| one.held_refused),
            has_c: told.iter().any(|(_, one)| one.has_c),
        }
    }

    pub(super) fn observed(&self) -> Observed<'_> {
        Observed {
            code: GoCode {
                main_module: self.main_module.as_deref(),
                others: &self.files,
                ..GoCode::default()
            },
            settings: &self.settings,
            snapshot: self.snapshot.as_ref(),
            leaks: self.leaks.as_ref(),
            creations: self.creations.as_deref(),
            refused: self.refused.as_deref(),
            waits: self.waits.as_ref(),
            heap: self.heap.as_ref(),
            memory: self.memory.as_ref(),
            memory_refused: self.memory_refused.as_deref(),
            held: self.held.as_ref(),
            held_before: self.held_before.as_ref(),
            held_refused: self.held_refused.as_deref(),
            has_c: self.has_c,
            ..Observed::default()
        }
    }
}

/// A file's name without its directory.
pub(super) fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The goroutines of one of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    pub(super) file: &'a str,
    /// Whether it was loaded after leakscope came: then it had none before.
    pub(super) late: bool,
    pub(super) sites: &'a GoroutineSites,
}

/// The sum of changes since a look; `None` where one of them is not known.
fn grown(all: &[Part<'_>], of: fn(&GoroutineSites) -> Option<i64>) -> Option<i64> {
    // A first look at all of them tells no growth.
    all.iter().any(|one| of(one.sites).is_some()).then_some(())?;
    let grown = |one: &Part<'_>| of(one.sites).or(one.late.then_some(one.sites.total.cast_signed()));
    all.iter().map(grown).try_fold(0i64, |sum, growth| Some(sum.saturating_add(growth?)))
}

/// The goroutines of all. Sites keep their numbers from look to look, and those of two files have different ones.
pub(super) fn goroutines<'a>(all: impl Iterator<Item = Part<'a>>) -> Option<GoroutineSites> {
    let all: Vec<Part<'_>> = all.collect();
    let mut merged = GoroutineSites {
        growth: grown(&all, |one| one.growth),
        growth_since_first: grown(&all, |one| one.growth_since_first),
        since_first_ns: all.iter().filter_map(|one| one.sites.since_first_ns).max(),
        since_previous_ns: all.iter().filter_map(|one| one.sites.since_previous_ns).max(),
        ..GoroutineSites::default()
    };
    let mut losses: BTreeMap<&'static str, u64> = BTreeMap::new();
    for Part { file, late, sites } in &all {
        let mut one = (*sites).clone();
        renumber(&mut one, file);
        if *late && merged.growth_since_first.is_some() {
            one.sites.iter_mut().for_each(all_is_new);
        }
        merged.total = merged.total.saturating_add(one.total);
        merged.system = merged.system.saturating_add(one.system);
        merged.retried = merged.retried.saturating_add(one.retried);
        merged.unread = merged.unread.saturating_add(one.unread);
        merged.sites.append(&mut one.sites);
        merged.locks.append(&mut one.locks);
        merged.circles.append(&mut one.circles);
        for (name, n) in one.losses {
            let sum = losses.entry(name).or_default();
            *sum = sum.saturating_add(n);
        }
    }
    merged.losses = losses.into_iter().collect();
    merged.sites.sort_by(|a, b| b.count.cmp(&a.count).then(a.id.cmp(&b.id)));
    merged.locks.sort_by_key(|lock| (std::cmp::Reverse(lock.waiters), lock.address));
    merged.circles.sort_by_key(|circle| std::cmp::Reverse(circle.count));
    (!all.is_empty()).then_some(merged)
}

/// Growth of a site at the first look at a runtime that was loaded after leakscope came.
fn all_is_new(site: &mut GoSite) {
    let count = site.count.cast_signed();
    let growth = [
        &mut site.growth_since_first,
        &mut site.place_growth,
        &mut site.spot_growth,
        &mut site.creator_growth,
    ];
    for growth in growth {
        growth.get_or_insert(count);
    }
}

fn renumber(one: &mut GoroutineSites, file: &str) {
    for site in &mut one.sites {
        (site.id, site.place) = (number_in(file, site.id), number_in(file, site.place));
    }
    for lock in &mut one.locks {
        lock.places.iter_mut().for_each(|(place, _)| *place = number_in(file, *place));
        lock.holders.iter_mut().for_each(|party| party.place = number_in(file, party.place));
    }
    for party in one.circles.iter_mut().flat_map(|circle| &mut circle.parties) {
        party.place = number_in(file, party.place);
    }
}

/// What was found out of those that can never run again; `None` if nobody looked.
fn leaks<'a>(all: impl Iterator<Item = (&'a str, Option<&'a GoLeaks>)>) -> Option<GoLeaks> {
    let all: Vec<(&str, Option<&GoLeaks>)> = all.collect();
    all.iter().any(|(_, found)| found.is_some()).then_some(())?;
    let unknown = all.iter().filter_map(|(file, found)| match found {
        None => Some(format!("of {}: it was not looked for", name(file))),
        Some(found) => found.unknown.as_ref().map(|why| format!("of {}: {why}", name(file))),
    });
    let unknown: Vec<String> = unknown.collect();
    let found = || all.iter().filter_map(|(_, found)| *found);
    Some(GoLeaks {
        looks: found().map(|found| found.looks).min().unwrap_or(0),
        held_bytes: found().fold(0, |sum, found| sum.saturating_add(found.held_bytes)),
        unknown: (!unknown.is_empty()).then(|| unknown.join("; ")),
    })
}

/// Creations of all: each knows the names of its own code, and the addresses of all.
fn creations(all: Vec<&[GoCreation]>) -> Vec<GoCreation> {
    let named = |creation: &GoCreation| creation.frames.first().is_some_and(|f| !f.function.is_empty());
    let mut by_address: BTreeMap<u64, GoCreation> = BTreeMap::new();
    for creation in all.into_iter().flatten() {
        let known = by_address.entry(creation.address).or_insert_with(|| creation.clone());
        if !named(known) && named(creation) {
            *known = creation.clone();
        }
    }
    let mut all: Vec<GoCreation> = by_address.into_values().collect();
    all.sort_by_key(|c| (std::cmp::Reverse((c.created, c.exited)), c.address));
    all
}

/// The heaps of all.
pub(super) fn heap<'a>(all: impl Iterator<Item = (&'a str, &'a GoHeapSnapshot)>) -> Option<GoHeapSnapshot> {
    let mut all: Vec<(&str, &GoHeapSnapshot)> = all.collect();
    // A method that counts from the attach on is told first, by which it is known.
    all.sort_by_key(|(_, one)| !is_since_attach(&one.heap.method));
    let mut merged = GoHeapSnapshot {
        heap: GoHeap { exact: true, error_bytes: Some(0), ..GoHeap::default() },
        unchanged: true,
        ..GoHeapSnapshot::default()
    };
    let sampled = |one: &GoHeapSnapshot| is_since_attach(&one.heap.method);
    let any_sampled = all.iter().any(|(_, one)| sampled(one));
    let mut classes: BTreeMap<(Option<u64>, bool), SizeClass> = BTreeMap::new();
    let (mut methods, mut agreements) = (Vec::new(), Vec::new());
    for (file, one) in &all {
        let (into, from) = (&mut merged.heap, &one.heap);
        into.exact &= from.exact;
        into.error_bytes = into.error_bytes.zip(from.error_bytes).map(|(a, b)| a.saturating_add(b));
        into.sites.extend(from.sites.iter().cloned());
        into.heap_in_use_bytes = into.heap_in_use_bytes.saturating_add(from.heap_in_use_bytes);
        if any_sampled && !sampled(one) {
            into.unsampled_bytes = into.unsampled_bytes.saturating_add(from.heap_in_use_bytes);
        }
        for class in &from.totals_by_class {
            let empty = SizeClass { spans: 0, objects: 0, bytes: 0, ..*class };
            let sum = classes.entry((class.size_bytes, class.scan)).or_insert(empty);
            sum.spans = sum.spans.saturating_add(class.spans);
            sum.objects = sum.objects.saturating_add(class.objects);
            sum.bytes = sum.bytes.saturating_add(class.bytes);
        }
        methods.push((name(file), from.method.as_str()));
        agreements.extend(from.agreement.as_ref().map(|said| format!("of {}: {said}", name(file))));
        merged.sites.extend(one.sites.iter().map(|(id, growth)| (number_in(file, *id), *growth)));
        merged.growth_bytes = merged.growth_bytes.saturating_add(one.growth_bytes);
        merged.unchanged &= one.unchanged;
    }
    merged.heap.totals_by_class = classes.into_values().collect();
    merged.heap.agreement = (!agreements.is_empty()).then(|| agreements.join("; "));
    merged.heap.method = told_once(&methods)?;
    Some(merged)
}

/// The methods, each with the file that it is not of first.
fn told_once(methods: &[(&str, &str)]) -> Option<String> {
    let (file, first) = methods.first()?;
    if methods.iter().all(|(_, method)| method == first) {
        return Some((*first).to_owned());
    }
    let others = methods.iter().skip(1).map(|(file, method)| format!("; of {file}: {method}"));
    Some(format!("{first} (that is of {file}){}", others.collect::<String>()))
}

/// The accounts of all, the one with most memory first. What was loaded after leakscope came had nothing before.
fn memory<'a>(all: impl Iterator<Item = (bool, &'a MemoryAccount)>) -> Option<MemoryAccount> {
    all.fold(None, |sum: Option<MemoryAccount>, (late, one)| {
        let Some(sum) = sum else { return Some(one.clone()) };
        let before = if late { MemStats::default() } else { one.first };
        Some(MemoryAccount {
            first: added(&sum.first, &before),
            last: added(&sum.last, &one.last),
            old: sum.old.or_else(|| one.old.clone()),
        })
    })
}

/// The sum of what takes memory; the rest is of the first.
fn added(sum: &MemStats, one: &MemStats) -> MemStats {
    let add = |of: fn(&MemStats) -> u64| of(sum).saturating_add(of(one));
    MemStats {
        off_by_bytes: add(|of| of.off_by_bytes),
        heap_alloc_bytes: add(|of| of.heap_alloc_bytes),
        heap_in_use_bytes: add(|of| of.heap_in_use_bytes),
        heap_free_bytes: add(|of| of.heap_free_bytes),
        heap_released_bytes: add(|of| of.heap_released_bytes),
        stack_bytes: add(|of| of.stack_bytes),
        thread_stack_bytes: add(|of| of.thread_stack_bytes),
        mspan_in_use_bytes: add(|of| of.mspan_in_use_bytes),
        mspan_bytes: add(|of| of.mspan_bytes),
        mcache_in_use_bytes: add(|of| of.mcache_in_use_bytes),
        mcache_bytes: add(|of| of.mcache_bytes),
        profile_bytes: add(|of| of.profile_bytes),
        gc_bytes: add(|of| of.gc_bytes),
        other_bytes: add(|of| of.other_bytes),
        ready_bytes: add(|of| of.ready_bytes),
        ..*sum
    }
}

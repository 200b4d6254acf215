//! What sites hold, by the samples that were kept.
//!
//! The estimate of a site is the sum of what its live samples stand for. [`Mix`](super::mix::Mix) says what that is for
//! objects that were seen in windows, and how far it may be off. A large object stands for itself, unless others were
//! drawn. What a class has in all is known, or nearly, from its spans ([`Known`](super::known::Known)): the estimates of
//! its sites are fitted to it. Where no window has seen a class, first objects of batches tell which sites it may be of, and no more: such a
//! site holds what its samples take at least, and at most all of the class that was not seen beside.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::super::QUANTILE;
use super::known::{Fit, Range};
use super::mix::{Group, Mix, Site, group_of};
use super::{FIRST_SMALL, Kind, Sample, Sampler};

/// What a stack holds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// Bytes in objects that have survived a collection.
    pub live_bytes: u64,
    /// Such objects.
    pub live_objects: u64,
    /// Bounds of `live_bytes` with a confidence of 95 %.
    pub bounds: (u64, u64),
    /// Samples that `live_bytes` is made from.
    pub samples: u64,
    /// Bytes allocated since recording began.
    pub alloc_bytes: u64,
    pub alloc_objects: u64,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Estimates {
    pub sites: Vec<(Site, Estimate)>,
    /// Half the width of the interval around the sum of live bytes.
    pub error_bytes: u64,
    /// Spans that the runtime took.
    pub batches: u64,
    /// Windows, and the objects that were seen in them.
    pub windows: u64,
    pub seen: u64,
    /// Collections that were followed.
    pub collections: u64,
    /// Batches that make no sense, or whose first object is not known.
    pub odd: u64,
    /// Share of the allocated bytes whose sites are not known but by the first objects of their batches.
    pub by_first: f64,
    /// The most samples that one stands for.
    pub one_in: u64,
}

/// Sums of a site.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    bytes: f64,
    objects: f64,
    alloc_bytes: f64,
    alloc_objects: f64,
    /// Square of half the interval's width.
    error: f64,
    samples: u64,
    /// Bytes of the samples themselves.
    least: f64,
    /// What it can hold beside what it is thought to.
    more: f64,
    /// What of it is not certain at all.
    less: f64,
    /// What its classes hold, whoever allocated it.
    most: f64,
}

impl Sampler {
    /// What is known now.
    pub fn estimates(&self) -> Estimates {
        let mut sums: HashMap<Site, Sums> = HashMap::new();
        let mut error = self.large(&mut sums);
        let mut by_class: HashMap<u8, Vec<&Sample>> = HashMap::new();
        for sample in self.samples.iter().filter(|s| !s.dead && s.is_left() && s.kind != Kind::Large) {
            by_class.entry(sample.class).or_default().push(sample);
        }
        let mut firsts = 0.0;
        for (class, mix) in self.with_open().into_iter().filter(|(class, _)| !self.is_alone(*class)) {
            let Some(size) = self.sizes.get(&class) else { continue };
            let left = by_class.remove(&class).unwrap_or_default();
            let range = self.known.range(class, self.generation);
            let size = *size as f64;
            let mut parts = Parts::default();
            let split = mix.split();
            of_windows((&mix, &split.groups), size, &left, &mut sums, &mut parts);
            of_bursts((&mix, &split.strange), size, &left, &mut sums, &mut parts);
            firsts += of_firsts(&mix, size, &left, &mut sums, &mut parts);
            error += add(parts, size, range, &mut sums);
        }
        let all: f64 = sums.values().map(|sums| sums.alloc_bytes).sum();
        let mut sites: Vec<(Site, Estimate)> =
            sums.into_iter().map(|(site, sums)| (site, sums.estimate())).collect();
        sites.sort_by_key(|(site, estimate)| (std::cmp::Reverse(estimate.live_bytes), *site));
        Estimates {
            sites,
            error_bytes: error.sqrt() as u64,
            batches: self.taken,
            windows: self.windows,
            seen: self.seen,
            collections: self.collections,
            odd: self.odd,
            by_first: firsts / all.max(1.0),
            one_in: self.samples.iter().map(|sample| sample.factor).max().unwrap_or(1),
        }
    }

    /// What is known of classes, open batches included.
    fn with_open(&self) -> BTreeMap<u8, Mix> {
        let mut mixes: BTreeMap<u8, Mix> =
            self.mixes.iter().map(|(class, mix)| (*class, mix.clone())).collect();
        for (class, batch) in self.batches.all() {
            mixes.entry(class).or_default().add(batch.phase, batch.objects(), batch.first);
        }
        mixes
    }

    /// Large objects; returns the square of half the width of their sum's interval.
    fn large(&self, sums: &mut HashMap<Site, Sums>) -> f64 {
        let mut error = 0.0;
        let mut alone: HashMap<u8, (f64, HashSet<Site>)> = HashMap::new();
        for sample in self.samples.iter().filter(|s| !s.dead && s.kind == Kind::Large) {
            let site = sums.entry(sample.site).or_default();
            let (bytes, factor) = (sample.bytes() as f64, sample.factor as f64);
            site.alloc_bytes += bytes;
            site.alloc_objects += factor;
            if sample.is_left() && sample.class >= FIRST_SMALL {
                let (left, sites) = alone.entry(sample.class).or_default();
                *left += factor;
                sites.insert(sample.site);
            }
            if !sample.is_live() {
                continue;
            }
            site.live(bytes, factor, 1, sample.size as f64);
            site.most += if factor > 1.0 { f64::INFINITY } else { bytes };
            // Every large object is seen: only drawing makes it uncertain.
            let drawn = QUANTILE.powi(2) * bytes * bytes * (1.0 - 1.0 / factor);
            site.error += drawn;
            error += drawn;
        }
        // Spans of one object are counted besides: where one was not seen, it may be of any site.
        for (class, (left, sites)) in alone {
            let (Some(range), Some(size)) =
                (self.known.range(class, self.generation), self.sizes.get(&class))
            else {
                continue;
            };
            let missing = (range.low - left).max(0.0) * *size as f64;
            for site in sites {
                let site = sums.entry(site).or_default();
                site.more += missing;
                site.most += missing;
            }
        }
        for (site, (bytes, objects)) in &self.allocated {
            let site = sums.entry(*site).or_default();
            site.alloc_bytes += *bytes as f64;
            site.alloc_objects += *objects as f64;
        }
        error
    }
}

impl Sums {
    /// Adds what live samples stand for, each of so many bytes.
    fn live(&mut self, bytes: f64, objects: f64, samples: u64, size: f64) {
        self.bytes += bytes;
        self.objects += objects;
        self.samples += samples;
        self.least += samples as f64 * size;
    }

    fn estimate(self) -> Estimate {
        let half = self.error.sqrt();
        let live = self.bytes as u64;
        let high = (self.bytes + half + self.more).min(self.most);
        let low = (self.bytes - half - self.less).max(0.0) as u64;
        Estimate {
            live_bytes: live,
            live_objects: self.objects.round() as u64,
            bounds: (low.max(self.least as u64).min(live), high.max(self.bytes).ceil() as u64),
            samples: self.samples,
            alloc_bytes: (self.alloc_bytes as u64).max(live),
            alloc_objects: (self.alloc_objects.round() as u64).max(self.objects.round() as u64),
        }
    }
}

/// What was found of a site in a class, by group.
#[derive(Clone, Debug, Default)]
struct Found {
    counts: Vec<f64>,
    objects: f64,
    /// Square of half the interval's width that drawing makes, in objects.
    drawn: f64,
    samples: u64,
}

impl Found {
    fn add(&mut self, groups: &[Group], at: usize, stands: f64, factor: u64) {
        self.counts.resize(groups.len(), 0.0);
        let Some((count, group)) = self.counts.get_mut(at).zip(groups.get(at)) else { return };
        let objects = group.weight() * stands;
        *count += stands;
        self.objects += objects;
        self.drawn += (QUANTILE * objects).powi(2) * (1.0 - 1.0 / factor as f64);
        self.samples += 1;
    }

    /// Half the width of the interval.
    fn error(&self, mix: &Mix, groups: &[Group]) -> f64 {
        mix.error(groups, &self.counts).hypot(self.drawn.sqrt())
    }

    /// What others have found.
    fn without(&self, other: &Self) -> Self {
        let counts = self.counts.iter().zip(&other.counts).map(|(all, of)| (all - of).max(0.0)).collect();
        Self { counts, drawn: (self.drawn - other.drawn).max(0.0), ..Self::default() }
    }
}

/// What is known of a site in a class, in objects.
#[derive(Clone, Debug, Default)]
struct Part {
    objects: f64,
    /// Half the width of the interval, and of that of all other sites.
    error: f64,
    rest: f64,
    samples: u64,
    /// What it can hold beside, and what of it is not certain at all.
    more: f64,
    less: f64,
}

/// Sites of a class.
#[derive(Debug, Default)]
struct Parts {
    by_site: HashMap<Site, Part>,
    /// What the last collection has left, by the samples, and half the width of its interval.
    left: f64,
    error: f64,
    /// Whether the interval says little.
    is_poor: bool,
    /// First objects of batches, where windows have seen the class, too: how many they stand for, and samples.
    spare: HashMap<Site, (f64, u64)>,
}

/// The objects that windows have seen.
fn of_windows(
    (mix, groups): (&Mix, &[Group]),
    size: f64,
    left: &[&Sample],
    sums: &mut HashMap<Site, Sums>,
    parts: &mut Parts,
) {
    let weight = |at: usize| groups.get(at).map_or(1.0, Group::weight);
    let seen = mix.seen(groups);
    for (site, counts) in &seen {
        let objects: f64 = counts.iter().enumerate().map(|(at, count)| weight(at) * count).sum();
        let sums = sums.entry(*site).or_default();
        sums.alloc_objects += objects;
        sums.alloc_bytes += objects * size;
    }
    let mut found: HashMap<Site, Found> = HashMap::new();
    let mut all = Found::default();
    for sample in left {
        let Kind::Seen { phase } = sample.kind else { continue };
        let Some(at) = group_of(groups, phase) else { continue };
        // Those that could not be followed fared like those that could.
        let of: f64 = seen.get(&sample.site).map_or(0.0, |counts| counts.iter().sum());
        let unfollowed = mix.unfollowed.get(&sample.site).map_or(0.0, |n| *n as f64);
        let stands = sample.factor as f64 * of / (of - unfollowed).max(1.0).min(of.max(1.0));
        all.add(groups, at, stands, sample.factor);
        if sample.is_live() {
            found.entry(sample.site).or_default().add(groups, at, stands, sample.factor);
        }
    }
    parts.left += all.objects;
    parts.error = parts.error.hypot(all.error(mix, groups));
    for (site, of) in found {
        let part = parts.by_site.entry(site).or_default();
        part.objects += of.objects;
        part.error = of.error(mix, groups);
        part.rest = all.without(&of).error(mix, groups);
        part.samples += of.samples;
    }
}

/// Bursts between windows, of sites that these have not seen. All that is certain is that their first objects are theirs:
/// the others of such a batch may be of any site.
fn of_bursts(
    (mix, strange): (&Mix, &HashMap<Site, f64>),
    size: f64,
    left: &[&Sample],
    sums: &mut HashMap<Site, Sums>,
    parts: &mut Parts,
) {
    let mut seen: HashMap<Site, (f64, f64, u64)> = HashMap::new();
    for sample in left.iter().filter(|sample| sample.kind == Kind::First) {
        let (left, live, samples) = seen.entry(sample.site).or_default();
        let factor = sample.factor as f64;
        *left += factor;
        if sample.is_live() {
            *live += factor;
            *samples += 1;
        }
    }
    let mut hidden = 0.0;
    for (site, objects) in strange {
        let sums = sums.entry(*site).or_default();
        sums.alloc_objects += objects;
        sums.alloc_bytes += objects * size;
        let followed = mix.followed(*site) as f64;
        let Some((left, live, samples)) = seen.get(site).filter(|_| followed > 0.0) else { continue };
        let weight = (objects / followed).max(1.0);
        parts.left += weight * left;
        let part = parts.by_site.entry(*site).or_default();
        part.objects += weight * live;
        part.samples += samples;
        part.less += (weight - 1.0) * live;
        part.more -= (weight - 1.0) * left;
        hidden += (weight - 1.0) * left;
    }
    if hidden > 0.0 {
        parts.is_poor = true;
        parts.by_site.values_mut().for_each(|part| part.more += hidden);
    }
}

/// First objects of batches, where no window has seen the class; returns the bytes that were allocated besides.
fn of_firsts(
    mix: &Mix,
    size: f64,
    left: &[&Sample],
    sums: &mut HashMap<Site, Sums>,
    parts: &mut Parts,
) -> f64 {
    let firsts_left = left.iter().filter(|sample| sample.kind == Kind::First);
    if mix.is_seen() {
        for sample in firsts_left.filter(|sample| sample.is_live()) {
            let (objects, samples) = parts.spare.entry(sample.site).or_default();
            *objects += sample.factor as f64;
            *samples += 1;
        }
        return 0.0;
    }
    let weight = mix.first_weight();
    let mut firsts = 0.0;
    for (site, count) in mix.firsts() {
        let count = *count as f64;
        firsts += count;
        let sums = sums.entry(*site).or_default();
        sums.alloc_objects += weight * count;
        sums.alloc_bytes += weight * count * size;
    }
    // A span of one object hides none.
    let hidden = (weight - 1.0) * firsts;
    let mut seen: HashMap<Site, f64> = HashMap::new();
    for sample in firsts_left {
        let factor = sample.factor as f64;
        parts.left += weight * factor;
        parts.is_poor |= weight > 1.0;
        if !sample.is_live() {
            continue;
        }
        let part = parts.by_site.entry(sample.site).or_default();
        part.objects += weight * factor;
        part.error = part.error.hypot(QUANTILE * weight * factor * (1.0 - 1.0 / factor).sqrt());
        part.samples += 1;
        *seen.entry(sample.site).or_insert(0.0) += factor;
    }
    for (site, seen) in seen {
        let part = parts.by_site.entry(site).or_default();
        part.less += (weight - 1.0) * seen;
        part.more += hidden - (weight - 1.0) * seen;
    }
    hidden * size
}

/// Adds the sites of a class, fitted to what is known of it; returns the square of half the width of the interval of their
/// sum.
fn add(parts: Parts, size: f64, range: Option<Range>, sums: &mut HashMap<Site, Sums>) -> f64 {
    let error = if parts.is_poor { f64::INFINITY } else { parts.error };
    let fit = range.map_or(Fit::none(error), |range| range.fit(parts.left, error));
    let most = range.map_or(f64::INFINITY, |range| range.high);
    for (site, part) in &parts.by_site {
        let sums = sums.entry(*site).or_default();
        let objects = fit.factor * part.objects;
        sums.live(objects * size, objects, part.samples, size);
        let share = part.objects / parts.left.max(part.objects);
        let half = fit.error_of(share, part.error, part.rest);
        sums.error += (size * half).powi(2);
        sums.most += most * size;
        sums.more += (fit.factor * part.more + fit.missing).clamp(0.0, (most - objects).max(0.0)) * size;
        sums.less +=
            (objects - (part.objects - part.less)).clamp(0.0, objects) * f64::from(part.less > 0.0) * size;
    }
    if fit.missing >= 1.0 {
        missing(fit.missing, size, parts.spare, sums);
    }
    (size * fit.error.min(parts.error.max(fit.missing))).powi(2)
}

/// Objects that windows have missed: of the sites that first objects of batches tell of, or of none. At most all of them
/// are of one site, and no more is certain than that the samples are.
fn missing(objects: f64, size: f64, spare: HashMap<Site, (f64, u64)>, sums: &mut HashMap<Site, Sums>) {
    let all: f64 = spare.values().map(|(objects, _)| objects).sum();
    let known = if all > 0.0 { spare } else { HashMap::from([(None, (1.0, 0))]) };
    for (site, (of_site, samples)) in known {
        let here = objects * of_site / all.max(1.0);
        let sums = sums.entry(site).or_default();
        sums.live(here * size, here, samples, size);
        sums.less += (here - samples as f64).max(0.0) * size;
        sums.more += (objects - here) * size;
        sums.most += objects * size;
        sums.alloc_bytes += here * size;
        sums.alloc_objects += here;
    }
}

//! The memory profile that the runtime keeps of itself (`runtime/mprof.go`), read from outside.
//!
//! A bucket is a stack and a size, with counts of objects that were allocated and freed. The counts
//! are those that `runtime.MemProfile` would give: as of the last garbage collection that was swept to
//! its end. Buckets hold logical return addresses: what was inlined has an address of its own.

mod walk;

use std::collections::HashMap;

use super::{QUANTILE, spans};
use crate::runtime::go::bytes::u64_at;
use crate::runtime::go::code::references;
use crate::runtime::go::error::GoError;
use crate::runtime::go::frames::{CodeAddress, Frames};
use crate::runtime::go::goroutine::GoFrame;
use crate::runtime::go::heap_account::{GoHeap, GoHeapSite, PROFILE_METHOD};
use crate::runtime::go::program::Program;
#[cfg(any(test, feature = "test-support"))]
pub(crate) use walk::hash;
use walk::{PAGE, Walk};

/// Largest rate that is believed.
const LARGEST_RATE: u64 = 1 << 46;
/// Cycles that a record holds before they are published (`memRecord.future`).
const CYCLES: u32 = 3;
/// `mProfCycleWrap`.
const CYCLE_WRAP: u32 = CYCLES * (2 << 24);
/// How often counts that change are read again.
const RETRIES: usize = 8;

/// Where the runtime keeps its profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    /// `runtime.mbuckets`
    buckets: u64,
    /// `runtime.mProfCycle`
    cycle: u64,
    /// `runtime.MemProfileRate`
    rate: u64,
}

/// Objects of one size that one stack allocated; those that were sampled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Logical return addresses, innermost first.
    pub stack: Vec<u64>,
    /// Size of an object.
    pub size: u64,
    /// Objects allocated.
    pub allocs: u64,
    /// Objects freed.
    pub frees: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Bytes from one sample to the next on average; 1: every object is recorded.
    pub rate: u64,
    pub records: Vec<Record>,
    /// Whether no garbage collection has ended yet: then all is told that was allocated.
    pub no_collection: bool,
    /// How often the counts had to be read again because they changed.
    pub retried: u64,
    /// Whether they kept changing.
    pub unsettled: bool,
}

/// Finds the profile. `None`: the program keeps none (`runtime.MemProfileRate` is 0, as the linker
/// sets it where nothing refers to the profile).
pub fn find(program: &Program) -> Result<Option<Places>, GoError> {
    let memory = program.memory();
    let rate = rate_place(program).ok_or(GoError::NotFound("the rate of the memory profile"))?;
    let value = memory.u64(rate).ok_or(GoError::Gone)?;
    let found = bucket_list(program);
    if value == 0 && found.is_none() {
        return Ok(None);
    }
    let cycle = cycle_place(program).ok_or(GoError::NotFound("the cycle of the memory profile"))?;
    let buckets = match found {
        Some(place) => place,
        // Nothing was sampled yet: then only its first reader tells.
        None => match variables(program, "runtime.mProf_FlushLocked")[..] {
            [only] if memory.u64(only) == Some(0) => only,
            _ => return Err(GoError::NotFound("the list of the memory profile's buckets")),
        },
    };
    Ok(Some(Places { buckets, cycle, rate }))
}

/// Bytes from one sample to the next on average; 0: the profile is switched off.
pub fn rate(program: &Program, places: Places) -> Result<u64, GoError> {
    let rate = program.memory().u64(places.rate).ok_or(GoError::Gone)?;
    // Negative is off, too.
    Ok(if rate > LARGEST_RATE { 0 } else { rate })
}

/// Reads the profile; `None` where it is switched off.
pub fn read(program: &Program, places: Places) -> Result<Option<Profile>, GoError> {
    let rate = rate(program, places)?;
    if rate == 0 {
        // What the runtime records before it has looked at the rate is not worth a word.
        return Ok(None);
    }
    let mut walk = Walk::new(program)?;
    walk.follow(program.memory().u64(places.buckets).ok_or(GoError::Gone)?)?;
    let mut before = walk.counts(places)?;
    let (mut retried, mut unsettled) = (0, true);
    for _ in 0..RETRIES {
        let now = walk.counts(places)?;
        if now == before {
            unsettled = false;
            break;
        }
        before = now;
        retried += 1;
    }
    let (published, all) = before.values(walk.layout);
    let no_collection = published.iter().all(|counts| *counts == (0, 0));
    let counts = if no_collection { all } else { published };
    let records = walk.buckets.into_iter().zip(counts);
    let records = records
        .map(|(bucket, (allocs, frees))| Record { stack: bucket.stack, size: bucket.size, allocs, frees })
        .collect();
    Ok(Some(Profile { rate, records, no_collection, retried, unsettled }))
}

/// Variables that a function refers to.
fn variables(program: &Program, function: &str) -> Vec<u64> {
    let mut found = references(program, function);
    found.retain(|address| program.parts.first().is_some_and(|part| part.is_variable(*address)));
    found
}

/// `profilealloc` draws the next sample, by the rate; the other variables that it reads are the cache of
/// the bootstrap, which is nil by then.
fn rate_place(program: &Program) -> Option<u64> {
    let mut candidates = variables(program, "runtime.profilealloc");
    candidates.extend(variables(program, "runtime.nextSample"));
    let value = |place: &u64| program.memory().u64(*place).filter(|rate| *rate <= LARGEST_RATE);
    candidates.into_iter().filter(|place| value(place).is_some()).max_by_key(|place| value(place))
}

/// Both begin with a look at the cycle. It is as old as the heap's number of collections.
fn cycle_place(program: &Program) -> Option<u64> {
    let first = |function| variables(program, function).first().copied();
    let place = first("runtime.mProf_PostSweep").or_else(|| first("runtime.mProf_Flush"))?;
    let cycle = program.memory().u32(place)? >> 1;
    let sound = spans::find(program)
        .ok()
        .and_then(|heap| heap.sweep_generation(program))
        .is_none_or(|generation| (generation / 2 % CYCLE_WRAP).abs_diff(cycle) <= 1);
    (cycle < CYCLE_WRAP && sound).then_some(place)
}

fn bucket_list(program: &Program) -> Option<u64> {
    let readers = [
        "runtime.mProf_FlushLocked",
        "runtime.memProfileInternal",
        "runtime.MemProfile",
        "runtime.stkbucket",
    ];
    let walk = Walk::new(program).ok()?;
    let is_list = |place: u64| program.memory().u64(place).is_some_and(|first| walk.is_sound(first));
    let by_reader = readers.iter().flat_map(|reader| variables(program, reader)).find(|p| is_list(*p));
    by_reader.or_else(|| {
        let words = |(low, high): (u64, u64)| {
            let bytes = program.memory().bytes(low, usize::try_from(high - low).ok()?)?;
            Some((low, bytes))
        };
        let ranges = program.parts.first()?.variables();
        ranges.into_iter().filter_map(words).find_map(|(low, bytes)| {
            let pointer = |at: &usize| {
                u64_at(&bytes, *at)
                    .is_some_and(|word| word.is_multiple_of(8) && (PAGE..1 << 47).contains(&word))
            };
            let found = (0..bytes.len()).step_by(8).filter(pointer).find(|at| is_list(low + *at as u64))?;
            Some(low + found as u64)
        })
    })
}

/// Objects and bytes that so many samples of objects of `size` stand for (`scaleHeapSample` of
/// `runtime/pprof`).
pub fn scale(count: u64, size: u64, rate: u64) -> (u64, u64) {
    if rate <= 1 || count == 0 || size == 0 {
        return (count, count.saturating_mul(size));
    }
    let scale = 1.0 / kept(size, rate);
    ((count as f64 * scale) as u64, (count.saturating_mul(size) as f64 * scale) as u64)
}

/// Chance that an object is sampled.
fn kept(size: u64, rate: u64) -> f64 {
    -(-(size as f64) / rate as f64).exp_m1()
}

impl Record {
    /// Sampled objects that are live.
    pub fn live(&self) -> u64 {
        self.allocs.saturating_sub(self.frees)
    }

    /// Variance of the estimate of live bytes: each object was kept with the same chance.
    fn variance(&self, rate: u64) -> f64 {
        if rate <= 1 || self.size == 0 {
            return 0.0;
        }
        let (kept, size) = (kept(self.size, rate), self.size as f64);
        self.live() as f64 * (1.0 - kept) / (kept * kept) * size * size
    }
}

impl Profile {
    /// Whether every object is recorded.
    pub fn exact(&self) -> bool {
        self.rate == 1 && !self.unsettled
    }

    /// How it was had, in words.
    pub fn method(&self) -> String {
        let rate = match self.rate {
            1 => "; every object is recorded".to_owned(),
            rate => format!("; one object in {rate} bytes is recorded"),
        };
        let when = if self.no_collection { "; no collection has finished yet" } else { "" };
        let unsettled = if self.unsettled { "; it kept changing while it was read" } else { "" };
        format!("{PROFILE_METHOD}{rate}{when}{unsettled}")
    }

    /// The sites. `totals_by_class`, `heap_in_use_bytes` and `agreement` are left to be filled in.
    pub fn heap(&self, program: &Program, frames: &mut Frames) -> GoHeap {
        let mut by_stack: HashMap<&[u64], (GoHeapSite, f64)> = HashMap::new();
        for record in self.records.iter().filter(|record| record.allocs > 0) {
            let (site, variance) = by_stack.entry(&record.stack).or_default();
            let (alloc_objects, alloc_bytes) = scale(record.allocs, record.size, self.rate);
            let (live_objects, live_bytes) = scale(record.live(), record.size, self.rate);
            site.alloc_objects = site.alloc_objects.saturating_add(alloc_objects);
            site.alloc_bytes = site.alloc_bytes.saturating_add(alloc_bytes);
            site.live_objects = site.live_objects.saturating_add(live_objects);
            site.live_bytes = site.live_bytes.saturating_add(live_bytes);
            if self.rate > 1 {
                // These at least are live.
                let least = record.live().saturating_mul(record.size);
                let known = site.live_bytes_bounds.map_or(0, |bounds| bounds.0);
                site.live_bytes_bounds = Some((known.saturating_add(least), 0));
                let samples = site.samples.get_or_insert(0);
                *samples = samples.saturating_add(record.live());
            }
            *variance += record.variance(self.rate);
        }
        let mut total = 0.0;
        let mut sites: Vec<(&[u64], GoHeapSite)> = Vec::with_capacity(by_stack.len());
        for (stack, (mut site, variance)) in by_stack {
            total += variance;
            if let Some(bounds) = &mut site.live_bytes_bounds {
                *bounds = interval(site.live_bytes, variance, bounds.0);
            }
            site.frames = logical_frames(program, frames, stack);
            sites.push((stack, site));
        }
        // The largest first; the stack makes the order of equals the same each time.
        sites.sort_unstable_by(|a, b| b.1.live_bytes.cmp(&a.1.live_bytes).then(a.0.cmp(b.0)));
        GoHeap {
            exact: self.exact(),
            method: self.method(),
            error_bytes: (self.rate > 1).then_some((QUANTILE * total.sqrt()) as u64),
            sites: sites.into_iter().map(|(_, site)| site).collect(),
            ..GoHeap::default()
        }
    }
}

/// The interval of 95 % around an estimate, which is known to be at least `least`.
fn interval(estimate: u64, variance: f64, least: u64) -> (u64, u64) {
    let half = (QUANTILE * variance.sqrt()).ceil() as u64;
    (estimate.saturating_sub(half).max(least.min(estimate)), estimate.saturating_add(half))
}

/// The frames of logical return addresses: one each. As Go's profiles do, the runtime's own at the
/// beginning are left out, unless there are no others.
fn logical_frames(program: &Program, frames: &mut Frames, stack: &[u64]) -> Vec<GoFrame> {
    let (mut all, mut physical): (Vec<GoFrame>, Option<u64>) = (Vec::with_capacity(stack.len()), None);
    for pc in stack {
        // The first address of those that were inlined into each other is the real one.
        let real = *physical.get_or_insert(*pc);
        let mut frame = frames.one(program, CodeAddress { pc: *pc, exact: false });
        if !frame.inlined {
            let entry = frame.function_offset.map(|offset| pc.wrapping_sub(offset));
            frame.function_offset = entry.and_then(|entry| real.checked_sub(entry));
            physical = None;
        }
        frame.address = real;
        all.push(frame);
    }
    without_runtime(program, all)
}

/// The N of the first Go 1.N that has packages of the runtime in `internal/runtime`.
pub(super) const FIRST_INTERNAL: u32 = 23;

/// Whether a function is of the runtime, or one of its `internal` packages.
pub(super) fn is_runtime(function: &str, internal: bool) -> bool {
    function.starts_with("runtime.") || internal && function.starts_with("internal/runtime/")
}

/// Leaves out what `runtime/pprof` does (`printStackRecord`).
pub fn without_runtime(program: &Program, mut frames: Vec<GoFrame>) -> Vec<GoFrame> {
    let is_runtime = |function: &str| is_runtime(function, program.minor >= FIRST_INTERNAL);
    frames.retain(|frame| &*frame.function != "runtime.goexit");
    let hidden = frames.iter().take_while(|frame| is_runtime(&frame.function)).count();
    if hidden < frames.len() {
        frames.drain(..hidden);
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_scaled_as_pprof_does() {
        assert_eq!(scale(3, 100, 1), (3, 300));
        assert_eq!(scale(0, 100, 512 << 10), (0, 0));
        assert_eq!(scale(3, 0, 512 << 10), (3, 0));
        let (objects, bytes) = scale(2, 1024, 512 << 10);
        assert_eq!((objects, bytes), (1025, 1_049_600));
        // What is much larger than the rate is always sampled.
        assert_eq!(scale(5, 100 << 20, 512 << 10), (5, 500 << 20));
    }

    #[test]
    fn intervals() {
        assert_eq!(interval(1000, 0.0, 10), (1000, 1000));
        assert_eq!(interval(1000, 100.0 * 100.0, 10), (804, 1196));
        assert_eq!(interval(1000, 1e6, 64), (64, 2960));
    }
}

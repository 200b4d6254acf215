//! A report's sections as profiles in Go's terms: which stacks, which values, which labels.
//!
//! The values of a profile add up to the totals of the section that it is made of: what the section counts
//! without a stack has a sample with a [`note`](Sample::note) in the place of frames.

mod difference;
pub mod location;
#[cfg(test)]
mod tests;

use crate::human::duration;
use crate::losses;
use crate::report::Report;
use crate::report::model::Heap;
use crate::runtime::{self, Runtime as _};
use crate::section::{Context, Part, Section, in_order};

pub use crate::section::profile::{ProfileKind, Sample};

/// A type of value, and its unit.
pub type ValueType = (&'static str, &'static str);

const HEAP: [ValueType; 4] = [
    ("alloc_objects", "count"),
    ("alloc_space", "bytes"),
    ("inuse_objects", "count"),
    ("inuse_space", "bytes"),
];
const MEMORY: [ValueType; 2] = [("held_objects", "count"), ("held_space", "bytes")];
const WAITS: [ValueType; 2] = [("contentions", "count"), ("delay", "nanoseconds")];

impl ProfileKind {
    /// All, as `--profile` lists them.
    pub const ALL: [Self; 8] = [
        Self::Heap,
        Self::Allocs,
        Self::Block,
        Self::Mutex,
        Self::Goroutine,
        Self::Goroutineleak,
        Self::Threadcreate,
        Self::Memory,
    ];

    /// Go's name of it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Heap => "heap",
            Self::Allocs => "allocs",
            Self::Block => "block",
            Self::Mutex => "mutex",
            Self::Goroutine => "goroutine",
            Self::Goroutineleak => "goroutineleak",
            Self::Threadcreate => "threadcreate",
            Self::Memory => "memory",
        }
    }

    /// Types of the values of a sample, in Go's order.
    pub const fn value_types(self) -> &'static [ValueType] {
        match self {
            Self::Heap | Self::Allocs => &HEAP,
            Self::Block | Self::Mutex => &WAITS,
            Self::Goroutine => &[("goroutine", "count")],
            Self::Goroutineleak => &[("goroutineleak", "count")],
            Self::Threadcreate => &[("threadcreate", "count")],
            Self::Memory => &MEMORY,
        }
    }

    /// What a period is counted in.
    pub const fn period_type(self) -> ValueType {
        match self {
            Self::Heap | Self::Allocs => ("space", "bytes"),
            Self::Block | Self::Mutex => WAITS[0],
            Self::Goroutine => ("goroutine", "count"),
            Self::Goroutineleak => ("goroutineleak", "count"),
            Self::Threadcreate => ("threadcreate", "count"),
            Self::Memory => MEMORY[1],
        }
    }

    /// The type of value that is shown if nothing else is asked for; `None` where Go says none either.
    pub const fn default_value_type(self) -> Option<&'static str> {
        match self {
            Self::Heap => Some("inuse_space"),
            Self::Allocs => Some("alloc_space"),
            Self::Memory => Some("held_space"),
            _ => None,
        }
    }

    /// What the one number of a stack counts in folded stacks and flame graphs.
    pub const fn weighs(self) -> &'static str {
        match self {
            Self::Heap => "bytes in use",
            Self::Allocs => "bytes allocated",
            Self::Block => "blocked threads or goroutines",
            Self::Mutex => "threads blocked at locks",
            Self::Goroutine => "goroutines or threads",
            Self::Goroutineleak => "goroutines that can never run again",
            Self::Threadcreate => "threads created",
            Self::Memory => "bytes held",
        }
    }

    /// What `report` is best asked for: what holds its memory, else what piles up or is stuck.
    pub fn of(report: &Report) -> Option<Self> {
        Self::of_all(&[report])
    }

    /// The same of several: the first that all of them hold.
    pub fn of_all(reports: &[&Report]) -> Option<Self> {
        let any = |there: fn(&Report) -> bool| reports.iter().any(|report| there(report));
        let order = [
            (Self::Heap, any(|report| report.heap.as_ref().is_some_and(|heap| answers(report, heap)))),
            (Self::Goroutine, any(|report| report.goroutines.is_some())),
            (Self::Block, true),
            (Self::Heap, true),
            (Self::Memory, true),
            (Self::Threadcreate, true),
        ];
        let mut held = order.into_iter().filter(|(_, wanted)| *wanted).map(|(kind, _)| kind);
        held.find(|kind| reports.iter().all(|report| kind.is_in(report)))
    }

    /// Whether `report` holds it.
    pub fn is_in(self, report: &Report) -> bool {
        !self.sections(report, &report.sections()).is_empty()
    }

    /// The sections that give it. Those of waits are added up: in a Go program of goroutines alone, as threads are only
    /// what these run on, and in a process of another language of both. Else the first one gives it.
    fn sections<'a>(self, report: &Report, all: &[&'a dyn Section]) -> Vec<&'a dyn Section> {
        let mut found = in_order(all, Part::Tables);
        found.retain(|section| section.has_profile(self));
        if !matches!(self, Self::Block | Self::Mutex) {
            found.truncate(1);
        } else if report.target.runtime.as_str() == runtime::go::Go.name()
            && found.iter().any(|section| section.has_tasks())
        {
            found.retain(|section| section.has_tasks());
        }
        found
    }

    /// Why a report without it has none.
    const fn why_missing(self) -> &'static str {
        match self {
            Self::Heap | Self::Allocs => "the heap was not traced",
            Self::Block | Self::Mutex => "waits were not traced",
            Self::Goroutine => "it says nothing of goroutines or threads",
            Self::Goroutineleak => {
                "nobody has found out which goroutines can never run again (`attach` does, and `dump --leaked`)"
            }
            Self::Threadcreate => "no thread was watched",
            Self::Memory => {
                "nobody has looked at what holds the memory (`leakscope memory` does, of Go programs)"
            }
        }
    }
}

/// Whether a traced heap is what the report is of, even if nothing is left on it: all but that of C in a Go
/// program that calls none.
fn answers(report: &Report, heap: &Heap) -> bool {
    !heap.sites.is_empty() || report.goroutines.is_none()
}

/// A stack with the sums of its samples.
#[derive(Clone, Copy, Debug)]
pub struct StackSum<'a> {
    /// The first of them.
    pub sample: &'a Sample<'a>,
    /// Sums.
    pub values: [u64; 4],
    /// Sums of what they are compared with.
    pub base: [u64; 4],
    /// Their sum.
    pub weight: u64,
}

/// One profile of one or more reports.
#[derive(Clone, Debug)]
pub struct Profile<'a> {
    /// Which.
    pub kind: ProfileKind,
    pub reports: Vec<&'a Report>,
    /// Stacks with their values.
    pub samples: Vec<Sample<'a>>,
    /// Whether samples have a base, from another report.
    pub compared: bool,
    /// What goes without saying in none: how exact the values are, what was lost.
    pub comments: Vec<String>,
}

/// A report that has no such profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the report of {target} has no {} profile: {why}", kind.name())]
pub struct NoProfile {
    target: String,
    kind: ProfileKind,
    why: &'static str,
}

impl<'a> Profile<'a> {
    /// The profile of a report.
    pub fn of(report: &'a Report, kind: ProfileKind) -> Result<Self, NoProfile> {
        Self::of_all(&[report], kind)
    }

    /// The profile of several reports: their samples, one after another.
    pub fn of_all(reports: &[&'a Report], kind: ProfileKind) -> Result<Self, NoProfile> {
        let mut profile = Self {
            kind,
            reports: reports.to_vec(),
            samples: Vec::new(),
            compared: false,
            comments: Vec::new(),
        };
        for report in reports {
            let all = report.sections();
            let context = Context { window_ns: report.window.duration_ns, all: &all };
            let sections = kind.sections(report, &all);
            if sections.is_empty() {
                return Err(NoProfile {
                    target: format!("{} (PID {})", report.target.comm, report.target.pid),
                    kind,
                    why: kind.why_missing(),
                });
            }
            let mut told = Vec::new();
            for section in sections {
                section.samples(kind, &mut profile.samples);
                told.extend(section.profile_comments(kind, &context));
            }
            comments(report, told, &mut profile.comments);
        }
        Ok(profile)
    }

    /// How many reports its frames come from.
    pub fn processes(&self) -> usize {
        // Those of a difference are of two.
        if self.compared { 2 } else { self.reports.len() }
    }

    /// The sums of all values.
    pub fn totals(&self) -> [u64; 4] {
        let mut totals = [0_u64; 4];
        for sample in &self.samples {
            for (sum, value) in totals.iter_mut().zip(sample.values) {
                *sum = sum.saturating_add(value);
            }
        }
        totals
    }

    /// The samples, those of the same stack (that differ in labels) as one.
    pub fn stacks(&self) -> impl Iterator<Item = StackSum<'_>> {
        let same = |a: &Sample<'_>, b: &Sample<'_>| {
            let frames = !a.frames.is_empty() && std::ptr::eq(a.frames, b.frames);
            frames && (a.idle, &a.note, a.cut) == (b.idle, &b.note, b.cut)
        };
        self.samples.chunk_by(same).map(|samples| {
            let mut stack = StackSum { sample: &samples[0], values: [0; 4], base: [0; 4], weight: 0 };
            for sample in samples {
                let sums = stack.values.iter_mut().chain(&mut stack.base);
                for (sum, value) in sums.zip(sample.values.iter().chain(&sample.base)) {
                    *sum = sum.saturating_add(*value);
                }
                stack.weight = stack.weight.saturating_add(sample.weight);
            }
            stack
        })
    }

    /// When the first report's window began, in ns since 1970.
    pub fn started_ns(&self) -> i64 {
        let began = self.reports.iter().filter_map(|report| unix_ns(&report.window.started_at));
        began.min().unwrap_or(0)
    }

    /// How long the longest window is.
    pub fn duration_ns(&self) -> u64 {
        self.reports.iter().map(|report| report.window.duration_ns).max().unwrap_or(0)
    }
}

/// A moment in RFC 3339.
fn unix_ns(text: &str) -> Option<i64> {
    let moment = time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).ok()?;
    i64::try_from(moment.unix_timestamp_nanos()).ok()
}

/// What a reader of the profile must know.
fn comments(report: &Report, of_section: Vec<String>, out: &mut Vec<String>) {
    let target = &report.target;
    let length = match report.window.duration_ns {
        0 => "looked at once".to_owned(),
        ns => format!("watched for {}", duration(ns)),
    };
    out.push(format!(
        "leakscope {}: {} (PID {}) since {}, {length}",
        report.leakscope_version, target.comm, target.pid, report.window.started_at
    ));
    out.push(report.summary.headline().to_owned());
    out.extend(of_section);
    if report.losses.is_empty() {
        out.push("lost: nothing".to_owned());
    }
    for (name, n) in &report.losses {
        out.push(format!("lost: {n} x {name}: {}", losses::meaning(name)));
    }
}

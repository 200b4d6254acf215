//! The data of the page's flame graphs.
//!
//! A profile is a tree of functions from the outermost frame on, in the order of a walk that visits a frame before what
//! it calls. What is too narrow to be seen in each of its values is part of its caller, which is as large as with it.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;
use serde::Serialize;

use crate::export::names::without_goexit;
use crate::export::profile::{Profile, ProfileKind, StackSum};
use crate::export::tree::roots;
use crate::human::{cut, sanitize_for_files};
use crate::section::frame::Frame;
use crate::section::label::function;

/// Frames are left out that are less than one part in so many of each value.
const FINEST: u64 = 5_000;
/// Frames on top of each other that are drawn.
const MOST_DEEP: usize = 400;
/// Characters of a name.
const LONGEST_NAME: usize = 500;
/// Values of a stack, and those that they are compared with.
const VALUES: usize = 8;

/// A flame graph.
#[derive(Debug, Serialize)]
pub(super) struct Flames {
    /// Which of Go's profiles.
    kind: &'static str,
    /// What it shows, in words, where the values do not tell.
    title: Option<&'static str>,
    /// What the values are, and their units.
    values: Vec<(&'static str, &'static str)>,
    /// Which of them is shown first.
    first: usize,
    /// Names of functions.
    names: Vec<String>,
    /// One frame after another: its depth; twice the number of its name, and one more if it belongs to the allocator or
    /// a runtime; its own values without what it calls; where two reports are compared, those of the old one.
    frames: Vec<u64>,
    /// Whether frames were left out.
    left_out: bool,
    /// Whether the value that is shown first is 0 in all.
    #[serde(skip)]
    nothing: bool,
}

/// The profiles that there are, the best one first; those that show nothing come last.
pub(super) fn all<'a>(mut profiles: Vec<Profile<'a>>, best: Option<ProfileKind>) -> Vec<Flames> {
    profiles.sort_by_key(|profile| Some(profile.kind) != best);
    let mut all: Vec<Flames> = profiles.iter().map(Flames::of).collect();
    all.sort_by_key(|flames| flames.nothing);
    all
}

/// A type of value, in words.
fn told(value: &'static str) -> &'static str {
    match value {
        "alloc_objects" => "objects allocated",
        "alloc_space" => "bytes allocated",
        "inuse_objects" => "objects in use",
        "inuse_space" => "bytes in use",
        "held_objects" => "objects held",
        "held_space" => "bytes held",
        "contentions" => "waits",
        "delay" => "time waited",
        value => value,
    }
}

type Values = [u64; VALUES];

/// A path from the outermost frame on.
struct Path {
    /// As in [`Flames::frames`].
    frames: Vec<u32>,
    values: Values,
}

fn add(sum: &mut Values, values: &Values) {
    sum.iter_mut().zip(values).for_each(|(sum, value)| *sum = sum.saturating_add(*value));
}

fn sum(paths: &[Path]) -> Values {
    paths.iter().fold([0; VALUES], |mut sum, path| {
        add(&mut sum, &path.values);
        sum
    })
}

#[derive(Default)]
struct Names {
    known: HashMap<String, u32>,
    all: Vec<String>,
    /// Those of frames that many stacks share.
    shared: HashMap<*const Frame, u32, FixedState>,
}

impl Names {
    /// The number of a frame's name. The frame lives as long as the profile does.
    fn of(&mut self, frame: &Arc<Frame>) -> u32 {
        let handle = Arc::as_ptr(frame);
        if let Some(number) = self.shared.get(&handle) {
            return *number;
        }
        let number = self.number(&function(frame));
        self.shared.insert(handle, number);
        number
    }

    fn number(&mut self, name: &str) -> u32 {
        let name = cut(&sanitize_for_files(name), LONGEST_NAME);
        let next = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        *self.known.entry(name).or_insert_with_key(|name| {
            self.all.push(name.clone());
            next
        })
    }
}

impl Flames {
    fn of(profile: &Profile<'_>) -> Self {
        let values = profile.kind.value_types();
        let first = profile.kind.default_value_type();
        let first = values.iter().position(|(name, _)| Some(*name) == first).unwrap_or(values.len() - 1);
        let mut names = Names::default();
        let mut paths: Vec<Path> = profile.stacks().map(|stack| path(&stack, &mut names)).collect();
        paths.sort_by(|a, b| {
            a.frames.iter().map(|frame| frame / 2).cmp(b.frames.iter().map(|frame| frame / 2))
        });
        let totals = sum(&paths);
        let mut walk = Walk {
            least: totals.map(|total| total / FINEST),
            columns: (0..VALUES)
                .filter(|at| at % 4 < values.len() && (*at < 4 || profile.compared))
                .collect(),
            frames: Vec::new(),
            left_out: false,
        };
        walk.callees(&paths, 0);
        Self {
            kind: profile.kind.name(),
            title: (values.len() == 1).then(|| profile.kind.weighs()),
            values: values.iter().map(|(name, unit)| (told(name), *unit)).collect(),
            first,
            names: names.all,
            frames: walk.frames,
            left_out: walk.left_out,
            nothing: totals[first] == 0 && totals[first + 4] == 0,
        }
    }
}

fn path(stack: &StackSum<'_>, names: &mut Names) -> Path {
    let sample = stack.sample;
    let mut frames: Vec<u32> = roots(stack).map(|name| names.number(&name) * 2).collect();
    for (at, frame) in without_goexit(sample.frames).iter().enumerate().rev() {
        let below = sample.blame.is_some_and(|blame| at < blame);
        frames.push(names.of(frame) * 2 + u32::from(below));
    }
    frames.truncate(MOST_DEEP);
    let mut values = [0; VALUES];
    values[..4].copy_from_slice(&stack.values);
    values[4..].copy_from_slice(&stack.base);
    Path { frames, values }
}

struct Walk {
    /// What is less in all values is left out.
    least: Values,
    /// The values that are told.
    columns: Vec<usize>,
    frames: Vec<u64>,
    left_out: bool,
}

impl Walk {
    /// The frames at `depth` of sorted paths that are equal up to there. Returns what belongs to their caller alone.
    fn callees(&mut self, paths: &[Path], depth: usize) -> Values {
        let name = |path: &Path| path.frames.get(depth).map(|frame| frame / 2);
        let mut own = [0; VALUES];
        for group in paths.chunk_by(|a, b| name(a) == name(b)) {
            let total = sum(group);
            let Some(frame) = group[0].frames.get(depth) else {
                add(&mut own, &total);
                continue;
            };
            if total.iter().zip(self.least).all(|(value, least)| *value <= least) {
                self.left_out |= total.iter().any(|value| *value > 0);
                add(&mut own, &total);
                continue;
            }
            self.frames.extend([depth as u64, u64::from(*frame)]);
            let at = self.frames.len();
            self.frames.extend(self.columns.iter().map(|_| 0));
            let values = self.callees(group, depth + 1);
            for (slot, column) in self.frames[at..].iter_mut().zip(&self.columns) {
                *slot = values[*column];
            }
        }
        own
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(frames: &[u32], bytes: u64) -> Path {
        Path { frames: frames.to_vec(), values: [0, 0, 0, bytes, 0, 0, 0, 0] }
    }

    fn walked(mut paths: Vec<Path>) -> (Vec<u64>, Values, bool) {
        paths.sort_by(|a, b| a.frames.cmp(&b.frames));
        let mut walk = Walk {
            least: sum(&paths).map(|total| total / FINEST),
            columns: vec![3],
            frames: Vec::new(),
            left_out: false,
        };
        let own = walk.callees(&paths, 0);
        (walk.frames, own, walk.left_out)
    }

    #[test]
    fn callers_come_before_what_they_call() {
        let (frames, own, left_out) =
            walked(vec![path(&[0, 2, 4], 5), path(&[0, 2], 7), path(&[0, 6], 9), path(&[], 1)]);
        assert_eq!(frames, [0, 0, 0, 1, 2, 7, 2, 4, 5, 1, 6, 9]);
        assert_eq!((own[3], left_out), (1, false));
    }

    /// What is not drawn is part of its caller: the sum stays.
    #[test]
    fn what_is_too_narrow_belongs_to_its_caller() {
        let many = (1..100).map(|n| path(&[0, 2 * n], 1));
        let (frames, own, left_out) = walked(many.chain([path(&[0, 400], 1_000_000)]).collect());
        assert_eq!(frames, [0, 0, 99, 1, 400, 1_000_000]);
        assert_eq!((own[3], left_out), (0, true));
    }

    /// A frame that is the allocator's in one stack and the program's in another is one frame.
    #[test]
    fn a_name_is_one_frame() {
        let (frames, ..) = walked(vec![path(&[0, 2], 5), path(&[0, 3], 6)]);
        assert_eq!(frames, [0, 0, 0, 1, 2, 11]);
    }
}

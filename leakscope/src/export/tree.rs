//! Stacks as paths of names from the root, for folded stacks and flame graphs.

use std::collections::HashMap;

use super::names::{bracketed, folded, without_goexit};
use super::profile::location::Locations;
use super::profile::{Profile, StackSum};
use crate::section::label::function;

/// The paths of a profile: numbers of names, outermost first, each with its weight.
#[derive(Debug)]
pub(super) struct Paths {
    /// The names, fit to be part of a folded line.
    pub(super) names: Vec<String>,
    /// Paths that weigh something.
    pub(super) paths: Vec<(Vec<u32>, u64)>,
}

/// The names by number.
#[derive(Debug, Default)]
struct Names {
    known: HashMap<String, u32>,
    all: Vec<String>,
}

impl Names {
    fn number(&mut self, name: &str) -> u32 {
        let name = folded(name);
        if let Some(number) = self.known.get(&name) {
            return *number;
        }
        let number = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        self.known.insert(name.clone(), number);
        self.all.push(name);
        number
    }
}

impl Paths {
    pub(super) fn of(profile: &Profile<'_>) -> Self {
        let mut names = Names::default();
        let mut places = Locations::new(profile.processes() > 1);
        // For each place the numbers of its names, outermost first.
        let mut rendered: Vec<Vec<u32>> = Vec::new();
        let mut paths = Vec::new();
        for stack in profile.stacks().filter(|stack| stack.weight > 0) {
            let ids: Vec<u32> = places.enter(without_goexit(stack.sample.frames)).collect();
            for place in &places.all()[rendered.len()..] {
                rendered.push(place.frames.iter().rev().map(|f| names.number(&function(f))).collect());
            }
            let mut path = Vec::with_capacity(ids.len() + 2);
            path.extend(roots(&stack).map(|name| names.number(&name)));
            for id in ids.iter().rev() {
                path.extend_from_slice(&rendered[*id as usize]);
            }
            paths.push((path, stack.weight));
        }
        Self { names: names.all, paths }
    }

    /// A path as a folded line, without its end.
    pub(super) fn line(&self, path: &[u32], weight: u64, out: &mut String) {
        for (i, number) in path.iter().enumerate() {
            if i > 0 {
                out.push(';');
            }
            out.push_str(&self.names[*number as usize]);
        }
        out.push(' ');
        out.push_str(&weight.to_string());
    }

    /// The sum of all weights.
    pub(super) fn total(&self) -> u64 {
        self.paths.iter().fold(0, |sum, (_, weight)| sum.saturating_add(*weight))
    }
}

/// What stands below the outermost frame: that threads are idle, and why a stack has no such frame.
pub(super) fn roots(stack: &StackSum<'_>) -> impl Iterator<Item = String> {
    let sample = stack.sample;
    let idle = sample.idle.then(|| bracketed("idle"));
    idle.into_iter().chain(sample.notes().map(|note| bracketed(&note)))
}

//! Sites added up by something shorter than their stacks (`--by`).

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use super::by::By;
use super::frame::{Address, Frame};
use super::site::StackSite;
use super::stack::{Stack, StackEnd};
use crate::human::file_name;

impl By {
    /// The frame that stands for a stack.
    pub(crate) fn frame(self, stack: &Stack) -> Option<Frame> {
        stack.shown().map(|frame| self.of(frame))
    }

    /// What is left of a frame that stands for others like it.
    pub(crate) fn of(self, frame: &Frame) -> Frame {
        let whole = Frame { inlined: false, ..frame.clone() };
        match self {
            Self::Stack => whole,
            // Of a line there can be several instructions.
            Self::Place if frame.line.is_some() => {
                Frame { address: None, offset: None, function_offset: None, ..whole }
            }
            Self::Place => Frame { address: None, ..whole },
            Self::Function if frame.function.is_some() => {
                let line = frame.function.as_deref().filter(|name| is_closure(name));
                let line = line.and(frame.function_line.or(frame.line));
                Frame { address: None, offset: None, function_offset: None, line, ..whole }
            }
            Self::Function | Self::Module => Frame {
                address: None,
                module: None,
                offset: None,
                function: Some(frame.module.as_deref().map_or("no module", file_name).into()),
                function_offset: None,
                file: None,
                line: None,
                function_line: None,
                why_unknown: None,
                ..whole
            },
        }
    }
}

/// Whether a function has only the name that all closures have: inlined ones have no other in debug info.
pub(crate) fn is_closure(name: &str) -> bool {
    name == "operator()" || name.starts_with('{')
}

/// What tells frames apart.
pub(crate) type FrameKey =
    (Option<Arc<str>>, Option<Arc<str>>, Option<Arc<str>>, Option<u32>, Option<Address>);

pub(crate) fn key(frame: &Frame) -> FrameKey {
    let Frame { module, function, file, line, offset, .. } = frame.clone();
    (module, function, file, line, offset)
}

/// Adds up what has the same frame and the same `also`; returns which site became part of which.
pub(crate) fn add_up<S: StackSite, K: Hash + Eq>(
    sites: &mut Vec<S>,
    by: By,
    also: impl Fn(&S) -> K,
    add: impl Fn(&mut S, S),
) -> HashMap<String, String> {
    let mut known: HashMap<(Option<FrameKey>, K), usize> = HashMap::new();
    let mut sums: Vec<(S, u64)> = Vec::new();
    let mut ids = HashMap::new();
    for mut site in std::mem::take(sites) {
        let also = also(&site);
        let id = site.site_id().to_owned();
        let stack = site.stack_mut();
        let frame = by.frame(stack);
        stack.blame = frame.is_some().then_some(0);
        stack.frames = frame.into_iter().collect();
        stack.created_by = None;
        let at = *known.entry((stack.frames.first().map(|frame| key(frame)), also)).or_insert(sums.len());
        match sums.get_mut(at) {
            Some((sum, stacks)) => {
                add(sum, site);
                *stacks += 1;
            }
            None => sums.push((site, 1)),
        }
        ids.insert(id, sums[at].0.site_id().to_owned());
    }
    for (site, n) in &mut sums {
        site.stack_mut().end = Some(StackEnd::Grouped { stacks: *n, by });
    }
    sites.extend(sums.into_iter().map(|(site, _)| site));
    ids
}

pub(crate) fn add(sum: &mut u64, n: u64) {
    *sum = sum.saturating_add(n);
}

pub(crate) fn add_signed(sum: &mut i64, n: i64) {
    *sum = sum.saturating_add(n);
}

/// The sum of what is known.
pub(crate) fn add_known(sum: &mut Option<u64>, n: Option<u64>) {
    *sum = match (*sum, n) {
        (Some(a), Some(b)) => Some(a.saturating_add(b)),
        (a, b) => a.or(b),
    };
}

pub(crate) fn add_change(sum: &mut Option<i64>, n: Option<i64>) {
    *sum = match (*sum, n) {
        (Some(a), Some(b)) => Some(a.saturating_add(b)),
        (a, b) => a.or(b),
    };
}

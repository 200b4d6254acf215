//! Stacks on a page.

use std::io::{self, Write as _};
use std::ops::Range;

use super::label::name;
use super::stack::{Stack, StackEnd};
use crate::human::{counted, cut, sanitize};
use crate::layout::page::{Page, Paint, Shown};

/// How many frames there are up to the one to blame.
fn until_blamed(stack: &Stack) -> usize {
    stack.blame.map_or(0, |b| b as usize + 1)
}

/// Why a stack ends.
fn end_of(stack: &Stack) -> Option<String> {
    stack.end.as_ref().map(ToString::to_string)
}

/// Frames of a stack that are shown if no limit is given.
const FRAMES: usize = 16;
/// The same for threads that are idle.
const IDLE_FRAMES: usize = 6;

/// Lines that are told in one, at least.
const WORTH_FOLDING: usize = 3;

impl Page<'_> {
    /// The frames of a stack, the one to blame marked, and why there are no more.
    pub(crate) fn stack(&mut self, stack: &Stack, indent: usize, paint: Paint) -> io::Result<()> {
        // The blame frame is shown whatever the limit.
        let shown = self.style.frames.unwrap_or(FRAMES).max(until_blamed(stack));
        self.frames(stack, 0..shown, indent, paint)
    }

    /// The same in short, for a stack that need not be looked at: the frames that lead to the one to
    /// blame.
    pub(crate) fn idle_stack(&mut self, stack: &Stack, indent: usize) -> io::Result<()> {
        let most = self.style.frames.unwrap_or(IDLE_FRAMES);
        let first = until_blamed(stack).saturating_sub(most);
        self.frames(stack, first..first + most, indent, Paint::Dim)
    }

    /// Where a stack goes on as one that was shown before, if that saves some lines, and what stands there. Only the
    /// first stack of a number is told so, and only by frames that were printed.
    /// That one has its number for the first time, and is shown from its innermost frame on.
    fn folded(&self, stack: &Stack, names: &[String], shown: &Range<usize>) -> (usize, Option<String>) {
        let whole = (shown.end, None);
        let end = end_of(stack);
        let alike = self.list.shown.iter().filter(|other| other.end == end).filter_map(|other| {
            let same = names.iter().rev().zip(other.names.iter().rev()).take_while(|(a, b)| a == b).count();
            let from = (names.len() - same).max(until_blamed(stack));
            // The same frame there.
            let there = (other.names.len() + from).checked_sub(names.len())?;
            (from < names.len() && there < other.printed).then_some((from, other.rank))
        });
        // Of equals, the first.
        let Some((from, rank)) = alike.min_by_key(|(from, _)| *from) else { return whole };
        if names.len().min(shown.end).saturating_sub(from) < WORTH_FOLDING {
            return whole;
        }
        (from, Some(format!("and on as #{rank}, from {}", names[from])))
    }

    fn frames(&mut self, stack: &Stack, shown: Range<usize>, indent: usize, paint: Paint) -> io::Result<()> {
        let note = |page: &mut Self, text: &str| {
            let text = page.painted(paint, &sanitize(text));
            writeln!(page.out, "{:indent$}  … {text}", "")
        };
        let hidden = |n: usize| format!("{} (--frames)", counted(n as u64, "more frame"));
        if shown.start > 0 {
            note(self, &hidden(shown.start))?;
        }
        let room = self.style.width.saturating_sub(indent + 2);
        let names: Vec<String> = stack.frames.iter().map(|frame| sanitize(&name(frame))).collect();
        let new = self
            .list
            .rank
            .filter(|rank| shown.start == 0 && self.list.shown.iter().all(|one| one.rank != *rank));
        let (end, as_before) = match new {
            Some(_) => self.folded(stack, &names, &shown),
            None => (shown.end, None),
        };
        for (i, line) in names.iter().enumerate().take(end).skip(shown.start) {
            let line = &cut(line, room);
            if stack.blame == Some(i as u64) {
                let (mark, line) = (self.painted(Paint::Accent, "▶"), self.painted(Paint::Accent, line));
                writeln!(self.out, "{:indent$}{mark} {line}", "")?;
            } else {
                let line = self.painted(paint, line);
                writeln!(self.out, "{:indent$}  {line}", "")?;
            }
        }
        let printed = end.min(names.len());
        if let Some(rank) = new {
            self.list.shown.push(Shown { rank, names, printed, end: end_of(stack) });
        }
        if let Some(text) = as_before {
            note(self, &cut(&text, room.saturating_sub(2)))?;
        } else {
            if stack.frames.len() > shown.end {
                note(self, &hidden(stack.frames.len() - shown.end))?;
            }
            match &stack.end {
                Some(StackEnd::Root) => (),
                Some(grouped @ StackEnd::Grouped { .. }) => note(self, &grouped.to_string())?,
                Some(why) => note(self, &format!("the stack ends here: {why}"))?,
                // As in reports of older versions.
                None if !stack.frames.is_empty() => note(self, "why the stack ends here was not noted")?,
                None => note(self, "the stack was not captured")?,
            }
        }
        let Some(statement) = &stack.created_by else { return Ok(()) };
        self.paragraph(paint, indent, indent, &format!("created by {}", name(statement)))
    }
}

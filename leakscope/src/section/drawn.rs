//! Stacks on a page.

use std::io;
use std::ops::Range;

use super::label::name;
use super::stack::{Stack, StackEnd};
use crate::human::{counted, cut, sanitize};
use crate::layout::page::{Page, Paint};

/// How many frames there are up to the one to blame.
fn until_blamed(stack: &Stack) -> usize {
    stack.blame.map_or(0, |b| b as usize + 1)
}

/// Frames of a stack that are shown if no limit is given.
const FRAMES: usize = 16;
/// The same for threads that are idle.
const IDLE_FRAMES: usize = 6;

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
        for (i, frame) in stack.frames.iter().enumerate().take(shown.end).skip(shown.start) {
            let line = cut(&sanitize(&name(frame)), room);
            if stack.blame == Some(i as u64) {
                let (mark, line) = (self.painted(Paint::Accent, "▶"), self.painted(Paint::Accent, &line));
                writeln!(self.out, "{:indent$}{mark} {line}", "")?;
            } else {
                let line = self.painted(paint, &line);
                writeln!(self.out, "{:indent$}  {line}", "")?;
            }
        }
        if stack.frames.len() > shown.end {
            note(self, &hidden(stack.frames.len() - shown.end))?;
        }
        match &stack.end {
            Some(StackEnd::Root) => Ok(()),
            Some(grouped @ StackEnd::Grouped { .. }) => note(self, &grouped.to_string()),
            Some(why) => note(self, &format!("the stack ends here: {why}")),
            // As in reports of older versions.
            None if !stack.frames.is_empty() => note(self, "why the stack ends here was not noted"),
            None => note(self, "the stack was not captured"),
        }
    }
}

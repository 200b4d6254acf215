//! What a table is written on: lines, colours, stacks. All text is made harmless here.

use std::io::{self, Write};
use std::ops::Range;

use super::TableStyle;
use crate::human::{columns, counted, cut, printable, wrap, wrap_whole};
use crate::section::label::name;
use crate::section::stack::{Stack, StackEnd};

/// How text stands out, where there is colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paint {
    /// As it is.
    Plain,
    /// Headings.
    Bold,
    /// The frame to blame.
    Accent,
    /// What is less than certain.
    Warn,
    /// What can't go on.
    Alarm,
    /// What need not be looked at.
    Dim,
}

/// How many frames there are up to the one to blame.
fn until_blamed(stack: &Stack) -> usize {
    stack.blame.map_or(0, |b| b as usize + 1)
}

/// Frames of a stack that are shown if no limit is given.
const FRAMES: usize = 16;
/// The same for threads that are idle.
const IDLE_FRAMES: usize = 6;

/// Where the table goes.
pub(super) struct Page<'a> {
    pub(super) style: &'a TableStyle,
    pub(super) out: &'a mut dyn Write,
}

impl Page<'_> {
    /// An empty line.
    pub(super) fn blank(&mut self) -> io::Result<()> {
        writeln!(self.out)
    }

    /// A line, however long it is.
    pub(super) fn line(&mut self, paint: Paint, text: &str) -> io::Result<()> {
        let text = self.painted(paint, &printable(text));
        writeln!(self.out, "{text}")
    }

    /// Sentences, broken between words where the terminal ends; nothing of them is cut off.
    pub(super) fn sentences(&mut self, paint: Paint, text: &str) -> io::Result<()> {
        let text = printable(text);
        let lines = if columns(&text) <= self.style.width {
            vec![text]
        } else {
            wrap_whole(&text, self.style.width.saturating_sub(2))
        };
        for (i, line) in lines.iter().enumerate() {
            let line = self.painted(paint, line);
            writeln!(self.out, "{:indent$}{line}", "", indent = if i > 0 { 2 } else { 0 })?;
        }
        Ok(())
    }

    /// A paragraph of at most `most` lines whose lines after the first are indented further.
    pub(super) fn paragraph(
        &mut self,
        paint: Paint,
        indent: usize,
        most: usize,
        text: &str,
    ) -> io::Result<()> {
        let width = self.style.width.saturating_sub(indent + 2).max(16);
        for (i, line) in wrap(&printable(text), width, most).iter().enumerate() {
            let indent = indent + if i > 0 { 2 } else { 0 };
            let line = self.painted(paint, line);
            writeln!(self.out, "{:indent$}{line}", "")?;
        }
        Ok(())
    }

    /// The frames of a stack, the one to blame marked, and why there are no more.
    pub(super) fn stack(&mut self, stack: &Stack, indent: usize, paint: Paint) -> io::Result<()> {
        // The blame frame is shown whatever the limit.
        let shown = self.style.frames.unwrap_or(FRAMES).max(until_blamed(stack));
        self.frames(stack, 0..shown, indent, paint)
    }

    /// The same in short, for a stack that need not be looked at: the frames that lead to the one to
    /// blame.
    pub(super) fn idle_stack(&mut self, stack: &Stack, indent: usize) -> io::Result<()> {
        let most = self.style.frames.unwrap_or(IDLE_FRAMES);
        let first = until_blamed(stack).saturating_sub(most);
        self.frames(stack, first..first + most, indent, Paint::Dim)
    }

    fn frames(&mut self, stack: &Stack, shown: Range<usize>, indent: usize, paint: Paint) -> io::Result<()> {
        let note = |page: &mut Self, text: &str| {
            let text = page.painted(paint, &printable(text));
            writeln!(page.out, "{:indent$}  … {text}", "")
        };
        let hidden = |n: usize| format!("{} (--frames)", counted(n as u64, "more frame"));
        if shown.start > 0 {
            note(self, &hidden(shown.start))?;
        }
        let room = self.style.width.saturating_sub(indent + 2);
        for (i, frame) in stack.frames.iter().enumerate().take(shown.end).skip(shown.start) {
            let line = cut(&printable(&name(frame)), room);
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
            Some(why) => note(self, &format!("the stack ends here: {why}")),
            // As in reports of older versions.
            None if !stack.frames.is_empty() => note(self, "why the stack ends here was not noted"),
            None => note(self, "the stack was not captured"),
        }
    }

    /// Text that is printable already, in colour.
    pub(super) fn painted(&self, paint: Paint, text: &str) -> String {
        self.codes(paint).map_or_else(|| text.to_owned(), |(on, off)| format!("{on}{text}{off}"))
    }

    /// What goes before and after text in colour.
    pub(super) fn codes(&self, paint: Paint) -> Option<(&'static str, &'static str)> {
        let on = match paint {
            Paint::Plain => return None,
            Paint::Bold => "\x1b[1m",
            Paint::Accent => "\x1b[1;36m",
            Paint::Warn => "\x1b[33m",
            Paint::Alarm => "\x1b[1;31m",
            Paint::Dim => "\x1b[2m",
        };
        self.style.color.then_some((on, "\x1b[0m"))
    }
}

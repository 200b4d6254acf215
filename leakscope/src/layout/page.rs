//! What a table is written on: lines and colours.

use std::io::{self, Write};

use super::TableStyle;
use crate::human::{columns, counted, sanitize, wrap, wrap_whole};

/// How text stands out, where there is colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
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

/// Where the table goes.
pub struct Page<'a> {
    pub(crate) style: &'a TableStyle,
    pub(crate) out: &'a mut dyn Write,
}

impl Page<'_> {
    /// An empty line.
    pub(crate) fn blank(&mut self) -> io::Result<()> {
        writeln!(self.out)
    }

    /// A line, however long it is.
    pub(crate) fn line(&mut self, paint: Paint, text: &str) -> io::Result<()> {
        let text = self.painted(paint, &sanitize(text));
        writeln!(self.out, "{text}")
    }

    /// Sentences, broken between words where the terminal ends; nothing of them is cut off.
    pub(crate) fn sentences(&mut self, paint: Paint, text: &str) -> io::Result<()> {
        let text = sanitize(text);
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
    pub(crate) fn paragraph(
        &mut self,
        paint: Paint,
        indent: usize,
        most: usize,
        text: &str,
    ) -> io::Result<()> {
        let width = self.style.width.saturating_sub(indent + 2).max(16);
        for (i, line) in wrap(&sanitize(text), width, most).iter().enumerate() {
            let indent = indent + if i > 0 { 2 } else { 0 };
            let line = self.painted(paint, line);
            writeln!(self.out, "{:indent$}{line}", "")?;
        }
        Ok(())
    }

    /// That `hidden` of what is ranked are not shown, if any are; `part` is added behind their number.
    pub(crate) fn more(&mut self, hidden: usize, thing: &str, part: &str) -> io::Result<()> {
        if hidden == 0 {
            return Ok(());
        }
        let hidden = counted(hidden as u64, thing);
        self.line(Paint::Plain, &format!("and {hidden} more{part} (--top, or --format json for all)"))
    }

    /// Text that is printable already, in colour.
    pub(crate) fn painted(&self, paint: Paint, text: &str) -> String {
        self.codes(paint).map_or_else(|| text.to_owned(), |(on, off)| format!("{on}{text}{off}"))
    }

    /// What goes before and after text in colour.
    pub(crate) fn codes(&self, paint: Paint) -> Option<(&'static str, &'static str)> {
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

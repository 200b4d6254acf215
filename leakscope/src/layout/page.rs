//! What a table is written on: lines and colours.

use std::io::{self, Write};

use super::{TableStyle, markup};
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
    pub(crate) out: Counted<'a>,
    pub(crate) list: List,
}

/// What is written, and how many lines that is.
pub(crate) struct Counted<'a> {
    out: &'a mut dyn Write,
    lines: usize,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.lines += bytes[..written].iter().filter(|&&byte| byte == b'\n').count();
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A list of numbered stacks.
#[derive(Debug, Default)]
pub(crate) struct List {
    /// The number of the stack that is being shown.
    pub(crate) rank: Option<u64>,
    /// The first stack of each number that was shown.
    pub(crate) shown: Vec<Shown>,
    /// Those that had no room.
    hidden: usize,
}

/// A stack that was shown.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) rank: u64,
    /// What all its frames are called, innermost first.
    pub(crate) names: Vec<String>,
    /// So many of them were printed.
    pub(crate) printed: usize,
    /// Why it ends, in words.
    pub(crate) end: Option<String>,
}

/// Lines of a stack in short, with its title.
const SHORT_STACK: usize = 8;

impl<'a> Page<'a> {
    /// An empty one.
    pub(crate) fn new(style: &'a TableStyle, out: &'a mut dyn Write) -> Self {
        Self { style, out: Counted { out, lines: 0 }, list: List::default() }
    }
}

impl Page<'_> {
    /// Begins a list of stacks with numbers of its own.
    pub(crate) fn begin_list(&mut self) {
        self.list = List::default();
    }

    /// Ends it: tells of the stacks that had no room.
    pub(crate) fn end_list(&mut self) -> io::Result<()> {
        let hidden = std::mem::take(&mut self.list.hidden);
        if hidden == 0 {
            return Ok(());
        }
        self.blank()?;
        let stacks = counted(hidden as u64, "more stack");
        self.sentences(
            Paint::Dim,
            &format!("… {stacks} (--top {}, or --format json for all)", self.style.top),
        )
    }

    /// That stacks of what is idle are not shown, if there are any.
    pub(crate) fn not_shown(&mut self, idle: u64) -> io::Result<()> {
        if idle == 0 {
            return Ok(());
        }
        self.blank()?;
        self.sentences(Paint::Dim, &format!("Not shown: {} (--all)", counted(idle, "idle stack")))
    }

    /// The title of a stack with a number. Returns whether there is room for it; there always is for the first of a
    /// list.
    pub(crate) fn titled(&mut self, rank: u64, text: &str) -> io::Result<bool> {
        let full = self.style.most_lines.is_some_and(|most| self.out.lines + SHORT_STACK > most);
        if full && self.list.rank.is_some() {
            self.list.hidden += 1;
            return Ok(false);
        }
        self.title(Paint::Bold, rank, text)?;
        Ok(true)
    }

    /// The same, however little room there is.
    pub(crate) fn title(&mut self, paint: Paint, rank: u64, text: &str) -> io::Result<()> {
        self.list.rank = Some(rank);
        self.blank()?;
        self.paragraph(paint, 0, 3, &format!("#{rank} {text}"))
    }

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

    /// Text that is printable already, in colour. All that is written goes through here, but for spaces and tables.
    pub(crate) fn painted(&self, paint: Paint, text: &str) -> String {
        let escaped = self.style.html.then(|| markup::escaped(text));
        let text = escaped.as_deref().unwrap_or(text);
        self.codes(paint).map_or_else(|| text.to_owned(), |(on, off)| format!("{on}{text}{off}"))
    }

    /// What goes before and after text in colour.
    pub(crate) fn codes(&self, paint: Paint) -> Option<(&'static str, &'static str)> {
        if self.style.html {
            return markup::tags(paint);
        }
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

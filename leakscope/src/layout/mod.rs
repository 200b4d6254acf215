//! Text as it stands on a page: lines in colour, columns, bars. All text is made harmless here. What is written,
//! the sections know.

pub(crate) mod bars;
pub(crate) mod grid;
pub(crate) mod markup;
pub(crate) mod narrow;
pub mod page;

/// How to print.
#[derive(Clone, Copy, Debug)]
pub struct TableStyle {
    /// Columns of the terminal.
    pub width: usize,
    /// Whether to use colour.
    pub color: bool,
    /// Whether it is part of an HTML page, which breaks lines and colours them by itself. Each table is one line then.
    pub html: bool,
    /// Sites in the table and with stacks.
    pub top: usize,
    /// Frames of each stack; `None` for what suits it.
    pub frames: Option<usize>,
    /// Whether rows are stacks where they would be places.
    pub stacks: bool,
    /// Whether waits that say nothing are shown, and the stacks of idle threads.
    pub all: bool,
    /// Lines after which stacks are only counted that tell little more; `None` for as many as there are.
    pub most_lines: Option<usize>,
}

impl TableStyle {
    /// Ten sites without colour, whole.
    pub const fn plain(width: usize) -> Self {
        Self {
            width,
            color: false,
            html: false,
            top: 10,
            frames: None,
            stacks: false,
            all: false,
            most_lines: None,
        }
    }

    /// The first of what is ranked, as many as are asked for.
    pub(crate) fn shown<'a, T>(&self, all: &'a [T]) -> &'a [T] {
        &all[..all.len().min(self.top)]
    }
}

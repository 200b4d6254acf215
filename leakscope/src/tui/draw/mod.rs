//! Drawing: state to cells. Text of processes is made harmless here.

mod help;
mod list;
mod process;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use super::app::App;
use crate::human::{columns, cut};

/// How things stand out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    /// Whether there is colour; else there are bold, dim and reverse.
    pub color: bool,
}

impl Theme {
    fn plain(self) -> Style {
        Style::new()
    }

    fn bold(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// The head of a table.
    fn head(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// The chosen row.
    fn chosen(self) -> Style {
        if self.color {
            Style::new().fg(Color::Black).bg(Color::Cyan)
        } else {
            Style::new().add_modifier(Modifier::REVERSED)
        }
    }

    /// What one looks for.
    fn accent(self) -> Style {
        let style = self.bold();
        if self.color { style.fg(Color::Cyan) } else { style }
    }

    /// What is not as it should be.
    fn warn(self) -> Style {
        let style = self.bold();
        if self.color { style.fg(Color::Yellow) } else { style }
    }
}

/// Draws everything, and tells the state how many rows the screen has.
pub fn draw(app: &mut App, theme: Theme, frame: &mut Frame<'_>) {
    let area = frame.area();
    app.size = (area.width, area.height);
    let buffer = frame.buffer_mut();
    if area.width == 0 || area.height == 0 {
        return;
    }
    if app.process.is_some() {
        process::draw(app, theme, area, buffer);
    } else {
        list::draw(app, theme, area, buffer);
    }
    if app.help {
        help::draw(app, theme, area, buffer);
    }
}

/// How many rows the list would have on a terminal of this size.
pub fn list_rows(app: &App, height: u16) -> usize {
    list::rows(app, height)
}

/// Writes lines from the top of `area` on, as many as fit.
fn lines(lines: &[Line<'_>], area: Rect, buffer: &mut Buffer) {
    for (line, y) in lines.iter().zip(area.top()..area.bottom()) {
        buffer.set_line(area.x, y, line, area.width);
    }
}

/// The part of `area` from line `from` on, `height` lines of it.
fn part(area: Rect, from: u16, height: u16) -> Rect {
    let y = area.y.saturating_add(from).min(area.bottom());
    Rect { y, height: height.min(area.bottom() - y), ..area }
}

/// A line in one style over the full width.
fn bar(text: &str, width: u16, style: Style) -> Line<'static> {
    let text = cut(text, width as usize);
    let fill = (width as usize).saturating_sub(columns(&text));
    Line::from(Span::styled(format!("{text}{}", " ".repeat(fill)), style))
}

/// `text` in `width` columns, at the left or the right.
fn cell(text: &str, width: usize, right: bool) -> String {
    let text = cut(text, width);
    let fill = " ".repeat(width.saturating_sub(columns(&text)));
    if right { format!("{fill}{text}") } else { format!("{text}{fill}") }
}

/// Keys and what they do: the last line.
fn keys(pairs: &[(&str, &str)], width: u16, theme: Theme) -> Line<'static> {
    let mut spans: Vec<Span<'static>> = Vec::new();
    let mut room = width as usize;
    for (key, what) in pairs {
        let taken = columns(key) + columns(what) + 3;
        if taken > room + 2 {
            break;
        }
        room = room.saturating_sub(taken);
        spans.push(Span::styled((*key).to_owned(), theme.accent()));
        spans.push(Span::raw(format!(" {what}  ")));
    }
    Line::from(spans)
}

/// Bars of a graph.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A small graph in `width` columns, the latest at the right.
fn graph(heights: &[u8], width: usize) -> String {
    let bars = heights.iter().map(|h| BARS[(*h as usize).min(7)]);
    let drawn: String = bars.skip(heights.len().saturating_sub(width)).collect();
    cell(&drawn, width, true)
}

#[cfg(test)]
mod tests;

//! The help, over whatever is shown.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Widget as _};

use super::{Theme, cell, lines};
use crate::tui::app::App;

const LIST: &[(&str, &str)] = &[
    ("↑ ↓, j k", "move; PgUp PgDn (b, space), Home End (g, G)"),
    ("Enter", "the process' sites: traces it (needs root)"),
    ("/", "filter by name, command, unit, runtime or PID"),
    ("s, S", "next, previous order"),
    ("1 … 7", "growth, RSS, full in, blocked, threads, name, PID"),
    ("M, N, I", "by RSS, by PID, the other way round"),
    ("p", "pause, go on"),
    ("q, Ctrl-C", "quit; Ctrl-Z suspends, Ctrl-L draws anew"),
    ("", ""),
    ("+/MIN", "growth of RSS a minute, over the last 15 s"),
    ("FULL IN", "until its control group or the machine is full,"),
    ("", "at the rate at which that fills; for who fills it"),
    ("BLK", "threads blocked: on locks (by their system call)"),
    ("", "and uninterruptibly. Idle waits do not count.  ≥, ?:"),
    ("", "lock waits of others' processes take root to see"),
];

const PROCESS: &[(&str, &str)] = &[
    ("Tab, ← →", "heap, threads, goroutines, who holds the heap"),
    ("↑ ↓, j k", "move; PgUp PgDn (b, space), Home End (g, G)"),
    ("Enter", "the site's full stack, with source lines"),
    ("s", "order of the heap: live, growth, since the mark"),
    ("m", "mark: only what grows from now on; again: all"),
    ("w", "write the report to a file as JSON"),
    ("p", "pause, go on"),
    ("Esc", "back; from here to the list, and detaches"),
    ("q, Ctrl-C", "quit; Ctrl-Z suspends, Ctrl-L draws anew"),
];

/// Draws it in the middle.
pub(super) fn draw(app: &App, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let table = if app.process.is_some() { PROCESS } else { LIST };
    let width = area.width.min(66);
    let height = area.height.min(u16::try_from(table.len()).unwrap_or(0) + 2);
    let place =
        Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    Clear.render(place, buffer);
    // No frame where every line counts.
    let inner = if area.height < 12 {
        place
    } else {
        let block = Block::bordered().title(" Help: any key leaves it ").border_style(theme.accent());
        let inner = block.inner(place);
        block.render(place, buffer);
        inner
    };
    let text: Vec<Line<'_>> = table
        .iter()
        .map(|(key, what)| {
            Line::from(vec![
                Span::styled(cell(key, 10, false), theme.accent()),
                Span::raw(format!(" {what}")),
            ])
        })
        .collect();
    lines(&text, inner, buffer);
}

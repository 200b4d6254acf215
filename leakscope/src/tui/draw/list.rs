//! The list of processes.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

use super::{Theme, bar, cell, graph, keys, lines, part};
use crate::human::{bytes, count, counted, duration, sanitize, share, signed_bytes};
use crate::layout::narrow::{growth, size, span};
use crate::processes::Order;
use crate::processes::history::heights;
use crate::processes::model::{Limit, LimitKind, Machine, Process, known_blocked};
use crate::tui::app::App;

/// A column of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Pid,
    Name,
    Rss,
    Growth,
    Graph,
    Share,
    FullIn,
    Threads,
    Blocked,
    Runtime,
    Place,
    Command,
}

/// Columns from left to right, with their heads, widths, sides (numbers at the right), and how soon they go
/// where the terminal is narrow (0: never).
const COLUMNS: [(Column, &str, usize, bool, u8); 12] = [
    (Column::Pid, "PID", 7, true, 7),
    (Column::Name, "NAME", 8, false, 0),
    (Column::Rss, "RSS", 6, true, 8),
    (Column::Growth, "+/MIN", 7, true, 0),
    (Column::Graph, "HISTORY", 10, true, 5),
    (Column::Share, "MEM", 4, true, 6),
    (Column::FullIn, "FULL IN", 7, true, 9),
    (Column::Threads, "THR", 5, true, 4),
    (Column::Blocked, "BLK", 4, true, 8),
    (Column::Runtime, "RUNTIME", 7, false, 3),
    (Column::Place, "UNIT", 14, false, 2),
    (Column::Command, "COMMAND", 20, false, 1),
];

/// Most columns that a name takes: the kernel keeps 15 characters.
const LONGEST_NAME: usize = 16;

/// The columns that fit, with their widths.
fn columns(width: usize) -> Vec<(Column, &'static str, usize, bool)> {
    let mut gone = 0;
    loop {
        let fits = |c: &&(Column, &'static str, usize, bool, u8)| c.4 == 0 || c.4 > gone;
        let mut chosen: Vec<_> = COLUMNS.iter().filter(fits).map(|c| (c.0, c.1, c.2, c.3)).collect();
        let taken: usize = chosen.iter().map(|c| c.2 + 1).sum::<usize>() - 1;
        if taken <= width || gone == 9 {
            // The name takes what is left, up to its length; then the last column.
            let last = chosen.last().map(|column| column.0);
            let mut left = width.saturating_sub(taken);
            for column in &mut chosen {
                let more = match column.0 {
                    Column::Name => left.min(LONGEST_NAME - column.2),
                    Column::Place | Column::Command if last == Some(column.0) => left,
                    _ => 0,
                };
                column.2 += more;
                left -= more;
            }
            return chosen;
        }
        gone += 1;
    }
}

/// Lines above and below the rows.
struct Frame {
    above: u16,
    below: u16,
    /// Whether the chosen process is told about.
    details: bool,
}

fn frame(app: &App, height: u16) -> Frame {
    let note = u16::from(note(app).is_some());
    match height {
        0..=5 => Frame { above: 1, below: 0, details: false },
        6..=11 => Frame { above: 2, below: 1, details: false },
        12..=17 => Frame { above: 3 + note, below: 1, details: false },
        _ => Frame { above: 3 + note, below: 4, details: true },
    }
}

/// Rows on a terminal of that height.
pub(super) fn rows(app: &App, height: u16) -> usize {
    let frame = frame(app, height);
    height.saturating_sub(frame.above + frame.below) as usize
}

pub(super) fn draw(app: &mut App, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let rows = rows(app, area.height);
    app.list.resize(rows);
    let layout = frame(app, area.height);
    let head = columns(area.width as usize);
    let mut above = Vec::new();
    if layout.above > 1 {
        above.push(title(app, theme));
    }
    if layout.above > 2 {
        let machine = app.list.snapshot().map(|s| &s.machine);
        above.push(machine.map_or_else(Line::default, |machine| memory(machine, area.width, theme)));
    }
    if layout.above > 3 {
        above.extend(note(app).map(|note| Line::styled(note, theme.warn())));
    }
    above.push(header(app, &head, area.width, theme));
    lines(&above, area, buffer);
    let body = part(area, layout.above, u16::try_from(rows).unwrap_or(u16::MAX));
    if app.list.is_empty() {
        let why = match app.list.snapshot() {
            None => "looking …".to_owned(),
            Some(_) => format!("no process holds \"{}\"; Esc shows all", sanitize(&app.list.filter)),
        };
        lines(&[Line::styled(why, theme.dim())], body, buffer);
    }
    for (row, y) in (app.list.first..app.list.len()).zip(body.top()..body.bottom()) {
        let Some(process) = app.list.process(row) else { continue };
        let chosen = row == app.list.at();
        let line = line(process, &head, theme, chosen);
        buffer.set_line(area.x, y, &line, area.width);
        if chosen {
            buffer.set_style(Rect { y, height: 1, ..area }, theme.chosen());
        }
    }
    if layout.below == 0 {
        return;
    }
    let mut below = Vec::new();
    if layout.details {
        below.push(Line::styled("─".repeat(area.width as usize), theme.dim()));
        below.extend(app.list.selected().map_or_else(Default::default, |p| about(p, theme)));
    }
    below.resize(layout.below as usize - 1, Line::default());
    below.push(footer(app, area.width, theme));
    lines(&below, part(area, area.height - layout.below, layout.below), buffer);
}

fn title(app: &App, theme: Theme) -> Line<'static> {
    let mut spans = vec![Span::styled("leakscope top", theme.bold())];
    let Some(snapshot) = app.list.snapshot() else { return Line::from(spans) };
    let all = snapshot.processes.len() as u64;
    let shown = app.list.len() as u64;
    let processes = match app.list.filter.as_str() {
        "" => counted(all, "process").replace("processs", "processes"),
        filter => format!("{} of {} processes with \"{}\"", count(shown), count(all), sanitize(filter)),
    };
    let order = app.list.order.name();
    let reversed = if app.list.reversed { ", reversed" } else { "" };
    let every = format!("every {} s", app.interval_s);
    spans.push(Span::raw(format!(" · {processes} · by {order}{reversed} · {every}")));
    if app.paused {
        spans.push(Span::styled(" · PAUSED (p goes on)", theme.warn()));
    }
    Line::from(spans)
}

/// Columns of the bar of memory.
const BAR: u64 = 20;

fn memory(machine: &Machine, width: u16, theme: Theme) -> Line<'static> {
    let used = machine.memory_total_bytes.saturating_sub(machine.memory_available_bytes);
    let filled = (used * BAR).checked_div(machine.memory_total_bytes).unwrap_or(0).min(BAR) as usize;
    let mut text = format!("Memory {} of {} ", bytes(used), bytes(machine.memory_total_bytes));
    if width >= 90 {
        text.push_str(&format!("{}{} ", "█".repeat(filled), "░".repeat(BAR as usize - filled)));
    }
    text.push_str(&share(used, machine.memory_total_bytes));
    if machine.swap_total_bytes > 0 && width >= 100 {
        let swapped = machine.swap_total_bytes.saturating_sub(machine.swap_free_bytes);
        text.push_str(&format!(" · swap {} of {}", bytes(swapped), bytes(machine.swap_total_bytes)));
    }
    let mut spans = vec![Span::raw(text)];
    if let Some(rate) = machine.growth_bytes_per_min {
        spans.push(Span::raw(format!(" · {}/min", signed_bytes(rate))));
    }
    if let Some(full) = machine.full_in_ns {
        spans.push(Span::styled(format!(" · full in {}", duration(full)), urgency(full, theme)));
    }
    Line::from(spans)
}

/// What root would see besides.
fn note(app: &App) -> Option<String> {
    let unseen = app.list.snapshot()?.unseen;
    if !app.unprivileged {
        return None;
    }
    let missing = unseen.runtimes.max(unseen.lock_waits);
    let hidden = if unseen.processes_hidden { "other users' processes, " } else { "" };
    (missing > 0 || unseen.processes_hidden)
        .then(|| format!("Not root (sudo adds {hidden}runtimes and lock waits of {} more)", count(missing)))
}

fn header(
    app: &App,
    head: &[(Column, &'static str, usize, bool)],
    width: u16,
    theme: Theme,
) -> Line<'static> {
    let sorted = match app.list.order {
        Order::Growth => Column::Growth,
        Order::Rss => Column::Rss,
        Order::FullIn => Column::FullIn,
        Order::Blocked => Column::Blocked,
        Order::Threads => Column::Threads,
        Order::Name => Column::Name,
        Order::Pid => Column::Pid,
    };
    let mut line = Line::default();
    for (i, (column, name, columns, right)) in head.iter().enumerate() {
        let gap = if i == 0 { "" } else { " " };
        let style = if *column == sorted { theme.head().add_modifier(Modifier::BOLD) } else { theme.head() };
        // An arrow where there is room for one.
        let arrow = if app.list.reversed { "▲" } else { "▼" };
        let marked = *column == sorted && name.len() < *columns;
        let name = if marked { format!("{arrow}{name}") } else { (*name).to_owned() };
        line.push_span(Span::styled(format!("{gap}{}", cell(&name, *columns, *right)), style));
    }
    let fill = (width as usize).saturating_sub(line.width());
    line.push_span(Span::styled(" ".repeat(fill), theme.head()));
    line
}

fn line(
    process: &Process,
    head: &[(Column, &'static str, usize, bool)],
    theme: Theme,
    chosen: bool,
) -> Line<'static> {
    let mut line = Line::default();
    for (i, (column, _, width, right)) in head.iter().enumerate() {
        let (text, style) = field(process, *column, *width, theme);
        let style = if chosen { theme.plain() } else { style };
        if i > 0 {
            line.push_span(Span::raw(" "));
        }
        line.push_span(Span::styled(cell(&text, *width, *right), style));
    }
    line
}

fn field(process: &Process, column: Column, width: usize, theme: Theme) -> (String, Style) {
    let plain = theme.plain();
    match column {
        Column::Pid => (process.pid.to_string(), plain),
        Column::Name => (sanitize(&process.comm), theme.bold()),
        Column::Rss => (size(process.rss_bytes), plain),
        Column::Growth => match process.growth_bytes_per_min {
            None => ("…".to_owned(), theme.dim()),
            Some(0) => ("0".to_owned(), theme.dim()),
            Some(n) => (growth(n), if n > 0 { theme.accent() } else { plain }),
        },
        Column::Graph => {
            let first = process.history.len().saturating_sub(width);
            (graph(&heights(process.history[first..].iter().copied()), width), plain)
        }
        Column::Share => {
            let percent = process.memory_share * 100.0;
            let text = if percent < 0.95 { "<1%".to_owned() } else { format!("{percent:.0}%") };
            (text, if percent < 0.95 { theme.dim() } else { plain })
        }
        Column::FullIn => match process.full_in_ns {
            None => ("-".to_owned(), theme.dim()),
            Some(full) => (span(full), urgency(full, theme)),
        },
        Column::Threads => (process.threads.to_string(), plain),
        Column::Blocked => blocked(process, theme),
        Column::Runtime => match &process.runtime {
            None => ("?".to_owned(), theme.dim()),
            Some(runtime) => (runtime.as_str().to_owned(), plain),
        },
        Column::Place => (sanitize(process.place.as_deref().unwrap_or("")), theme.dim()),
        Column::Command => (sanitize(process.cmdline.as_deref().unwrap_or("")), plain),
    }
}

fn blocked(process: &Process, theme: Theme) -> (String, Style) {
    match (process.blocked, known_blocked(process)) {
        (Some(0), _) => ("0".to_owned(), theme.dim()),
        (Some(n), _) => (n.to_string(), theme.warn()),
        (None, 0) => ("?".to_owned(), theme.dim()),
        (None, n) => (format!("≥{n}"), theme.warn()),
    }
}

/// Ten minutes is soon.
const SOON_NS: u64 = 600_000_000_000;

fn urgency(full_in_ns: u64, theme: Theme) -> Style {
    if full_in_ns <= SOON_NS { theme.warn() } else { theme.plain() }
}

/// The chosen process, in two lines.
fn about(process: &Process, theme: Theme) -> Vec<Line<'static>> {
    let command = process.cmdline.as_deref().unwrap_or(&process.comm);
    let user = process.uid.map(|uid| format!(" · uid {uid}")).unwrap_or_default();
    let place = process.place.as_ref().map(|place| format!(" · {place}")).unwrap_or_default();
    let first = Line::from(vec![
        Span::styled(format!("{} ", process.pid), theme.bold()),
        Span::raw(sanitize(&format!("{command}{user}{place}"))),
    ]);
    let mut second: Vec<String> = Vec::new();
    second.extend(process.limit.as_ref().map(|limit| told_limit(limit, process.full_in_ns)));
    let (locks, stuck) = (process.blocked_locks, process.blocked_uninterruptible);
    second.push(match (locks, stuck) {
        (None, None) => "threads not looked at yet".to_owned(),
        (None, Some(stuck)) => format!("blocked: {stuck} uninterruptibly, lock waits unknown"),
        (Some(locks), stuck) => {
            let stuck = stuck.unwrap_or(0);
            let threads = counted(process.threads, "thread");
            match locks + stuck {
                0 => format!("none of {threads} blocked"),
                n => format!("{n} of {threads} blocked: {locks} on locks, {stuck} uninterruptibly"),
            }
        }
    });
    vec![first, Line::raw(sanitize(&second.join(" · ")))]
}

fn told_limit(limit: &Limit, full: Option<u64>) -> String {
    let name = match (&limit.cgroup, limit.kind) {
        (Some(group), LimitKind::CgroupHigh) => format!("{group} (memory.high)"),
        (Some(group), _) => group.clone(),
        (None, _) => "machine".to_owned(),
    };
    let rate = limit.growth_bytes_per_min.map(|n| format!(", {}/min", signed_bytes(n))).unwrap_or_default();
    let full = full.map(|ns| format!(", full in {}", duration(ns))).unwrap_or_default();
    format!("{name}: {} of {}{rate}{full}", bytes(limit.used_bytes), bytes(limit.limit_bytes))
}

fn footer(app: &App, width: u16, theme: Theme) -> Line<'static> {
    if let Some(text) = &app.prompt {
        return Line::from(vec![
            Span::styled("Filter: ", theme.accent()),
            Span::raw(format!("{}▏", sanitize(text))),
            Span::styled("  (Enter keeps it, Esc shows all)", theme.dim()),
        ]);
    }
    if let Some(message) = &app.message {
        return bar(&sanitize(message), width, theme.warn());
    }
    let pairs = [
        ("?", "help"),
        ("q", "quit"),
        ("Enter", "its sites"),
        ("/", "filter"),
        ("s", "sort"),
        ("p", if app.paused { "go on" } else { "pause" }),
        ("↑↓ PgUp PgDn", "move"),
    ];
    keys(&pairs, width, theme)
}

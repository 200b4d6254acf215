//! The screen of one process.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::{Theme, bar, cell, graph, keys, lines, part};
use crate::human::{bytes, count, counted, duration, sanitize, signed_bytes, wrap};
use crate::layout::narrow::growth;
use crate::losses;
use crate::report::Report;
use crate::section::label::name;
use crate::section::stack::StackEnd;
use crate::section::view::{Around, Column, Tone, Toned, Viewed, What, dash};
use crate::tui::app::App;
use crate::tui::process::{Phase, ProcessView, SiteOrder};

/// Reports further apart than this are told to be.
const SELDOM_NS: u64 = 2_500_000_000;
/// Lines of a screen that has room for what sections say above the rows.
const ROOMY: u16 = 14;
/// Lines below the rows: losses and cost, and keys.
const BELOW: u16 = 2;

pub(super) fn draw(app: &mut App, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let paused = app.paused;
    let message = app.message.clone();
    let wants_root = app.wants_root().is_some();
    let Some(process) = app.process.as_mut() else { return };
    let mut above = above(process, paused, theme, area);
    if wants_root {
        above.push(Line::default());
        above.push(Line::from("S looks at it as root: asks sudo, and leaves this screen for another one"));
    }
    let below = if area.height < 8 { 0 } else { BELOW };
    if process.detail.is_none() && process.report.is_some() {
        above.push(header(process, area.width, theme));
    }
    let taken = u16::try_from(above.len()).unwrap_or(u16::MAX).min(area.height);
    lines(&above, area, buffer);
    let body = part(area, taken, area.height.saturating_sub(taken + below));
    process.resize(body.height as usize);
    if let Some(from) = process.detail {
        let text = detail(process, theme, body.width as usize);
        let from = from.min(text.len().saturating_sub(body.height as usize));
        process.detail = Some(from);
        lines(&text[from..], body, buffer);
    } else {
        rows(process, theme, body, buffer);
    }
    if below == 0 {
        return;
    }
    let cost = process.report.as_ref().map(|r| cost(process, r, theme)).unwrap_or_default();
    let last = match &message {
        Some(message) => bar(&sanitize(message), area.width, theme.warn()),
        None => footer(process, area.width, theme),
    };
    lines(&[cost, last], part(area, area.height - below, below), buffer);
}

fn above(process: &ProcessView, paused: bool, theme: Theme, area: Rect) -> Vec<Line<'static>> {
    let mut text = vec![title(process, paused, theme)];
    let Some(report) = &process.report else {
        let what = match &process.phase {
            Phase::Attaching => "reading its files and placing probes …".to_owned(),
            Phase::Attached { .. } => "the first report comes in a second …".to_owned(),
            Phase::Ended(why) | Phase::Denied(why) => why.clone(),
        };
        let room = (area.width as usize).max(16);
        text.extend(wrap(&sanitize(&what), room, 6).into_iter().map(|line| Line::styled(line, theme.warn())));
        return text;
    };
    if area.height < 8 {
        return text;
    }
    // What it says must not push the table about: two lines, whatever they hold.
    let headline = wrap(&sanitize(report.summary.headline()), area.width as usize, 2);
    let mut headline: Vec<Line<'static>> =
        headline.into_iter().map(|line| Line::styled(line, theme.bold())).collect();
    headline.resize(2, Line::default());
    text.extend(headline);
    text.push(figures(report));
    if area.height >= ROOMY {
        let told = report.sections().into_iter().flat_map(|section| section.on_screen());
        text.extend(told.map(|line| Line::raw(sanitize(&line))));
    }
    let views = Report::tabs().into_iter().filter_map(|tab| report.viewed(tab));
    for alert in views.flat_map(|view| view.alerts()) {
        text.push(Line::styled(format!("! {}", sanitize(&alert)), theme.warn()));
    }
    if let Some(warning) = &process.warning {
        text.push(Line::styled(format!("! {}", sanitize(warning)), theme.warn()));
    }
    text.push(tabs(process, report, theme));
    text
}

fn title(process: &ProcessView, paused: bool, theme: Theme) -> Line<'static> {
    let name = format!("{} (PID {})", sanitize(&process.comm), process.pid);
    let mut spans = vec![Span::styled(name, theme.bold())];
    if let Some(report) = &process.report {
        let version = report.target.runtime_version.as_deref().unwrap_or("");
        spans.push(Span::raw(sanitize(format!(" · {} {version}", report.target.runtime).trim_end())));
        spans.push(Span::raw(format!(" · watched {}", duration(report.window.duration_ns))));
    }
    match &process.phase {
        Phase::Attaching => spans.push(Span::raw(" · attaching")),
        Phase::Attached { probes } => {
            spans.push(Span::raw(format!(" · {}", counted(*probes as u64, "probe"))));
        }
        Phase::Ended(why) | Phase::Denied(why) if process.report.is_some() => {
            spans.push(Span::styled(format!(" · over: {}", sanitize(why)), theme.warn()));
        }
        Phase::Ended(_) | Phase::Denied(_) => spans.push(Span::styled(" · not attached", theme.warn())),
    }
    if paused {
        spans.push(Span::styled(" · PAUSED (p goes on)", theme.warn()));
    }
    Line::from(spans)
}

fn figures(report: &Report) -> Line<'static> {
    let mut parts: Vec<String> = Vec::new();
    if let (Some(start), Some(end)) = (report.memory.rss_start_bytes, report.memory.rss_end_bytes) {
        let change = end.cast_signed() - start.cast_signed();
        parts.push(format!("RSS {} ({})", bytes(end), signed_bytes(change)));
    }
    parts.extend(Report::tabs().into_iter().filter_map(|tab| {
        let around = Around {
            goes_on: report.window.ended_by.is_none(),
            lost: report.losses.keys().any(|name| losses::spoils_section(tab.section, name)),
        };
        report.viewed(tab)?.figure(around)
    }));
    Line::raw(parts.join(" · "))
}

fn tabs(process: &ProcessView, report: &Report, theme: Theme) -> Line<'static> {
    let mut spans = Vec::new();
    for tab in process.tabs() {
        let count = report.viewed(tab).map_or_else(|| tab.none.to_owned(), |view| view.count());
        let text = format!(" {}: {count} ", tab.title);
        let (text, style) = if tab.section == process.tab.section {
            (format!("[{}]", text.trim()), theme.accent())
        } else {
            (text, theme.plain())
        };
        spans.push(Span::styled(text, style));
        spans.push(Span::raw(" "));
    }
    if process.tab.tracks.is_some() {
        let order = match process.order {
            SiteOrder::Live => "by live bytes",
            SiteOrder::Growth => "by growth",
            SiteOrder::SinceMark => "by growth since the mark",
        };
        spans.push(Span::styled(order, theme.dim()));
    }
    Line::from(spans)
}

/// The columns that there is room for.
fn columns(process: &ProcessView, width: usize) -> Vec<Column> {
    let kept =
        |column: &&Column| width >= column.least && (column.what != What::SinceMark || process.marked());
    process.tab.columns.iter().filter(kept).copied().collect()
}

fn header(process: &ProcessView, width: u16, theme: Theme) -> Line<'static> {
    let titled = |column: &Column| {
        let width = column.width.max(column.title.len());
        cell(column.title, width, column.number)
    };
    let text: Vec<String> = columns(process, width as usize).iter().map(titled).collect();
    bar(&text.join(" "), width, theme.head())
}

fn rows(process: &ProcessView, theme: Theme, body: Rect, buffer: &mut Buffer) {
    let columns = columns(process, body.width as usize);
    if process.is_empty() && process.report.is_some() {
        let marked = process.marked() && process.tab.tracks.is_some();
        let known = process.view().and_then(Viewed::why_empty).map(sanitize);
        let why = match known {
            _ if marked => "nothing has grown since the mark".into(),
            Some(why) => why,
            None => process.tab.empty.into(),
        };
        let why = wrap(&why, (body.width as usize).max(16), 4).into_iter();
        lines(&why.map(|line| Line::styled(line, theme.dim())).collect::<Vec<_>>(), body, buffer);
    }
    let Some(view) = process.view() else { return };
    for (row, y) in (process.first..process.len()).zip(body.top()..body.bottom()) {
        let Some(site) = process.site(row) else { return };
        let mut line = Line::default();
        for (i, column) in columns.iter().enumerate() {
            let rest = (body.width as usize).saturating_sub(line.width() + usize::from(i > 0));
            let width = if column.width == 0 { rest } else { column.width };
            let (text, tone) = field(process, view, site, column.what, width);
            let tone = if view.is_idle(site) { Tone::Dim } else { tone };
            let gap = if i > 0 { " " } else { "" };
            let text = cell(&sanitize(&text), width, column.number);
            line.push_span(Span::styled(format!("{gap}{text}"), toned(tone, theme)));
        }
        buffer.set_line(body.x, y, &line, body.width);
        if row == process.at {
            buffer.set_style(Rect { y, height: 1, ..body }, Style::reset().patch(theme.chosen()));
        }
    }
}

/// How a tone looks.
fn toned(tone: Tone, theme: Theme) -> Style {
    match tone {
        Tone::Plain => theme.plain(),
        Tone::Bold => theme.bold(),
        Tone::Dim => theme.dim(),
        Tone::Accent => theme.accent(),
        Tone::Warn => theme.warn(),
    }
}

fn field(process: &ProcessView, view: &dyn Viewed, site: usize, what: What, width: usize) -> Toned {
    let id = view.id(site);
    match what {
        What::Own(number) => view.cell(site, number),
        What::SinceMark => {
            process.since_mark(view, site).map_or_else(dash, |more| (growth(more), Tone::Accent))
        }
        What::PerMinute => match process.growth_per_min(id) {
            None => ("…".to_owned(), Tone::Dim),
            Some(0) => ("0".to_owned(), Tone::Dim),
            Some(n) => (growth(n), if n > 0 { Tone::Accent } else { Tone::Plain }),
        },
        What::History => {
            let heights = process.history(id).map(|h| h.heights(width)).unwrap_or_default();
            (graph(&heights, width), Tone::Plain)
        }
    }
}

/// All about the chosen row.
fn detail(process: &ProcessView, theme: Theme, width: usize) -> Vec<Line<'static>> {
    let mut text: Vec<Line<'static>> = Vec::new();
    let Some((view, site)) = process.view().zip(process.site(process.at)) else { return text };
    for (told, tone) in view.details(site, process.growth_per_min(view.id(site))) {
        for line in wrap(&sanitize(&told), width.max(16), 4) {
            text.push(Line::styled(line, toned(tone, theme)));
        }
    }
    let Some(stack) = view.stack(site) else { return text };
    text.push(Line::default());
    for (i, frame) in stack.frames.iter().enumerate() {
        let blamed = stack.blame == Some(i as u64);
        let (mark, style) = if blamed { ("▶ ", theme.accent()) } else { ("  ", theme.plain()) };
        text.push(Line::styled(format!("{mark}{}", sanitize(&name(frame))), style));
        let key = frame.file.as_deref().map(ToOwned::to_owned).zip(frame.line);
        if let Some(source) = key.and_then(|key| process.sources.get(&key)) {
            text.push(Line::styled(format!("      {}", sanitize(source)), theme.dim()));
        }
    }
    match &stack.end {
        Some(StackEnd::Root) => {}
        Some(why) => {
            let why = sanitize(&why.to_string());
            let ends = if matches!(stack.end, Some(StackEnd::Grouped { .. })) {
                ""
            } else {
                "the stack ends here: "
            };
            text.push(Line::styled(format!("  … {ends}{why}"), theme.dim()));
        }
        None => text.push(Line::styled("  … the stack was not captured", theme.dim())),
    }
    text
}

/// What was lost, and what this costs now.
fn cost(process: &ProcessView, report: &Report, theme: Theme) -> Line<'static> {
    let lost: Vec<String> = report.losses.iter().map(|(name, n)| format!("{} {name}", count(*n))).collect();
    let share = |share: f64| match share * 100.0 {
        percent if percent < 0.05 => "<0.1 %".to_owned(),
        percent => format!("{percent:.1} %"),
    };
    let cost = match process.cost {
        None => "Cost: known with the next report".to_owned(),
        Some((target, own)) => {
            format!("Cost: target ~{}, leakscope {} of a core", share(target), share(own))
        }
    };
    let lost = if lost.is_empty() {
        Span::raw("Lost: nothing · ".to_owned())
    } else {
        Span::styled(format!("Lost: {} · ", lost.join(", ")), theme.warn())
    };
    // Many live blocks take long to read: then reports are rare.
    let apart = match process.apart_ns {
        rare if rare > SELDOM_NS => format!(", a report each {:.0} s", rare as f64 / 1e9),
        _ => String::new(),
    };
    // The losses come first: they are what must be seen.
    Line::from(vec![lost, Span::raw(cost), Span::raw(apart)])
}

fn footer(process: &ProcessView, width: u16, theme: Theme) -> Line<'static> {
    let detail = [("Esc", "back"), ("↑↓", "scroll"), ("w", "write JSON"), ("?", "help")];
    if process.detail.is_some() {
        return keys(&detail, width, theme);
    }
    let mark = if process.marked() { "unmark" } else { "mark" };
    let tabs: Vec<String> =
        Report::tabs().iter().filter(|tab| tab.always).map(|tab| tab.title.to_lowercase()).collect();
    let tabs = tabs.join("/");
    let all = [
        ("?", "help"),
        ("Esc", "list"),
        ("Enter", "stack"),
        ("Tab", &tabs),
        ("m", mark),
        ("s", "sort"),
        ("w", "write JSON"),
        ("p", "pause"),
        ("q", "quit"),
    ];
    keys(&all, width, theme)
}

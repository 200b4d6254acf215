//! The screen of one process.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::text::{growth, size, span};
use super::{Theme, bar, cell, graph, keys, lines, part};
use crate::export::table::goroutine_place;
use crate::human::{bytes, count, counted, duration, printable, signed_bytes, wrap};
use crate::report::Report;
use crate::report::model::{Stack, StackEnd, WaitSite};
use crate::section::label::{name as frame_name, short_name};
use crate::tui::app::App;
use crate::tui::process::{Phase, ProcessView, SiteOrder, Tab};

/// Reports further apart than this are told to be.
const SELDOM_NS: u64 = 2_500_000_000;
/// Lines below the rows: losses and cost, and keys.
const BELOW: u16 = 2;

/// Draws it.
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
        Some(message) => bar(&printable(message), area.width, theme.warn()),
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
        text.extend(
            wrap(&printable(&what), room, 6).into_iter().map(|line| Line::styled(line, theme.warn())),
        );
        return text;
    };
    if area.height < 8 {
        return text;
    }
    // What it says must not push the table about: two lines, whatever they hold.
    let headline = wrap(&printable(report.summary.headline()), area.width as usize, 2);
    let mut headline: Vec<Line<'static>> =
        headline.into_iter().map(|line| Line::styled(line, theme.bold())).collect();
    headline.resize(2, Line::default());
    text.extend(headline);
    text.push(figures(report));
    if let Some(waits) = report.waits.as_ref().filter(|w| !w.deadlocks.is_empty()) {
        for deadlock in waits.deadlocks.iter().take(2) {
            let threads: Vec<String> =
                deadlock.cycle.iter().map(|t| format!("{} \"{}\"", t.tid, t.name)).collect();
            let probable = if deadlock.certain { "" } else { "probable " };
            let line = format!("! {probable}deadlock: threads {}", threads.join(" → "));
            text.push(Line::styled(printable(&line), theme.warn()));
        }
    }
    if let Some(warning) = &process.warning {
        text.push(Line::styled(format!("! {}", printable(warning)), theme.warn()));
    }
    text.push(tabs(process, report, theme));
    text
}

fn title(process: &ProcessView, paused: bool, theme: Theme) -> Line<'static> {
    let name = format!("{} (PID {})", printable(&process.comm), process.pid);
    let mut spans = vec![Span::styled(name, theme.bold())];
    if let Some(report) = &process.report {
        let version = report.target.runtime_version.as_deref().unwrap_or("");
        spans.push(Span::raw(printable(format!(" · {} {version}", report.target.runtime).trim_end())));
        spans.push(Span::raw(format!(" · watched {}", duration(report.window.duration_ns))));
    }
    match &process.phase {
        Phase::Attaching => spans.push(Span::raw(" · attaching")),
        Phase::Attached { probes } => {
            spans.push(Span::raw(format!(" · {}", counted(*probes as u64, "probe"))));
        }
        Phase::Ended(why) | Phase::Denied(why) if process.report.is_some() => {
            spans.push(Span::styled(format!(" · over: {}", printable(why)), theme.warn()));
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
    if let Some(heap) = &report.heap {
        // A report of a window that goes on is never called exact.
        let lost = report.losses.keys().any(|name| name.starts_with("heap."));
        let exact = match (heap.exact, report.window.ended_by) {
            (true, _) => "exact",
            (false, None) if !lost => "no call missed so far",
            _ => "not exact",
        };
        let live = bytes(heap.totals.live_bytes);
        parts.push(format!("heap +{live} since attach, {exact}"));
    }
    if let Some(waits) = &report.waits {
        parts.push(format!("{} of {} blocked", count(waits.blocked_now), counted(waits.threads, "thread")));
    }
    Line::raw(parts.join(" · "))
}

fn tabs(process: &ProcessView, report: &Report, theme: Theme) -> Line<'static> {
    let mut spans = Vec::new();
    for tab in process.tabs() {
        let (name, number) = match tab {
            Tab::Heap => {
                let live =
                    report.heap.as_ref().map_or(0, |h| h.sites.iter().filter(|s| s.live_objects > 0).count());
                ("Heap", live as u64)
            }
            Tab::Threads => {
                let stuck = report
                    .waits
                    .as_ref()
                    .map_or(0, |w| w.sites.iter().filter(|s| !s.idle).map(|s| s.blocked_now).sum());
                ("Threads", stuck)
            }
            Tab::Goroutines => ("Goroutines", report.goroutines.as_ref().map_or(0, |g| g.total)),
        };
        let what = match tab {
            Tab::Heap => counted(number, "site"),
            Tab::Threads => format!("{} not idle", count(number)),
            Tab::Goroutines => count(number),
        };
        let text = format!(" {name}: {what} ");
        let (text, style) = if tab == process.tab {
            (format!("[{}]", text.trim()), theme.accent())
        } else {
            (text, theme.plain())
        };
        spans.push(Span::styled(text, style));
        spans.push(Span::raw(" "));
    }
    if process.tab == Tab::Heap {
        let order = match process.order {
            SiteOrder::Live => "by live bytes",
            SiteOrder::Growth => "by growth",
            SiteOrder::SinceMark => "by growth since the mark",
        };
        spans.push(Span::styled(order, theme.dim()));
    }
    Line::from(spans)
}

/// Columns with their widths, numbers at the right; the last one takes the rest.
fn columns(process: &ProcessView, width: usize) -> Vec<(&'static str, usize)> {
    let all: &[(&str, usize)] = match process.tab {
        Tab::Heap if process.marked() => &[
            ("LIVE", 6),
            ("MARK", 7),
            ("+/MIN", 7),
            ("HISTORY", 10),
            ("BLOCKS", 9),
            ("OLDEST", 6),
            ("SITE", 0),
        ],
        Tab::Heap => &[("LIVE", 6), ("+/MIN", 7), ("HISTORY", 10), ("BLOCKS", 9), ("OLDEST", 6), ("SITE", 0)],
        Tab::Threads => &[("BLOCKED", 7), ("LONGEST", 7), ("FOR", 16), ("IN", 22), ("AT", 0)],
        Tab::Goroutines => &[("COUNT", 7), ("GROWTH", 7), ("LONGEST", 7), ("STATE", 18), ("AT", 0)],
    };
    let kept = |name: &str| match width {
        70.. => true,
        40.. => !matches!(name, "HISTORY" | "OLDEST" | "IN"),
        _ => matches!(name, "+/MIN" | "SITE" | "BLOCKED" | "COUNT" | "AT"),
    };
    all.iter().copied().filter(|(name, _)| kept(name)).collect()
}

/// Whether a column is one of numbers.
fn is_number(name: &str) -> bool {
    !matches!(name, "SITE" | "AT" | "FOR" | "IN" | "STATE")
}

fn header(process: &ProcessView, width: u16, theme: Theme) -> Line<'static> {
    let cells = columns(process, width as usize);
    let text: Vec<String> =
        cells.iter().map(|(name, w)| cell(name, (*w).max(name.len()), is_number(name))).collect();
    bar(&text.join(" "), width, theme.head())
}

fn rows(process: &ProcessView, theme: Theme, body: Rect, buffer: &mut Buffer) {
    let cells = columns(process, body.width as usize);
    if process.is_empty() && process.report.is_some() {
        let why = match process.tab {
            Tab::Heap if process.marked() => "nothing has grown since the mark",
            Tab::Heap => "nothing that was allocated since the attach is live",
            Tab::Threads => "no thread is blocked",
            Tab::Goroutines => "no goroutines",
        };
        lines(&[Line::styled(why, theme.dim())], body, buffer);
    }
    for (row, y) in (process.first..process.len()).zip(body.top()..body.bottom()) {
        let mut line = Line::default();
        let idle = is_idle(process, row);
        for (i, (name, width)) in cells.iter().enumerate() {
            let rest = (body.width as usize).saturating_sub(line.width() + usize::from(i > 0));
            let width = if *width == 0 { rest } else { *width };
            let (text, style) = field(process, row, name, width, theme);
            let style = if idle { theme.dim() } else { style };
            let gap = if i > 0 { " " } else { "" };
            line.push_span(Span::styled(
                format!("{gap}{}", cell(&printable(&text), width, is_number(name))),
                style,
            ));
        }
        buffer.set_line(body.x, y, &line, body.width);
        if row == process.at {
            buffer.set_style(Rect { y, height: 1, ..body }, Style::reset().patch(theme.chosen()));
        }
    }
}

fn is_idle(process: &ProcessView, row: usize) -> bool {
    match process.tab {
        Tab::Heap => false,
        Tab::Threads => process.wait_site(row).is_some_and(|s| s.idle),
        Tab::Goroutines => process.goroutine_site(row).is_some_and(|s| s.idle || s.system),
    }
}

/// The frame to blame, or the innermost one.
fn blamed(stack: &Stack) -> String {
    stack.shown().map_or_else(|| "(stack not captured)".to_owned(), short_name)
}

fn field(process: &ProcessView, row: usize, name: &str, width: usize, theme: Theme) -> (String, Style) {
    let plain = theme.plain();
    let dash = || ("-".to_owned(), theme.dim());
    if let Some(site) = process.heap_site(row).filter(|_| process.tab == Tab::Heap) {
        return match name {
            "LIVE" => (size(site.live_bytes), theme.bold()),
            "MARK" => (growth(process.since_mark(site).unwrap_or(0)), theme.accent()),
            "+/MIN" => match process.growth_per_min(site) {
                None => ("…".to_owned(), theme.dim()),
                Some(0) => ("0".to_owned(), theme.dim()),
                Some(n) => (growth(n), if n > 0 { theme.accent() } else { plain }),
            },
            "HISTORY" => {
                let heights = process.history(site).map(|h| h.heights(width)).unwrap_or_default();
                (graph(&heights, width), plain)
            }
            "BLOCKS" => (count(site.live_objects), plain),
            "OLDEST" => site.oldest_age_ns.map_or_else(dash, |ns| (span(ns), plain)),
            _ => (blamed(&site.stack), plain),
        };
    }
    if let Some(site) = process.wait_site(row).filter(|_| process.tab == Tab::Threads) {
        return match name {
            "BLOCKED" => (count(site.blocked_now), theme.bold()),
            "LONGEST" => site.longest_blocked_ns.map_or_else(dash, |ns| (span(ns), plain)),
            "FOR" => {
                let kind = site.kind.to_string();
                if site.idle { (format!("{kind} (idle)"), plain) } else { (kind, theme.warn()) }
            }
            "IN" => (site.primitive.clone().or_else(|| site.operation.clone()).unwrap_or_default(), plain),
            _ => (held(site), plain),
        };
    }
    if let Some(site) = process.goroutine_site(row) {
        return match name {
            "COUNT" => (count(site.count), theme.bold()),
            "GROWTH" => match site.growth_since_first {
                None | Some(0) => dash(),
                Some(n) => (format!("{n:+}"), if site.piling_up { theme.warn() } else { plain }),
            },
            "LONGEST" => site.longest_blocked_ns.map_or_else(dash, |ns| (span(ns), plain)),
            "STATE" => (site.wait_reason.clone().unwrap_or_else(|| site.state.clone()), plain),
            _ => (goroutine_place(site), plain),
        };
    }
    (String::new(), plain)
}

/// Where it is blocked, and by whom.
fn held(site: &WaitSite) -> String {
    let owner = site.locks.iter().find_map(|lock| {
        let name = lock.owner_name.as_deref().unwrap_or("?");
        let probably = if lock.owner_inferred { "probably " } else { "" };
        lock.owner_tid.map(|tid| format!(", {probably}held by {tid} \"{name}\""))
    });
    format!("{}{}", blamed(&site.stack), owner.unwrap_or_default())
}

/// All about the chosen row.
fn detail(process: &ProcessView, theme: Theme, width: usize) -> Vec<Line<'static>> {
    let mut text: Vec<Line<'static>> = Vec::new();
    let mut say = |line: String, style: Style| {
        for line in wrap(&printable(&line), width.max(16), 4) {
            text.push(Line::styled(line, style));
        }
    };
    let at = process.at;
    match process.tab {
        Tab::Heap => {
            let Some(site) = process.heap_site(at) else { return text };
            let rate = process.growth_per_min(site).map(|n| format!(", {}/min", signed_bytes(n)));
            say(
                format!(
                    "{} live in {}{}",
                    bytes(site.live_bytes),
                    counted(site.live_objects, "block"),
                    rate.unwrap_or_default()
                ),
                theme.bold(),
            );
            say(
                format!(
                    "allocated {} in {} since attach · source {}",
                    bytes(site.alloc_bytes),
                    counted(site.alloc_objects, "block"),
                    site.source
                ),
                theme.plain(),
            );
            if let Some((old, young)) = site.oldest_age_ns.zip(site.youngest_age_ns) {
                say(format!("ages: {} to {}", duration(young), duration(old)), theme.plain());
            }
            if let Some((low, high)) = site.live_bytes_low.zip(site.live_bytes_high) {
                say(format!("an estimate: between {} and {}", bytes(low), bytes(high)), theme.plain());
            }
        }
        Tab::Threads => {
            let Some(site) = process.wait_site(at) else { return text };
            let longest = site.longest_blocked_ns.map(|ns| format!(", the longest for {}", duration(ns)));
            say(
                format!(
                    "{} blocked ({}){}",
                    counted(site.blocked_now, "thread"),
                    site.kind,
                    longest.unwrap_or_default()
                ),
                theme.bold(),
            );
            if let Some(rule) = &site.idle_rule {
                say(format!("idle: {rule}"), theme.dim());
            }
            if let Some((waits, ns)) = site.waits.zip(site.wait_ns) {
                say(
                    format!("{} ended here since attach, {} in all", counted(waits, "wait"), duration(ns)),
                    theme.plain(),
                );
            }
            for lock in site.locks.iter().take(5) {
                let owner = match (lock.owner_tid, &lock.owner_unknown) {
                    (Some(tid), _) => {
                        format!("held by {tid} \"{}\"", lock.owner_name.as_deref().unwrap_or("?"))
                    }
                    (None, why) => format!("owner unknown: {}", why.as_deref().unwrap_or("not noted")),
                };
                say(
                    format!("lock {}: {}, {owner}", lock.address, counted(lock.waiters, "waiter")),
                    theme.warn(),
                );
            }
            let threads: Vec<String> =
                site.threads.iter().take(12).map(|t| format!("{} \"{}\"", t.tid, t.name)).collect();
            if !threads.is_empty() {
                let more = if site.threads.len() > threads.len() { ", …" } else { "" };
                say(format!("threads: {}{more}", threads.join(", ")), theme.plain());
            }
        }
        Tab::Goroutines => {
            let Some(site) = process.goroutine_site(at) else { return text };
            let why = site.wait_reason.as_deref().unwrap_or(&site.state);
            let since = site.growth_since_first.map(|n| format!(", {n:+} since attach")).unwrap_or_default();
            say(format!("{}: {why}{since}", counted(site.count, "goroutine")), theme.bold());
            if let Some(ns) = site.longest_blocked_ns {
                let least = if site.blocked_at_least { "at least " } else { "" };
                say(format!("the longest waits for {least}{}", duration(ns)), theme.plain());
            }
            if let Some(rule) = &site.idle_rule {
                say(format!("idle: {rule}"), theme.dim());
            }
            if let Some(created) = &site.created_by {
                say(format!("created by {}", frame_name(created)), theme.plain());
            }
        }
    }
    text.push(Line::default());
    let Some(stack) = process.stack() else { return text };
    for (i, frame) in stack.frames.iter().enumerate() {
        let blamed = stack.blame == Some(i as u64);
        let (mark, style) = if blamed { ("▶ ", theme.accent()) } else { ("  ", theme.plain()) };
        text.push(Line::styled(format!("{mark}{}", printable(&frame_name(frame))), style));
        let key = frame.file.clone().zip(frame.line);
        if let Some(source) = key.and_then(|key| process.sources.get(&key)) {
            text.push(Line::styled(format!("      {}", printable(source)), theme.dim()));
        }
    }
    match &stack.end {
        Some(StackEnd::Root) => {}
        Some(why) => {
            let why = printable(&why.to_string());
            text.push(Line::styled(format!("  … the stack ends here: {why}"), theme.dim()))
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
    let all = [
        ("?", "help"),
        ("Esc", "list"),
        ("Enter", "stack"),
        ("Tab", "heap/threads"),
        ("m", mark),
        ("s", "sort"),
        ("w", "write JSON"),
        ("p", "pause"),
        ("q", "quit"),
    ];
    keys(&all, width, theme)
}

//! Goroutines: those that pile up first, idle ones last, the runtime's own in a line.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use crate::human::{count, counted, cut, duration, signed_count};
use crate::layout::grid::{EXTRA, Grid, Row, number, text};
use crate::layout::page::{Page, Paint};
use crate::runtime::go::named::without_path;
use crate::section::label::{name, short};
use crate::section::model::{Frame, GoroutinePlace, GoroutineSite, Goroutines};

/// Columns of a wait reason.
const REASON: usize = 28;
/// Columns of who created them, in the table.
const CREATOR: usize = 36;
/// Columns of a label, and how many are shown.
const LABEL: usize = 60;
const MOST_LABELS: usize = 8;
/// Things that goroutines of a place do that are told.
const MOST_DOING: usize = 3;
/// Kinds of the runtime's own goroutines that are told.
const MOST_KINDS: usize = 4;

/// The sites that are shown: idle ones last, else as they are ranked; the runtime's own are told apart.
fn shown<'a>(all: &'a Goroutines, page: &Page<'_>) -> Vec<&'a GoroutineSite> {
    let of = |idle| all.sites.iter().filter(move |site| !site.system && site.idle == idle);
    of(false).chain(of(true)).take(page.style.top).collect()
}

/// How many there are, and how sure that is.
pub(crate) fn totals(all: &Goroutines, page: &mut Page<'_>) -> io::Result<()> {
    let growth = match (all.growth_since_first, all.since_first_ns) {
        (Some(growth), Some(ns)) => format!(", {} in {}", signed_count(growth), duration(ns)),
        _ => String::new(),
    };
    let idle = all.sites.iter().filter(|site| site.idle && !site.system);
    let idle = match idle.fold(0u64, |sum, site| sum.saturating_add(site.count)) {
        0 => String::new(),
        n if n == all.total => ", all of them idle".to_owned(),
        n => format!(", {} of them idle", count(n)),
    };
    let stuck = match all.stuck {
        0 => String::new(),
        n => format!(", {} of them stuck", count(n)),
    };
    let system = match all.system {
        0 => String::new(),
        n => format!("; {} more of the runtime's own", count(n)),
    };
    page.sentences(Paint::Plain, &format!("Goroutines: {}{growth}{stuck}{idle}{system}", count(all.total)))?;
    let exact = if all.exact { "exact" } else { "not exact" };
    page.sentences(Paint::Plain, &format!("Their stacks: {exact}, {}", all.method))
}

/// The table of sites.
pub(crate) fn table(all: &Goroutines, page: &mut Page<'_>) -> io::Result<()> {
    let shown = shown(all, page);
    if !shown.is_empty() {
        let grows = shown.iter().any(|site| site.growth_since_first.is_some());
        let mut columns = vec![number("#", 0), number("count", 0)];
        if grows {
            columns.push(number("growth", 1));
        }
        columns.extend([
            number("blocked", EXTRA),
            text("in", 2),
            text("created by", EXTRA + 1),
            text("goroutines at", 0),
        ]);
        let rows = shown.iter().map(|site| {
            let mut cells = vec![site.rank.to_string(), count(site.count)];
            if grows {
                cells.push(site.growth_since_first.map_or("-".to_owned(), signed_count));
            }
            cells.extend([blocked(site), state(site), cut(&short_creator(site), CREATOR), place(site)]);
            Row { cells, paint: paint(site) }
        });
        let rows: Vec<Row> = rows.collect();
        let parted = shown.iter().position(|site| site.idle).map(|at| (at, "idle"));
        page.blank()?;
        Grid { columns, rows, parted }.draw(page)?;
    }
    let listed = all.sites.iter().filter(|site| !site.system);
    if let hidden @ 1.. = listed.clone().count() - shown.len() {
        let idle = listed.filter(|site| site.idle).count() - shown.iter().filter(|site| site.idle).count();
        let idle = if idle > 0 { format!(", {idle} of them idle") } else { String::new() };
        page.more(hidden, "site", &idle)?;
    }
    runtime(all, page)
}

/// Places whose goroutines do this and that, with what began and ended there.
pub(crate) fn places(all: &Goroutines, page: &mut Page<'_>) -> io::Result<()> {
    let several: Vec<&GoroutinePlace> = all.places.iter().filter(|place| place.doing.len() > 1).collect();
    if several.is_empty() {
        return Ok(());
    }
    let traced = all.creations.is_some();
    let mut columns = vec![number("#", 1), number("count", 0), number("growth", 0)];
    if traced {
        columns.extend([number("created", EXTRA), number("ended", EXTRA)]);
    }
    columns.extend([text("doing", 2), text("created by", EXTRA + 1), text("whatever they do, in", 0)]);
    let shown = page.style.shown(&several);
    let rows = shown.iter().map(|place| {
        let mut cells = vec![place.rank.to_string(), count(place.count)];
        cells.push(place.growth_since_first.map_or("-".to_owned(), signed_count));
        if traced {
            cells.extend([place.created, place.exited].map(|n| n.map_or("-".to_owned(), count)));
        }
        let creator = place.created_by.as_ref().map_or("-".to_owned(), |frame| name(&short(frame)));
        let function = place.frame.as_ref().and_then(|frame| frame.function.as_deref());
        let function = function.or(place.start_function.as_deref()).map_or("-", without_path);
        cells.extend([doing(place), cut(&creator, CREATOR), function.to_owned()]);
        Row { cells, paint: if place.piling_up { Paint::Plain } else { Paint::Dim } }
    });
    let rows = rows.collect();
    page.blank()?;
    Grid { columns, rows, parted: None }.draw(page)?;
    page.more(several.len() - shown.len(), "place", "")
}

/// What the goroutines of a place do.
fn doing(place: &GoroutinePlace) -> String {
    let told = place.doing.iter().take(MOST_DOING).map(|doing| {
        let what = doing.wait_reason.as_deref().filter(|_| doing.state == "waiting").unwrap_or(&doing.state);
        format!("{} {}", count(doing.count), cut(what, REASON))
    });
    let more = if place.doing.len() > MOST_DOING { ", …" } else { "" };
    told.collect::<Vec<_>>().join(", ") + more
}

/// Where goroutines began and ended while leakscope watched.
pub(crate) fn creations(all: &Goroutines, page: &mut Page<'_>) -> io::Result<()> {
    let Some(creations) = all.creations.as_ref().filter(|all| !all.is_empty()) else { return Ok(()) };
    let columns = vec![
        number("#", 1),
        number("created", 0),
        number("ended", EXTRA),
        number("growth", 0),
        text("goroutines created at", 0),
    ];
    let shown = page.style.shown(creations);
    let rows = shown.iter().map(|creation| {
        let numbers = [count(creation.created), count(creation.exited), signed_count(creation.growth)];
        let cells =
            [vec![creation.rank.to_string()], numbers.to_vec(), vec![creation.stack.told(name)]].concat();
        Row { cells, paint: if creation.growth > 0 { Paint::Plain } else { Paint::Dim } }
    });
    let rows = rows.collect();
    page.blank()?;
    Grid { columns, rows, parted: None }.draw(page)?;
    page.more(creations.len() - shown.len(), "statement", "")
}

/// The runtime's own goroutines.
fn runtime(all: &Goroutines, page: &mut Page<'_>) -> io::Result<()> {
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    for site in all.sites.iter().filter(|site| site.system) {
        let kind = kinds.entry(state(site)).or_default();
        *kind = kind.saturating_add(site.count);
    }
    if kinds.is_empty() {
        return Ok(());
    }
    let mut kinds: Vec<(String, u64)> = kinds.into_iter().collect();
    kinds.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    let more = if kinds.len() > MOST_KINDS { ", …" } else { "" };
    let told = kinds.iter().take(MOST_KINDS).map(|(kind, n)| format!("{} × {kind}", count(*n)));
    let told = told.collect::<Vec<_>>().join(", ");
    page.paragraph(Paint::Dim, 0, 3, &format!("the runtime's own, not listed: {told}{more}"))
}

/// The stacks of the sites, and what else is known of them.
pub(crate) fn details(all: &Goroutines, page: &mut Page<'_>) -> io::Result<()> {
    let mut idle: u64 = 0;
    for site in shown(all, page) {
        if site.idle && page.style.most_lines.is_some() {
            idle += 1;
            continue;
        }
        let paint = if site.idle { Paint::Dim } else { Paint::Plain };
        let title_paint = if site.idle { Paint::Plain } else { Paint::Bold };
        page.title(title_paint, site.rank, &title(site, all.since_first_ns))?;
        if let Some(stuck) = stuck(site) {
            page.paragraph(paint, 2, 3, &stuck)?;
        }
        if let Some(rule) = &site.idle_rule {
            page.paragraph(paint, 2, 3, &format!("rule: {rule}"))?;
            page.idle_stack(&site.stack, 2)?;
        } else {
            page.stack(&site.stack, 2, paint)?;
        }
        if site.created_by.is_some() {
            page.paragraph(paint, 2, 2, &format!("created by {}", creator(site)))?;
        } else if let Some(start) = site.start_function.as_ref().filter(|_| site.stack.frames.is_empty()) {
            page.paragraph(paint, 2, 2, &format!("began in {start}"))?;
        }
        if let Some(labels) = labels(site) {
            page.paragraph(paint, 2, 3, &labels)?;
        }
        if !site.idle {
            page.paragraph(paint, 2, 3, &numbers(site))?;
        }
    }
    page.not_shown(idle)
}

fn title(site: &GoroutineSite, since_ns: Option<u64>) -> String {
    let idle = if site.idle { ", idle" } else { "" };
    let growth = match (site.growth_since_first, since_ns) {
        (Some(growth), Some(ns)) if growth != 0 => {
            let more = if growth > 0 { "more" } else { "fewer" };
            format!(", {} {more} in {}", count(growth.unsigned_abs()), duration(ns))
        }
        _ => String::new(),
    };
    let longest = if site.count > 1 { "the longest " } else { "blocked " };
    let at_least = if site.blocked_at_least { "at least " } else { "" };
    let time = match site.longest_blocked_ns {
        Some(ns) => format!(", {longest}for {at_least}{}", duration(ns)),
        None if site.since_last_gc => ", blocked after the last garbage collection".to_owned(),
        None => String::new(),
    };
    format!("{}{idle}: {}{growth}{time}", state(site), counted(site.count, "goroutine"))
}

/// What shows that they are stuck.
pub(super) fn stuck(site: &GoroutineSite) -> Option<String> {
    let rule = site.stuck_rule.as_ref().filter(|_| site.stuck > 0)?;
    let some =
        if site.stuck < site.count { format!("{} of them ", count(site.stuck)) } else { String::new() };
    Some(format!("{some}stuck: {rule}"))
}

/// What they do: the wait reason, or the state.
fn state(site: &GoroutineSite) -> String {
    let state = cut(&site.state, REASON);
    match (state.as_str(), &site.wait_reason) {
        ("waiting", Some(reason)) => cut(reason, REASON),
        ("leaked", Some(reason)) => format!("{} (leaked)", cut(reason, REASON)),
        _ => state,
    }
}

fn blocked(site: &GoroutineSite) -> String {
    let sign = if site.blocked_at_least { "≥" } else { "" };
    match site.longest_blocked_ns {
        Some(ns) => format!("{sign}{}", duration(ns)),
        None if site.since_last_gc => "after last GC".to_owned(),
        None => "-".to_owned(),
    }
}

fn creator(site: &GoroutineSite) -> String {
    site.created_by.as_ref().map_or_else(|| "-".to_owned(), name)
}

fn short_creator(site: &GoroutineSite) -> String {
    site.created_by.as_ref().map_or_else(|| "-".to_owned(), |frame| name(&short(frame)))
}

/// The blame frame; where there is no stack, the first function and why.
pub(crate) fn place(site: &GoroutineSite) -> String {
    // The compiler's wrapper around a statement's call is left out: one that has not run yet has nothing
    // but the place that it returns to.
    let is_new = |frame: &Arc<Frame>| frame.function.as_deref() == Some("runtime.goexit");
    match &site.start_function {
        Some(start) if site.stack.frames.is_empty() => {
            let why = site.stack.end.as_ref().map(|end| format!(" ({end})")).unwrap_or_default();
            format!("{}{why}", without_path(start))
        }
        Some(start) if site.stack.frames.iter().all(is_new) => {
            format!("{} (about to start)", without_path(start))
        }
        _ => site.stack.told(|frame| name(&short(frame))),
    }
}

fn labels(site: &GoroutineSite) -> Option<String> {
    let sets = match site.label_sets {
        0 | 1 => String::new(),
        n => format!(" ({} sets of labels; these are in all)", count(n)),
    };
    let Some(labels) = &site.labels else {
        return (site.label_sets > 1)
            .then(|| format!("labels: {} sets with nothing in common", count(site.label_sets)));
    };
    let told = labels.iter().take(MOST_LABELS).map(|(key, value)| cut(&format!("{key}={value}"), LABEL));
    let told = told.collect::<Vec<_>>().join(", ");
    let more = if labels.len() > MOST_LABELS { ", …" } else { "" };
    Some(format!("labels: {told}{more}{sets}"))
}

/// Their numbers, and what ties them to threads.
fn numbers(site: &GoroutineSite) -> String {
    let ids = site.goroutine_ids.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    let more = match site.count.saturating_sub(site.goroutine_ids.len() as u64) {
        0 => String::new(),
        n => format!(" and {} more", count(n)),
    };
    let s = if site.count == 1 { "" } else { "s" };
    let tids = site.tids.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    let threads = match site.tids.len() {
        0 => String::new(),
        1 => format!("; on thread {tids}"),
        _ => format!("; on threads {tids}"),
    };
    let locked = match site.locked_to_thread {
        0 => String::new(),
        n => format!("; {} bound to {}", count(n), if n == 1 { "its thread" } else { "their threads" }),
    };
    format!("goroutine{s} {ids}{more}{threads}{locked}")
}

fn paint(site: &GoroutineSite) -> Paint {
    match site.state.as_str() {
        _ if site.idle => Paint::Dim,
        "leaked" => Paint::Alarm,
        _ if site.stuck > 0 => Paint::Alarm,
        _ if site.piling_up => Paint::Warn,
        _ => Paint::Plain,
    }
}

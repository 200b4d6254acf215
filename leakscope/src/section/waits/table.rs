//! The sites where threads block: what is stuck first, what is idle last.

pub(crate) mod deadlock;
mod held;
pub(crate) mod peers;
pub(crate) mod wakers;

use std::collections::HashSet;
use std::io;

use crate::human::{count, counted, duration};
use crate::layout::bars;
use crate::layout::grid::{EXTRA, Grid, Row, number, text};
use crate::layout::page::{Page, Paint};
use crate::section::label::name;
use crate::section::model::{WaitKind, WaitSite, Waits};
use crate::wait::verdict::Verdict;

/// Other waits of one stack that are named.
const OTHER_WAITS: usize = 4;

/// Waits that took less in all are not shown, if nobody waits there now.
const SMALL_NS: u64 = 1_000_000;
/// The same of a single wait.
const SMALL_SINGLE_NS: u64 = 100_000_000;

/// Whether a site says nothing: its waits are over, and took no time to speak of, or there was but one.
fn is_small(site: &WaitSite) -> bool {
    let Some((waits, wait_ns)) = site.waits.zip(site.wait_ns) else { return false };
    let most = if waits == 1 { SMALL_SINGLE_NS } else { SMALL_NS };
    site.blocked_now == 0 && waits > 0 && wait_ns < most
}

/// The sites that can be shown.
fn showable<'a>(waits: &'a Waits, page: &Page<'_>) -> impl Iterator<Item = &'a WaitSite> {
    let all = page.style.all;
    waits.sites.iter().filter(move |site| all || !is_small(site))
}

/// The sites that are shown: idle ones last, else as they are ranked.
fn shown<'a>(waits: &'a Waits, page: &Page<'_>) -> Vec<&'a WaitSite> {
    let stuck = showable(waits, page).filter(|s| !s.idle);
    stuck.chain(showable(waits, page).filter(|s| s.idle)).take(page.style.top).collect()
}

/// How many sites are not shown because they say nothing.
fn left_out(waits: &Waits, page: &mut Page<'_>) -> io::Result<()> {
    let small = waits.sites.len() - showable(waits, page).count();
    if small == 0 {
        return Ok(());
    }
    let sites = counted(small as u64, "site");
    page.sentences(
        Paint::Dim,
        &format!("Not shown: {sites} at which a single wait or less than 1 ms of waits ended (--all)"),
    )
}

/// Whether some thread of a deadlock is blocked at a site.
fn in_deadlock(waits: &Waits, site: &WaitSite) -> bool {
    waits.deadlocks.iter().flat_map(|d| &d.cycle).any(|thread| thread.site_id == site.site_id)
}

/// How many threads are blocked, and how sure that is.
pub(crate) fn totals(waits: &Waits, page: &mut Page<'_>) -> io::Result<()> {
    let told = |verdict: Verdict| {
        let threads = waits.blocked(verdict).map(|site| site.blocked_now).fold(0, u64::saturating_add);
        (threads > 0).then(|| format!("{} {}", count(threads), verdict.name()))
    };
    let verdicts: Vec<String> =
        [Verdict::Stuck, Verdict::Unknown, Verdict::Idle].into_iter().filter_map(told).collect();
    let verdicts = if verdicts.is_empty() { String::new() } else { format!(": {}", verdicts.join(", ")) };
    let unsettled = if waits.unsettled > 0 {
        format!("; {} kept changing and have no stack", count(waits.unsettled))
    } else {
        String::new()
    };
    let vanished = if waits.vanished > 0 {
        format!("; {} began or ended meanwhile", count(waits.vanished))
    } else {
        String::new()
    };
    let of = counted(waits.threads, "thread");
    let blocked = count(waits.blocked_now);
    page.sentences(Paint::Plain, &format!("Blocked: {blocked} of {of}{verdicts}{unsettled}{vanished}"))?;
    if let Some(running) = held::running(waits) {
        page.sentences(Paint::Plain, &running)?;
    }
    let exact = if waits.exact { "exact" } else { "not exact" };
    page.sentences(Paint::Plain, &format!("Waits: {exact}, {}", waits.method))
}

/// The table of sites.
pub(crate) fn table(waits: &Waits, page: &mut Page<'_>) -> io::Result<()> {
    let shown = shown(waits, page);
    if shown.is_empty() {
        return left_out(waits, page);
    }
    let traced = shown.iter().any(|s| s.waits.is_some());
    let mut columns = vec![number("#", 0), number("blocked", 0), number("longest", 1)];
    if traced {
        columns.extend([number("waits", EXTRA), number("waited", EXTRA + 2), number("max", EXTRA + 3)]);
    }
    columns.extend([text("for", 2), text("in", EXTRA + 1), text("blocked at", 0)]);
    let rows = shown.iter().map(|site| {
        let mut cells = vec![site.rank.to_string(), count(site.blocked_now), longest(site)];
        if traced {
            let span = |ns: Option<u64>| ns.map_or("-".to_owned(), duration);
            let ended = site.waits.filter(|n| *n > 0);
            let time = |ns: Option<u64>| span(ns.filter(|_| ended.is_some()));
            cells.extend([ended.map_or("-".to_owned(), count), time(site.wait_ns), time(site.max_wait_ns)]);
        }
        let deadlock = in_deadlock(waits, site);
        let kind =
            if deadlock { format!("{}, deadlock", kind(site.kind)) } else { kind(site.kind).to_owned() };
        let place = site.primitive.as_deref().or(site.operation.as_deref()).unwrap_or("-");
        cells.extend([kind, place.to_owned(), site.stack.told(name)]);
        let paint = match (deadlock, site.idle) {
            (true, _) => Paint::Alarm,
            (_, true) => Paint::Dim,
            _ => Paint::Plain,
        };
        Row { cells, paint }
    });
    let rows: Vec<Row> = rows.collect();
    let parted = shown.iter().position(|s| s.idle).map(|at| (at, "idle"));
    page.blank()?;
    Grid { columns, rows, parted }.draw(page)?;
    let hidden = showable(waits, page).count() - shown.len();
    if hidden > 0 {
        let idle = showable(waits, page).filter(|s| s.idle).count() - shown.iter().filter(|s| s.idle).count();
        let idle = if idle > 0 { format!(", {idle} of them idle") } else { String::new() };
        page.more(hidden, "site", &idle)?;
    }
    left_out(waits, page)
}

/// The stacks of the sites, with their threads and locks.
pub(crate) fn details(waits: &Waits, goroutines: bool, page: &mut Page<'_>) -> io::Result<()> {
    let shown = shown(waits, page);
    let deadlocked = deadlock::shown(waits, page);
    let mut idle = 0;
    let mut owners: HashSet<u32> = deadlocked.iter().map(|thread| thread.tid).collect();
    // Below goroutines, idle threads are the Go scheduler's: the table says enough of them.
    for site in shown.iter().filter(|site| !(goroutines && site.idle)) {
        if site.idle && page.style.most_lines.is_some() {
            idle += 1;
            continue;
        }
        let paint = if site.idle { Paint::Dim } else { Paint::Plain };
        page.title(if site.idle { Paint::Plain } else { Paint::Bold }, site.rank, &title(site))?;
        if let Some(rule) = &site.idle_rule {
            page.paragraph(paint, 2, 3, &format!("rule: {rule}"))?;
        } else if let Some(reason) = &site.verdict_reason {
            page.paragraph(paint, 2, 3, &format!("{}: {reason}", site.verdict().name()))?;
        }
        // Why it is called idle is told; the stack is, if somebody asks.
        if site.idle && !page.style.all {
            idle += 1;
            continue;
        }
        if deadlocked.iter().any(|thread| thread.site_id == site.site_id) {
            page.line(paint, "  (the stack is shown with the deadlock)")?;
        } else if site.idle {
            page.idle_stack(&site.stack, 2)?;
        } else {
            page.stack(&site.stack, 2, paint)?;
        }
        if let Some(others) = other_waits(waits, site) {
            page.paragraph(paint, 2, 2, &others)?;
        }
        if !site.threads.is_empty() {
            page.paragraph(paint, 2, 3, &held::threads(site))?;
        }
        for line in peers::lines(site) {
            page.paragraph(paint, 2, 4, &line)?;
        }
        held::locks(waits, site, &shown, &mut owners, page)?;
        if let (Some(n @ 1..), Some(total), Some(most)) = (site.waits, site.wait_ns, site.max_wait_ns) {
            let average = duration(total / n);
            let ended = format!(
                "{} ended: {} in all, {average} on average, at most {}",
                counted(n, "wait"),
                duration(total),
                duration(most)
            );
            page.paragraph(paint, 2, 2, &ended)?;
        }
        if let Some(bars) = bars::line(&site.histogram) {
            page.paragraph(paint, 2, 2, &bars)?;
        }
    }
    page.not_shown(idle)
}

/// What else threads wait for at the very same stack.
fn other_waits(waits: &Waits, site: &WaitSite) -> Option<String> {
    if site.stack.frames.is_empty() {
        return None;
    }
    let same = |other: &&WaitSite| site.shares_stack_with(other);
    let others: Vec<String> =
        waits.sites.iter().filter(same).map(|s| format!("#{} {}", s.rank, kind(s.kind))).collect();
    let shown = others.iter().take(OTHER_WAITS).cloned().collect::<Vec<_>>().join(", ");
    let more = others.len().saturating_sub(OTHER_WAITS);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!others.is_empty()).then(|| format!("The same stack waits in other ways, too: {shown}{more}"))
}

fn title(site: &WaitSite) -> String {
    let place = site.primitive.as_ref().or(site.operation.as_ref());
    let place = place.map(|p| format!(" ({p})")).unwrap_or_default();
    let blocked = match (site.blocked_now, site.longest_blocked_ns) {
        (0, _) => "no thread is blocked now".to_owned(),
        (1, Some(_)) => format!("1 thread blocked for {}", longest_in_words(site)),
        (n, Some(_)) => format!("{} threads blocked, the longest for {}", count(n), longest_in_words(site)),
        (n, None) => format!("{} blocked", counted(n, "thread")),
    };
    let idle = if site.idle { ", idle" } else { "" };
    format!("{}{place}{idle}: {blocked}", kind(site.kind))
}

fn longest(site: &WaitSite) -> String {
    let sign = if site.is_at_least() { "≥" } else { "" };
    site.longest_blocked_ns.map_or("-".to_owned(), |ns| format!("{sign}{}", duration(ns)))
}

fn longest_in_words(site: &WaitSite) -> String {
    held::span(site.longest_blocked_ns.unwrap_or(0), site.is_at_least())
}

/// The kind, for people.
pub(crate) fn kind(kind: WaitKind) -> &'static str {
    kind.row().shown
}

//! A report as text for people: the answer, deadlocks, the tables of sites (goroutines before threads),
//! the stacks of the top ones, and what was lost and what it cost.

mod bars;
mod deadlock;
mod diff;
mod goroutines;
mod grid;
mod heap;
mod held;
mod page;
mod threads;
mod waits;
mod wakers;

use std::io::{self, Write};

use page::{Page, Paint};

pub use diff::write as write_diff;
pub(crate) use goroutines::place as goroutine_place;

use crate::human::{bytes, count, counted, cut, duration, moment, signed_bytes};
use crate::losses;
use crate::report::Report;
use crate::report::model::Waits;

/// How to print.
#[derive(Clone, Copy, Debug)]
pub struct TableStyle {
    /// Columns of the terminal.
    pub width: usize,
    /// Whether to use colour.
    pub color: bool,
    /// Sites in the table and with stacks.
    pub top: usize,
    /// Frames of each stack; `None` for what suits it.
    pub frames: Option<usize>,
}

/// Writes `report`.
pub fn write(report: &Report, style: &TableStyle, out: &mut dyn Write) -> io::Result<()> {
    let page = &mut Page { style, out };
    header(report, page)?;
    if let Some(waits) = &report.waits {
        deadlock::all(waits, page)?;
    }
    if let Some(all) = &report.goroutines {
        goroutines::table(all, page)?;
        goroutines::creations(all, page)?;
    }
    if let Some(heap) = &report.heap {
        heap::table(heap, report.window.duration_ns, page)?;
    }
    if let Some(waits) = &report.waits {
        waits::table(waits, page)?;
        wakers::table(waits, page)?;
    }
    if let Some(threads) = &report.threads {
        threads::table(threads, page)?;
    }
    if let Some(all) = &report.goroutines {
        goroutines::details(all, page)?;
    }
    if let Some(heap) = &report.heap {
        heap::stacks(heap, page)?;
    }
    if let Some(waits) = &report.waits {
        waits::details(waits, report.goroutines.is_some(), page)?;
        wakers::long(waits, page)?;
    }
    footer(report, page)
}

/// Whether nothing was traced: `dump`.
fn only_looked_at(report: &Report) -> bool {
    report.window.duration_ns == 0
}

/// Columns of the version of a runtime.
const LONGEST_VERSION: usize = 40;

fn header(report: &Report, page: &mut Page<'_>) -> io::Result<()> {
    let target = &report.target;
    let go = target.runtime_version.as_ref().filter(|_| target.runtime == "go");
    let go = go.map(|version| format!(", {}", cut(version, LONGEST_VERSION))).unwrap_or_default();
    let container = target.container.as_ref().map(|c| format!(" in container {c}")).unwrap_or_default();
    let when = if only_looked_at(report) {
        format!("looked at {}", moment(&report.window.started_at))
    } else {
        format!("watched for {}", duration(report.window.duration_ns))
    };
    page.sentences(
        Paint::Plain,
        &format!(
            "leakscope {} · {} (PID {}){go}{container} · {when}",
            report.leakscope_version, target.comm, target.pid
        ),
    )?;
    page.blank()?;
    page.sentences(Paint::Bold, report.summary.headline())?;
    for finding in report.summary.texts() {
        page.sentences(Paint::Plain, finding)?;
    }
    page.blank()?;
    resident(report, page)?;
    if let Some(heap) = &report.heap {
        heap::totals(heap, page)?;
    }
    if let Some(all) = &report.goroutines {
        goroutines::totals(all, page)?;
    }
    if let Some(waits) = &report.waits {
        blocked(waits, page)?;
    }
    if let Some(threads) = &report.threads {
        // How many there are stands with the blocked ones already.
        let told = report.waits.as_ref().is_some_and(|waits| waits.threads > 0);
        let alive = threads.alive.filter(|_| !told);
        let alive = alive.map(|n| format!(", {} alive", count(n))).unwrap_or_default();
        page.sentences(
            Paint::Plain,
            &format!("Threads: {} began, {} ended{alive}", count(threads.created), count(threads.exited)),
        )?;
    }
    Ok(())
}

/// The resident set, where it is known.
fn resident(report: &Report, page: &mut Page<'_>) -> io::Result<()> {
    let (Some(start), Some(end)) = (report.memory.rss_start_bytes, report.memory.rss_end_bytes) else {
        return Ok(());
    };
    if only_looked_at(report) {
        return page.sentences(Paint::Plain, &format!("RSS {}", bytes(end)));
    }
    let change = signed_bytes(end.cast_signed().wrapping_sub(start.cast_signed()));
    let live = report.heap.as_ref().map_or_else(String::new, |heap| {
        let what = if heap.go_in_use_bytes.is_some() { "found" } else { "traced" };
        format!("; of what was {what}, {} is live", bytes(heap.totals.live_bytes))
    });
    page.sentences(Paint::Plain, &format!("RSS {} → {} ({change}){live}", bytes(start), bytes(end)))
}

/// How many threads are blocked, and how sure that is.
fn blocked(waits: &Waits, page: &mut Page<'_>) -> io::Result<()> {
    let idle: u64 = waits.sites.iter().filter(|s| s.idle).map(|s| s.blocked_now).sum();
    let idle = match idle {
        0 => String::new(),
        n if n == waits.blocked_now => ", all of them idle".to_owned(),
        n => format!(", {} of them idle", count(n)),
    };
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
    page.sentences(Paint::Plain, &format!("Blocked: {blocked} of {of}{idle}{unsettled}{vanished}"))?;
    let exact = if waits.exact { "exact" } else { "not exact" };
    page.sentences(Paint::Plain, &format!("Waits: {exact}, {}", waits.method))
}

/// Lines of a loss and what it means.
const LONGEST_MEANING: usize = 9;

fn footer(report: &Report, page: &mut Page<'_>) -> io::Result<()> {
    page.blank()?;
    if report.losses.is_empty() {
        page.sentences(Paint::Plain, "Lost: nothing")?;
    } else {
        page.sentences(Paint::Warn, "Lost:")?;
        for (name, n) in &report.losses {
            let loss = format!("{} × {name}: {}", count(*n), losses::meaning(name));
            page.paragraph(Paint::Plain, 2, LONGEST_MEANING, &loss)?;
        }
    }
    let cost = &report.overhead;
    let target = if only_looked_at(report) {
        "nothing was traced".to_owned()
    } else {
        format!(
            "{}, about {} of the target's CPU time ({})",
            counted(cost.probe_hits, "probe hit"),
            duration(cost.estimated_target_cpu_ns),
            cost.method
        )
    };
    let memory = cost.leakscope_memory_bytes.map(|b| format!(" and {} of memory", bytes(b)));
    page.sentences(
        Paint::Plain,
        &format!(
            "Cost: {target}; leakscope used {} of CPU time{}",
            duration(cost.leakscope_cpu_ns),
            memory.unwrap_or_default()
        ),
    )
}

#[cfg(test)]
pub(crate) mod tests;

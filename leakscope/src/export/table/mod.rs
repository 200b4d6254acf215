//! A report as text for people: the answer, deadlocks, the tables of sites (goroutines before threads),
//! the stacks of the top ones, and what was lost and what it cost.

mod diff;

use std::io::{self, Write};

pub use diff::{about as about_diff, write as write_diff, write_below_answer as write_diff_below_answer};

use crate::human::{bytes, count, counted, cut, duration, moment, signed_bytes};
pub use crate::layout::TableStyle;
use crate::layout::page::{Page, Paint};
use crate::losses;
use crate::report::{Report, go_program};
use crate::section::{Context, Part, in_order};

/// Writes `report`.
pub fn write(report: &Report, style: &TableStyle, out: &mut dyn Write) -> io::Result<()> {
    let page = &mut Page::new(style, out);
    for text in about(report) {
        page.sentences(Paint::Plain, &text)?;
    }
    page.blank()?;
    page.sentences(Paint::Bold, report.summary.headline())?;
    for finding in report.summary.texts() {
        page.sentences(Paint::Plain, finding)?;
    }
    page.blank()?;
    below_answer(report, page)
}

/// Writes what follows the answer.
pub fn write_below_answer(report: &Report, style: &TableStyle, out: &mut dyn Write) -> io::Result<()> {
    below_answer(report, &mut Page::new(style, out))
}

fn below_answer(report: &Report, page: &mut Page<'_>) -> io::Result<()> {
    resident(report, page)?;
    for part in [Part::Totals, Part::Urgent, Part::Tables, Part::Stacks] {
        sections(report, part, page)?;
    }
    footer(report, page)
}

/// A part of all sections.
fn sections(report: &Report, part: Part, page: &mut Page<'_>) -> io::Result<()> {
    let all = report.sections();
    let context = Context { window_ns: report.window.duration_ns, all: &all };
    in_order(&all, part).into_iter().try_for_each(|section| {
        page.begin_list();
        section.print(part, &context, page)?;
        page.end_list()
    })
}

/// Whether nothing was traced: `dump`.
fn only_looked_at(report: &Report) -> bool {
    report.window.duration_ns == 0
}

/// Columns of the version of a runtime.
const LONGEST_VERSION: usize = 40;

/// What the report is of, in sentences.
pub fn about(report: &Report) -> Vec<String> {
    let target = &report.target;
    let runtime = target
        .runtime_version
        .as_ref()
        .map(|version| format!(", {}", cut(version, LONGEST_VERSION)))
        .unwrap_or_default();
    let container = target.container.as_ref().map(|c| format!(" in container {c}")).unwrap_or_default();
    let when = if only_looked_at(report) {
        format!("looked at {}", moment(&report.window.started_at))
    } else {
        format!("watched for {}", duration(report.window.duration_ns))
    };
    let target_and_time = format!(
        "leakscope {} · {} (PID {}){runtime}{container} · {when}",
        report.leakscope_version, target.comm, target.pid
    );
    let made = target.go.as_ref().and_then(go_program::made);
    std::iter::once(target_and_time).chain(made).collect()
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
    // A part of the stacks explains a part of the memory.
    let whole = report.summary.answer.as_ref().is_none_or(|answer| answer.code != "selected");
    let live: String =
        report.sections().iter().filter(|_| whole).filter_map(|section| section.beside_memory()).collect();
    page.sentences(Paint::Plain, &format!("RSS {} → {} ({change}){live}", bytes(start), bytes(end)))
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
    let cost = report.overhead.told();
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

//! What changed between two reports: the answer, what makes them hard to compare, the sites that grew most.

use std::io::{self, Write};

use super::TableStyle;
use crate::diff::Diff;
use crate::diff::model::Side;
use crate::human::{bytes, duration, moment, signed_bytes};
use crate::layout::page::{Page, Paint};
use crate::section::Part;

/// Writes `diff`.
pub fn write(diff: &Diff, style: &TableStyle, out: &mut dyn Write) -> io::Result<()> {
    let page = &mut Page::new(style, out);
    for text in about(diff) {
        page.sentences(Paint::Plain, &text)?;
    }
    page.blank()?;
    page.sentences(Paint::Bold, diff.summary.headline())?;
    for finding in diff.summary.texts() {
        page.sentences(Paint::Plain, finding)?;
    }
    below_answer(diff, page)
}

/// Writes what follows the answer.
pub fn write_below_answer(diff: &Diff, style: &TableStyle, out: &mut dyn Write) -> io::Result<()> {
    below_answer(diff, &mut Page::new(style, out))
}

/// What is compared, in sentences.
pub fn about(diff: &Diff) -> Vec<String> {
    vec![side("old", &diff.old), side("new", &diff.new)]
}

fn side(name: &str, side: &Side) -> String {
    let when = match side.duration_ns {
        0 => "looked at".to_owned(),
        ns => format!("watched for {} from", duration(ns)),
    };
    format!("{name}: {} (PID {}), {when} {}", side.comm, side.pid, moment(&side.started_at))
}

fn below_answer(diff: &Diff, page: &mut Page<'_>) -> io::Result<()> {
    for note in &diff.notes {
        page.paragraph(Paint::Warn, 0, 4, &format!("Note: {note}"))?;
    }
    page.blank()?;
    if let Some(memory) = &diff.memory {
        let (old, new) = (bytes(memory.old_rss_bytes), bytes(memory.new_rss_bytes));
        let text = format!("RSS {old} → {new} ({})", signed_bytes(memory.growth_bytes));
        page.sentences(Paint::Plain, &text)?;
    }
    sections(diff, Part::Totals, page)?;
    sections(diff, Part::Tables, page)
}

/// A part of all sections.
fn sections(diff: &Diff, part: Part, page: &mut Page<'_>) -> io::Result<()> {
    let mut all = diff.sections();
    all.sort_by_key(|section| section.order(part));
    all.into_iter().try_for_each(|section| {
        page.begin_list();
        section.print(part, page)?;
        page.end_list()
    })
}

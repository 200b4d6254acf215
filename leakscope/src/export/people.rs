//! Tables, as one of the formats.

use std::io::{self, Write};

use super::exporter::{Audience, ExportError, Exporter, Job, Sequence, Subject};
use super::table;
use crate::layout::TableStyle;
use crate::layout::page::{Page, Paint};
use crate::report::Report;

/// Says the answer of a report once more, below it.
pub fn answer_again(report: &Report, style: &TableStyle, out: &mut dyn Write) -> io::Result<()> {
    let page = &mut Page::new(style, out);
    page.blank()?;
    page.sentences(Paint::Bold, report.summary.headline())
}

/// `--format table`.
#[derive(Debug)]
pub struct Table;

impl Exporter for Table {
    fn name(&self) -> &'static str {
        "table"
    }

    fn purpose(&self) -> &'static str {
        "For people"
    }

    fn extension(&self) -> &'static str {
        "txt"
    }

    fn subject(&self) -> Subject {
        Subject::Reports
    }

    fn sequence(&self) -> Sequence {
        Sequence::Follow
    }

    fn audience(&self) -> Audience {
        Audience::People
    }

    fn write(&self, job: &Job<'_>, out: &mut dyn Write) -> Result<(), ExportError> {
        job.each(|report| table::write(report, &job.style, out))
    }
}

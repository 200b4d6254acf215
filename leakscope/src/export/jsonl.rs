//! A report as one line of JSON.

use std::io::{self, BufWriter, Write};

use super::exporter::{ExportError, Exporter, Job, Sequence, Subject};
use super::json::BUFFER;
use crate::report::Report;
use crate::section::tables;

/// `--format jsonl`.
#[derive(Debug)]
pub struct JsonLines;

impl Exporter for JsonLines {
    fn name(&self) -> &'static str {
        "jsonl"
    }

    fn purpose(&self) -> &'static str {
        "All there is, a line a report"
    }

    fn extension(&self) -> &'static str {
        "jsonl"
    }

    fn subject(&self) -> Subject {
        Subject::Reports
    }

    fn sequence(&self) -> Sequence {
        Sequence::Append
    }

    fn write(&self, job: &Job<'_>, out: &mut dyn Write) -> Result<(), ExportError> {
        job.each(|report| write(report, out))
    }
}

/// Writes `report`.
pub fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(BUFFER, out);
    tables::writing(|| serde_json::to_writer(&mut out, report))?;
    out.write_all(b"\n")?;
    out.flush()
}

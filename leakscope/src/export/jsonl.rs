//! Reports as lines of JSON: each report is one line.

use std::io::{self, Write};

use crate::report::Report;

/// Writes `report` and a newline.
pub fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, report)?;
    out.write_all(b"\n")
}

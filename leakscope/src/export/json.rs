//! A report as JSON: one object and a newline.

use std::io::{self, Write};

use crate::report::Report;

/// Writes `report`, indented for people who look at it.
pub fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, report)?;
    out.write_all(b"\n")
}

//! A report as one line of JSON.

use std::io::{self, BufWriter, Write};

use super::json::BUFFER;
use crate::report::Report;

/// Writes `report`.
pub fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(BUFFER, out);
    serde_json::to_writer(&mut out, report)?;
    out.write_all(b"\n")?;
    out.flush()
}

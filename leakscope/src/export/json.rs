//! A report, or the difference of two, as JSON: one object and a newline.

use std::io::{self, Write};

use serde::Serialize;

/// Writes `report`, indented for people who look at it.
pub fn write<T: Serialize>(report: &T, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, report)?;
    out.write_all(b"\n")
}

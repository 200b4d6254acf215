//! A report, or the difference of two, as JSON: one object and a newline.

use std::io::{self, BufWriter, Write};

use serde::Serialize;

/// Bytes that are written at once.
pub(super) const BUFFER: usize = 1 << 16;

/// Writes `report`, indented for people who look at it.
pub fn write<T: Serialize>(report: &T, out: &mut dyn Write) -> io::Result<()> {
    // Of the many small parts that come, each would be a call of `out`.
    let mut out = BufWriter::with_capacity(BUFFER, out);
    serde_json::to_writer_pretty(&mut out, report)?;
    out.write_all(b"\n")?;
    out.flush()
}

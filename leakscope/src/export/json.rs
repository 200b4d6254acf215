//! A report, or the difference of two, as JSON: one object and a newline.

use std::io::{self, BufWriter, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

use crate::section::tables;

use super::exporter::{ExportError, Exporter, Job, Subject};

/// Bytes that are written at once.
pub(super) const BUFFER: usize = 1 << 16;

/// `--format json`.
#[derive(Debug)]
pub struct Json;

impl Exporter for Json {
    fn name(&self) -> &'static str {
        "json"
    }

    fn purpose(&self) -> &'static str {
        "All there is, indented"
    }

    fn extension(&self) -> &'static str {
        "json"
    }

    fn subject(&self) -> Subject {
        Subject::Reports
    }

    fn write(&self, job: &Job<'_>, out: &mut dyn Write) -> Result<(), ExportError> {
        job.each(|report| write(report, out))
    }
}

/// Writes `report`, indented for people who look at it.
pub fn write<T: Serialize>(report: &T, out: &mut dyn Write) -> io::Result<()> {
    // Of the many small parts that come, each would be a call of `out`.
    let mut out = BufWriter::with_capacity(BUFFER, out);
    tables::writing(|| report.serialize(&mut Serializer::with_formatter(&mut out, Indented::default())))?;
    out.write_all(b"\n")?;
    out.flush()
}

/// A new line and its indentation; what is deeper has several parts.
const LINE: &[u8] = b"\n                                ";
/// Spaces a level.
const STEP: usize = 2;

/// What [`serde_json::ser::PrettyFormatter`] writes, with a line's begin as one part: that one writes each level of it by
/// itself, and takes 1.7 times as long for a report of 100 MB.
#[derive(Debug, Default)]
struct Indented {
    depth: usize,
    /// Whether the list or object has an element.
    filled: bool,
}

impl Indented {
    fn line<W: Write + ?Sized>(&self, out: &mut W) -> io::Result<()> {
        let mut spaces = self.depth * STEP;
        let first = spaces.min(LINE.len() - 1);
        out.write_all(&LINE[..=first])?;
        spaces -= first;
        while spaces > 0 {
            let more = spaces.min(LINE.len() - 1);
            out.write_all(&LINE[1..=more])?;
            spaces -= more;
        }
        Ok(())
    }

    fn begin<W: Write + ?Sized>(&mut self, out: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        self.filled = false;
        out.write_all(bracket)
    }

    fn end<W: Write + ?Sized>(&mut self, out: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth = self.depth.saturating_sub(1);
        if self.filled {
            self.line(out)?;
        }
        out.write_all(bracket)
    }

    fn element<W: Write + ?Sized>(&self, out: &mut W, first: bool) -> io::Result<()> {
        if !first {
            out.write_all(b",")?;
        }
        self.line(out)
    }
}

impl Formatter for Indented {
    fn begin_array<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.begin(out, b"[")
    }

    fn end_array<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.end(out, b"]")
    }

    fn begin_array_value<W: Write + ?Sized>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.element(out, first)
    }

    fn end_array_value<W: Write + ?Sized>(&mut self, _: &mut W) -> io::Result<()> {
        self.filled = true;
        Ok(())
    }

    fn begin_object<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.begin(out, b"{")
    }

    fn end_object<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.end(out, b"}")
    }

    fn begin_object_key<W: Write + ?Sized>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.element(out, first)
    }

    fn begin_object_value<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }

    fn end_object_value<W: Write + ?Sized>(&mut self, _: &mut W) -> io::Result<()> {
        self.filled = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_usual() {
        let mut deep = serde_json::json!([]);
        for n in 0..40 {
            deep = serde_json::json!({ "in": [n, deep, {}, []], "null": null });
        }
        let report = crate::export::table::tests::samples::deadlock();
        let report = serde_json::to_value(report).expect("a value");
        for value in [deep, report, serde_json::json!({}), serde_json::json!([[], {}, 1, "a\nb"])] {
            let mut out = Vec::new();
            write(&value, &mut out).expect("memory takes all");
            let usual = serde_json::to_string_pretty(&value).expect("JSON");
            assert_eq!(String::from_utf8(out).expect("UTF-8"), format!("{usual}\n"));
        }
    }
}

//! A report, or what changed between two, as one page that needs nothing else: the answer, flame graphs, and the tables
//! and stacks of the text report, to be searched.
//!
//! The page loads nothing and sends nothing (its Content-Security-Policy forbids both). Text of the target stands in it
//! escaped, and in the data of the flame graphs, which the script puts into the page as text alone.

mod flames;

use std::io::{self, Write};

use serde::Serialize;

use super::exporter::{ExportError, Exporter, Job, Subject};
use super::profile::{Profile, ProfileKind};
use super::table::{self, TableStyle};
use crate::diff::Diff;
use crate::layout::markup::escaped;
use crate::report::Report;
use flames::Flames;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// Sites in tables, at least: a page can be searched.
const TOP: usize = 100;
/// Frames of a stack: all that are unwound.
const FRAMES: usize = 127;
/// The profiles that are shown: `allocs` has the values of `heap`.
const SHOWN: [ProfileKind; 7] = [
    ProfileKind::Heap,
    ProfileKind::Goroutine,
    ProfileKind::Block,
    ProfileKind::Mutex,
    ProfileKind::Goroutineleak,
    ProfileKind::Threadcreate,
    ProfileKind::Memory,
];

/// `--format html`.
#[derive(Debug)]
pub struct Html;

impl Exporter for Html {
    fn name(&self) -> &'static str {
        "html"
    }

    fn purpose(&self) -> &'static str {
        "One page for a browser, offline: the answer, flame graphs, tables and stacks, with a search"
    }

    fn extension(&self) -> &'static str {
        "html"
    }

    fn subject(&self) -> Subject {
        Subject::Reports
    }

    fn write(&self, job: &Job<'_>, out: &mut dyn Write) -> Result<(), ExportError> {
        let [report] = job.reports else { return Err(ExportError::Empty) };
        let held = SHOWN.into_iter().filter(|kind| kind.is_in(report));
        let profiles = held.map(|kind| Profile::of(report, kind)).collect::<Result<Vec<_>, _>>()?;
        let mut text = Vec::new();
        table::write_below_answer(report, &style(job.style), &mut text)?;
        let page = Page {
            title: format!("{} (PID {})", report.target.comm, report.target.pid),
            about: table::about(report),
            headline: report.summary.headline(),
            findings: report.summary.texts().collect(),
            flames: flames::all(profiles, ProfileKind::of(report)),
            compared: false,
            text,
        };
        Ok(page.write(out)?)
    }
}

/// Writes what changed from `old` to `new`.
pub fn write_diff(
    diff: &Diff,
    (old, new): (&Report, &Report),
    look: TableStyle,
    out: &mut dyn Write,
) -> io::Result<()> {
    let both = SHOWN.into_iter().filter(|kind| kind.is_in(old) && kind.is_in(new));
    let profiles = both.filter_map(|kind| Profile::difference(old, new, kind).ok()).collect();
    let mut text = Vec::new();
    table::write_diff_below_answer(diff, &style(look), &mut text)?;
    let page = Page {
        title: format!("{} (PID {}) compared", diff.new.comm, diff.new.pid),
        about: table::about_diff(diff),
        headline: diff.summary.headline(),
        findings: diff.summary.texts().collect(),
        flames: flames::all(profiles, ProfileKind::of_all(&[old, new])),
        compared: true,
        text,
    };
    page.write(out)
}

/// How tables look on the page.
fn style(asked: TableStyle) -> TableStyle {
    // The browser breaks lines.
    TableStyle {
        html: true,
        width: usize::MAX / 2,
        top: asked.top.max(TOP),
        frames: asked.frames.or(Some(FRAMES)),
        most_lines: None,
        ..asked
    }
}

/// What the script gets.
#[derive(Serialize)]
struct Data<'a> {
    /// Whether values are of two reports.
    compared: bool,
    flames: &'a [Flames],
}

struct Page<'a> {
    title: String,
    about: Vec<String>,
    headline: &'a str,
    findings: Vec<&'a str>,
    flames: Vec<Flames>,
    compared: bool,
    /// Lines of HTML, tables in one line each.
    text: Vec<u8>,
}

impl Page<'_> {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let title = escaped(&format!("leakscope: {}", self.title));
        write!(
            out,
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
             script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n\
             <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<header>\n"
        )?;
        for text in &self.about {
            writeln!(out, "<p class=\"dim\">{}</p>", escaped(text))?;
        }
        writeln!(out, "<h1>{}</h1>", escaped(self.headline))?;
        for text in &self.findings {
            writeln!(out, "<p>{}</p>", escaped(text))?;
        }
        writeln!(
            out,
            "</header>\n<nav>\n<input id=\"search\" type=\"search\" placeholder=\"Search functions, files, states…\" \
             aria-label=\"Search\">\n<span id=\"hits\" role=\"status\"></span>\n</nav>"
        )?;
        self.graphs(out)?;
        writeln!(out, "<section id=\"report\">")?;
        lines(&self.text, out)?;
        // In a script's data only this character could end it.
        let data = Data { compared: self.compared, flames: &self.flames };
        let data = serde_json::to_string(&data)?.replace('<', "\\u003c");
        writeln!(
            out,
            "</section>\n<script id=\"data\" type=\"application/json\">{data}</script>\n\
             <script>\n{SCRIPT}</script>\n</body>\n</html>"
        )
    }

    fn graphs(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.flames.is_empty() {
            return Ok(());
        }
        writeln!(
            out,
            "<section id=\"graphs\">\n<div class=\"bar\">\n\
             <label>Flame graph <select id=\"profile\"></select></label>\n\
             <label>of <select id=\"value\"></select></label>\n\
             <label id=\"views\" hidden>showing <select id=\"view\"></select></label>\n\
             <button id=\"reset\" type=\"button\" hidden>Zoom out</button>\n\
             <span id=\"shown\" class=\"dim\"></span>\n</div>\n\
             <div id=\"flames\" tabindex=\"0\" aria-label=\"Flame graph\"></div>\n\
             <p id=\"frame\" class=\"dim\"></p>\n</section>\n\
             <noscript><p>The flame graphs and the search need JavaScript.</p></noscript>"
        )
    }
}

/// Lines as elements of their own, so that the search can mark them.
fn lines(text: &[u8], out: &mut dyn Write) -> io::Result<()> {
    for line in text.split(|&byte| byte == b'\n') {
        if line.starts_with(b"<table>") {
            out.write_all(b"<div class=\"wide\">")?;
            out.write_all(line)?;
            out.write_all(b"</div>\n")?;
        } else {
            out.write_all(b"<div class=\"l\">")?;
            out.write_all(if line.is_empty() { b" " } else { line })?;
            out.write_all(b"</div>\n")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

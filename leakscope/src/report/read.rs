//! Saved reports, which may be anything.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::error::Category;

use super::Report;
use super::model::{SCHEMA, SCHEMA_1};
use super::words::ReportSaid;
use crate::files::{self, Directory, Saved};
use crate::human::sanitize;
use crate::section::Section;
use crate::section::finding::Finding;
use crate::section::tables::{self, Tables};

/// The longest file that is read: a report takes several times its size of memory.
pub const LONGEST_BYTES: u64 = 1 << 30;

/// Why a file is no report. The text names the file and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be read.
    #[error("cannot read {file}: {error}")]
    Unreadable {
        file: String,
        /// Why.
        error: io::Error,
    },
    /// A directory without a series.
    #[error("{0} is a directory without reports in JSON (report-*.json); name a file")]
    NoSeries(String),
    /// It is too long.
    #[error("{0} is longer than 1 GiB; reports that long are not read")]
    TooLong(String),
    /// There is nothing in it.
    #[error("{0} is empty; a report in JSON is needed, from --format json or jsonl")]
    Empty(String),
    /// It is gzipped.
    #[error(
        "{0} is gzipped, as pprof's profiles are; a report in JSON is needed, from --format json or jsonl"
    )]
    Gzipped(String),
    /// It ends too early.
    #[error("{file} ends in the middle of a report, at byte {bytes}; it was not written to its end")]
    Truncated {
        file: String,
        /// How long it is.
        bytes: usize,
    },
    /// It is something else.
    #[error("{file} is not JSON: {error}; a report from --format json or jsonl is needed")]
    NotJson {
        file: String,
        /// The first mistake.
        error: serde_json::Error,
    },
    /// It is JSON of something else.
    #[error("{0} is JSON, but no report of leakscope: it names no schema")]
    NoReport(String),
    /// It has another schema.
    #[error("{file} has the schema `{schema}`; this leakscope reads {SCHEMA} and {SCHEMA_1}")]
    OtherSchema {
        file: String,
        /// What it says.
        schema: String,
    },
    /// It has the schema, but does not follow it.
    #[error("{file} says that it is a {SCHEMA}, but is not: {error}")]
    Invalid {
        file: String,
        /// The first mistake.
        error: serde_json::Error,
    },
}

/// The reports of a file, at least one: JSON or JSON lines. `-` is standard input; of a directory that
/// keeps a series, the newest.
pub fn file(path: &Path) -> Result<Vec<Report>, ReadError> {
    let name = path.display().to_string();
    let unreadable = |error| ReadError::Unreadable { file: name.clone(), error };
    if path.as_os_str() == "-" {
        let mut bytes = Vec::new();
        io::stdin().lock().take(LONGEST_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        return parse("standard input", &bytes);
    }
    match files::saved(path).map_err(unreadable)? {
        Saved::File(file) => of_file(&name, file),
        Saved::Directory(directory) => {
            let (files, strangers) = reports_in(&directory).map_err(unreadable)?;
            let newest = whole(&directory, path, files.iter().enumerate().rev(), Ends::Last)?;
            let (mut report, _, cut) = newest.ok_or(ReadError::NoSeries(name))?;
            cut.iter().for_each(|file| left_out_file(&mut report, file));
            left_out_strangers(&mut report, strangers);
            Ok(vec![report])
        }
    }
}

fn of_file(name: &str, file: File) -> Result<Vec<Report>, ReadError> {
    let unreadable = |error| ReadError::Unreadable { file: name.to_owned(), error };
    if file.metadata().map_err(unreadable)?.len() > LONGEST_BYTES {
        return Err(ReadError::TooLong(name.to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(LONGEST_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    parse(name, &bytes)
}

/// Reports of one series.
#[derive(Debug)]
pub struct Series {
    pub first: Report,
    /// The last, if there are several.
    pub last: Option<Report>,
}

/// The first and the last report of a series: a directory, or a file of JSON lines. What lies between is
/// not read.
pub fn series(path: &Path) -> Result<Series, ReadError> {
    let name = path.display().to_string();
    if !files::is_directory(path) {
        let mut reports = file(path)?;
        let last = if reports.len() > 1 { reports.pop() } else { None };
        let first = reports.into_iter().next().ok_or(ReadError::Empty(name))?;
        return Ok(Series { first, last });
    }
    let unreadable = |error| ReadError::Unreadable { file: name.clone(), error };
    let directory = Directory::open(path).map_err(unreadable)?;
    let (files, strangers) = reports_in(&directory).map_err(unreadable)?;
    let begin = whole(&directory, path, files.iter().enumerate(), Ends::First)?;
    let Some((mut first, begin, cut_begin)) = begin else {
        return Err(ReadError::NoSeries(name));
    };
    let later = files.iter().enumerate().skip(begin + 1).rev();
    let (mut last, cut_end) = match whole(&directory, path, later, Ends::Last) {
        Ok(Some((last, _, cut))) => (Some(last), cut),
        // What is after the first is not whole.
        Ok(None) | Err(ReadError::Empty(_) | ReadError::Truncated { .. }) => {
            (None, files.get(begin + 1..).unwrap_or_default().iter().map(|name| path.join(name)).collect())
        }
        Err(error) => return Err(error),
    };
    let shown = last.as_mut().unwrap_or(&mut first);
    cut_begin.iter().chain(&cut_end).for_each(|file| left_out_file(shown, file));
    left_out_strangers(shown, strangers);
    Ok(Series { first, last })
}

/// Which report of a file counts.
#[derive(Clone, Copy)]
enum Ends {
    First,
    Last,
}

/// A report, the number of its file, and files that are not whole.
type Whole = (Report, usize, Vec<PathBuf>);

/// The report of the first of these files that is whole; none of no files. An error if none is.
fn whole<'a>(
    directory: &Directory,
    path: &Path,
    files: impl Iterator<Item = (usize, &'a OsString)>,
    which: Ends,
) -> Result<Option<Whole>, ReadError> {
    let mut cut = Vec::new();
    let mut error = None;
    for (at, name) in files {
        let path = path.join(name);
        let shown = path.display().to_string();
        let opened =
            directory.read(name).map_err(|error| ReadError::Unreadable { file: shown.clone(), error })?;
        match of_file(&shown, opened) {
            Ok(mut reports) => {
                let report = match which {
                    Ends::First if !reports.is_empty() => Some(reports.remove(0)),
                    Ends::First => None,
                    Ends::Last => reports.pop(),
                };
                if let Some(report) = report {
                    return Ok(Some((report, at, cut)));
                }
            }
            Err(why @ (ReadError::Empty(_) | ReadError::Truncated { .. })) => {
                cut.push(path);
                error = error.or(Some(why));
            }
            Err(why) => return Err(why),
        }
    }
    error.map_or(Ok(None), Err)
}

/// The reports of a directory, oldest first: those that `-o DIR/` has named, or where there are none, files
/// that were named alike by hand, in the order of their names. And how many files of strangers are none of them.
fn reports_in(directory: &Directory) -> io::Result<(Vec<OsString>, usize)> {
    let (files, strangers) = directory.files_to_read()?;
    let mut named = super::series::reports(files.clone(), "json");
    named.extend(super::series::reports(files.clone(), "jsonl"));
    named.sort();
    if !named.is_empty() {
        return Ok((named.into_iter().map(|(_, name)| name).collect(), strangers));
    }
    let mut found = directory.readable_files()?;
    found.retain(|name| {
        let name = name.to_str().unwrap_or_default();
        name.starts_with("report-") && (name.ends_with(".json") || name.ends_with(".jsonl"))
    });
    if strangers > 0 {
        found.retain(|name| files.contains(name));
    }
    found.sort();
    Ok((found, strangers))
}

/// What every report begins with.
#[derive(Deserialize)]
struct Probe {
    schema: Option<String>,
    tables: Option<Tables>,
}

/// The reports in a text, at least one. `name` is for messages.
pub fn parse(name: &str, bytes: &[u8]) -> Result<Vec<Report>, ReadError> {
    let name = || name.to_owned();
    if bytes.len() as u64 > LONGEST_BYTES {
        return Err(ReadError::TooLong(name()));
    }
    if bytes.starts_with(&[0x1f, 0x8b]) {
        return Err(ReadError::Gzipped(name()));
    }
    let wrong = |error: serde_json::Error| match error.classify() {
        Category::Eof => ReadError::Truncated { file: name(), bytes: bytes.len() },
        Category::Data => ReadError::NoReport(name()),
        Category::Syntax | Category::Io => ReadError::NotJson { file: name(), error },
    };
    // A file system that lost what was not written yet leaves zeros.
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let (bytes, zeros) = bytes.split_at(end);
    let mut reports: Vec<Report> = Vec::new();
    let mut probes = serde_json::Deserializer::from_slice(bytes).into_iter::<Probe>();
    let mut start = 0;
    while let Some(probe) = probes.next() {
        let probe = match (probe, reports.last_mut()) {
            // The writer was killed while it wrote a further line.
            (Err(error), Some(last)) if error.classify() == Category::Eof => {
                left_out(last, &format!("{} ends in the middle of a further report", name()));
                break;
            }
            (probe, _) => probe.map_err(wrong)?,
        };
        let schema = probe.schema.ok_or_else(|| ReadError::NoReport(name()))?;
        if schema != SCHEMA && schema != SCHEMA_1 {
            let schema = crate::human::cut(&schema, 60);
            return Err(ReadError::OtherSchema { file: name(), schema });
        }
        let end = probes.byte_offset();
        let invalid = |error| ReadError::Invalid { file: name(), error };
        let tables = probe.tables.unwrap_or_default().resolved().map_err(invalid)?;
        let read = || serde_json::from_slice::<Report>(&bytes[start..end]);
        let mut report = tables::reading(tables, read).map_err(invalid)?;
        SCHEMA.clone_into(&mut report.schema);
        report.sections_mut().into_iter().for_each(Section::complete);
        reports.push(report);
        start = end;
    }
    let Some(last) = reports.last_mut() else { return Err(ReadError::Empty(name())) };
    if !zeros.is_empty() && last.unread.is_empty() {
        left_out(last, &format!("{} ends in zeros", name()));
    }
    Ok(reports)
}

/// Says in a report that another one was not read.
fn left_out(report: &mut Report, what: &str) {
    let said = Finding::from(ReportSaid::LeftOut { what: sanitize(what) });
    report.unread.push(said.text.clone());
    report.summary.last(said);
}

fn left_out_file(report: &mut Report, file: &Path) {
    left_out(report, &format!("The series has the file {}", file.display()));
}

/// Says that files of other users were passed over.
fn left_out_strangers(report: &mut Report, files: usize) {
    if files > 0 {
        report.summary.last(ReportSaid::StrangersPassedOver { files: files as u64 });
    }
}

/// Of reports of the same process and the same window, which tell a growing account, the newest.
pub fn newest_of_each(reports: Vec<Report>) -> Vec<Report> {
    let mut known: HashMap<(u32, String), usize> = HashMap::new();
    let mut kept: Vec<Report> = Vec::new();
    for report in reports {
        match known.get(&(report.target.pid, report.window.started_at.clone())) {
            Some(at) if kept[*at].window.duration_ns <= report.window.duration_ns => kept[*at] = report,
            Some(_) => {}
            None => {
                known.insert((report.target.pid, report.window.started_at.clone()), kept.len());
                kept.push(report);
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests;

//! Saved reports, which may be anything. `text` reads them bit by bit where they are long.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Deserializer;
use serde_json::de::{IoRead, Read, SliceRead};
use serde_json::error::Category;

use super::Report;
use super::model::{SCHEMA, SCHEMA_1};
use super::words::ReportSaid;
use crate::files::{self, Directory, Saved};
use crate::human::{bytes, sanitize};
use crate::section::Section;
use crate::section::finding::Finding;
use crate::section::tables::{self, Tables};

mod text;

use text::Text;

/// How files are read.
pub struct Reading<'a> {
    /// The most resident memory that leakscope may have meanwhile.
    pub memory_bytes: u64,
    /// The longest text that is held whole: serde_json reads it four times as fast as one that comes bit by bit.
    pub held_bytes: u64,
    /// How many times longer than the file its text may be. Reports shrink by zstd to about a twentieth.
    pub expansion: u64,
    /// Is told the name of a file, how much of it was read, and of how much.
    pub progress: &'a dyn Fn(&str, u64, u64),
}

impl Reading<'_> {
    /// The most memory, whatever there is. A report of a million stacks, which is what the kernel side keeps, takes a part
    /// of it.
    pub const MOST_MEMORY: u64 = 8 << 30;
}

impl Default for Reading<'_> {
    fn default() -> Self {
        Self {
            memory_bytes: Self::MOST_MEMORY,
            held_bytes: 128 << 20,
            expansion: 1000,
            progress: &|_, _, _| {},
        }
    }
}

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
    /// It takes too much memory.
    #[error(
        "reading {file} takes more than {} of memory, the limit here: three quarters of what is free, 8 GiB at most; \
         free some, read it on a machine that has more, or take reports of fewer stacks (--min-age)",
        bytes(*most)
    )]
    TooLarge {
        file: String,
        /// The limit in bytes.
        most: u64,
    },
    /// It is a bomb.
    #[error("{file} becomes more than {expansion} times as long when it is decompressed, as no report does")]
    Expands {
        file: String,
        /// The limit.
        expansion: u64,
    },
    /// It is no Zstandard, though it begins as such.
    #[error("{file} is damaged: it cannot be decompressed as Zstandard ({why})")]
    Damaged {
        file: String,
        /// What the decoder says.
        why: String,
    },
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
        /// How long its text is.
        bytes: u64,
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

/// Takes reports as they are read, and tells whether to go on.
type Taker<'a> = &'a mut dyn FnMut(Report) -> ControlFlow<()>;

/// The reports of a file, at least one: JSON or JSON lines, as they are or in Zstandard. `-` is standard input; of a
/// directory that keeps a series, the newest.
pub fn each(path: &Path, reading: &Reading<'_>, take: Taker<'_>) -> Result<(), ReadError> {
    let name = path.display().to_string();
    let unreadable = |error| ReadError::Unreadable { file: name.clone(), error };
    if path.as_os_str() == "-" {
        return of_text(&Text::of_stream("standard input", reading, io::stdin().lock())?, take);
    }
    match files::saved(path).map_err(unreadable)? {
        Saved::File(file) => of_text(&Text::of_file(&name, reading, file)?, take),
        Saved::Directory(directory) => {
            let (files, strangers) = reports_in(&directory).map_err(unreadable)?;
            let from = Place { directory: &directory, path, reading };
            let newest = from.whole(files.iter().enumerate().rev(), Ends::Last)?;
            let (mut report, _, cut) = newest.ok_or(ReadError::NoSeries(name))?;
            cut.iter().for_each(|file| left_out_file(&mut report, file));
            left_out_strangers(&mut report, strangers);
            let _ = take(report);
            Ok(())
        }
    }
}

/// The first report of a file and the last, if there are several.
fn ends(path: &Path, reading: &Reading<'_>) -> Result<(Option<Report>, Option<Report>), ReadError> {
    let (mut first, mut last) = (None, None);
    each(path, reading, &mut |report| {
        *(if first.is_none() { &mut first } else { &mut last }) = Some(report);
        ControlFlow::Continue(())
    })?;
    Ok((first, last))
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
pub fn series(path: &Path, reading: &Reading<'_>) -> Result<Series, ReadError> {
    let name = path.display().to_string();
    if !files::is_directory(path) {
        let (first, last) = ends(path, reading)?;
        return Ok(Series { first: first.ok_or(ReadError::Empty(name))?, last });
    }
    let unreadable = |error| ReadError::Unreadable { file: name.clone(), error };
    let directory = Directory::open(path).map_err(unreadable)?;
    let (files, strangers) = reports_in(&directory).map_err(unreadable)?;
    let from = Place { directory: &directory, path, reading };
    let begin = from.whole(files.iter().enumerate(), Ends::First)?;
    let Some((mut first, begin, cut_begin)) = begin else {
        return Err(ReadError::NoSeries(name));
    };
    let later = files.iter().enumerate().skip(begin + 1).rev();
    let (mut last, cut_end) = match from.whole(later, Ends::Last) {
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

/// A directory with a series.
struct Place<'a> {
    directory: &'a Directory,
    path: &'a Path,
    reading: &'a Reading<'a>,
}

impl Place<'_> {
    /// The report of the first of these files that is whole; none of no files. An error if none is.
    fn whole<'a>(
        &self,
        files: impl Iterator<Item = (usize, &'a OsString)>,
        which: Ends,
    ) -> Result<Option<Whole>, ReadError> {
        let mut cut = Vec::new();
        let mut error = None;
        for (at, name) in files {
            match self.report(name, which) {
                Ok(Some(report)) => return Ok(Some((report, at, cut))),
                Ok(None) => {}
                Err(why @ (ReadError::Empty(_) | ReadError::Truncated { .. })) => {
                    cut.push(self.path.join(name));
                    error = error.or(Some(why));
                }
                Err(why) => return Err(why),
            }
        }
        error.map_or(Ok(None), Err)
    }

    fn report(&self, name: &OsString, which: Ends) -> Result<Option<Report>, ReadError> {
        let shown = self.path.join(name).display().to_string();
        let unreadable = |error| ReadError::Unreadable { file: shown.clone(), error };
        let opened = self.directory.read(name).map_err(unreadable)?;
        let mut found = None;
        of_text(&Text::of_file(&shown, self.reading, opened)?, &mut |report| {
            found = Some(report);
            match which {
                Ends::First => ControlFlow::Break(()),
                Ends::Last => ControlFlow::Continue(()),
            }
        })?;
        Ok(found)
    }
}

/// How names of reports in JSON end.
const EXTENSIONS: [&str; 4] = ["json", "jsonl", "json.zst", "jsonl.zst"];

/// The reports of a directory, oldest first: those that `-o DIR/` has named, or where there are none, files
/// that were named alike by hand, in the order of their names. And how many files of strangers are none of them.
fn reports_in(directory: &Directory) -> io::Result<(Vec<OsString>, usize)> {
    let (files, strangers) = directory.files_to_read()?;
    let mut named: Vec<_> =
        EXTENSIONS.iter().flat_map(|extension| super::series::reports(files.clone(), extension)).collect();
    named.sort();
    if !named.is_empty() {
        return Ok((named.into_iter().map(|(_, name)| name).collect(), strangers));
    }
    let mut found = directory.readable_files()?;
    found.retain(|name| {
        let name = name.to_str().unwrap_or_default();
        let ends = |extension: &&str| name.strip_suffix(*extension).is_some_and(|rest| rest.ends_with('.'));
        name.starts_with("report-") && EXTENSIONS.iter().any(ends)
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
    let mut reports = Vec::new();
    of_text(&Text::here(name, &Reading::default(), bytes)?, &mut |report| {
        reports.push(report);
        ControlFlow::Continue(())
    })?;
    Ok(reports)
}

fn of_text(text: &Text<'_>, take: Taker<'_>) -> Result<(), ReadError> {
    match text.whole()? {
        Some(bytes) => parse_both(text, SliceRead::new(&bytes), SliceRead::new(&bytes), take),
        None => parse_both(text, IoRead::new(text.pass()), IoRead::new(text.pass()), take),
    }
}

/// Reads the same text twice at once: `probes` tells what the next report is and has its tables, which stand behind
/// what needs them.
fn parse_both<'de>(
    text: &Text<'_>,
    probes: impl Read<'de>,
    reports: impl Read<'de>,
    take: Taker<'_>,
) -> Result<(), ReadError> {
    let probes = Deserializer::new(probes).into_iter::<Probe>();
    let mut reports = Deserializer::new(reports).into_iter::<Report>();
    let mut last: Option<Report> = None;
    for probe in probes {
        let probe = match (probe, last.as_mut()) {
            // The writer was killed while it wrote a further line.
            (Err(error), Some(last)) if error.classify() == Category::Eof => {
                left_out(last, &format!("{} ends in the middle of a further report", text.name()));
                break;
            }
            (probe, _) => probe.map_err(|error| no_json(text, error))?,
        };
        if last.take().is_some_and(|last| take(last).is_break()) {
            return Ok(());
        }
        last = Some(next_report(text, probe, &mut || reports.next())?);
    }
    let Some(mut last) = last else { return Err(ReadError::Empty(text.name())) };
    if text.ends_in_zeros() && last.unread.is_empty() {
        left_out(&mut last, &format!("{} ends in zeros", text.name()));
    }
    let _ = take(last);
    Ok(())
}

fn no_json(text: &Text<'_>, error: serde_json::Error) -> ReadError {
    let file = text.name();
    text.failed().unwrap_or_else(|| match error.classify() {
        Category::Eof => ReadError::Truncated { file, bytes: text.length() },
        Category::Data => ReadError::NoReport(file),
        Category::Syntax | Category::Io => ReadError::NotJson { file, error },
    })
}

/// The report that was probed.
fn next_report(
    text: &Text<'_>,
    probe: Probe,
    next: &mut dyn FnMut() -> Option<serde_json::Result<Report>>,
) -> Result<Report, ReadError> {
    let schema = probe.schema.ok_or_else(|| ReadError::NoReport(text.name()))?;
    if schema != SCHEMA && schema != SCHEMA_1 {
        let schema = crate::human::cut(&schema, 60);
        return Err(ReadError::OtherSchema { file: text.name(), schema });
    }
    let invalid = |error| text.failed().unwrap_or_else(|| ReadError::Invalid { file: text.name(), error });
    let tables = probe.tables.unwrap_or_default().resolved().map_err(invalid)?;
    let report = tables::reading(tables, next);
    let cut = || ReadError::Truncated { file: text.name(), bytes: text.length() };
    let mut report = report.ok_or_else(cut)?.map_err(invalid)?;
    SCHEMA.clone_into(&mut report.schema);
    report.sections_mut().into_iter().for_each(Section::complete);
    Ok(report)
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
#[derive(Debug, Default)]
pub struct Newest {
    known: HashMap<(u32, String), usize>,
    pub kept: Vec<Report>,
    /// How many were given.
    pub given: usize,
}

impl Newest {
    /// Those of a file.
    pub fn of(path: &Path, reading: &Reading<'_>) -> Result<Self, ReadError> {
        let mut newest = Self::default();
        newest.add_all(path, reading)?;
        Ok(newest)
    }

    /// Takes in the reports of a file.
    pub fn add_all(&mut self, path: &Path, reading: &Reading<'_>) -> Result<(), ReadError> {
        each(path, reading, &mut |report| {
            self.add(report);
            ControlFlow::Continue(())
        })
    }

    /// Takes in a report.
    pub fn add(&mut self, report: Report) {
        self.given += 1;
        let key = (report.target.pid, report.window.started_at.clone());
        match self.known.get(&key) {
            Some(at) if self.kept[*at].window.duration_ns <= report.window.duration_ns => {
                self.kept[*at] = report;
            }
            Some(_) => {}
            None => {
                self.known.insert(key, self.kept.len());
                self.kept.push(report);
            }
        }
    }
}

#[cfg(test)]
mod tests;

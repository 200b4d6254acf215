//! `leakscope report FILE…`.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use super::Failure;
use super::fail_on::Thresholds;
use super::format::Rendering;
use super::output::Destination;
use super::progress::Progress;
use super::saved::reading;
use crate::diff::series::grow_since;
use crate::files;
use crate::report::Report;
use crate::report::charge::charge;
use crate::report::read::{self, Newest, ReadError, Reading, Series};
use crate::report::select::Selection;
use crate::symbol::Charging;

/// Configuration of `report`.
#[derive(Debug)]
pub struct ReportConfig {
    /// Saved reports.
    pub files: Vec<PathBuf>,
    /// Which stacks.
    pub selection: Selection,
    /// Whom stacks are charged to.
    pub charging: Charging,
    /// What they are turned into.
    pub rendering: Rendering,
    /// When to fail.
    pub thresholds: Thresholds,
    /// Where that goes.
    pub output: Destination,
}

pub fn run(mut config: ReportConfig) -> Result<u8, Failure> {
    let progress = Progress::new(0);
    let Newest { kept: mut reports, given, .. } = reading(|reading| {
        let mut newest = Newest::default();
        config.files.iter().try_for_each(|file| file_or_series(file, reading, &mut newest))?;
        Ok(newest)
    })
    .map_err(|error: ReadError| Failure::failed(error))?;
    if reports.len() < given {
        progress.say(&format!(
            "leakscope: {} of {given} reports used: each is the newest of its process and window",
            reports.len()
        ));
    }
    config.rendering.holds(reports.len())?;
    for report in &mut reports {
        charge(report, &config.charging);
        config.selection.apply(report);
        if let Cow::Owned(grouped) = config.rendering.grouped(report) {
            *report = grouped;
        }
    }
    let mut output = config.rendering.open(&config.output)?;
    let all: Vec<&Report> = reports.iter().collect();
    let written = config
        .rendering
        .finish(&all, &mut output)
        .map(|()| 0)
        .map_err(Failure::from)
        .or_else(Failure::broken_pipe_is_success);
    reports.iter().for_each(|report| config.thresholds.check_report(report, &progress));
    written.map(|_| config.thresholds.code())
}

/// Takes in the reports of a file; a series in a directory is one: its last report, with its growth since the first.
fn file_or_series(path: &Path, reading: &Reading<'_>, newest: &mut Newest) -> Result<(), ReadError> {
    if !files::is_directory(path) {
        return newest.add_all(path, reading);
    }
    let Series { first, last } = read::series(path, reading)?;
    newest.add(match last {
        None => first,
        Some(mut last) => {
            grow_since(&first, &mut last);
            last
        }
    });
    Ok(())
}

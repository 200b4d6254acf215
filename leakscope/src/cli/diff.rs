//! `leakscope diff OLD NEW`.

use std::path::{Path, PathBuf};

use super::Failure;
use super::fail_on::Thresholds;
use super::format::{ColorArg, refuse_terminal, table_style};
use super::output::{Destination, Output};
use super::progress::Progress;
use super::saved::reading;
use crate::diff::{Diff, Options, compare};
use crate::export::profile::{NoProfile, Profile, ProfileKind};
use crate::export::{Exporter, html, json, people, pprof, table};
use crate::report::Report;
use crate::report::charge::charge;
use crate::report::read::{self, Newest};
use crate::report::select::Selection;
use crate::symbol::Charging;

/// What a difference is turned into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiffFormat {
    /// For people.
    Table,
    /// For programs.
    Json,
    /// profile.proto, values of the new report less those of the old one.
    Pprof,
    /// A page for a browser.
    Html,
}

impl DiffFormat {
    /// The format of reports that it is made like.
    const fn exporter(self) -> &'static dyn Exporter {
        match self {
            Self::Table => &people::Table,
            Self::Json => &json::Json,
            Self::Pprof => &pprof::Pprof,
            Self::Html => &html::Html,
        }
    }
}

/// Configuration of `diff`.
#[derive(Debug)]
pub struct DiffConfig {
    /// The old report, or a series.
    pub old: PathBuf,
    /// The new report; `None` where `old` is a series.
    pub new: Option<PathBuf>,
    /// How they are compared.
    pub options: Options,
    /// Which stacks.
    pub selection: Selection,
    /// Whom stacks are charged to.
    pub charging: Charging,
    /// When to fail.
    pub thresholds: Thresholds,
    /// What the difference is turned into.
    pub format: DiffFormat,
    /// Which profile pprof gets.
    pub profile: Option<ProfileKind>,
    /// Sites in tables.
    pub top: usize,
    /// Frames of each stack in tables.
    pub frames: Option<usize>,
    /// When there are colours.
    pub(super) color: ColorArg,
    /// Where it goes.
    pub output: Destination,
}

pub fn run(mut config: DiffConfig) -> Result<u8, Failure> {
    let (mut old, mut new) = both(&config)?;
    charge(&mut old, &config.charging);
    charge(&mut new, &config.charging);
    config.selection.apply(&mut old);
    config.selection.apply(&mut new);
    let diff = compare(&old, &new, config.options).map_err(Failure::failed)?;
    let format = config.format.exporter();
    let mut output = Output::open(&config.output, format.extension(), false)?;
    refuse_terminal(format, &output)?;
    let bytes = render(&config, &diff, (&old, &new), output.is_terminal())?;
    let written = match output.is_terminal() {
        true => output.show(&bytes),
        false => output.write(&bytes),
    };
    let written = written.map(|()| 0).or_else(Failure::broken_pipe_is_success);
    config.thresholds.check(&diff, &Progress::new(0));
    written.map(|_| config.thresholds.code())
}

/// The two reports.
fn both(config: &DiffConfig) -> Result<(Report, Report), Failure> {
    match &config.new {
        Some(new) => Ok((one(&config.old)?, one(new)?)),
        None => {
            let series = reading(|reading| read::series(&config.old, reading)).map_err(Failure::failed)?;
            let Some(last) = series.last else {
                return Err(Failure::failed(anyhow::anyhow!(
                    "{} holds one report only; name two reports, or a series of at least two",
                    config.old.display()
                )));
            };
            Ok((series.first, last))
        }
    }
}

/// The report of a file: of one account that grows, the newest.
fn one(path: &Path) -> Result<Report, Failure> {
    let mut reports = reading(|reading| Newest::of(path, reading)).map_err(Failure::failed)?.kept;
    match (reports.pop(), reports.len()) {
        (Some(report), 0) => Ok(report),
        (_, others) => Err(Failure::failed(anyhow::anyhow!(
            "{} holds reports of {} processes or windows; name files with one each",
            path.display(),
            others + 1
        ))),
    }
}

/// Why there is no difference of profiles, and of which there is one.
fn missing(error: NoProfile, old: &Report, new: &Report) -> Failure {
    let both = ProfileKind::ALL.into_iter().filter(|kind| kind.is_in(old) && kind.is_in(new));
    let both: Vec<&str> = both.map(ProfileKind::name).collect();
    let told = match both.is_empty() {
        true => "the reports hold no profile in common".to_owned(),
        false => format!("both reports hold {}", both.join(", ")),
    };
    Failure::failed(anyhow::anyhow!("{error}; {told}"))
}

fn render(
    config: &DiffConfig,
    diff: &Diff,
    (old, new): (&Report, &Report),
    terminal: bool,
) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let look = table_style(config.top, config.frames, terminal, config.color);
    let written = match config.format {
        DiffFormat::Table => table::write_diff(diff, &look, &mut bytes),
        DiffFormat::Html => html::write_diff(diff, (old, new), look, &mut bytes),
        DiffFormat::Json => json::write(diff, &mut bytes),
        DiffFormat::Pprof => {
            let nothing = || Failure::failed(anyhow::anyhow!("the reports hold no profile in common"));
            let kind = config.profile.or_else(|| ProfileKind::of_all(&[old, new])).ok_or_else(nothing)?;
            let difference = Profile::difference(old, new, kind).map_err(|error| missing(error, old, new))?;
            pprof::write(&difference, &mut bytes)
        }
    };
    written.map_err(|e| Failure::output("the difference", e))?;
    Ok(bytes)
}

//! `--format` and `--profile`: what a report is turned into.

use std::borrow::Cow;
use std::io;
use std::sync::LazyLock;

use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};

use super::Failure;
use super::output::{Destination, Output, exceeds_screen};
use crate::export::exporter::{Audience, ExportError, Job, Sequence, Subject};
use crate::export::profile::ProfileKind;
use crate::export::{EXPORTERS, Exporter, json, people, table};
use crate::report::group::By;
use crate::report::{Report, group};

/// Columns of a table that is not written to a terminal.
const PIPE_WIDTH: usize = 120;
/// Sites in tables, if nobody asks for more.
const TOP: usize = 10;
/// Lines of a report before what was lost and what it cost, if nobody asks for more. Deadlocks, goroutines and threads
/// that are not idle are always shown.
const LINES: usize = 54;

/// What reports are turned into.
#[derive(Debug, Args)]
pub struct FormatArgs {
    /// Format of the report [default: table; with `-o DIR/` json]
    #[arg(long, value_enum)]
    format: Option<Format>,
    #[arg(long, value_enum, help = profile_help())]
    profile: Option<ProfileArg>,
    /// Sites to show in the table [default: 10, and their stacks as far as 60 lines go]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..))]
    top: Option<u32>,
    /// Frames to show of each stack in the table [default: 16; of idle threads 6, up to the marked one]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=127))]
    frames: Option<u32>,
    /// Add up sites by the line that they are charged to, its function or its module; `stack` shows each stack for itself
    #[arg(long, value_enum)]
    by: Option<ByArg>,
    /// Colours of the table: auto (on a terminal, unless NO_COLOR is set)
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    color: ColorArg,
    /// Show in the table what says little, too: the stacks of idle threads, waits of microseconds, single waits
    #[arg(long)]
    all: bool,
}

/// When there are colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum ColorArg {
    #[default]
    Auto,
    Always,
    Never,
}

/// What sites are added up by.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum ByArg {
    /// Not at all
    #[value(alias = "site")]
    Stack,
    /// By function, file and line
    #[value(alias = "blame")]
    Place,
    Function,
    Module,
}

impl From<ByArg> for By {
    fn from(by: ByArg) -> Self {
        match by {
            ByArg::Stack => Self::Stack,
            ByArg::Place => Self::Place,
            ByArg::Function => Self::Function,
            ByArg::Module => Self::Module,
        }
    }
}

/// Go's profiles, as `--profile` names them.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum ProfileArg {
    /// What is in use, by who allocated it
    Heap,
    /// What was allocated
    Allocs,
    /// What threads wait for
    Block,
    /// Waits for mutexes and rwlocks, by who held them
    Mutex,
    /// Goroutines; threads of a native process
    Goroutine,
    /// Goroutines that can never run again
    Goroutineleak,
    /// Who created threads
    Threadcreate,
    /// What holds the memory now, by the way from its holder
    Memory,
}

impl From<ProfileArg> for ProfileKind {
    fn from(profile: ProfileArg) -> Self {
        match profile {
            ProfileArg::Heap => Self::Heap,
            ProfileArg::Allocs => Self::Allocs,
            ProfileArg::Block => Self::Block,
            ProfileArg::Mutex => Self::Mutex,
            ProfileArg::Goroutine => Self::Goroutine,
            ProfileArg::Goroutineleak => Self::Goroutineleak,
            ProfileArg::Threadcreate => Self::Threadcreate,
            ProfileArg::Memory => Self::Memory,
        }
    }
}

/// The formats of profiles, as in `pprof, text or folded`; `last` is the word before the last one.
fn profile_formats(last: &str) -> String {
    let profiles = EXPORTERS.iter().filter(|format| format.subject() == Subject::Profile);
    let names: Vec<&str> = profiles.map(|format| format.name()).collect();
    match names.as_slice() {
        [first @ .., end] if !first.is_empty() => format!("{} {last} {end}", first.join(", ")),
        names => names.concat(),
    }
}

/// The help of `--profile`.
fn profile_help() -> String {
    format!(
        "Which of Go's profiles {} show [default: heap where it was traced, else goroutine of Go programs and block of others]",
        profile_formats("and")
    )
}

/// A value of `--format`.
#[derive(Clone, Copy, Debug)]
struct Format(&'static dyn Exporter);

/// All values.
static FORMATS: LazyLock<Vec<Format>> = LazyLock::new(|| EXPORTERS.iter().copied().map(Format).collect());

impl ValueEnum for Format {
    fn value_variants<'a>() -> &'a [Self] {
        &FORMATS
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.0.name()).help(self.0.purpose()))
    }
}

/// How reports are rendered.
#[derive(Clone, Copy, Debug)]
pub struct Rendering {
    /// The format.
    pub format: &'static dyn Exporter,
    /// The profile that was asked for.
    pub profile: Option<ProfileKind>,
    /// Sites in tables.
    pub top: usize,
    /// Frames in tables.
    pub frames: Option<usize>,
    /// Lines that tables have, if nobody asks for more.
    pub most_lines: Option<usize>,
    /// How sites are added up.
    pub by: Option<By>,
    /// Whether what says little is shown, too.
    pub all: bool,
    /// When there are colours.
    pub(super) color: ColorArg,
}

impl FormatArgs {
    /// What these arguments ask for; `offered` refuses the profiles that there will be none of.
    pub(super) fn rendering(
        self,
        output: &Destination,
        offered: impl Fn(ProfileKind) -> Result<(), String>,
    ) -> Result<Rendering, Failure> {
        let format: &'static dyn Exporter = match (self.format, output) {
            (Some(Format(format)), _) => format,
            (None, Destination::Directory(..)) => &json::Json,
            (None, _) => &people::Table,
        };
        let profile = self.profile.map(ProfileKind::from);
        if let Some(profile) = profile {
            if format.subject() != Subject::Profile {
                return Err(Failure::usage(format!(
                    "--profile {}: --format {} shows the whole report; use --format {}",
                    profile.name(),
                    format.name(),
                    profile_formats("or")
                )));
            }
            offered(profile).map_err(|why| Failure::usage(format!("--profile {}: {why}", profile.name())))?;
        }
        let frames = self.frames.map(|n| n as usize);
        let asked = self.top.is_some() || frames.is_some() || self.by.is_some() || self.all;
        let top = self.top.map_or(TOP, |n| n as usize);
        Ok(Rendering {
            format,
            profile,
            top,
            frames,
            most_lines: (!asked).then_some(LINES),
            by: self.by.map(By::from),
            all: self.all,
            color: self.color,
        })
    }
}

/// Why nothing was written.
#[derive(Debug)]
pub(super) enum NotWritten {
    /// The reports do not hold what was asked for.
    Refused(Failure),
    /// The output takes no more.
    Output(Failure),
}

impl From<NotWritten> for Failure {
    fn from(why: NotWritten) -> Self {
        match why {
            NotWritten::Refused(failure) | NotWritten::Output(failure) => failure,
        }
    }
}

impl Rendering {
    /// Refuses to put several files of a format that knows no such thing into one. `repeated` tells
    /// whether more than one report will come.
    pub(super) fn goes_to(&self, destination: &Destination, repeated: bool) -> Result<(), Failure> {
        let one_stream = *destination == Destination::Stdout && self.format.subject() == Subject::Profile;
        if repeated && one_stream && self.format.sequence() == Sequence::Apart {
            return Err(Failure::usage(format!(
                "--format {} with --interval: several reports in one stream cannot be read; use -o FILE, which each report replaces, or -o DIR/",
                self.format.name()
            )));
        }
        Ok(())
    }

    /// Checks the destination before anything is attached.
    pub(super) fn open(&self, destination: &Destination) -> Result<Output, Failure> {
        let appends = self.format.sequence() == Sequence::Append;
        let output = Output::open(destination, self.format.extension(), appends)?;
        refuse_terminal(self.format, &output)?;
        Ok(output)
    }

    /// Refuses several reports where the format holds one.
    pub(super) fn holds(&self, reports: usize) -> Result<(), Failure> {
        let apart = self.format.subject() == Subject::Reports && self.format.sequence() == Sequence::Apart;
        if !apart || reports <= 1 {
            return Ok(());
        }
        let several = EXPORTERS.iter().find(|format| format.sequence() == Sequence::Append);
        let hint = several.map(|format| format!("; use --format {}", format.name())).unwrap_or_default();
        Err(Failure::usage(format!(
            "--format {} holds one report, and here are {reports}{hint}",
            self.format.name()
        )))
    }

    /// The report as it is shown: its sites added up as was asked for.
    pub(super) fn grouped<'a>(&self, report: &'a Report) -> Cow<'a, Report> {
        match self.by.filter(|by| *by != By::Stack) {
            Some(by) => {
                let mut grouped = report.clone();
                group::by(&mut grouped, by);
                Cow::Owned(grouped)
            }
            None => Cow::Borrowed(report),
        }
    }

    /// Whether people read it, and are glad about a first look.
    pub(super) fn is_for_people(&self) -> bool {
        self.format.audience() == Audience::People
    }

    /// Writes reports.
    pub(super) fn write(&self, reports: &[&Report], output: &mut Output) -> Result<(), NotWritten> {
        let job = self.job(reports, output);
        let mut refused = None;
        let written = output.write_by(&mut |out| match self.format.write(&job, out) {
            Ok(()) => Ok(()),
            Err(ExportError::Output(error)) => Err(error),
            Err(error) => {
                let told = io::Error::other(error.to_string());
                refused = Some(error);
                Err(told)
            }
        });
        match refused {
            Some(error) => Err(NotWritten::Refused(Failure::failed(error))),
            None => written.map_err(NotWritten::Output),
        }
    }

    /// Writes the last reports. On a terminal what is longer than the screen says its answer again at the end, and goes
    /// through a pager.
    pub(super) fn finish(&self, reports: &[&Report], output: &mut Output) -> Result<(), NotWritten> {
        if !self.is_for_people() || !output.is_terminal() {
            return self.write(reports, output);
        }
        let job = self.job(reports, output);
        let mut text = Vec::new();
        let refused = |error: ExportError| NotWritten::Refused(Failure::failed(error));
        self.format.write(&job, &mut text).map_err(refused)?;
        if let [one] = reports
            && exceeds_screen(&text)
        {
            people::answer_again(one, &job.style, &mut text).map_err(|error| refused(error.into()))?;
        }
        output.show(&text).map_err(NotWritten::Output)
    }

    fn job<'a>(&self, reports: &'a [&'a Report], output: &Output) -> Job<'a> {
        let mut style = table_style(self.top, self.frames, output.is_terminal(), self.color);
        (style.stacks, style.all) = (self.by == Some(By::Stack), self.all);
        style.most_lines = self.most_lines;
        Job { reports, profile: self.profile, style }
    }
}

/// Refuses to write what is binary to a terminal.
pub(super) fn refuse_terminal(format: &dyn Exporter, output: &Output) -> Result<(), Failure> {
    if format.audience() == Audience::Programs && output.is_terminal() {
        return Err(Failure::usage(format!(
            "--format {} is not for terminals; write it to a file with -o FILE",
            format.name()
        )));
    }
    Ok(())
}

/// How tables are printed to a terminal or elsewhere.
pub(super) fn table_style(
    top: usize,
    frames: Option<usize>,
    terminal: bool,
    color: ColorArg,
) -> table::TableStyle {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty())
        || std::env::var_os("TERM").is_some_and(|t| t == "dumb");
    let width = terminal_size::terminal_size().filter(|_| terminal).map_or(PIPE_WIDTH, |(w, _)| w.0 as usize);
    table::TableStyle {
        color: match color {
            ColorArg::Auto => terminal && !plain,
            ColorArg::Always => true,
            ColorArg::Never => false,
        },
        top,
        frames,
        ..table::TableStyle::plain(width.max(40))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_format_is_told_apart() {
        let mut names = BTreeSet::new();
        for format in EXPORTERS {
            let name = format.name();
            assert!(names.insert(name) && name.bytes().all(|b| b.is_ascii_lowercase()), "{name}");
            assert!(!format.purpose().ends_with('.') && !format.extension().starts_with('.'), "{name}");
        }
    }
}

//! `--format` and `--profile`: what a report is turned into.

use clap::{Args, ValueEnum};

use super::Failure;
use super::output::{Destination, Output};
use crate::export::profile::{Profile, ProfileKind};
use crate::export::{flamegraph, folded, json, jsonl, pprof, table, text};
use crate::report::Report;

/// Columns of a table that is not written to a terminal.
const PIPE_WIDTH: usize = 120;

/// What reports are turned into.
#[derive(Debug, Args)]
pub struct FormatArgs {
    /// Format of the report [default: table; with `-o DIR/` json]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Which of Go's profiles pprof, text, folded and flamegraph show [default: heap where it was traced, else goroutine of Go programs and block of others]
    #[arg(long, value_enum)]
    profile: Option<ProfileArg>,
    /// Sites to show in the table
    #[arg(long, value_name = "N", default_value_t = 10, allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,
    /// Frames to show of each stack in the table [default: 16; of idle threads 6, up to the marked one]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=127))]
    frames: Option<u32>,
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
    /// Waits for mutexes and rwlocks
    Mutex,
    /// Goroutines; threads of a native process
    Goroutine,
    /// Who created threads
    Threadcreate,
}

impl From<ProfileArg> for ProfileKind {
    fn from(profile: ProfileArg) -> Self {
        match profile {
            ProfileArg::Heap => Self::Heap,
            ProfileArg::Allocs => Self::Allocs,
            ProfileArg::Block => Self::Block,
            ProfileArg::Mutex => Self::Mutex,
            ProfileArg::Goroutine => Self::Goroutine,
            ProfileArg::Threadcreate => Self::Threadcreate,
        }
    }
}

/// The report's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// All there is, indented
    Json,
    /// All there is, a line a report
    Jsonl,
    /// For `go tool pprof` and what else reads profile.proto, gzipped
    Pprof,
    /// The layout of Go's debug=1
    Text,
    /// For flame graph tools: a line a stack
    Folded,
    /// An SVG to zoom and search in
    Flamegraph,
}

impl Format {
    /// Whether one profile is shown, not the whole report.
    const fn is_profile(self) -> bool {
        matches!(self, Self::Pprof | Self::Text | Self::Folded | Self::Flamegraph)
    }

    /// Whether what comes one after another is still of the format.
    pub(super) const fn can_follow_itself(self) -> bool {
        matches!(self, Self::Table | Self::Jsonl | Self::Text)
    }

    /// Of files in a series.
    const fn extension(self) -> &'static str {
        match self {
            Self::Table | Self::Text => "txt",
            Self::Json => "json",
            Self::Jsonl => "jsonl",
            Self::Pprof => "pb.gz",
            Self::Folded => "folded",
            Self::Flamegraph => "svg",
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Json => "json",
            Self::Jsonl => "jsonl",
            Self::Pprof => "pprof",
            Self::Text => "text",
            Self::Folded => "folded",
            Self::Flamegraph => "flamegraph",
        }
    }
}

/// How reports are rendered.
#[derive(Clone, Copy, Debug)]
pub struct Rendering {
    /// The format.
    pub format: Format,
    /// The profile that was asked for.
    pub profile: Option<ProfileKind>,
    /// Sites in tables.
    pub top: usize,
    /// Frames in tables.
    pub frames: Option<usize>,
}

impl FormatArgs {
    /// What these arguments ask for; `offered` refuses the profiles that there will be none of.
    pub(super) fn rendering(
        self,
        output: &Destination,
        offered: impl Fn(ProfileKind) -> Result<(), String>,
    ) -> Result<Rendering, Failure> {
        let whole = if matches!(output, Destination::Directory(..)) { Format::Json } else { Format::Table };
        let format = self.format.unwrap_or(whole);
        let profile = self.profile.map(ProfileKind::from);
        if let Some(profile) = profile {
            if !format.is_profile() {
                return Err(Failure::usage(format!(
                    "--profile {}: --format {} shows the whole report; use --format pprof, text, folded or flamegraph",
                    profile.name(),
                    format.name()
                )));
            }
            offered(profile).map_err(|why| Failure::usage(format!("--profile {}: {why}", profile.name())))?;
        }
        Ok(Rendering { format, profile, top: self.top as usize, frames: self.frames.map(|n| n as usize) })
    }
}

impl Rendering {
    /// Refuses to put several files of a format that knows no such thing into one. `repeated` tells
    /// whether more than one report will come.
    pub(super) fn goes_to(&self, destination: &Destination, repeated: bool) -> Result<(), Failure> {
        let one_stream = *destination == Destination::Stdout && self.format.is_profile();
        if repeated && one_stream && !self.format.can_follow_itself() {
            return Err(Failure::usage(format!(
                "--format {} with --interval: several reports in one stream cannot be read; use -o FILE, which each report replaces, or -o DIR/",
                self.format.name()
            )));
        }
        Ok(())
    }

    /// Checks the destination before anything is attached.
    pub(super) fn open(&self, destination: &Destination) -> Result<Output, Failure> {
        let output = Output::open(destination, self.format.extension(), self.format == Format::Jsonl)?;
        if self.format == Format::Pprof && output.is_terminal() {
            return Err(Failure::usage(
                "--format pprof is not for terminals; write it to a file with -o FILE",
            ));
        }
        Ok(output)
    }

    /// What is written of reports; `terminal` tells whether people look at it as it is.
    pub(super) fn render(&self, reports: &[&Report], terminal: bool) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        let written = match self.format {
            Format::Table => each(reports, |report| table::write(report, &self.style(terminal), &mut bytes)),
            Format::Json => each(reports, |report| json::write(report, &mut bytes)),
            Format::Jsonl => each(reports, |report| jsonl::write(report, &mut bytes)),
            Format::Pprof => pprof::write(&self.profile(reports)?, &mut bytes),
            Format::Text => text::write(&self.profile(reports)?, &mut bytes),
            Format::Folded => folded::write(&self.profile(reports)?, &mut bytes),
            Format::Flamegraph => flamegraph::write(&self.profile(reports)?, &mut bytes),
        };
        written.map_err(|e| Failure::output("the report", e))?;
        Ok(bytes)
    }

    fn profile<'a>(&self, reports: &[&'a Report]) -> Result<Profile<'a>, Failure> {
        let best = || reports.iter().find_map(|report| ProfileKind::of(report));
        let nothing = || Failure::failed(anyhow::anyhow!("the report holds no profile at all"));
        let kind = self.profile.or_else(best).ok_or_else(nothing)?;
        Profile::of_all(reports, kind).map_err(Failure::failed)
    }

    fn style(&self, terminal: bool) -> table::TableStyle {
        table_style(self.top, self.frames, terminal)
    }
}

/// How tables are printed to a terminal or elsewhere.
pub(super) fn table_style(top: usize, frames: Option<usize>, terminal: bool) -> table::TableStyle {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty())
        || std::env::var_os("TERM").is_some_and(|t| t == "dumb");
    let width = terminal_size::terminal_size().filter(|_| terminal).map_or(PIPE_WIDTH, |(w, _)| w.0 as usize);
    table::TableStyle { width: width.max(40), color: terminal && !plain, top, frames }
}

fn each(reports: &[&Report], write: impl FnMut(&Report) -> std::io::Result<()>) -> std::io::Result<()> {
    reports.iter().copied().try_for_each(write)
}

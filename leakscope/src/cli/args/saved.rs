//! Arguments of what works on saved reports: `report` and `diff`.

use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};

use crate::cli::Failure;
use crate::cli::diff::{DiffConfig, DiffFormat};
use crate::cli::fail_on::{DiffFailOn, ReportFailOn};
use crate::cli::format::{ColorArg, FormatArgs, ProfileArg};
use crate::cli::output::Destination;
use crate::cli::replay::ReplayConfig;
use crate::cli::report::ReportConfig;
use crate::cli::settings::{FoundWrapperArgs, WrapperArgs};
use crate::diff;
use crate::export::profile::ProfileKind;
use crate::report::select::Selection;

/// Arguments of `report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Reports in JSON or JSON lines (`-`: standard input; of a directory with a series: the last, with its growth since the first)
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Only stacks with a function, file or module that matches
    #[arg(long, value_name = "REGEX")]
    focus: Option<String>,
    /// Leave out stacks with a function, file or module that matches
    #[arg(long, value_name = "REGEX")]
    ignore: Option<String>,
    #[command(flatten)]
    wrappers: WrapperArgs,
    #[command(flatten)]
    format: FormatArgs,
    #[command(flatten)]
    fail_on: ReportFailOn,
    /// Write to FILE (`-`: standard output; `FILE.zst`: compressed)
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Arguments of `replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// What `attach --record DIR` has written
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    #[command(flatten)]
    wrappers: FoundWrapperArgs,
    #[command(flatten)]
    format: FormatArgs,
    #[command(flatten)]
    fail_on: ReportFailOn,
    /// Write reports to FILE (`-`: standard output; `FILE.zst`: compressed; `DIR/`: a file each, named by its time)
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Say more on standard error
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,
}

/// Arguments of `diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The earlier report, in JSON; or alone, a directory or JSON lines with a series: its first and its last
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// The later report
    #[arg(value_name = "NEW")]
    new: Option<PathBuf>,
    /// Compare reports of different programs, too
    #[arg(long)]
    any_program: bool,
    /// Rank sites of the heap by growth of this
    #[arg(long, value_enum, default_value_t = DiffSortArg::Bytes)]
    sort: DiffSortArg,
    /// Only stacks with a function, file or module that matches
    #[arg(long, value_name = "REGEX")]
    focus: Option<String>,
    /// Leave out stacks with a function, file or module that matches
    #[arg(long, value_name = "REGEX")]
    ignore: Option<String>,
    #[command(flatten)]
    wrappers: WrapperArgs,
    /// Format of the difference
    #[arg(long, value_enum, default_value_t = DiffFormatArg::Table)]
    format: DiffFormatArg,
    /// Which of Go's profiles pprof shows [default: heap where it was traced, else goroutine of Go programs and block of others]
    #[arg(long, value_enum)]
    profile: Option<ProfileArg>,
    #[command(flatten)]
    fail_on: DiffFailOn,
    /// Sites to show in each table
    #[arg(long, value_name = "N", default_value_t = 10, allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,
    /// Frames to show of each stack in the table [default: 16]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=127))]
    frames: Option<u32>,
    /// Colours of the table: auto (on a terminal, unless NO_COLOR is set)
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    color: ColorArg,
    /// Write to FILE (`-`: standard output; `FILE.zst`: compressed)
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DiffSortArg {
    Bytes,
    Objects,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DiffFormatArg {
    /// For people
    Table,
    /// All there is, indented
    Json,
    /// For `go tool pprof`: values of NEW less those of OLD
    Pprof,
    /// One page for a browser, offline, with a flame graph of what is more
    Html,
}

impl ReplayArgs {
    /// The configuration that these arguments ask for.
    pub fn into_config(self) -> Result<ReplayConfig, Failure> {
        let output = self.output.map_or(Destination::Stdout, Destination::from_path);
        let rendering = self.format.rendering(&output, |_| Ok(()))?;
        rendering.goes_to(&output, false)?;
        Ok(ReplayConfig {
            directory: self.directory,
            rendering,
            thresholds: self.fail_on.thresholds(|_| Ok(()))?,
            output,
            charging: self.wrappers.charging()?,
            verbose: self.verbose,
        })
    }
}

impl ReportArgs {
    /// The configuration that these arguments ask for.
    pub fn into_config(self) -> Result<ReportConfig, Failure> {
        let output = self.output.map_or(Ok(Destination::Stdout), Destination::of_one)?;
        let rendering = self.format.rendering(&output, |_| Ok(()))?;
        rendering.goes_to(&output, false)?;
        if self.files.len() > 1 && self.files.iter().filter(|file| file.as_os_str() == "-").count() > 1 {
            return Err(Failure::usage("`-`: standard input can be read once only"));
        }
        Ok(ReportConfig {
            files: self.files,
            thresholds: self.fail_on.thresholds(|_| Ok(()))?,
            selection: Selection::new(self.focus.as_deref(), self.ignore.as_deref())
                .map_err(|error| Failure::usage(error.to_string()))?,
            charging: self.wrappers.charging()?,
            rendering,
            output,
        })
    }
}

impl DiffArgs {
    /// The configuration that these arguments ask for.
    pub fn into_config(self) -> Result<DiffConfig, Failure> {
        let format = match self.format {
            DiffFormatArg::Table => DiffFormat::Table,
            DiffFormatArg::Json => DiffFormat::Json,
            DiffFormatArg::Pprof => DiffFormat::Pprof,
            DiffFormatArg::Html => DiffFormat::Html,
        };
        let profile = self.profile.map(ProfileKind::from);
        if let Some(profile) = profile.filter(|_| format != DiffFormat::Pprof) {
            return Err(Failure::usage(format!(
                "--profile {}: only --format pprof shows one profile; the others show all that changed",
                profile.name()
            )));
        }
        let stdin = |path: &PathBuf| path.as_os_str() == "-";
        if stdin(&self.old) && self.new.as_ref().is_some_and(stdin) {
            return Err(Failure::usage("`-`: standard input can be read once only"));
        }
        Ok(DiffConfig {
            thresholds: self.fail_on.thresholds(|_| Ok(()))?,
            old: self.old,
            new: self.new,
            options: diff::Options {
                any_program: self.any_program,
                by_objects: matches!(self.sort, DiffSortArg::Objects),
            },
            selection: Selection::new(self.focus.as_deref(), self.ignore.as_deref())
                .map_err(|error| Failure::usage(error.to_string()))?,
            charging: self.wrappers.charging()?,
            format,
            profile,
            top: self.top as usize,
            frames: self.frames.map(|n| n as usize),
            color: self.color,
            output: self.output.map_or(Ok(Destination::Stdout), Destination::of_one)?,
        })
    }
}

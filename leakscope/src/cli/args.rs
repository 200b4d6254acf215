//! The command line's types. They stop here: each turns into the configuration of its subcommand.

mod following;
mod memory;
mod saved;
mod top;

pub use memory::MemoryArgs;
pub use saved::{DiffArgs, ReplayArgs, ReportArgs};
pub use top::TopArgs;

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use following::FollowingArg;

use super::attach::AttachConfig;
use super::dump::DumpConfig;
use super::duration::{duration, size};
use super::fail_on::{AttachFailOn, DumpFailOn};
use super::format::FormatArgs;
use super::output::{self, Destination};
use super::settings::{FoundWrapperArgs, WrapperArgs};
use super::target::{OptionalTargetArgs, TargetArgs};
use super::{Failure, examples};
use crate::collect::heap::Sort;
use crate::collect::{Tracing, Wishes};
use crate::export::profile::ProfileKind;
use crate::runtime::Options;
use crate::runtime::go::LayoutSource;
use crate::session;

/// Finds what holds the memory of a running process and what its threads are stuck at, from outside: no code
/// change, no restart.
#[derive(Debug, Parser)]
#[command(name = "leakscope", version, propagate_version = true, after_help = examples::of("").text())]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Trace a running process: where its outstanding memory was allocated, and who is blocked where
    #[command(after_help = examples::of("attach").text())]
    Attach(AttachArgs),
    /// Show who is blocked where right now: no tracing, no pause
    #[command(after_help = examples::of("dump").text())]
    Dump(DumpArgs),
    /// Show what holds the memory right now, whenever it was allocated: no tracing, no pause
    #[command(after_help = examples::of("memory").text())]
    Memory(MemoryArgs),
    /// Show which processes grow, live: memory, when it will be full, blocked threads; then the sites of one
    #[command(after_help = examples::of("top").text())]
    Top(TopArgs),
    /// Show a saved report: in another format, parts of it, or grouped
    #[command(after_help = examples::of("report").text())]
    Report(ReportArgs),
    /// Make the reports of a recording again (`attach --record DIR`): needs neither root nor the target
    #[command(hide = true)]
    Replay(ReplayArgs),
    /// Show what grew between two saved reports, or since the first of a series
    #[command(after_help = examples::of("diff").text())]
    Diff(DiffArgs),
    /// Tell what this kernel, these rights and this target allow, and what to do about the rest
    #[command(after_help = examples::of("doctor").text())]
    Doctor(DoctorArgs),
    /// Print what a shell needs to complete leakscope's arguments
    #[command(after_help = examples::of("completions").text())]
    Completions(CompletionsArgs),
    /// Write the manual pages into a directory
    #[command(after_help = examples::of("man").text())]
    Man(ManArgs),
}

/// Arguments of `attach`.
#[derive(Debug, Args)]
pub struct AttachArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// How long to trace (10, 10s, 500ms, 5m); until Ctrl-C or the target's exit if not given
    #[arg(short, long, value_parser = duration, allow_negative_numbers = true)]
    duration: Option<Duration>,
    /// Report every so often instead of only at the end
    #[arg(short, long, value_parser = duration, allow_negative_numbers = true)]
    interval: Option<Duration>,
    /// Order of sites
    #[arg(long, value_enum, default_value_t = SortArg::LiveBytes)]
    sort: SortArg,
    /// Count only blocks that are at least this old as live
    #[arg(long, value_name = "AGE", value_parser = duration, allow_negative_numbers = true)]
    min_age: Option<Duration>,
    /// Trace only this
    #[arg(long, value_enum, value_name = "WHAT")]
    only: Option<OnlyArg>,
    /// List each wait that took at least so long (the longest ones), besides counting all
    #[arg(long, value_name = "TIME", value_parser = duration, allow_negative_numbers = true)]
    min_wait: Option<Duration>,
    /// Follow what goroutines wait for: auto (all the time while that costs little, else in windows)
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    goroutine_waits: FollowingArg,
    #[command(flatten)]
    format: FormatArgs,
    #[command(flatten)]
    fail_on: AttachFailOn,
    #[command(flatten)]
    wrappers: FoundWrapperArgs,
    /// Write reports to FILE (`-`: standard output; `FILE.zst`: compressed; `DIR/`: a file each, named by its time, which `report DIR/` and `diff DIR/` take as one)
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Most reports that `-o DIR/` keeps [default: 60]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..))]
    keep: Option<u32>,
    /// Most live blocks that can be told apart: the maps grow with them (about 130 bytes of kernel memory a block), but
    /// never take more than a quarter of the memory that is available
    #[arg(long, value_name = "N", default_value = "16M", value_parser = size, allow_negative_numbers = true)]
    max_live: u64,
    /// Keep what is read of kernel and target in DIR, for a bug report: names of functions, files and threads, the
    /// command line and numbers, but no memory contents other than the words of locks
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// Say more on standard error; twice: the kernel side's diagnostics too
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,
    /// Leave out the probes on freeing functions, to show that tests notice
    #[arg(long, hide = true)]
    break_free_probes: bool,
}

/// Arguments of `dump`.
#[derive(Debug, Args)]
pub struct DumpArgs {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    format: FormatArgs,
    #[command(flatten)]
    fail_on: DumpFailOn,
    #[command(flatten)]
    wrappers: WrapperArgs,
    /// Write the report to FILE (`-`: standard output; `FILE.zst`: compressed; `DIR/`: a file in it)
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Most reports that `-o DIR/` keeps [default: all]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..))]
    keep: Option<u32>,
    /// Find out which goroutines can never run again; takes some seconds
    #[arg(long)]
    leaked: bool,
    /// Say more on standard error
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,
    /// Where the layouts of a Go runtime come from, for tests
    #[arg(long, value_enum, default_value_t = LayoutArg::Best, hide = true)]
    go_layouts: LayoutArg,
}

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    pub target: OptionalTargetArgs,
    /// Print what was found out about this machine as JSON, for a bug report
    #[arg(long, conflicts_with_all = ["pid", "target"])]
    pub facts: bool,
}

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// Arguments of `man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Where they go; made if it is not there
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SortArg {
    LiveBytes,
    LiveObjects,
    Growth,
    Age,
}

impl From<SortArg> for Sort {
    fn from(sort: SortArg) -> Self {
        match sort {
            SortArg::LiveBytes => Self::LiveBytes,
            SortArg::LiveObjects => Self::LiveObjects,
            SortArg::Growth => Self::Growth,
            SortArg::Age => Self::Age,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OnlyArg {
    Heap,
    Waits,
}

/// Largest `--max-live`: 1 G blocks would take 100 GB of kernel memory.
const MOST_LIVE: u64 = 1 << 30;

impl AttachArgs {
    /// What is to be traced, if these arguments go together.
    fn tracing(&self) -> Result<Tracing, Failure> {
        if self.max_live == 0 || self.max_live > MOST_LIVE {
            return Err(Failure::usage(format!(
                "--max-live {}: must be between 1 and {MOST_LIVE}",
                self.max_live
            )));
        }
        let tracing = Tracing {
            heap: !matches!(self.only, Some(OnlyArg::Waits)),
            waits: !matches!(self.only, Some(OnlyArg::Heap)),
            min_wait_ns: self.min_wait.map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)),
            goroutine_waits: self.goroutine_waits.into(),
        };
        if self.min_wait.is_some() && !tracing.waits {
            return Err(Failure::usage(
                "--min-wait: waits are not traced with --only heap; leave one of them out",
            ));
        }
        Ok(tracing)
    }

    /// The configuration that these arguments ask for.
    pub fn into_config(self) -> Result<AttachConfig, Failure> {
        let tracing = self.tracing()?;
        let output = self
            .output
            .map_or(Destination::Stdout, Destination::from_path)
            .keeping(self.keep, Some(output::KEPT))?;
        let only = |what, flag| Err(format!("{what} not traced with --only {flag}; leave one of them out"));
        let rendering = self.format.rendering(&output, |profile| match profile {
            ProfileKind::Heap | ProfileKind::Allocs | ProfileKind::Memory if !tracing.heap => {
                only("the heap is", "waits")
            }
            ProfileKind::Block | ProfileKind::Mutex if !tracing.waits => only("waits are", "heap"),
            ProfileKind::Threadcreate if !tracing.waits => only("who creates threads is", "heap"),
            _ => Ok(()),
        })?;
        rendering.goes_to(&output, self.interval.is_some())?;
        let thresholds = self.fail_on.thresholds(|section| match section {
            "heap" | "holders" if !tracing.heap => only("the heap is", "waits"),
            "waits" if !tracing.waits => only("waits are", "heap"),
            "threads" if !tracing.waits => only("threads are", "heap"),
            _ => Ok(()),
        })?;
        Ok(AttachConfig {
            pid: self.target.pid()?,
            session: session::Config {
                duration: self.duration,
                interval: self.interval,
                rest: 0,
                naming: None,
                holders: tracing.heap.then_some(session::MOST_HELD),
                wishes: Wishes {
                    tracing,
                    sort: self.sort.into(),
                    min_age: self.min_age.unwrap_or_default(),
                    max_live: self.max_live as u32,
                    break_free_probes: self.break_free_probes,
                },
                kernel_log: self.verbose >= 2,
                record: self.record,
                charging: self.wrappers.charging()?,
            },
            rendering,
            thresholds,
            output,
            verbose: self.verbose,
        })
    }
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum LayoutArg {
    #[default]
    Best,
    DebugInfo,
    Calibration,
}

impl DumpArgs {
    /// The configuration that these arguments ask for.
    pub fn into_config(self) -> Result<DumpConfig, Failure> {
        let output =
            self.output.map_or(Destination::Stdout, Destination::from_path).keeping(self.keep, None)?;
        let rendering = self.format.rendering(&output, |profile| match profile {
            ProfileKind::Memory => Err("run `leakscope memory` for this one".to_owned()),
            ProfileKind::Heap | ProfileKind::Allocs | ProfileKind::Threadcreate => Err(
                "dump looks at threads and goroutines as they are now; run `leakscope attach` for this one"
                    .to_owned(),
            ),
            _ => Ok(()),
        })?;
        rendering.goes_to(&output, false)?;
        let thresholds = self.fail_on.thresholds(|section| match section {
            "holders" => Err("dump does not look at what holds the memory; run `leakscope memory`".to_owned()),
            "heap" | "threads" => Err(format!(
                "dump looks at threads and goroutines as they are now, so {section} is null; run `leakscope attach`"
            )),
            _ => Ok(()),
        })?;
        Ok(DumpConfig {
            pid: self.target.pid()?,
            rendering,
            thresholds,
            output,
            runtimes: Options {
                prove_leaks: self.leaked,
                go_layouts: match self.go_layouts {
                    LayoutArg::Best => LayoutSource::Best,
                    LayoutArg::DebugInfo => LayoutSource::DebugInfo,
                    LayoutArg::Calibration => LayoutSource::Calibration,
                },
                ..Options::default()
            },
            charging: self.wrappers.charging()?,
            verbose: self.verbose,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    fn refused(line: &str) -> String {
        let parsed = Cli::try_parse_from(line.split(' ')).expect("it is parsed");
        let failure = match parsed.command {
            Command::Attach(arguments) => arguments.into_config().err(),
            Command::Dump(arguments) => arguments.into_config().err(),
            Command::Memory(arguments) => arguments.into_config().err(),
            Command::Report(arguments) => arguments.into_config().err(),
            Command::Diff(arguments) => arguments.into_config().err(),
            Command::Replay(arguments) => arguments.into_config().err(),
            Command::Doctor(_) | Command::Top(_) | Command::Completions(_) | Command::Man(_) => None,
        };
        let failure = failure.unwrap_or_else(|| panic!("{line} is accepted"));
        assert_eq!(failure.code, 2, "{failure}");
        failure.to_string()
    }

    #[test]
    fn what_cannot_be_had_is_refused() {
        assert!(refused("leakscope dump 1 --format pprof --profile heap").contains("leakscope attach"));
        assert!(
            refused("leakscope dump 1 --format text --profile threadcreate").contains("leakscope attach")
        );
        assert!(
            refused("leakscope dump 1 --profile block").contains("--format table shows the whole report")
        );
        assert!(refused("leakscope attach 1 --format json --profile heap").contains("--format json"));
        for line in [
            "leakscope attach 1 --only waits --format pprof --profile heap",
            "leakscope attach 1 --only waits --format folded --profile allocs",
            "leakscope attach 1 --only heap --format text --profile block",
            "leakscope attach 1 --only heap --format text --profile mutex",
            "leakscope attach 1 --only heap --format flamegraph --profile threadcreate",
        ] {
            assert!(refused(line).contains("not traced with --only"), "{line}");
        }
        for format in ["pprof", "folded", "flamegraph"] {
            let line = format!("leakscope attach 1 --interval 1s --format {format}");
            assert!(refused(&line).contains("-o FILE"), "{line}");
        }
        for (only, field) in [("heap", "waits.threads"), ("heap", "threads.growth"), ("waits", "heap.exact")]
        {
            let told = refused(&format!("leakscope attach 1 --only {only} --fail-on {field}>0"));
            assert!(
                told.contains(&format!("not traced with --only {only}")) || field == "heap.exact",
                "{told}"
            );
        }
        assert!(refused("leakscope dump 1 --format folded --profile memory").contains("leakscope memory"));
        assert!(refused("leakscope memory 1 --format text --profile heap").contains("leakscope attach"));
        assert!(refused("leakscope memory 1 --fail-on waits.threads>0").contains("waits is null"));
        assert!(refused("leakscope report - -").contains("standard input"));
        assert!(refused("leakscope report x --focus (").contains("--focus"));
    }

    /// The examples of each subcommand's `--help` are what it takes.
    #[test]
    fn examples_of_thresholds_can_be_had() {
        let commands =
            [("attach", "1"), ("dump", "1"), ("memory", "1"), ("report", "r.json"), ("diff", "a b")];
        for (command, files) in commands {
            let examples = if command == "memory" { 3 } else { 5 };
            let mut cli = Cli::command();
            let of = cli.find_subcommand_mut(command).expect("it is there");
            let argument = of.get_arguments().find(|argument| argument.get_id() == "fail_on");
            let help = argument.and_then(clap::Arg::get_long_help).expect("a long help").to_string();
            let told: Vec<&str> = help.rsplit("\n\n").next().expect("examples").lines().collect();
            assert_eq!(told.len(), examples, "{help}");
            for example in told {
                let line = ["leakscope", command].into_iter().chain(files.split(' '));
                let parsed = Cli::try_parse_from(line.chain(["--fail-on", example])).expect("it is parsed");
                let refused = match parsed.command {
                    Command::Attach(arguments) => arguments.into_config().err(),
                    Command::Dump(arguments) => arguments.into_config().err(),
                    Command::Memory(arguments) => arguments.into_config().err(),
                    Command::Report(arguments) => arguments.into_config().err(),
                    Command::Diff(arguments) => arguments.into_config().err(),
                    _ => None,
                };
                assert!(refused.is_none(), "{command} {example}: {refused:?}");
            }
        }
    }

    #[test]
    fn what_can_be_had_is_not() {
        for line in [
            "leakscope attach 1 --interval 1s --format jsonl",
            "leakscope attach 1 --interval 1s --format pprof -o x",
            "leakscope attach 1 --only waits --format pprof --profile mutex",
            "leakscope attach 1 --format pprof --profile goroutine",
        ] {
            let parsed = Cli::try_parse_from(line.split(' ')).expect("it is parsed");
            let Command::Attach(arguments) = parsed.command else { panic!("{line}") };
            assert!(arguments.into_config().is_ok(), "{line}");
        }
    }
}

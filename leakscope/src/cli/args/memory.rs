//! Arguments of `memory`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};

use crate::cli::Failure;
use crate::cli::duration::duration;
use crate::cli::fail_on::MemoryFailOn;
use crate::cli::format::FormatArgs;
use crate::cli::memory::MemoryConfig;
use crate::cli::output::Destination;
use crate::cli::target::TargetArgs;
use crate::export::profile::ProfileKind;

/// Arguments of `memory`.
#[derive(Debug, Args)]
pub struct MemoryArgs {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    format: FormatArgs,
    #[command(flatten)]
    fail_on: MemoryFailOn,
    /// Look again after so long, and show what has grown
    #[arg(short, long, value_parser = duration, allow_negative_numbers = true)]
    duration: Option<Duration>,
    /// Write the report to FILE (`-`: standard output; `FILE.zst`: compressed; `DIR/`: a file in it)
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Most reports that `-o DIR/` keeps [default: all]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..))]
    keep: Option<u32>,
    /// Say more on standard error
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,
}

impl MemoryArgs {
    /// The configuration that these arguments ask for.
    pub fn into_config(self) -> Result<MemoryConfig, Failure> {
        let output =
            self.output.map_or(Destination::Stdout, Destination::from_path).keeping(self.keep, None)?;
        let rendering = self.format.rendering(&output, |profile| match profile {
            ProfileKind::Memory => Ok(()),
            _ => Err("memory tells what holds the memory; run `leakscope attach` for this one".to_owned()),
        })?;
        rendering.goes_to(&output, false)?;
        let thresholds = self.fail_on.thresholds(|section| match section {
            "heap" | "waits" | "goroutines" | "threads" => {
                Err(format!("{section} is null in what memory shows; run `leakscope attach`"))
            }
            _ => Ok(()),
        })?;
        Ok(MemoryConfig {
            pid: self.target.pid()?,
            duration: self.duration,
            rendering,
            thresholds,
            output,
            verbose: self.verbose,
        })
    }
}

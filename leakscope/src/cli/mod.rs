//! The command line: `args` holds clap's types, one file each the subcommands, `output` where
//! reports go, and `crate::failure` says what an error means for the exit code.

pub mod args;
pub mod attach;
pub mod diff;
pub mod doctor;
pub mod dump;
pub mod duration;
mod examples;
pub mod fail_on;
pub mod format;
pub mod generate;
mod live;
pub mod logging;
pub mod memory;
pub mod output;
mod pager;
pub mod progress;
pub mod replay;
pub mod report;
mod saved;
pub mod settings;
pub mod target;
pub mod top;
mod top_script;

pub use crate::failure::Failure;

use std::ffi::OsString;

use clap::Parser as _;

/// Runs the program; the result is its exit code or the failure to print.
pub fn run() -> Result<u8, Failure> {
    let parsed = match args::Cli::try_parse_from(with_attach(std::env::args_os())) {
        Ok(parsed) => parsed,
        Err(error) => {
            // Help and version are no errors; clap knows the stream and the code.
            return match error.print() {
                Ok(()) => Ok(u8::try_from(error.exit_code()).unwrap_or(2)),
                Err(e) => Failure::output("the terminal", e).broken_pipe_is_success(),
            };
        }
    };
    match parsed.command {
        args::Command::Attach(arguments) => attach::run(arguments.into_config()?),
        args::Command::Dump(arguments) => dump::run(arguments.into_config()?),
        args::Command::Memory(arguments) => memory::run(arguments.into_config()?),
        args::Command::Top(arguments) => top::run(&arguments.into_config()?),
        args::Command::Replay(arguments) => replay::run(arguments.into_config()?),
        args::Command::Report(arguments) => report::run(arguments.into_config()?),
        args::Command::Diff(arguments) => diff::run(arguments.into_config()?),
        args::Command::Doctor(arguments) => doctor::run(&arguments),
        args::Command::Completions(arguments) => generate::completions(arguments.shell),
        args::Command::Man(arguments) => generate::man(&arguments.directory),
    }
}

/// `leakscope 4711` means `leakscope attach 4711`.
fn with_attach(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = words.collect();
    let is_pid = |word: &OsString| word.to_str().is_some_and(|word| word.parse::<u32>().is_ok());
    if words.get(1).is_some_and(is_pid) {
        words.insert(1, "attach".into());
    }
    words
}

//! The process that a subcommand is about, as it is named on the command line.

use clap::Args;

use super::Failure;
use crate::human::{bytes, count, cut, duration, sanitize};
use crate::processes::find::{self, Found};

/// Processes that are listed where a name does not tell which one is meant.
const LISTED: usize = 20;
/// The same where none is called so, and some are near.
const NEAR: usize = 5;
/// Columns where errors go to no terminal.
const PIPE_WIDTH: usize = 120;
const NANOSECONDS: u64 = 1_000_000_000;

/// The process: exactly one.
#[derive(Debug, Args)]
pub struct TargetArgs {
    /// The process: PID, name, systemd unit or container ID. If several match, they are listed
    #[arg(value_name = "TARGET", required_unless_present = "pid", num_args = 1.., allow_negative_numbers = true)]
    target: Vec<String>,
    /// Its PID
    #[arg(short, long, value_name = "PID", conflicts_with = "target", value_parser = clap::value_parser!(u32).range(1..))]
    pid: Option<u32>,
}

/// The process, or none.
#[derive(Debug, Args)]
pub struct OptionalTargetArgs {
    /// The process: PID, name, systemd unit or container ID. If several match, they are listed
    #[arg(value_name = "TARGET", num_args = 1.., allow_negative_numbers = true)]
    target: Vec<String>,
    /// Its PID
    #[arg(short, long, value_name = "PID", conflicts_with = "target", value_parser = clap::value_parser!(u32).range(1..))]
    pid: Option<u32>,
}

impl TargetArgs {
    /// Its PID.
    pub fn pid(&self) -> Result<u32, Failure> {
        pid(self.pid, &self.target)?.ok_or_else(|| Failure::usage("which process? Give its PID or its name"))
    }
}

impl OptionalTargetArgs {
    /// Its PID, if one is named.
    pub fn pid(&self) -> Result<Option<u32>, Failure> {
        pid(self.pid, &self.target)
    }
}

fn pid(given: Option<u32>, words: &[String]) -> Result<Option<u32>, Failure> {
    match words {
        [] => Ok(given),
        [one] => one_process(one).map(Some),
        several => {
            let pids: Option<Vec<u32>> = several.iter().map(|word| word.parse().ok()).collect();
            let Some(pids) = pids else {
                return Err(Failure::usage(format!(
                    "only one process at a time; these are {} words: {}",
                    several.len(),
                    several.join(" ")
                )));
            };
            let found = find::with_pids(&pids);
            let message =
                format!("only one process at a time, and these are {} PIDs; choose one:", pids.len());
            Err(Failure::usage(message).listing(list(&found, LISTED)))
        }
    }
}

fn one_process(word: &str) -> Result<u32, Failure> {
    match word.parse::<i64>() {
        Ok(number) => match u32::try_from(number) {
            Ok(pid @ 1..) => return Ok(pid),
            _ => return Err(Failure::usage(format!("{word} is no PID: PIDs are whole numbers from 1 on"))),
        },
        Err(_) if word.is_empty() => return Err(Failure::usage("the name of the process is empty")),
        Err(_) => {}
    }
    let find::Search { found, near } = find::search(word, find::all());
    match (&found[..], &near[..]) {
        ([one], _) => Ok(one.pid),
        ([], []) => Err(Failure::no_process(format!(
            "no such process: none is called \"{word}\", and no systemd unit or container; list the running ones with \
             `leakscope top` or `ps -e`"
        ))),
        ([], near) => {
            let message = format!("no such process: none is called exactly \"{word}\"; it stands in these:");
            Err(Failure::no_process(message).listing(list(near, NEAR)))
        }
        (several, _) => {
            let message = format!(
                "{} processes are called \"{word}\"; choose one by its PID:",
                count(several.len() as u64)
            );
            Err(Failure::usage(message).listing(list(several, LISTED)))
        }
    }
}

/// Processes to choose from: PID, age, memory and command line.
fn list(all: &[Found], most: usize) -> Vec<String> {
    let width =
        terminal_size::terminal_size_of(std::io::stderr()).map_or(PIPE_WIDTH, |(width, _)| width.0.into());
    let line = |pid: &str, age: &str, rss: &str, command: &str| {
        cut(&format!("{pid:>9} {age:>9} {rss:>10}  {}", sanitize(command)), width)
    };
    let age = |one: &Found| match one.age_secs {
        None => "?".to_owned(),
        Some(secs @ 0..60) => format!("{secs} s"),
        Some(secs) => duration(secs.saturating_mul(NANOSECONDS)),
    };
    let rows = all.iter().take(most);
    let rows = rows.map(|one| line(&one.pid.to_string(), &age(one), &bytes(one.rss_bytes), &one.command));
    let more = all.len().saturating_sub(most);
    let more = (more > 0).then(|| format!("and {more} more"));
    std::iter::once(line("PID", "AGE", "RSS", "COMMAND")).chain(rows).chain(more).collect()
}

//! `leakscope dump PID`.

use super::Failure;
use super::attach::Printer;
use super::fail_on::Thresholds;
use super::format::Rendering;
use super::output::Destination;
use crate::runtime::Options;
use crate::session;
use crate::symbol::Charging;

/// Configuration of `dump`.
#[derive(Debug)]
pub struct DumpConfig {
    /// The process.
    pub pid: u32,
    /// What the report is turned into.
    pub rendering: Rendering,
    /// When to fail.
    pub thresholds: Thresholds,
    /// Where it goes.
    pub output: Destination,
    /// How runtimes are read.
    pub runtimes: Options,
    /// Whom stacks are charged to.
    pub charging: Charging,
    /// How often `-v` was given.
    pub verbose: u8,
}

pub fn run(config: DumpConfig) -> Result<u8, Failure> {
    let process = session::check_threads(config.pid)?;
    let mut printer = Printer::open(&config.output, config.rendering, config.thresholds, config.verbose)?;
    session::dump(&process, config.runtimes, &config.charging, &mut printer)?;
    Ok(printer.code())
}

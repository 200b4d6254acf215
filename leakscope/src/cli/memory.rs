//! `leakscope memory PID`.

use std::time::Duration;

use super::Failure;
use super::attach::Printer;
use super::fail_on::Thresholds;
use super::format::Rendering;
use super::output::Destination;
use crate::session;

/// Configuration of `memory`.
#[derive(Debug)]
pub struct MemoryConfig {
    /// The process.
    pub pid: u32,
    /// How long until the second look, if there is one.
    pub duration: Option<Duration>,
    /// What the report is turned into.
    pub rendering: Rendering,
    /// When to fail.
    pub thresholds: Thresholds,
    /// Where it goes.
    pub output: Destination,
    /// How often `-v` was given.
    pub verbose: u8,
}

pub fn run(config: MemoryConfig) -> Result<u8, Failure> {
    let process = session::check_memory(config.pid)?;
    let mut printer = Printer::open(&config.output, config.rendering, config.thresholds, config.verbose)?;
    session::memory(&process, config.duration, &mut printer)?;
    Ok(printer.code())
}

//! `leakscope replay DIR`.

use std::path::PathBuf;

use super::Failure;
use super::attach::Printer;
use super::fail_on::Thresholds;
use super::format::Rendering;
use super::output::Destination;
use crate::session;
use crate::symbol::Charging;

/// Configuration of `replay`.
#[derive(Debug)]
pub struct ReplayConfig {
    /// The recording.
    pub directory: PathBuf,
    /// What reports are turned into.
    pub rendering: Rendering,
    /// When to fail.
    pub thresholds: Thresholds,
    /// Where they go.
    pub output: Destination,
    /// Whom stacks are charged to.
    pub charging: Charging,
    /// How often `-v` was given.
    pub verbose: u8,
}

pub fn run(config: ReplayConfig) -> Result<u8, Failure> {
    let mut printer = Printer::open(&config.output, config.rendering, config.thresholds, config.verbose)?;
    // A replay waits for nothing, but it is the code of a session that does.
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(Failure::failed)?;
    runtime.block_on(session::replay(&config.directory, &config.charging, &mut printer))?;
    Ok(printer.code())
}

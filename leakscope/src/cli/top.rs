//! `leakscope top [PID]`.

use std::time::Duration;

use super::Failure;
use super::top_script;
use crate::process::{Process, ProcessError};
use crate::processes::Order;
use crate::symbol::Charging;
use crate::tui::{self, ScreenConfig};

/// The form of what is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopFormat {
    Screen,
    /// One array at the end.
    Json,
    /// A line at each refresh.
    JsonLines,
}

/// Configuration of `top`.
#[derive(Clone, Debug)]
pub struct TopConfig {
    /// The process; all of them if `None`.
    pub pid: Option<u32>,
    /// Time between refreshes; what suits if `None`.
    pub interval: Option<Duration>,
    /// Refreshes; until it is ended if `None`.
    pub iterations: Option<u32>,
    /// Order of the list.
    pub order: Order,
    /// Whom stacks are charged to.
    pub charging: Charging,
    /// Text that listed processes hold.
    pub filter: String,
    /// The form.
    pub format: TopFormat,
    /// Panic on the screen; for tests.
    pub break_screen: bool,
}

/// Time between refreshes of the list.
pub(super) const LIST_INTERVAL: Duration = Duration::from_secs(2);

/// Time between reports of one process.
pub(super) const REPORT_INTERVAL: Duration = Duration::from_secs(1);

pub fn run(config: &TopConfig) -> Result<u8, Failure> {
    match (config.format, config.pid) {
        (TopFormat::Screen, pid) => {
            if let Some(pid) = pid {
                is_there(pid)?;
            }
            tui::run(&ScreenConfig {
                pid,
                list_interval: config.interval.unwrap_or(LIST_INTERVAL),
                report_interval: config.interval.unwrap_or(REPORT_INTERVAL),
                iterations: config.iterations,
                order: config.order,
                charging: config.charging.clone(),
                filter: config.filter.clone(),
                break_screen: config.break_screen,
            })?;
            Ok(0)
        }
        (_, None) => top_script::list(config),
        (_, Some(pid)) => top_script::reports(config, pid),
    }
}

/// Fails if there is no such process, or none that has memory. What else may be refused, the screen says.
fn is_there(pid: u32) -> Result<(), Failure> {
    match Process::inspect_threads(pid) {
        Err(
            error @ (ProcessError::NoSuchProcess(_)
            | ProcessError::Zombie(..)
            | ProcessError::KernelThread(..)
            | ProcessError::ThreadId { .. }),
        ) => Err(error.into()),
        Ok(_) | Err(_) => Ok(()),
    }
}

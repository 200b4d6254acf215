//! Messages on standard error.

use std::cell::Cell;
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use crate::human::sanitize;

/// Writes messages, each a line. That standard error may be closed is no reason to stop.
#[derive(Debug)]
pub struct Progress {
    level: u8,
    started: Instant,
}

impl Progress {
    /// `level`: how often `-v` was given.
    pub fn new(level: u8) -> Self {
        Self { level, started: Instant::now() }
    }

    /// A line that everybody sees.
    pub fn say(&self, line: &str) {
        let _ = writeln!(std::io::stderr().lock(), "{}", sanitize(line));
    }

    pub fn warn(&self, line: &str) {
        self.say(&format!("leakscope: warning: {line}"));
    }

    /// Whether lines for `-v` are wanted.
    pub fn tells_details(&self) -> bool {
        self.level > 0
    }

    /// A line for `-v`.
    pub fn detail(&self, line: &str) {
        if self.level > 0 {
            self.say(&format!("leakscope: {:>7.3} s: {line}", self.started.elapsed().as_secs_f64()));
        }
    }
}

/// What is quicker than this has no line.
const SOON: Duration = Duration::from_secs(1);
/// How often the line changes.
const STEP: Duration = Duration::from_millis(200);

/// A line that tells how far something has come, on a terminal alone; it is gone at the end.
#[derive(Debug)]
pub struct Advance {
    started: Instant,
    shown: Cell<Option<Instant>>,
    terminal: bool,
}

impl Advance {
    /// Begins now; nothing is shown yet.
    pub fn begin() -> Self {
        Self { started: Instant::now(), shown: Cell::new(None), terminal: std::io::stderr().is_terminal() }
    }

    /// So much of `all` is done of `what`.
    pub fn at(&self, what: &str, done: u64, all: u64) {
        if !self.terminal || all == 0 || self.started.elapsed() < SOON {
            return;
        }
        if self.shown.get().is_some_and(|shown| shown.elapsed() < STEP) {
            return;
        }
        self.shown.set(Some(Instant::now()));
        let share = (done as f64 * 100.0 / all as f64).min(100.0);
        let line = sanitize(&format!("leakscope: {what}: {share:.0} %"));
        let _ = write!(std::io::stderr().lock(), "\r\x1b[K{line}");
    }
}

impl Drop for Advance {
    fn drop(&mut self) {
        if self.shown.get().is_some() {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
        }
    }
}

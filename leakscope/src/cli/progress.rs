//! Messages on standard error.

use std::io::Write as _;
use std::time::Instant;

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

    /// A line for `-v`.
    pub fn detail(&self, line: &str) {
        if self.level > 0 {
            self.say(&format!("leakscope: {:>7.3} s: {line}", self.started.elapsed().as_secs_f64()));
        }
    }
}

//! The logger behind `-vv`: aya's messages and the kernel side's go to standard error.

use std::io::Write as _;

struct ToStderr;

impl log::Log for ToStderr {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        // Nothing can be done about a closed standard error.
        let _ = writeln!(std::io::stderr().lock(), "leakscope: {} {}", record.level(), record.args());
    }

    fn flush(&self) {}
}

/// Switches logging on.
pub fn enable() {
    if log::set_logger(&ToStderr).is_ok() {
        log::set_max_level(log::LevelFilter::Debug);
    }
}

//! `leakscope attach PID`.

use std::time::Duration;

use super::fail_on::Thresholds;
use super::format::{NotWritten, Rendering};
use super::live::LiveLine;
use super::output::{Destination, Output};
use super::progress::Progress;
use super::{Failure, logging};
use crate::report::Report;
use crate::session::{self, Glance, Watcher};

/// Configuration of `attach`.
#[derive(Debug)]
pub struct AttachConfig {
    /// The process.
    pub pid: u32,
    /// What to trace of it.
    pub session: session::Config,
    /// What reports are turned into.
    pub rendering: Rendering,
    /// When to fail.
    pub thresholds: Thresholds,
    /// Where they go.
    pub output: Destination,
    /// How often `-v` was given.
    pub verbose: u8,
}

pub fn run(config: AttachConfig) -> Result<u8, Failure> {
    if config.verbose >= 2 {
        logging::enable();
    }
    let process = session::check(config.pid, config.session.wishes.tracing)?;
    let mut printer = Printer::open(&config.output, config.rendering, config.thresholds, config.verbose)?;
    printer.repeats = config.session.interval.is_some();
    printer.ends_by_itself = config.session.duration.is_some();
    // The kernel side's diagnostics would be written across it.
    printer.live = LiveLine::new().filter(|_| !printer.repeats && config.verbose < 2);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::failed)?;
    runtime.block_on(session::run(process, &config.session, &mut printer))?;
    Ok(printer.code())
}

/// Prints reports as they come.
pub(super) struct Printer {
    progress: Progress,
    output: Output,
    rendering: Rendering,
    thresholds: Thresholds,
    reader_gone: bool,
    /// Whether nothing that was asked for can be traced.
    blind: bool,
    /// What shows how things are until the report, which is the only one then.
    live: Option<LiveLine>,
    /// Whether the observation ends without anybody asking.
    ends_by_itself: bool,
    /// Whether several reports are printed.
    repeats: bool,
}

impl Printer {
    /// Checks the destination before anything is attached.
    pub(super) fn open(
        output: &Destination,
        rendering: Rendering,
        thresholds: Thresholds,
        verbose: u8,
    ) -> Result<Self, Failure> {
        let output = rendering.open(output)?;
        Ok(Self {
            progress: Progress::new(verbose),
            output,
            rendering,
            thresholds,
            reader_gone: false,
            blind: false,
            live: None,
            ends_by_itself: false,
            repeats: false,
        })
    }

    /// The exit code after the last report.
    pub(super) fn code(&self) -> u8 {
        match self.thresholds.code() {
            0 => u8::from(self.blind),
            code => code,
        }
    }

    /// Nothing stands on the line any more.
    fn clear(&mut self) {
        if let Some(live) = &mut self.live {
            live.clear();
        }
    }

    fn print(&mut self, report: &Report, is_last: bool) -> Result<bool, Failure> {
        if self.reader_gone {
            return Ok(false);
        }
        self.clear();
        let written = match is_last {
            true => self.rendering.finish(&[report], &mut self.output),
            false => self.rendering.write(&[report], &mut self.output),
        };
        match written {
            Ok(()) => Ok(true),
            Err(NotWritten::Output(failure)) if failure.broken_pipe => {
                self.reader_gone = true;
                Ok(false)
            }
            Err(NotWritten::Refused(failure)) => Err(failure),
            Err(NotWritten::Output(failure)) => {
                // Nothing is lost: what the file does not take goes to the terminal or pipe.
                if !self.output.is_stdout() {
                    self.progress.warn("the report follows on standard output instead");
                    self.rendering
                        .write(&[report], &mut Output::open(&Destination::Stdout, "txt", false)?)?;
                }
                Err(failure)
            }
        }
    }
}

impl Watcher for Printer {
    fn detail(&mut self, line: &str) {
        if self.progress.tells_details() {
            self.clear();
            self.progress.detail(line);
        }
    }

    fn warn(&mut self, line: &str) {
        self.clear();
        self.progress.warn(line);
    }

    fn attached(&mut self, pid: u32, probes: usize) {
        self.progress.say(&format!("attached to PID {pid}: {probes} probes"));
    }

    fn wants_first_look(&self) -> bool {
        self.rendering.is_for_people() && self.output.is_terminal()
    }

    fn first_look(&mut self, report: &Report) -> Result<(), Failure> {
        self.print(&self.rendering.grouped(report), false).map(|_| ())
    }

    fn wants_glances(&self) -> bool {
        self.live.is_some()
    }

    fn glance(&mut self, glance: &Glance) {
        if let Some(live) = &mut self.live {
            live.show(glance, self.ends_by_itself);
        }
    }

    fn interrupted(&mut self, removal: Duration) {
        self.clear();
        self.progress.say(&format!(
            "leakscope: writing the report; press Ctrl-C again to leave without it (the kernel then takes about {:.1} s to remove the probes)",
            removal.as_secs_f64()
        ));
    }

    fn code(&self) -> u8 {
        Self::code(self)
    }

    fn report(&mut self, report: &Report) -> Result<bool, Failure> {
        let report = self.rendering.grouped(report);
        let goes_on = self.print(&report, !self.repeats);
        self.thresholds.check_report(&report, &self.progress);
        let heap_alone = report.waits.is_none() && report.goroutines.is_none();
        if let Some(why) = report.heap_untraceable().filter(|_| heap_alone && !self.blind) {
            self.blind = true;
            self.progress.warn(&format!("nothing could be traced: {why}"));
        }
        goes_on
    }
}

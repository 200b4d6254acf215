//! `leakscope attach PID`.

use super::output::{Destination, Output};
use super::progress::Progress;
use super::{Failure, logging};
use crate::export::{json, table};
use crate::report::Report;
use crate::session::{self, Watcher};

/// The report's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Configuration of `attach`.
#[derive(Debug)]
pub struct AttachConfig {
    /// The process.
    pub pid: u32,
    /// What to trace of it.
    pub session: session::Config,
    /// Format of the report.
    pub format: Format,
    /// Where it goes.
    pub output: Destination,
    /// Sites in tables.
    pub top: usize,
    /// Frames in tables.
    pub frames: Option<usize>,
    /// How often `-v` was given.
    pub verbose: u8,
}

/// Columns of a table that is not written to a terminal.
const PIPE_WIDTH: usize = 120;

/// Runs it.
pub fn run(config: AttachConfig) -> Result<u8, Failure> {
    if config.verbose >= 2 {
        logging::enable();
    }
    let process = session::check(config.pid)?;
    let mut printer =
        Printer::open(&config.output, config.format, config.top, config.frames, config.verbose)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::failed)?;
    runtime.block_on(session::run(process, &config.session, &mut printer))?;
    Ok(0)
}

/// Prints reports as they come.
pub(super) struct Printer {
    progress: Progress,
    output: Output,
    format: Format,
    top: usize,
    frames: Option<usize>,
    reader_gone: bool,
}

impl Printer {
    /// Checks the destination before anything is attached.
    pub(super) fn open(
        output: &Destination,
        format: Format,
        top: usize,
        frames: Option<usize>,
        verbose: u8,
    ) -> Result<Self, Failure> {
        let extension = if format == Format::Json { "json" } else { "txt" };
        Ok(Self {
            progress: Progress::new(verbose),
            output: Output::open(output, extension)?,
            format,
            top,
            frames,
            reader_gone: false,
        })
    }

    fn render(&self, report: &Report) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match self.format {
            Format::Json => json::write(report, &mut bytes)?,
            Format::Table => table::write(report, &self.style(), &mut bytes)?,
        }
        Ok(bytes)
    }

    fn style(&self) -> table::TableStyle {
        let terminal = self.output.is_terminal();
        let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty())
            || std::env::var_os("TERM").is_some_and(|t| t == "dumb");
        let width =
            terminal_size::terminal_size().filter(|_| terminal).map_or(PIPE_WIDTH, |(w, _)| w.0 as usize);
        table::TableStyle {
            width: width.max(40),
            color: terminal && !plain,
            top: self.top,
            frames: self.frames,
        }
    }
}

impl Watcher for Printer {
    fn detail(&mut self, line: &str) {
        self.progress.detail(line);
    }

    fn warn(&mut self, line: &str) {
        self.progress.warn(line);
    }

    fn attached(&mut self, pid: u32, probes: usize) {
        self.progress.say(&format!("attached to PID {pid}: {probes} probes"));
    }

    fn wants_first_look(&self) -> bool {
        self.format == Format::Table && self.output.is_terminal()
    }

    fn first_look(&mut self, report: &Report) -> Result<(), Failure> {
        self.report(report).map(|_| ())
    }

    fn interrupted(&mut self, probes: usize) {
        self.progress.say(&format!(
            "leakscope: writing the report; press Ctrl-C again to leave without it (the kernel then takes about {:.0} s to remove the probes)",
            (probes as f64 * 0.115).max(1.0)
        ));
    }

    fn report(&mut self, report: &Report) -> Result<bool, Failure> {
        if self.reader_gone {
            return Ok(false);
        }
        let bytes = self.render(report).map_err(|e| Failure::output("the report", e))?;
        match self.output.write(&bytes) {
            Ok(()) => Ok(true),
            Err(failure) if failure.broken_pipe => {
                self.reader_gone = true;
                Ok(false)
            }
            Err(failure) => {
                // Nothing is lost: what the file does not take goes to the terminal or pipe.
                if !self.output.is_stdout() {
                    self.progress.warn("the report follows on standard output instead");
                    Output::open(&Destination::Stdout, "txt")?.write(&bytes)?;
                }
                Err(failure)
            }
        }
    }
}

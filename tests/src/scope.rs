//! leakscope as a user starts it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::lines::Lines;
use crate::process::Guard;
use crate::report::Report;
use crate::target_directory;

/// How long attaching may take on a machine that also compiles.
const ATTACH_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a run may take to its end; detaching takes 0.1 s a probe.
const END_TIMEOUT: Duration = Duration::from_secs(240);

/// The binary under test.
///
/// # Panics
/// If it was not built.
pub fn binary() -> PathBuf {
    let path = std::env::var_os("LEAKSCOPE_BIN")
        .map_or_else(|| target_directory().join("release/leakscope"), PathBuf::from);
    assert!(path.exists(), "{} is missing: run cargo build --release, or set LEAKSCOPE_BIN", path.display());
    path
}

/// Where the standard output of leakscope goes.
#[derive(Debug)]
enum Output {
    Collected,
    /// To a pipe that nobody reads any more.
    Broken,
}

/// A command line of leakscope that is not started yet.
pub struct Invocation {
    command: Command,
    place: TempDir,
    output: Output,
}

/// A running leakscope; killed when dropped.
pub struct Leakscope {
    guard: Guard,
    stdout: Option<Lines>,
    stderr: Lines,
    place: TempDir,
}

/// What is left of a run that has ended.
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// All of its standard output.
    pub stdout: String,
    /// All of its standard error.
    pub stderr: String,
    place: TempDir,
}

impl Leakscope {
    /// `attach PID --only heap` with a report in JSON that [`Finished::report`] reads.
    ///
    /// # Panics
    /// If there is no place for temporary files.
    pub fn attach(pid: u32) -> Invocation {
        Self::attach_all(pid).args(["--only", "heap"])
    }

    /// `attach PID` for heap and waits, or for what further arguments leave.
    ///
    /// # Panics
    /// If there is no place for temporary files.
    pub fn attach_all(pid: u32) -> Invocation {
        let invocation = Self::attach_plain(pid);
        let report = invocation.place.path().join("report.json");
        invocation.args(["--format", "json", "-o"]).arg(report)
    }

    /// `attach PID` and nothing more.
    ///
    /// # Panics
    /// If there is no place for temporary files.
    pub fn attach_plain(pid: u32) -> Invocation {
        Self::command(binary()).args(["attach", &pid.to_string()])
    }

    /// `dump PID` with a report in JSON that [`Finished::report`] reads.
    ///
    /// # Panics
    /// If there is no place for temporary files.
    pub fn dump(pid: u32) -> Invocation {
        let invocation = Self::bare().args(["dump", &pid.to_string(), "--format", "json", "-o"]);
        let report = invocation.place.path().join("report.json");
        invocation.arg(report)
    }

    /// `memory PID` with a report in JSON that [`Finished::report`] reads.
    ///
    /// # Panics
    /// If there is no place for temporary files.
    pub fn memory(pid: u32) -> Invocation {
        let invocation = Self::bare().args(["memory", &pid.to_string(), "--format", "json", "-o"]);
        let report = invocation.place.path().join("report.json");
        invocation.arg(report)
    }

    /// leakscope with no arguments yet.
    ///
    /// # Panics
    /// If there is no place for temporary files.
    pub fn bare() -> Invocation {
        Self::command(binary())
    }

    /// A command that ends in leakscope, such as a shell or setpriv.
    ///
    /// # Panics
    /// If there is no place for temporary files.
    pub fn command(program: impl AsRef<OsStr>) -> Invocation {
        let mut command = Command::new(program);
        command.env_remove("NO_COLOR").env("LEAKSCOPE_CONFIG", "");
        let place =
            tempfile::Builder::new().prefix("leakscope-test-").tempdir().expect("a temporary directory");
        Invocation { command, place, output: Output::Collected }
    }

    /// The process ID.
    pub fn pid(&self) -> u32 {
        self.guard.pid()
    }

    /// The guard, to signal it.
    pub fn guard(&mut self) -> &mut Guard {
        &mut self.guard
    }

    /// A file in the run's own directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// Ctrl-C.
    ///
    /// # Errors
    /// If it can't be signalled.
    pub fn interrupt(&mut self) -> Result<()> {
        self.guard.signal(libc::SIGINT)
    }

    /// Waits for a line on its standard error.
    ///
    /// # Errors
    /// If it ends before.
    pub fn wait_for(&mut self, part: &str) -> Result<String> {
        self.stderr.wait_for(part, ATTACH_TIMEOUT, |line| line.contains(part))
    }

    /// The next line of its standard output.
    ///
    /// # Errors
    /// If it ends before.
    pub fn output_line(&mut self) -> Result<String> {
        self.stdout.as_mut().context("its output is not collected")?.wait_for(
            "a line",
            ATTACH_TIMEOUT,
            |_| true,
        )
    }

    /// Ctrl-C, then its end.
    ///
    /// # Errors
    /// If it does not end.
    pub fn finish(mut self) -> Result<Finished> {
        self.interrupt()?;
        self.wait()
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// If it does not end.
    pub fn wait(mut self) -> Result<Finished> {
        let status = self.guard.wait(END_TIMEOUT)?;
        let stdout = self.stdout.as_mut().map(|lines| lines.to_end(END_TIMEOUT)).transpose()?;
        let stderr = self.stderr.to_end(END_TIMEOUT)?;
        Ok(Finished { status, stdout: stdout.unwrap_or_default(), stderr, place: self.place })
    }
}

impl Invocation {
    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.command.args(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Closes the reading end of its standard output before it starts.
    #[must_use]
    pub fn broken_pipe(mut self) -> Self {
        self.output = Output::Broken;
        self
    }

    /// A file in the run's own directory, which also [`Finished::file`] gives.
    pub fn file(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// Starts it and waits for nothing.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn(mut self) -> Result<Leakscope> {
        let mut guard =
            Guard::spawn(self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()))?;
        let pipe = guard.child().stdout.take().context("stdout is piped")?;
        let stdout = match self.output {
            Output::Collected => Some(Lines::drain(pipe)),
            Output::Broken => None,
        };
        let stderr = Lines::drain(guard.child().stderr.take().context("stderr is piped")?);
        Ok(Leakscope { guard, stdout, stderr, place: self.place })
    }

    /// Starts it and waits until every probe is active.
    ///
    /// # Errors
    /// If it ends before; with what it said.
    pub fn start(self) -> Result<Leakscope> {
        let mut scope = self.spawn()?;
        scope.wait_for("attached to PID ")?;
        Ok(scope)
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// If it does not end.
    pub fn run(self) -> Result<Finished> {
        self.spawn()?.wait()
    }
}

impl Finished {
    /// The exit code; None where a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// A file in the run's own directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// The report in JSON of a run that succeeded, checked against the schema.
    ///
    /// # Errors
    /// If the run failed, or there is no valid report.
    pub fn report(&self) -> Result<Report> {
        self.report_with(0)
    }

    /// The report that was written where leakscope ends with that exit code.
    ///
    /// # Errors
    /// If it ended in another way, or there is no report.
    pub fn report_with(&self, code: i32) -> Result<Report> {
        if self.code() != Some(code) {
            bail!("leakscope failed ({}):\n{}", self.status, self.stderr);
        }
        read_report(&self.file("report.json")).with_context(|| self.stderr.clone())
    }

    /// Asserts the exit code, and that its standard error holds every part (in any case of letters).
    ///
    /// # Panics
    /// If not.
    #[track_caller]
    pub fn assert_fails(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code(), Some(code), "{}; stderr:\n{}", self.status, self.stderr);
        let said = self.stderr.to_lowercase();
        for part in parts {
            assert!(said.contains(&part.to_lowercase()), "{part:?} is not in:\n{}", self.stderr);
        }
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
    }

    /// Asserts that it succeeded.
    ///
    /// # Panics
    /// If not.
    #[track_caller]
    pub fn assert_done(&self) {
        assert_eq!(self.code(), Some(0), "{}; stderr:\n{}", self.status, self.stderr);
    }
}

/// Reads and checks a report.
///
/// # Errors
/// If it is not there or not valid.
pub fn read_report(path: &Path) -> Result<Report> {
    Report::parse(&fs::read_to_string(path).with_context(|| path.display().to_string())?)
}

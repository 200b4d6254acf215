//! Children that never outlive the test, and waiting with a deadline.

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use crate::lines::Lines;

/// A child process; killed and waited for when dropped.
pub struct Guard(Child);

impl Guard {
    /// Starts the command.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        Ok(Self(command.spawn().with_context(|| format!("cannot start {command:?}"))?))
    }

    /// The process ID.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// The child itself.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// If it can't be waited for.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.0.try_wait()?.is_none())
    }

    /// Sends a signal, unless the child has ended.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn signal(&mut self, signal: i32) -> Result<()> {
        if !self.is_running()? {
            return Ok(());
        }
        let pid = i32::try_from(self.0.id())?;
        // SAFETY: kill(2) touches no memory of ours; the child is not yet waited for, so the PID is its own.
        if unsafe { libc::kill(pid, signal) } != 0 {
            return Err(anyhow!(std::io::Error::last_os_error()).context("kill"));
        }
        Ok(())
    }

    /// Waits until it ends.
    ///
    /// # Errors
    /// If the time runs out.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let child = &mut self.0;
        poll("the child ends", timeout, || Ok(child.try_wait()?))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // It may have ended already; nothing is left to be done about an error here.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks again and again until there is an answer. For what the kernel gives no handshake for.
///
/// # Errors
/// The question's own, or that the time ran out.
pub fn poll<T>(what: &str, timeout: Duration, mut question: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(answer) = question()? {
            return Ok(answer);
        }
        if Instant::now() > deadline {
            bail!("timed out before {what}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs a command to its end and collects what it prints.
///
/// # Errors
/// If it cannot be started or the time runs out.
pub fn run(command: &mut Command, timeout: Duration) -> Result<Output> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Guard::spawn(command)?;
    let mut stdout = Lines::drain(child.child().stdout.take().context("stdout is piped")?);
    let mut stderr = Lines::drain(child.child().stderr.take().context("stderr is piped")?);
    let status = child.wait(timeout).with_context(|| format!("{command:?}"))?;
    Ok(Output {
        status,
        stdout: stdout.to_end(timeout)?.into_bytes(),
        stderr: stderr.to_end(timeout)?.into_bytes(),
    })
}

/// Runs a command that must succeed and returns what it printed.
///
/// # Errors
/// If it fails; with what it said.
pub fn run_ok(command: &mut Command, timeout: Duration) -> Result<String> {
    let output = run(command, timeout)?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?} failed ({}):\n{stdout}\n{stderr}", output.status);
    }
    Ok(stdout)
}

/// Copies a program that is then run. Another process writes the copy: while this one had it open, a thread could
/// start a program, whose child would keep the copy open for writing, so that it could not be run (ETXTBSY).
///
/// # Errors
/// `cp` could not be started, or has failed.
pub fn copy_program(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
    let status = Command::new("cp").arg("-p").arg(from.as_ref()).arg(to.as_ref()).status()?;
    ensure!(status.success(), "cp {} failed: {status}", from.as_ref().display());
    Ok(())
}

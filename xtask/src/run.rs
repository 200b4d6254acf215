//! Runs commands: in the open, or logged with one line of progress.

use std::{
    fs::{self, File},
    io::{IsTerminal, Write, stderr},
    path::Path,
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// How often a long command says that it is still at work, where stderr is no terminal.
const NOTICE: Duration = Duration::from_secs(30);

/// Lines of the log that an error shows.
const LOG_TAIL: usize = 15;

/// Says what comes next.
pub(crate) fn heading(text: &str) {
    eprintln!("==> {text}");
}

/// Runs a command whose output the user sees; anything but success is an error.
pub(crate) fn visibly(what: &str, command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {}", shown(command)))?;
    if !status.success() {
        bail!("{what} failed ({status})");
    }
    Ok(())
}

/// Standard output of a command that succeeds, or nothing.
pub(crate) fn quietly(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    if !output.status.success() {
        return None;
    }
    String::from_utf8(output.stdout).ok()
}

/// Runs a command whose output goes to `log`, shows how long it has been at it, and ends it after
/// `limit`. An error shows the log's last lines.
pub(crate) fn logged(what: &str, command: &mut Command, log: &Path, limit: Duration) -> Result<()> {
    if let Some(dir) = log.parent() {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    }
    let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let errors = file.try_clone().context("cannot share the log")?;
    let started = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(errors)
        .spawn()
        .with_context(|| format!("cannot run {}", shown(command)))?;
    let mut progress = Progress::new(what);
    let status = loop {
        if let Some(status) = child.try_wait().context("cannot wait for the command")? {
            break Some(status);
        }
        if started.elapsed() > limit {
            // Both fail only for a child that is gone already.
            let _ = child.kill();
            let _ = child.wait();
            break None;
        }
        thread::sleep(Duration::from_millis(100));
        progress.tick(started.elapsed(), log);
    };
    progress.end();
    if status.is_some_and(|s| s.success()) {
        eprintln!("{what}: done in {} s", started.elapsed().as_secs());
        return Ok(());
    }
    let outcome = match status {
        Some(status) => status.to_string(),
        None => format!("no end within {} s", limit.as_secs()),
    };
    let tail = last_lines(&fs::read(log).unwrap_or_default(), LOG_TAIL);
    bail!("{what} failed ({outcome}): {}\n{tail}\nfull log: {}", shown(command), log.display());
}

/// A command as a person would type it.
pub(crate) fn shown(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        line.push(' ');
        line.push_str(&arg.to_string_lossy());
    }
    line
}

/// One line that is redrawn on a terminal and repeated now and then elsewhere.
struct Progress<'a> {
    what: &'a str,
    terminal: bool,
    said: Duration,
}

impl<'a> Progress<'a> {
    fn new(what: &'a str) -> Self {
        eprintln!("{what} ...");
        Self { what, terminal: stderr().is_terminal(), said: Duration::ZERO }
    }

    fn tick(&mut self, elapsed: Duration, log: &Path) {
        let pause = if self.terminal { Duration::from_secs(1) } else { NOTICE };
        if elapsed < self.said + pause {
            return;
        }
        self.said = elapsed;
        let seconds = elapsed.as_secs();
        let at = last_lines(&fs::read(log).unwrap_or_default(), 1);
        let at: String = at.trim().chars().take(60).collect();
        if self.terminal {
            eprint!("\r\x1b[K{} ... {seconds} s: {at}", self.what);
            // A terminal that is gone needs no progress.
            let _ = stderr().flush();
        } else {
            eprintln!("{} ... {seconds} s: {at}", self.what);
        }
    }

    fn end(&self) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
    }
}

/// The last `n` lines of a log.
fn last_lines(log: &[u8], n: usize) -> String {
    let text = String::from_utf8_lossy(log);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(n)..].join("\n")
}

/// What a status means for the person who reads it.
pub(crate) fn explain(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("exit code {code}"),
        None => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_of_a_log_skips_empty_lines() {
        assert_eq!(last_lines(b"a\n\nb\nc\n\n", 2), "b\nc");
        assert_eq!(last_lines(b"a\n", 5), "a");
        assert_eq!(last_lines(b"", 5), "");
    }

    #[test]
    fn a_command_over_its_limit_is_ended() {
        let log = std::env::temp_dir().join(format!("leakscope-xtask-{}.log", std::process::id()));
        let limit = Duration::from_millis(200);
        let error = logged("sleeping", Command::new("sleep").arg("60"), &log, limit).unwrap_err();
        assert!(error.to_string().contains("no end within"), "{error}");
        fs::remove_file(log).unwrap();
    }
}

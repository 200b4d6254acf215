//! A terminal of its own, driven as by a person: tmux without a window.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::process::{poll, run_ok};

/// How long a screen may take to show what is expected, on a machine that also compiles.
const TIMEOUT: Duration = Duration::from_secs(90);

/// A terminal; what runs in it ends with it.
pub struct Tmux {
    place: TempDir,
}

impl Tmux {
    /// A terminal of that size with an interactive shell, that runs `line` first.
    ///
    /// # Errors
    /// If tmux is missing or does not start.
    pub fn start(width: u16, height: u16, line: &str) -> Result<Self> {
        let place = tempfile::Builder::new().prefix("leakscope-tmux-").tempdir()?;
        let tmux = Self { place };
        let (width, height) = (width.to_string(), height.to_string());
        tmux.call(&["new-session", "-d", "-x", &width, "-y", &height, "env PS1='ready$ ' bash --norc -i"])?;
        tmux.wait_for("ready$")?;
        tmux.line(line)?;
        Ok(tmux)
    }

    fn call(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(self.place.path().join("socket")).args(["-f", "/dev/null"]).args(arguments);
        command.env_remove("TMUX").env_remove("NO_COLOR");
        run_ok(&mut command, TIMEOUT).context("tmux (is it installed?)")
    }

    /// Presses keys, by tmux's names.
    ///
    /// # Errors
    /// If the terminal is gone.
    pub fn keys(&self, keys: &[&str]) -> Result<()> {
        let mut arguments = vec!["send-keys"];
        arguments.extend(keys);
        self.call(&arguments).map(drop)
    }

    /// Types a line.
    ///
    /// # Errors
    /// If the terminal is gone.
    pub fn line(&self, line: &str) -> Result<()> {
        self.call(&["send-keys", "-l", line])?;
        self.keys(&["Enter"])
    }

    /// Gives the terminal another size.
    ///
    /// # Errors
    /// If it is gone.
    pub fn resize(&self, width: u16, height: u16) -> Result<()> {
        self.call(&["resize-window", "-x", &width.to_string(), "-y", &height.to_string()]).map(drop)
    }

    /// What it shows.
    ///
    /// # Errors
    /// If it is gone.
    pub fn screen(&self) -> Result<String> {
        self.call(&["capture-pane", "-p"])
    }

    /// The process that its shell runs; `None` while it runs none.
    ///
    /// # Errors
    /// If the terminal is gone.
    pub fn child(&self) -> Result<Option<i32>> {
        let shell = self.call(&["display-message", "-p", "#{pane_pid}"])?;
        let shell = shell.trim();
        let children = std::fs::read_to_string(format!("/proc/{shell}/task/{shell}/children"))?;
        Ok(children.split_whitespace().next().map(str::parse).transpose()?)
    }

    /// Waits until the screen is as wanted, and returns it.
    ///
    /// # Errors
    /// If it does not become so; with what it shows.
    pub fn until(&self, what: &str, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let mut last = String::new();
        let found = poll(what, TIMEOUT, || {
            last = self.screen()?;
            Ok(wanted(&last).then(|| last.clone()))
        });
        found.with_context(|| format!("the screen shows\n{last}"))
    }

    /// Waits until the screen holds the text, and returns it.
    ///
    /// # Errors
    /// If it does not; with what it shows.
    pub fn wait_for(&self, text: &str) -> Result<String> {
        self.until(text, |screen| screen.contains(text))
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        // Its programs get SIGHUP; if it has ended already, so much the better.
        let _ = self.call(&["kill-server"]);
    }
}

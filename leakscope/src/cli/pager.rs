//! What is longer than the screen goes through a pager, as git does it: `$LEAKSCOPE_PAGER`, `$PAGER`, or `less` with
//! `LESS=FRX` where nothing else is set.
//!
//! The pager reads from a file in memory, so it never holds us back: probes are removed while somebody reads. It has the
//! keyboard, so Ctrl-C is the pager's, and other signals that ask for the end are passed on to it.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::getpgrp;
use rustix::termios::tcgetpgrp;

use crate::interrupt;

/// Settings of `less`: end at once if all fits, keep colours, leave the text on the screen.
const LESS: &str = "FRX";
/// What only a shell understands.
const FOR_A_SHELL: &[char] =
    &['|', '&', ';', '<', '>', '(', ')', '$', '`', '\\', '"', '\'', '*', '?', '[', '#', '~', '=', '%', '\n'];
/// What a shell ends with that could not run a command (POSIX, 2.8.2).
const NOT_RUN: [i32; 2] = [126, 127];

/// A pager that shows something. Whoever drops it waits until it is closed.
#[derive(Debug)]
pub(super) struct Pager {
    child: Child,
    /// What it shows: for the terminal, if it cannot.
    text: Vec<u8>,
}

impl Pager {
    /// Shows `text`; `None` where there is no pager, none is wanted, or none may use the terminal.
    pub(super) fn show(text: &[u8]) -> Option<Self> {
        // In the background the terminal is not ours, and a pager that wants it would be stopped, and we with it.
        if tcgetpgrp(io::stdout()).ok()? != getpgrp() {
            return None;
        }
        let mut command = command()?;
        let file = in_memory(text).ok()?;
        command.stdin(Stdio::from(OwnedFd::from(file)));
        if std::env::var_os("LESS").is_none() {
            command.env("LESS", LESS);
        }
        if rustix::process::geteuid().is_root() {
            // No commands from within less with our rights, as systemctl does it.
            command.env("LESSSECURE", "1");
        }
        interrupt::hear().ok()?;
        let child = command.spawn().ok()?;
        interrupt::paging(child.id());
        Some(Self { child, text: text.to_vec() })
    }
}

impl Drop for Pager {
    fn drop(&mut self) {
        let ended = self.child.wait();
        interrupt::paging(0);
        let could_not =
            ended.map_or(true, |status| status.code().is_some_and(|code| NOT_RUN.contains(&code)));
        if could_not {
            // A reader that is gone needs it no more.
            let _ = io::stdout().lock().write_all(&self.text);
        }
    }
}

/// What to run: directly, so that signals reach it; by a shell where only that understands it.
fn command() -> Option<Command> {
    let asked = ["LEAKSCOPE_PAGER", "PAGER"].iter().find_map(|name| std::env::var(name).ok());
    let asked = asked.unwrap_or_else(|| "less".to_owned());
    if asked.contains(FOR_A_SHELL) {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &asked]);
        return Some(shell);
    }
    let mut words = asked.split_whitespace();
    let program = words.next().filter(|program| *program != "cat")?;
    let mut command = Command::new(program);
    command.args(words);
    Some(command)
}

fn in_memory(text: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create("leakscope-report", MemfdFlags::CLOEXEC)?);
    file.write_all(text)?;
    file.rewind()?;
    Ok(file)
}

//! What is longer than the screen goes through a pager, as git does it: `$LEAKSCOPE_PAGER`, `$PAGER`, or `less` with
//! `LESS=FRX` where nothing else is set.
//!
//! The pager reads from a file in memory, so it never holds us back: probes are removed while somebody reads.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use rustix::fs::{MemfdFlags, memfd_create};

use crate::interrupt;

/// Settings of `less`: end at once if all fits, keep colours, leave the text on the screen.
const LESS: &str = "FRX";

/// A pager that shows something. Whoever drops it waits until it is closed.
#[derive(Debug)]
pub(super) struct Pager(Child);

impl Pager {
    /// Shows `text`; `None` where there is no pager, or none is wanted.
    pub(super) fn show(text: &[u8]) -> Option<Self> {
        let command = command()?;
        let file = in_memory(text).ok()?;
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &command]).stdin(Stdio::from(OwnedFd::from(file)));
        if std::env::var_os("LESS").is_none() {
            shell.env("LESS", LESS);
        }
        if rustix::process::geteuid().is_root() {
            // No commands from within less with our rights, as systemctl does it.
            shell.env("LESSSECURE", "1");
        }
        let child = shell.spawn().ok()?;
        interrupt::paging(true);
        Some(Self(child))
    }
}

impl Drop for Pager {
    fn drop(&mut self) {
        let _ = self.0.wait();
        interrupt::paging(false);
    }
}

/// What to run.
fn command() -> Option<String> {
    let asked = ["LEAKSCOPE_PAGER", "PAGER"].iter().find_map(|name| std::env::var(name).ok());
    match asked {
        Some(asked) => (!matches!(asked.trim(), "" | "cat")).then_some(asked),
        None => is_in_path("less").then(|| "less".to_owned()),
    }
}

fn is_in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

fn in_memory(text: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create("leakscope-report", MemfdFlags::CLOEXEC)?);
    file.write_all(text)?;
    file.rewind()?;
    Ok(file)
}

//! Whose files are trusted.

use rustix::fs::Stat;
use rustix::process::geteuid;

/// Permission to write for the group or for others.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Only a file's owner, and the directory's, can rename it.
const STICKY: u32 = 0o1000;

/// The users who are no strangers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trust {
    own: u32,
    invoker: Option<u32>,
}

impl Trust {
    /// As this process runs.
    pub(super) fn of_this_process() -> Self {
        let own = geteuid().as_raw();
        let sudo = || std::env::var("SUDO_UID").ok()?.parse().ok();
        Self { own, invoker: if own == 0 { sudo() } else { None } }
    }

    /// Whether it is our own.
    pub(super) fn is_ours(self, stat: &Stat) -> bool {
        stat.st_uid == self.own
    }

    /// Whether it is no stranger's.
    pub(super) fn is_trusted(self, stat: &Stat) -> bool {
        self.is_ours(stat) || stat.st_uid == 0 || Some(stat.st_uid) == self.invoker
    }

    /// Whether files of trusted users keep their names in this directory: others can rename them only where they
    /// own it, or may write to it and it is not sticky.
    pub(super) fn keeps_names(self, directory: &Stat) -> bool {
        self.shelters(directory) || (self.is_trusted(directory) && directory.st_mode & STICKY != 0)
    }

    /// Whether only trusted users choose what is in this directory.
    pub(super) fn shelters(self, directory: &Stat) -> bool {
        self.is_trusted(directory) && directory.st_mode & WRITABLE_BY_OTHERS == 0
    }
}

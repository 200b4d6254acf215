//! File systems for as long as a test needs them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use tempfile::TempDir;

use crate::process::run_ok;

const TIMEOUT: Duration = Duration::from_secs(60);

/// Mounted file systems below one directory; unmounted when dropped, the last first.
#[derive(Debug)]
pub struct Mounts {
    place: TempDir,
    mounted: Vec<PathBuf>,
}

impl Mounts {
    /// A directory without any.
    ///
    /// # Errors
    /// If there is no place for it.
    pub fn new() -> Result<Self> {
        Ok(Self {
            place: tempfile::Builder::new().prefix("leakscope-mounts-").tempdir()?,
            mounted: Vec::new(),
        })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.place.path()
    }

    /// Makes a directory `name` and mounts there, with mount(8)'s arguments before the directory.
    ///
    /// # Errors
    /// If mount refuses.
    pub fn mount(&mut self, name: &str, arguments: &[&str]) -> Result<PathBuf> {
        let at = self.path().join(name);
        fs::create_dir_all(&at)?;
        run_ok(Command::new("mount").args(arguments).arg(&at), TIMEOUT)?;
        self.mounted.push(at.clone());
        Ok(at)
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        for at in self.mounted.iter().rev() {
            // Whoever still uses it keeps it until then; its name goes at once.
            let _ = Command::new("umount").arg("--lazy").arg(at).status();
        }
    }
}

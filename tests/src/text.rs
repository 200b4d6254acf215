//! The machine code of a process, to see whether probes were left in it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::process::poll;

/// A copy of the executable file mappings of a process.
pub struct Text {
    pid: u32,
    mappings: Vec<(u64, Vec<u8>)>,
}

impl Text {
    /// Copies them.
    ///
    /// # Errors
    /// If the process is gone or its memory may not be read.
    pub fn of(pid: u32) -> Result<Self> {
        let memory = File::open(format!("/proc/{pid}/mem"))?;
        let mut mappings = Vec::new();
        for line in fs::read_to_string(format!("/proc/{pid}/maps"))?.lines() {
            let mut fields = line.split_whitespace();
            let (Some(range), Some(rights)) = (fields.next(), fields.next()) else { continue };
            // Only files: the page for single-stepping, [uprobes], stays as long as the process.
            if !rights.contains('x') || !fields.nth(3).is_some_and(|path| path.starts_with('/')) {
                continue;
            }
            let (start, end) = range.split_once('-').context("a range")?;
            let (start, end) = (u64::from_str_radix(start, 16)?, u64::from_str_radix(end, 16)?);
            let mut bytes = vec![0; usize::try_from(end - start)?];
            memory.read_exact_at(&mut bytes, start).with_context(|| line.to_owned())?;
            mappings.push((start, bytes));
        }
        Ok(Self { pid, mappings })
    }

    /// The addresses of bytes that are different now.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn changed(&self) -> Result<Vec<u64>> {
        self.changed_in(self.pid)
    }

    /// The same in a process that it has forked.
    ///
    /// # Errors
    /// If that is gone.
    pub fn changed_in(&self, pid: u32) -> Result<Vec<u64>> {
        let memory = File::open(format!("/proc/{pid}/mem"))?;
        let mut changed = Vec::new();
        for (start, then) in &self.mappings {
            let mut now = vec![0; then.len()];
            memory.read_exact_at(&mut now, *start)?;
            let differing = (*start..).zip(then.iter().zip(&now)).filter(|(_, (then, now))| then != now);
            changed.extend(differing.map(|(address, _)| address));
        }
        Ok(changed)
    }

    /// Waits until every byte is again what it was. The kernel takes the last traps away a moment
    /// after the process that had placed them is gone.
    ///
    /// # Errors
    /// If some byte stays different.
    pub fn wait_until_restored(&self) -> Result<()> {
        poll("every byte of the target's code is again as before", Duration::from_secs(30), || {
            Ok(self.changed()?.is_empty().then_some(()))
        })
    }
}

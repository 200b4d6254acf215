//! Code as the target maps it, told by the kernel.
//!
//! `/proc/PID/maps` shows what is mapped as one looks. A plugin that is opened, used and closed within a millisecond
//! is mostly not there then. The kernel's records of mappings (`PERF_RECORD_MMAP2`; `perf_event_mmap` in
//! kernel/events/core.c) tell each executable mapping as it is made, with its time and the file's build ID.
//!
//! They are of the file's name, not of the file: by the time that one is read, that may be another one. So a file that
//! is opened by its name counts only if it has the build ID, or is the inode, that the record tells.

mod history;
mod names;
mod record;
mod rings;

pub(super) use history::History;
pub(super) use names::{Names, printed};
pub use record::{Identity, MappedCode, MappedFile};

use std::io;

use rings::Rings;

/// Most records that wait to be taken.
const MOST: usize = 1 << 14;

/// Follows what a process maps.
#[derive(Debug, Default)]
pub struct Followed {
    rings: Option<Rings>,
    new: Vec<MappedCode>,
    lost: u64,
}

impl Followed {
    /// From now on.
    pub fn begin(pid: u32) -> io::Result<Self> {
        Ok(Self { rings: Some(Rings::open(pid)?), ..Self::default() })
    }

    /// Takes the records out of the kernel's rings, so that there is room for more.
    pub fn take_in(&mut self) {
        let Some(rings) = &mut self.rings else { return };
        let (new, lost) = (&mut self.new, &mut self.lost);
        let mut left_out = 0;
        *lost += rings.drain(|code| if new.len() < MOST { new.push(code) } else { left_out += 1 });
        *lost += left_out;
    }

    /// What was mapped since this was asked for last, and how many records were lost.
    pub fn take(&mut self) -> (Vec<MappedCode>, u64) {
        self.take_in();
        let mut new = std::mem::take(&mut self.new);
        // Each CPU has its own.
        new.sort_by_key(|code| code.at_ns);
        (new, std::mem::take(&mut self.lost))
    }
}

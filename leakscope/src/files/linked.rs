//! What the kernel's own links lead to: `/proc/PID/exe` and `/proc/PID/map_files`.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};

use super::place::reopen;

/// Opens the file that a process maps or executes, if it is a regular one: a device may be mapped too, and
/// opening it may do something.
///
/// No name is looked up, so nobody but the kernel chooses what is opened. The process has the file itself,
/// though its user may be allowed to execute it only: without its code nothing could be traced.
pub fn linked(link: &Path) -> io::Result<File> {
    let place = openat(CWD, link, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    if FileType::from_raw_mode(fstat(&place)?.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("not a regular file"));
    }
    // Does not wait for a lease that somebody holds.
    reopen(&place, OFlags::RDONLY | OFlags::NONBLOCK).map(File::from)
}

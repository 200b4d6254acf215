//! What is written: new files under old names, and files that are written to as they are.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Stat, fchmod, fchown, fstat, openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;

use super::place::{Entry, Found, HeldName, find};
use super::trust::Trust;

/// Bits of a mode that are permissions: not set-user-ID, set-group-ID and sticky.
const PERMISSIONS: u32 = 0o777;
/// Those of the group.
const OF_GROUP: u32 = 0o070;
/// Names that are tried for a file that nobody has.
const ATTEMPTS: usize = 100;

/// Where something is to be written.
#[derive(Debug)]
pub enum Output {
    /// A file, new each time it is written.
    Fresh(Fresh),
    /// A device, FIFO or descriptor, open.
    Stream(File),
    /// A FIFO that nobody reads yet.
    Waiting(Waiting),
}

/// Finds where `path` leads, and checks that it can be written.
pub fn output(path: &Path) -> io::Result<Output> {
    let HeldName { directory, name, entry } = match find(path)? {
        Found::Directory(_) => return Err(Errno::ISDIR.into()),
        Found::Name(place) => place,
    };
    match entry {
        Some(entry) if entry.is_descriptor || entry.kind() != FileType::RegularFile => stream(entry),
        _ => {
            let fresh = Fresh::new(directory, name, Mode::from_raw_mode(0o600));
            fresh.check()?;
            Ok(Output::Fresh(fresh))
        }
    }
}

fn stream(entry: Entry) -> io::Result<Output> {
    // A regular file that a descriptor leads to goes on where it ends.
    let flags = OFlags::WRONLY | OFlags::APPEND;
    match entry.open(flags | OFlags::NONBLOCK) {
        Ok(fd) => {
            let left = rustix::fs::fcntl_getfl(&fd)? - OFlags::NONBLOCK;
            rustix::fs::fcntl_setfl(&fd, left)?;
            Ok(Output::Stream(fd.into()))
        }
        Err(error) if entry.kind() == FileType::Fifo && Errno::from_io_error(&error) == Some(Errno::NXIO) => {
            Ok(Output::Waiting(Waiting(entry)))
        }
        Err(error) => Err(error),
    }
}

/// A FIFO that nobody reads yet.
pub struct Waiting(Entry);

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Waiting")
    }
}

impl Waiting {
    /// Waits for its reader.
    pub fn open(self) -> io::Result<File> {
        self.0.open(OFlags::WRONLY).map(File::from)
    }
}

/// A name in a directory that is held open: what is written becomes a new file there, at once and whole.
#[derive(Debug)]
pub struct Fresh {
    directory: OwnedFd,
    name: OsString,
    /// Of a file that replaces none of ours, less the umask.
    usual: Mode,
}

impl Fresh {
    pub(super) fn new(directory: OwnedFd, name: OsString, usual: Mode) -> Self {
        Self { directory, name, usual }
    }

    /// Makes a file and removes it again: the directory takes files from us.
    pub(super) fn check(&self) -> io::Result<()> {
        let (_, name) = temporary(&self.directory, self.usual)?;
        Ok(unlinkat(&self.directory, &name, AtFlags::empty())?)
    }

    /// Writes a file and puts it in place.
    pub fn write(&self, bytes: &[u8]) -> io::Result<()> {
        self.write_by(&mut |file| file.write_all(bytes))
    }

    /// The same of what comes bit by bit. If `write` fails, the old file stays.
    pub fn write_by(&self, write: &mut dyn FnMut(&mut File) -> io::Result<()>) -> io::Result<()> {
        self.place(write).map(drop)
    }

    /// Puts an empty file in place, which is then written to.
    pub fn begin(&self) -> io::Result<File> {
        self.place(|_| Ok(()))
    }

    fn place(&self, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<File> {
        let (fd, temporary) = temporary(&self.directory, self.usual)?;
        let mut file = File::from(fd);
        let done = write(&mut file).and_then(|()| {
            if let Some(old) = self.own_old() {
                keep_rights(&file, &old)?;
            }
            Ok(renameat(&self.directory, &temporary, &self.directory, &self.name)?)
        });
        if let Err(error) = done {
            // What could not be finished is not left behind; if it cannot be removed, the first error counts.
            let _ = unlinkat(&self.directory, &temporary, AtFlags::empty());
            return Err(error);
        }
        Ok(file)
    }

    /// The old file, if it is a regular one of ours with no other name, and nobody else can have given it that
    /// name: who may rename files here would choose the mode of the next report.
    fn own_old(&self) -> Option<Stat> {
        if !Trust::of_this_process().keeps_names(&fstat(&self.directory).ok()?) {
            return None;
        }
        let old = statat(&self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        is_own_file(&old).then_some(old)
    }
}

/// Whether that is a regular file of ours with one name: not one that a stranger has made, nor a link that he
/// has made to one of ours.
pub(super) fn is_own_file(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && Trust::of_this_process().is_ours(stat)
        && stat.st_nlink == 1
}

/// Gives a new file the group and permissions of an old one.
fn keep_rights(file: &File, old: &Stat) -> io::Result<()> {
    let mut mode = old.st_mode & PERMISSIONS;
    if fstat(file)?.st_gid != old.st_gid && fchown(file, None, Some(Gid::from_raw(old.st_gid))).is_err() {
        // Another group is not meant.
        mode &= !OF_GROUP;
    }
    Ok(fchmod(file, Mode::from_raw_mode(mode))?)
}

/// A new file under a name that nobody knows.
fn temporary(directory: &OwnedFd, mode: Mode) -> io::Result<(OwnedFd, OsString)> {
    for _ in 0..ATTEMPTS {
        let random = std::hash::RandomState::new().build_hasher().finish();
        let name = OsString::from(format!(".leakscope-{random:016x}"));
        match exclusive(directory, &name, mode) {
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
            Ok(fd) => return Ok((fd, name)),
        }
    }
    Err(Errno::EXIST.into())
}

/// Makes a file that was not there, not even as a link.
pub(super) fn exclusive(directory: &OwnedFd, name: &OsStr, mode: Mode) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(directory, name, flags, mode)
}

//! Directories that hold several files: a series of reports, manual pages, the current one.

use std::ffi::{OsStr, OsString};
use std::fs::{File, TryLockError};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fstat, openat, statat, unlinkat};
use rustix::io::Errno;

use super::create::{Fresh, exclusive, is_own_file};
use super::place::{Found, find, make_directory};
use super::trust::Trust;

/// A directory that is held open.
#[derive(Debug)]
pub struct Directory {
    fd: OwnedFd,
}

impl Directory {
    /// Opens a directory for a series of reports; makes one that nobody else may look into.
    pub fn for_reports(path: &Path) -> io::Result<Self> {
        Self::readable(&make_directory(path, Mode::from_raw_mode(0o700))?)
    }

    /// Opens a directory with nothing in it; makes one that nobody else may look into.
    pub fn empty(path: &Path) -> io::Result<Self> {
        let directory = Self::for_reports(path)?;
        if directory.names()?.is_empty() { Ok(directory) } else { Err(Errno::NOTEMPTY.into()) }
    }

    /// Opens a directory for files that everybody may read; makes it where there is none.
    pub fn for_everybody(path: &Path) -> io::Result<Self> {
        Self::readable(&make_directory(path, Mode::from_raw_mode(0o755))?)
    }

    /// Opens a directory that is there.
    pub fn open(path: &Path) -> io::Result<Self> {
        match find(path)? {
            Found::Directory(fd) => Self::readable(&fd),
            Found::Name(_) => Err(Errno::NOTDIR.into()),
        }
    }

    pub(super) fn readable(place: &OwnedFd) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { fd: openat(place, c".", flags, Mode::empty())? })
    }

    pub(super) fn descriptor(&self) -> io::Result<OwnedFd> {
        self.fd.try_clone()
    }

    /// Locks it for as long as the result lives; `None` if another process has locked it.
    pub fn lock(&self) -> io::Result<Option<File>> {
        let file = File::from(self.descriptor()?);
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            // Some file systems have no locks.
            Err(TryLockError::Error(_)) => Ok(Some(file)),
        }
    }

    /// Makes a file and removes it again: it takes files from us.
    pub fn check(&self) -> io::Result<()> {
        self.report(OsStr::new("."))?.check()
    }

    /// The names of its regular files; with `own`, of those that we have made.
    pub fn files(&self, own: bool) -> io::Result<Vec<OsString>> {
        let names = self.names()?.into_iter();
        Ok(names.filter(|name| self.is_file(name, own)).collect())
    }

    /// The names of regular files for a reader, and how many of strangers' are left out. Where others can put
    /// files beside those of trusted users, theirs do not count; a directory of a stranger's files alone is
    /// what the user has asked for.
    pub fn files_to_read(&self) -> io::Result<(Vec<OsString>, usize)> {
        let all = self.files(false)?;
        let trust = Trust::of_this_process();
        if trust.shelters(&fstat(&self.fd)?) {
            return Ok((all, 0));
        }
        let is_trusted = |name: &OsString| {
            statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| trust.is_trusted(&stat))
        };
        let (trusted, others): (Vec<_>, Vec<_>) = all.into_iter().partition(is_trusted);
        if trusted.is_empty() { Ok((others, 0)) } else { Ok((trusted, others.len())) }
    }

    pub(super) fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.fd)? {
            let name = OsString::from_vec(entry?.file_name().to_bytes().to_vec());
            if name.as_bytes() != b"." && name.as_bytes() != b".." {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn is_file(&self, name: &OsStr, own: bool) -> bool {
        statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| {
            FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && (!own || is_own_file(&stat))
        })
    }

    /// A report in it.
    pub fn report(&self, name: &OsStr) -> io::Result<Fresh> {
        Ok(Fresh::new(self.descriptor()?, name.to_owned(), Mode::from_raw_mode(0o600)))
    }

    /// A file in it that everybody may read.
    pub fn public(&self, name: &OsStr) -> io::Result<Fresh> {
        Ok(Fresh::new(self.descriptor()?, name.to_owned(), Mode::from_raw_mode(0o644)))
    }

    /// Writes a report under a name that must be free.
    pub fn create(&self, name: &OsStr, bytes: &[u8]) -> io::Result<()> {
        File::from(exclusive(&self.fd, name, Mode::from_raw_mode(0o600))?).write_all(bytes)
    }

    /// Removes a name; one that is gone is removed.
    pub fn remove(&self, name: &OsStr) -> io::Result<()> {
        match unlinkat(&self.fd, name, AtFlags::empty()) {
            Err(error) if error != Errno::NOENT => Err(error.into()),
            _ => Ok(()),
        }
    }
}

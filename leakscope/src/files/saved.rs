//! Saved reports, opened to be read.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::directory::Directory;
use super::place::{Entry, Found, find, find_in};
use super::trust::Trust;

/// What a path of the user's leads to.
#[derive(Debug)]
pub enum Saved {
    /// A file, open.
    File(File),
    Directory(Directory),
}

/// Opens what the user has named. A FIFO is waited for.
pub fn saved(path: &Path) -> io::Result<Saved> {
    match find(path)? {
        Found::Directory(fd) => Directory::readable(&fd).map(Saved::Directory),
        Found::Name(place) => {
            let entry = place.entry.ok_or(Errno::NOENT)?;
            if entry.kind() == FileType::RegularFile {
                return regular(&entry).map(Saved::File);
            }
            entry.open(OFlags::RDONLY).map(|fd| Saved::File(fd.into()))
        }
    }
}

/// Opens a regular file that tells what to do; `None` if there is none. Root follows no file that another user than
/// those who are trusted can write to.
pub fn trusted(path: &Path) -> io::Result<Option<File>> {
    let entry = match find(path) {
        Ok(Found::Name(place)) => place.entry,
        Ok(Found::Directory(_)) => return Err(Errno::ISDIR.into()),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => None,
        Err(error) => return Err(error),
    };
    let Some(entry) = entry else { return Ok(None) };
    if entry.kind() != FileType::RegularFile {
        return Err(io::Error::other("not a regular file"));
    }
    if geteuid().is_root() && !Trust::of_this_process().shelters(&entry.stat) {
        let why = "another user can write to it, so root does not follow it; make it yours or root's, and run \
                   `chmod go-w` on it";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    regular(&entry).map(Some)
}

fn regular(entry: &Entry) -> io::Result<File> {
    // Does not wait for a lease that somebody holds.
    entry.open_any(OFlags::RDONLY | OFlags::NONBLOCK).map(File::from)
}

impl Directory {
    /// Opens a regular file in it; links are followed as in paths of the user's.
    pub fn read(&self, name: &OsStr) -> io::Result<File> {
        match find_in(self.descriptor()?, name)? {
            Found::Name(place) => match place.entry {
                Some(entry) if entry.kind() == FileType::RegularFile => regular(&entry),
                Some(_) => Err(io::Error::other("not a regular file")),
                None => Err(Errno::NOENT.into()),
            },
            Found::Directory(_) => Err(Errno::ISDIR.into()),
        }
    }

    /// Its names that lead to regular files, by links too.
    pub fn readable_files(&self) -> io::Result<Vec<std::ffi::OsString>> {
        let leads_to_file = |name: &OsStr| {
            let found = self.descriptor().and_then(|fd| find_in(fd, name));
            matches!(found, Ok(Found::Name(place))
                if place.entry.as_ref().is_some_and(|entry| entry.kind() == FileType::RegularFile))
        };
        Ok(self.names()?.into_iter().filter(|name| leads_to_file(name)).collect())
    }
}

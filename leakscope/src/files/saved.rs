//! Saved reports, opened to be read.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

use super::directory::Directory;
use super::place::{Entry, Found, find, find_in};

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

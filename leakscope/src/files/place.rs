//! Where a path leads, walked by descriptors.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path};

use rustix::fs::{
    CWD, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, fstatfs, openat, openat2, readlinkat,
};
use rustix::io::Errno;

use super::trust::Trust;

/// Most links that are followed, as the kernel's own limit.
const MOST_LINKS: usize = 40;
/// `PROC_SUPER_MAGIC`.
const PROC: i64 = 0x9fa0;

/// Why a path is not followed. The texts name what is in the way.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error(
        "`{name}` on the way is a symbolic link of another user (UID {owner}) in a directory that others can write to; it is not followed"
    )]
    Link { name: String, owner: u32 },
    #[error(
        "it is a {what} of another user (UID {owner}) in a directory that others can write to; it is not opened"
    )]
    Entry { what: &'static str, owner: u32 },
}

impl From<Refusal> for io::Error {
    fn from(refusal: Refusal) -> Self {
        Self::new(io::ErrorKind::PermissionDenied, refusal)
    }
}

/// What a path leads to.
pub(super) enum Found {
    Directory(OwnedFd),
    /// A name in a directory.
    Name(HeldName),
}

/// A name in a directory that is held open.
pub(super) struct HeldName {
    pub(super) directory: OwnedFd,
    pub(super) name: OsString,
    /// What is there; `None` where there is nothing yet.
    pub(super) entry: Option<Entry>,
}

/// What was found at a place: never a symbolic link, never a directory.
pub(super) struct Entry {
    /// Opened as a place only (`O_PATH`).
    fd: OwnedFd,
    pub(super) stat: Stat,
    /// A descriptor of a process, reached through `/proc`: its name is no file's.
    pub(super) is_descriptor: bool,
    sheltered: bool,
}

impl Entry {
    /// What kind of file it is.
    pub(super) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// Opens it, the very one that was looked at; refuses a stranger's.
    pub(super) fn open(&self, flags: OFlags) -> io::Result<OwnedFd> {
        if !self.sheltered && !Trust::of_this_process().is_trusted(&self.stat) {
            let what = match self.kind() {
                FileType::Fifo => "FIFO",
                FileType::RegularFile => "file",
                FileType::Socket => "socket",
                _ => "device",
            };
            return Err(Refusal::Entry { what, owner: self.stat.st_uid }.into());
        }
        reopen(&self.fd, flags)
    }

    /// Opens it whoever owns it: for regular files that are only read.
    pub(super) fn open_any(&self, flags: OFlags) -> io::Result<OwnedFd> {
        reopen(&self.fd, flags)
    }
}

/// Opens what an `O_PATH` descriptor stands for: no name is looked up again.
pub(super) fn reopen(fd: &OwnedFd, flags: OFlags) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    Ok(openat(CWD, path, flags | OFlags::CLOEXEC | OFlags::NOCTTY, Mode::empty())?)
}

/// Walks `path` from the current directory.
pub(super) fn find(path: &Path) -> io::Result<Found> {
    Walk::new(open_directory(CWD, OsStr::new("."))?, None).to(path)
}

/// The same from a directory.
pub(super) fn find_in(directory: OwnedFd, name: &OsStr) -> io::Result<Found> {
    Walk::new(directory, None).to(Path::new(name))
}

/// Walks to a directory, and makes what is missing of it: the last one with `mode`.
pub(super) fn make_directory(path: &Path, mode: Mode) -> io::Result<OwnedFd> {
    match Walk::new(open_directory(CWD, OsStr::new("."))?, Some(mode)).to(path)? {
        Found::Directory(directory) => Ok(directory),
        Found::Name(_) => Err(Errno::NOTDIR.into()),
    }
}

/// Whether the path leads to a directory, by links that are followed.
pub fn is_directory(path: &Path) -> bool {
    matches!(find(path), Ok(Found::Directory(_)))
}

fn open_directory(from: impl std::os::fd::AsFd, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(from, name, flags, Mode::empty())
}

struct Walk {
    trust: Trust,
    at: OwnedFd,
    left: VecDeque<OsString>,
    links: usize,
    /// Missing directories are made, the last one with this mode.
    make: Option<Mode>,
}

impl Walk {
    fn new(at: OwnedFd, make: Option<Mode>) -> Self {
        Self { trust: Trust::of_this_process(), at, left: VecDeque::new(), links: 0, make }
    }

    fn to(mut self, path: &Path) -> io::Result<Found> {
        if path.as_os_str().is_empty() {
            return Err(Errno::NOENT.into());
        }
        // `a/` and `a/.` are directories, which the parts of a path do not tell.
        let bytes = path.as_os_str().as_bytes();
        let is_directory = bytes.ends_with(b"/") || bytes.ends_with(b"/.");
        self.enter(path)?;
        while let Some(name) = self.left.pop_front() {
            let is_last = self.left.is_empty();
            match open_directory(&self.at, &name) {
                Ok(directory) => self.at = directory,
                Err(Errno::NOENT) if self.make.is_some() => self.make(&name, is_last)?,
                Err(Errno::NOENT) if is_last && !is_directory => {
                    return Ok(Found::Name(HeldName { directory: self.at, name, entry: None }));
                }
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    if let Some(entry) = self.pass(&name)? {
                        if !is_last || is_directory || self.make.is_some() {
                            return Err(Errno::NOTDIR.into());
                        }
                        return Ok(Found::Name(HeldName { directory: self.at, name, entry: Some(entry) }));
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Found::Directory(self.at))
    }

    /// Puts the parts of a path before what is left.
    fn enter(&mut self, path: &Path) -> io::Result<()> {
        if path.is_absolute() {
            self.at = open_directory(CWD, OsStr::new("/"))?;
        }
        for part in path.components().rev() {
            match part {
                Component::Normal(name) => self.left.push_front(name.to_owned()),
                Component::ParentDir => self.left.push_front("..".into()),
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            }
        }
        Ok(())
    }

    /// Passes what is no directory: follows a link, or returns the file.
    fn pass(&mut self, name: &OsStr) -> io::Result<Option<Entry>> {
        let sheltered = self.trust.shelters(&fstat(&self.at)?);
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let fd = openat(&self.at, name, flags | OFlags::NOFOLLOW, Mode::empty())?;
        let stat = fstat(&fd)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            return Ok(Some(Entry { fd, stat, is_descriptor: false, sheltered }));
        }
        if !sheltered && !self.trust.is_trusted(&stat) {
            let name = name.to_string_lossy().into_owned();
            return Err(Refusal::Link { name, owner: stat.st_uid }.into());
        }
        self.links += 1;
        if self.links > MOST_LINKS {
            return Err(Errno::LOOP.into());
        }
        let resolve = ResolveFlags::NO_MAGICLINKS;
        let is_magic = fstatfs(&fd)?.f_type as i64 == PROC
            && matches!(openat2(&self.at, name, flags, Mode::empty(), resolve), Err(Errno::LOOP));
        if is_magic {
            // The text of such a link is no path; only the kernel can follow it.
            let fd = openat(&self.at, name, flags, Mode::empty())?;
            let stat = fstat(&fd)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                self.at = fd;
                return Ok(None);
            }
            return Ok(Some(Entry { fd, stat, is_descriptor: true, sheltered }));
        }
        let target = OsString::from_vec(readlinkat(&fd, c"", Vec::new())?.into_bytes());
        self.enter(Path::new(&target))?;
        Ok(None)
    }

    fn make(&mut self, name: &OsStr, is_last: bool) -> io::Result<()> {
        let usual = Mode::from_raw_mode(0o755);
        let mode = self.make.filter(|_| is_last).unwrap_or(usual);
        match rustix::fs::mkdirat(&self.at, name, mode) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let made = open_directory(&self.at, name)?;
        // Where others can write it may be another one by now.
        if !self.trust.is_ours(&fstat(&made)?) {
            return Err(Errno::EXIST.into());
        }
        self.at = made;
        Ok(())
    }
}

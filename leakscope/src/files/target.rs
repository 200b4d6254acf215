//! Files whose names the target's files tell.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Mutex;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, fstatfs, openat, openat2};
use rustix::io::Errno;

use super::place::reopen;
use super::reader::Reader;

/// How often a lookup is tried again.
const ATTEMPTS: usize = 16;
/// Where distributions put debug files.
const DEBUG_DIRECTORY: &str = "/usr/lib/debug";

/// File systems of the kernel's, whose regular files are none: reading one may do something, or never end
/// (`linux/magic.h`).
const KERNELS_OWN: [u32; 15] = [
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x7363_6673, // securityfs
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0xcafe_4a11, // bpf
    0x6165_676c, // pstore
    0xde5e_81e4, // efivarfs
    0x6265_6570, // configfs
    0xf97c_ff8c, // selinuxfs
    0x4341_5d53, // smackfs
    0x4249_4e4d, // binfmt_misc
    0x1980_0202, // mqueue
];

/// The file system of a target, as the user of the target sees it.
///
/// It is the one that the process had when this was made, whatever it, its user or its PID become.
#[derive(Debug)]
pub struct TargetFiles {
    root: OwnedFd,
    reader: Mutex<Reader>,
    /// Its PID and when it started, to ask for its user again.
    process: Option<(u32, String)>,
}

impl TargetFiles {
    /// Those of a process.
    pub fn of(pid: u32) -> io::Result<Self> {
        let started = started(pid)?;
        let root = directory(Path::new(&format!("/proc/{pid}/root")))?;
        let reader = Reader::of(pid)?;
        // Whether its user can be taken on is told once, here.
        reader.act(|| Ok(()))?;
        Ok(Self { root, reader: Mutex::new(reader), process: Some((pid, started)) })
    }

    /// Those below a directory, as we see them.
    #[cfg(test)]
    pub(crate) fn below(root: &Path) -> Self {
        Self {
            root: directory(root).expect("a directory"),
            reader: Mutex::new(Reader::ourselves().expect("ourselves")),
            process: None,
        }
    }

    /// Opens the regular file that the target knows by this absolute path, if the target's user may read it.
    pub fn open(&self, path: &Path) -> io::Result<File> {
        let reader = self.reader()?;
        reader.act(|| regular_below(&self.root, path))
    }

    /// The same of a file that anybody could have put there: only if the target's user or root owns it.
    pub fn open_own(&self, path: &Path) -> io::Result<File> {
        let reader = self.reader()?;
        let file = reader.act(|| regular_below(&self.root, path))?;
        let owner = fstat(&file)?.st_uid;
        if owner != 0 && owner != reader.user() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "another user owns it"));
        }
        Ok(file)
    }

    /// The PID that the process knows itself by, in its own PID namespace.
    pub fn own_pid(&self) -> Option<u32> {
        let (pid, start) = self.process.as_ref()?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let own = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?.split_whitespace().last()?;
        own.parse().ok().filter(|_| started(*pid).is_ok_and(|now| now == *start))
    }

    fn reader(&self) -> io::Result<Reader> {
        let mut reader = self.reader.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((pid, start)) = &self.process
            && started(*pid).is_ok_and(|now| now == *start)
            && let Ok(now) = Reader::of(*pid)
        {
            reader.latch(now)?;
        }
        Ok(reader.clone())
    }
}

/// When a process started: field 22 of its `stat`, by which a PID that is used again is told.
fn started(pid: u32) -> io::Result<String> {
    let stat = std::fs::read(format!("/proc/{pid}/stat"))?;
    let stat = String::from_utf8_lossy(&stat);
    let field = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(19));
    field.map(str::to_owned).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Our own `/usr/lib/debug`, which only root fills.
#[derive(Debug, Default)]
pub struct DebugDirectory {
    root: RefCell<Option<OwnedFd>>,
}

impl DebugDirectory {
    /// Opens a regular file below it, by its absolute path. Links in it may lead to other places of ours, as
    /// some distributions have them; a path that does not begin there is refused.
    pub fn open(&self, path: &Path) -> io::Result<File> {
        let up = std::path::Component::ParentDir;
        if !path.starts_with(DEBUG_DIRECTORY) || path.components().any(|part| part == up) {
            return Err(Errno::NOENT.into());
        }
        let mut root = self.root.borrow_mut();
        let root = match &mut *root {
            Some(root) => root,
            none => none.insert(directory(Path::new("/"))?),
        };
        regular_below(root, path)
    }
}

fn directory(path: &Path) -> io::Result<OwnedFd> {
    Ok(openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Opens a regular file below `root`, which neither links nor `..` leave. Nothing else is opened: a device or a
/// FIFO would do something.
fn regular_below(root: &OwnedFd, path: &Path) -> io::Result<File> {
    let relative = path.strip_prefix("/").unwrap_or(path);
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let open = || openat2(root, relative, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve);
    // The kernel gives up on `..` while something is renamed anywhere.
    let mut place = open();
    for _ in 0..ATTEMPTS {
        if !matches!(place, Err(Errno::AGAIN)) {
            break;
        }
        place = open();
    }
    let place = place?;
    if FileType::from_raw_mode(fstat(&place)?.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("not a regular file"));
    }
    if KERNELS_OWN.contains(&(fstatfs(&place)?.f_type as u32)) {
        return Err(io::Error::other("not a file of a disk"));
    }
    // Does not wait for a lease that somebody holds.
    reopen(&place, OFlags::RDONLY | OFlags::NONBLOCK).map(File::from)
}

//! Locks on files, as `/proc/locks` lists them.
//!
//! Each lock has a number; what waits for it follows with the same number and an arrow. A lock of flock(2) or an "open
//! file description" lock belongs to whoever has the description open, which children inherit: `/proc/PID/fdinfo` tells
//! who, while the PID in the list is of who took it, if any. A lock of fcntl(2) is one process's.
//!
//! Layout: lock_get_status and locks_show of fs/locks.c, Linux 6.18.

use std::collections::BTreeSet;

use super::Target;
use super::budget::Budget;
use super::holders::{Seek, Test};
use super::model::{Peer, What};
use super::proc::{self, FdInfo};

/// Locks in the way of one that are looked at.
const MOST_HOLDERS: usize = 64;
/// Descriptors of one process that are looked through for a lock.
const MOST_DESCRIPTORS: usize = 1 << 12;

/// A kind of lock, by the call that takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// flock(2)
    Flock,
    /// fcntl(2) with F_SETLKW
    Posix,
    /// fcntl(2) with F_OFD_SETLKW
    Description,
}

/// A line of `/proc/locks`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileLock {
    number: u64,
    /// Whether it is not taken yet.
    waits: bool,
    kind: Kind,
    write: bool,
    /// Who took it; `None`: no process of our namespace, or nobody in particular.
    pid: Option<u32>,
    /// Device and inode number, as printed.
    file: String,
    inode: u64,
    /// First and last byte.
    range: (u64, u64),
}

impl FileLock {
    /// A line; `None` if it is of another kind, such as a lease.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let (number, rest) = line.trim().split_once(':')?;
        let mut parts = rest.split_whitespace().peekable();
        let waits = parts.next_if_eq(&"->").is_some();
        let kind = match parts.next()? {
            "FLOCK" => Kind::Flock,
            "POSIX" => Kind::Posix,
            "OFDLCK" => Kind::Description,
            _ => return None,
        };
        let _advisory = parts.next()?;
        let write = parts.next()? == "WRITE";
        let pid: i64 = parts.next()?.parse().ok()?;
        let file = parts.next()?;
        let inode = file.rsplit(':').next()?.parse().ok()?;
        let first = parts.next()?.parse().ok()?;
        let last = parts.next()?;
        let last = if last == "EOF" { u64::MAX } else { last.parse().ok()? };
        Some(Self {
            number: number.parse().ok()?,
            waits,
            kind,
            write,
            pid: u32::try_from(pid).ok().filter(|pid| *pid > 0),
            file: file.to_owned(),
            inode,
            range: (first, last),
        })
    }

    /// Whether it belongs to an open file description, not to a process.
    pub(super) fn is_of_descriptor(&self) -> bool {
        self.kind != Kind::Posix
    }

    /// Whether it is taken, and in the way of another one (flock_locks_conflict, posix_locks_conflict).
    fn hinders(&self, wanted: &Self) -> bool {
        let flock = |lock: &Self| lock.kind == Kind::Flock;
        !self.waits
            && self.file == wanted.file
            && flock(self) == flock(wanted)
            && (self.write || wanted.write)
            && self.range.0 <= wanted.range.1
            && wanted.range.0 <= self.range.1
    }

    /// Whether one of a descriptor's locks is in its way.
    pub(super) fn is_held_by(&self, locks: &[String]) -> bool {
        locks
            .iter()
            .filter_map(|line| Self::parse(line))
            .any(|lock| lock.is_of_descriptor() && lock.hinders(self))
    }
}

/// The lock that a process waits for, and those in its way.
fn waited(lines: &[FileLock], pid: u32, kind: Kind, inode: u64) -> Option<(FileLock, Vec<FileLock>)> {
    let own = |lock: &&FileLock| {
        let whose = lock.pid == Some(pid) || kind == Kind::Description;
        lock.waits && lock.kind == kind && lock.inode == inode && whose
    };
    let wanted = lines.iter().find(own)?;
    let holders = lines.iter().filter(|lock| lock.hinders(wanted)).take(MOST_HOLDERS).cloned().collect();
    Some((wanted.clone(), holders))
}

/// What a thread waits for in flock(2) or fcntl(2).
pub(super) fn begin(target: Target, fd: i32, kind: Kind, budget: &Budget) -> Option<Seek> {
    let fd = u32::try_from(fd).ok()?;
    let link = proc::link(&format!("{}/fd/{fd}", target.through))?;
    let inode = FdInfo::of(target.through, fd)?.inode;
    let peer = Peer::new(What::Lock).at(link.clone());
    let mut lines = Vec::new();
    let whole = proc::lines("locks", budget, |line| {
        lines.extend(FileLock::parse(line).filter(|lock| lock.inode == inode));
        true
    });
    let Some((wanted, holders)) = waited(&lines, target.pid, kind, inode) else {
        let why = if whole {
            "/proc/locks does not list the wait"
        } else {
            "/proc/locks cannot be read to its end"
        };
        return Some(Seek::done(Peer { unknown: Some(why.to_owned()), ..peer }));
    };
    if holders.is_empty() {
        let why = "/proc/locks lists no lock in the way of it";
        return Some(Seek::done(Peer { unknown: Some(why.to_owned()), ..peer }));
    }
    Some(Seek { peer, link: Some(link), test: Test::Lock { wanted, holders } })
}

/// Adds those that the list names: of a lock of fcntl(2) the process, of others the one that took it, if it still has
/// it.
pub(super) fn by_pid(wanted: &FileLock, holders: &[FileLock], pids: &mut BTreeSet<u32>) {
    for lock in holders {
        let Some(pid) = lock.pid.filter(|pid| !pids.contains(pid)) else { continue };
        if lock.kind == Kind::Posix || has_taken(pid, wanted) {
            pids.insert(pid);
        }
    }
}

/// Whether a process has a descriptor through which a lock was taken that is in the way. Its name in the list of its
/// descriptors may be another one.
fn has_taken(pid: u32, wanted: &FileLock) -> bool {
    let numbers = proc::numbers(&format!("{pid}/fd")).into_iter().flatten().take(MOST_DESCRIPTORS);
    let mut infos = numbers.filter_map(|fd| FdInfo::of(pid, fd)).filter(|info| info.inode == wanted.inode);
    infos.any(|info| wanted.is_held_by(&info.locks))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "\
1: FLOCK  ADVISORY  WRITE 1811 fe:00:10010854 0 EOF
1: -> FLOCK  ADVISORY  WRITE 1900 fe:00:10010854 0 EOF
1:  -> FLOCK  ADVISORY  READ  1901 fe:00:10010854 0 EOF
2: POSIX  ADVISORY  READ  20 00:2d:77 0 99
3: POSIX  ADVISORY  WRITE 21 00:2d:77 100 EOF
3: -> POSIX  ADVISORY  WRITE 22 00:2d:77 50 150
4: OFDLCK ADVISORY  READ  -1 00:2d:77 10 20
5: LEASE  ACTIVE    READ  5 00:2d:77 0 EOF
6: FLOCK  ADVISORY  WRITE 23 00:2d:77 0 EOF
";

    fn lines() -> Vec<FileLock> {
        LIST.lines().filter_map(FileLock::parse).collect()
    }

    #[test]
    fn lists() {
        let lines = lines();
        assert_eq!(lines.len(), 8, "without the lease: {lines:#?}");
        let lock = &lines[2];
        assert_eq!((lock.number, lock.waits, lock.write, lock.pid), (1, true, false, Some(1901)));
        assert_eq!((lock.inode, lock.range), (10_010_854, (0, u64::MAX)));
        assert_eq!(lines.iter().find(|lock| lock.kind == Kind::Description).map(|lock| lock.pid), Some(None));
    }

    #[test]
    fn what_is_in_the_way() {
        let pids = |pid, kind, inode| {
            let (_, holders) = waited(&lines(), pid, kind, inode)?;
            Some(holders.iter().map(|lock| lock.pid).collect::<Vec<_>>())
        };
        assert_eq!(pids(1900, Kind::Flock, 10_010_854), Some(vec![Some(1811)]));
        assert_eq!(pids(1901, Kind::Flock, 10_010_854), Some(vec![Some(1811)]));
        assert_eq!(pids(22, Kind::Posix, 77), Some(vec![Some(20), Some(21)]), "the ranges overlap");
        assert_eq!(pids(22, Kind::Posix, 78), None);
        assert_eq!(pids(1811, Kind::Flock, 10_010_854), None, "it does not wait");
    }

    #[test]
    fn locks_of_descriptors() {
        let (wanted, _) = waited(&lines(), 1900, Kind::Flock, 10_010_854).expect("a wait");
        assert!(wanted.is_held_by(&["1: FLOCK  ADVISORY  READ 7 fe:00:10010854 0 EOF".to_owned()]));
        for other in [
            "1: POSIX  ADVISORY  WRITE 7 fe:00:10010854 0 EOF",
            "1: FLOCK  ADVISORY  WRITE 7 fe:01:10010854 0 EOF",
        ] {
            assert!(!wanted.is_held_by(&[other.to_owned()]), "{other}");
        }
    }

    #[test]
    fn hostile() {
        for line in [
            "",
            ":",
            "1:",
            "1: ->",
            "1: FLOCK",
            "1: FLOCK ADVISORY WRITE 1 x 0 EOF",
            "x: FLOCK ADVISORY WRITE 1 0:0:1 0 EOF",
        ] {
            assert_eq!(FileLock::parse(line), None, "{line}");
        }
        let odd = "1: FLOCK ADVISORY WRITE -99999999999 <none>:0 0 99999999999999999999";
        assert_eq!(FileLock::parse(odd), None);
    }

    proptest::proptest! {
        #[test]
        fn any_line(line in "[0-9]{0,3}:? ?(-> )?(FLOCK|POSIX|OFDLCK)? ?.{0,60}") {
            let _ = FileLock::parse(&line);
        }
    }
}

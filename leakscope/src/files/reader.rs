//! Acting as the user of the target, so that the kernel tells what that user may read.
//!
//! The kernel keeps the credentials of each thread apart; only the C library gives all threads the same. So a
//! short-lived thread of ours takes on the file-system user, its groups and no capabilities by raw system
//! calls, opens a file and ends. Mode bits, access lists and the rights to pass the directories on the way
//! are all checked by the kernel then. (Rules of SELinux or AppArmor that confine the target are not: those
//! are of the program, and cannot be taken on.)
//!
//! Capabilities to read everything (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH) are kept only if the target has
//! them in our user namespace. Root of another user namespace is the user that it is outside: it may read
//! less than there, never more. Identities are told by `/proc` as our user namespace numbers them.
//!
//! The main thread's identity counts. It is latched: a process that gives up root counts as what it has
//! become, and one that becomes another user in any other way (a set-user-ID program after `exec`) loses the
//! right to have files opened for it: the names are those of what it was.

use std::io;

use rustix::process::Gid;
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

/// Capabilities that pass over permissions of files.
const READS_ALL: CapabilitySet = CapabilitySet::DAC_OVERRIDE.union(CapabilitySet::DAC_READ_SEARCH);

/// Who reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reader {
    user: u32,
    group: u32,
    groups: Vec<u32>,
    /// Capabilities of [`READS_ALL`] that it has.
    capabilities: CapabilitySet,
}

/// Why nothing is opened for a target.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoReader {
    #[error("its user has changed (from UID {0} to {1})")]
    Changed(u32, u32),
    #[error(
        "cannot take on its user to see what that may read: {0}; this needs CAP_SETUID and CAP_SETGID, as root has them"
    )]
    CannotTakeOn(io::Error),
}

impl From<NoReader> for io::Error {
    fn from(why: NoReader) -> Self {
        Self::new(io::ErrorKind::PermissionDenied, why)
    }
}

impl Reader {
    /// The user of a process.
    pub(super) fn of(pid: u32) -> io::Result<Self> {
        let status = std::fs::read(format!("/proc/{pid}/status"))?;
        let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/user")).ok();
        let here = namespace(&pid.to_string()).is_some_and(|of| Some(of) == namespace("self"));
        Self::parse(&String::from_utf8_lossy(&status), here)
            .ok_or_else(|| io::Error::other("its user is not told"))
    }

    /// Its UID for files.
    pub(super) const fn user(&self) -> u32 {
        self.user
    }

    #[cfg(test)]
    pub(super) fn ourselves() -> io::Result<Self> {
        Self::of(std::process::id())
    }

    /// `here`: whether its capabilities are those of our user namespace.
    fn parse(status: &str, here: bool) -> Option<Self> {
        let field = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
        // Real, effective, saved, file system.
        let last = |name: &str| field(name)?.split_whitespace().nth(3)?.parse().ok();
        let groups = field("Groups")?.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
        // What is permitted can be made effective at any time.
        let permitted = u64::from_str_radix(field("CapPrm")?.trim(), 16).ok()?;
        let permitted = CapabilitySet::from_bits_truncate(permitted) & READS_ALL;
        let capabilities = if here { permitted } else { CapabilitySet::empty() };
        Some(Self { user: last("Uid")?, group: last("Gid")?, groups, capabilities })
    }

    /// What this one becomes with the identity that the process has now.
    pub(super) fn latch(&mut self, now: Self) -> Result<(), NoReader> {
        if now.user != self.user && self.user != 0 {
            return Err(NoReader::Changed(self.user, now.user));
        }
        let capabilities = self.capabilities & now.capabilities;
        *self = Self { capabilities, ..now };
        Ok(())
    }

    /// Does something as this user.
    pub(super) fn act<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("reader".to_owned());
            let acting = thread.spawn_scoped(scope, || {
                self.take_on().map_err(NoReader::CannotTakeOn)?;
                work()
            })?;
            acting.join().unwrap_or_else(|_| Err(io::Error::other("it panicked")))
        })
    }

    /// Takes on the identity for the rest of this thread.
    fn take_on(&self) -> io::Result<()> {
        if current_groups()? != self.groups {
            let groups: Vec<Gid> = self.groups.iter().copied().map(Gid::from_raw).collect();
            rustix::thread::set_thread_groups(&groups)?;
        }
        for (call, id) in [(libc::SYS_setfsgid, self.group), (libc::SYS_setfsuid, self.user)] {
            // SAFETY: takes no pointers. The raw call is for this thread alone.
            unsafe { libc::syscall(call, id) };
            // It does not tell of an error; asked for what is no ID, it tells the one that is in force.
            // SAFETY: as above.
            let now = unsafe { libc::syscall(call, u32::MAX) };
            if now != i64::from(id) {
                return Err(io::Error::from_raw_os_error(libc::EPERM));
            }
        }
        let mut sets = capabilities(None)?;
        sets.effective = sets.permitted & self.capabilities;
        Ok(set_capabilities(None, sets)?)
    }
}

/// Of this thread.
fn current_groups() -> io::Result<Vec<u32>> {
    Ok(rustix::process::getgroups()?.into_iter().map(Gid::as_raw).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str =
        "Name:\tx\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t9 10 \nCapPrm:\t0000000000000004\n";

    #[test]
    fn identities_are_the_file_systems() {
        let reader = Reader::parse(STATUS, true).expect("an identity");
        assert_eq!((reader.user, reader.group, &*reader.groups), (4, 8, &[9, 10][..]));
        assert_eq!(reader.capabilities, CapabilitySet::DAC_READ_SEARCH);
        assert_eq!(Reader::parse(STATUS, false).expect("one").capabilities, CapabilitySet::empty());
        assert_eq!(Reader::parse("Uid:\t1\n", true), None);
    }

    #[test]
    fn identities_are_latched() {
        let of = |user| Reader { user, group: 0, groups: Vec::new(), capabilities: READS_ALL };
        let mut reader = of(0);
        reader.latch(of(0)).expect("the same");
        reader.latch(of(7)).expect("root is given up");
        assert_eq!(reader.user, 7);
        assert!(matches!(reader.latch(of(0)), Err(NoReader::Changed(7, 0))));
        assert!(matches!(reader.latch(of(8)), Err(NoReader::Changed(7, 8))));
        assert_eq!(reader.user, 7);
    }
}

//! Bounded reading of `/proc`.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::ffi::OsStrExt as _;

use super::budget::Budget;

/// Most bytes of a file that describes one process, thread or descriptor.
const MOST_BYTES: u64 = 1 << 16;
/// Most bytes of a line; longer ones are cut.
const LONGEST_LINE: u64 = 1 << 13;
/// Inode number of the first PID namespace (PID_NS_INIT_INO, include/uapi/linux/nsfs.h of Linux 6.18; the same value
/// under other names in older ones).
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// A short file below `/proc`.
pub(super) fn read(name: &str) -> Option<String> {
    let file = File::open(format!("/proc/{name}")).ok()?;
    let mut bytes = Vec::new();
    file.take(MOST_BYTES).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Hands on the lines of a file below `/proc` until `each` returns false; whether it was read to its end or so far.
pub(super) fn lines(name: &str, budget: &Budget, mut each: impl FnMut(&str) -> bool) -> bool {
    let Ok(file) = File::open(format!("/proc/{name}")) else { return false };
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line) {
            Ok(0) => return true,
            Ok(_) if budget.is_spent() => return false,
            Ok(_) => {
                if !each(String::from_utf8_lossy(&line).trim_end_matches('\n')) {
                    return true;
                }
            }
            Err(_) => return false,
        }
    }
}

/// The text of a link below `/proc`, which is not followed.
pub(super) fn link(name: &str) -> Option<String> {
    let text = fs::read_link(format!("/proc/{name}")).ok()?;
    Some(String::from_utf8_lossy(text.as_os_str().as_bytes()).into_owned())
}

/// Numbers in a directory below `/proc`, each as it comes.
pub(super) fn numbers(name: &str) -> std::io::Result<impl Iterator<Item = u32> + use<>> {
    let entries = fs::read_dir(format!("/proc/{name}"))?;
    Ok(entries.map_while(Result::ok).filter_map(|entry| entry.file_name().to_str()?.parse().ok()))
}

/// A field of a `status` file.
pub(super) fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// The numbers of a field, as of `NSpid`: one for each PID namespace, ours first.
pub(super) fn field_numbers(status: &str, name: &str) -> Vec<u32> {
    let text = field(status, name).unwrap_or_default();
    text.split_whitespace().map_while(|number| number.parse().ok()).collect()
}

/// The name of a process or thread.
pub(super) fn name(id: u32) -> Option<String> {
    read(&format!("{id}/comm")).map(|name| name.trim_end_matches('\n').to_owned())
}

/// Whether every process of the machine can be seen: those outside of a PID namespace cannot be from within.
pub(super) fn sees_all() -> bool {
    link("self/ns/pid").is_some_and(|namespace| namespace == FIRST_PID_NAMESPACE)
}

/// Whether a thread is in a system call with these arguments, now.
pub fn is_in(tid: u32, number: u32, args: &[u64; 6]) -> bool {
    read(&format!("{tid}/syscall")).is_some_and(|text| is_call(&text, number, args))
}

/// Layout of `/proc/PID/syscall`: number, arguments, stack and instruction pointer (proc_pid_syscall, fs/proc/base.c of
/// Linux 6.18).
fn is_call(text: &str, number: u32, args: &[u64; 6]) -> bool {
    let mut parts = text.split_whitespace();
    let hex = |part: &str| u64::from_str_radix(part.strip_prefix("0x")?, 16).ok();
    parts.next().and_then(|n| n.parse().ok()) == Some(number)
        && args.iter().all(|arg| parts.next().and_then(hex) == Some(*arg))
}

/// What `/proc/PID/fdinfo/FD` tells (Documentation/filesystems/proc.rst, fs/proc/fd.c, fs/pidfs.c of Linux 6.18).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FdInfo {
    /// Flags of open(2).
    pub(super) flags: u32,
    /// Inode number.
    pub(super) inode: u64,
    /// Lines of `/proc/locks` for locks that were taken through it.
    pub(super) locks: Vec<String>,
    /// Of a pidfd: the process.
    pub(super) pid: Option<u32>,
}

/// Locks of one descriptor that are read.
const MOST_LOCKS: usize = 64;

impl FdInfo {
    pub(super) fn of(id: u32, fd: u32) -> Option<Self> {
        read(&format!("{id}/fdinfo/{fd}")).map(|text| Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let number = |name| field(text, name).and_then(|value| value.parse().ok());
        Self {
            flags: field(text, "flags").and_then(|value| u32::from_str_radix(value, 8).ok()).unwrap_or(0),
            inode: number("ino").unwrap_or(0),
            locks: text
                .lines()
                .filter_map(|line| line.strip_prefix("lock:"))
                .take(MOST_LOCKS)
                .map(|line| line.trim().to_owned())
                .collect(),
            pid: field(text, "Pid").and_then(|value| value.parse().ok()).filter(|pid| *pid > 0),
        }
    }

    /// Whether it can be read from, and written to (O_ACCMODE of open(2)).
    pub(super) fn access(&self) -> (bool, bool) {
        match self.flags & 0o3 {
            0 => (true, false),
            1 => (false, true),
            _ => (true, true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors() {
        let text = "pos:\t0\nflags:\t02000001\nmnt_id:\t15\nino:\t77\nlock:\t1: FLOCK  ADVISORY  WRITE 9 00:2d:77 0 EOF\n";
        let info = FdInfo::parse(text);
        assert_eq!((info.inode, info.access(), info.pid), (77, (false, true), None));
        assert_eq!(info.locks, ["1: FLOCK  ADVISORY  WRITE 9 00:2d:77 0 EOF"]);
        assert_eq!(FdInfo::parse("flags:\t02\nPid:\t12\n").pid, Some(12));
        assert_eq!(FdInfo::parse("Pid:\t-1\n").pid, None);
        assert_eq!(
            FdInfo::parse("flags: 9\nino: x\nlock:"),
            FdInfo { locks: vec![String::new()], ..FdInfo::default() }
        );
    }

    #[test]
    fn calls() {
        let args = [3, 0x7f00, 1, 0, 0, 0];
        assert!(is_call("7 0x3 0x7f00 0x1 0x0 0x0 0x0 0x7ffc 0x7faf\n", 7, &args));
        assert!(!is_call("7 0x3 0x7f00 0x2 0x0 0x0 0x0 0x7ffc 0x7faf\n", 7, &args));
        for text in ["running\n", "-1 0x7ffc 0x7faf\n", "", "7 0x3"] {
            assert!(!is_call(text, 7, &args), "{text}");
        }
    }

    #[test]
    fn lines_are_bounded() {
        let mut seen = 0;
        assert!(lines("self/status", &Budget::default(), |_| {
            seen += 1;
            seen < 3
        }));
        assert_eq!(seen, 3);
        assert!(!lines("self/status", &Budget::spent(), |_| true));
        assert!(!lines("self/nothing", &Budget::default(), |_| true));
    }
}

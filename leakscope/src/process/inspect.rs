//! What `/proc/PID` tells about the target.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::host;

/// Why a process cannot be the target.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ProcessError {
    /// There is none with this PID.
    #[error("no such process: there is none with PID {0}; list the running ones with `ps -e`")]
    NoSuchProcess(u32),
    /// It has ended and only waits for its parent.
    #[error(
        "process {0} ({1}) is a zombie: it has ended and holds no memory; its parent has yet to collect it"
    )]
    Zombie(u32, String),
    /// Its main thread has ended, others have not.
    #[error(
        "the main thread of process {0} ({1}) has ended: the kernel ties probes to it and can place none any more; `leakscope dump {0}` shows the other threads"
    )]
    LeaderGone(u32, String),
    /// A thread of the kernel.
    #[error("{0} ({1}) is a kernel thread: it has no user memory to trace")]
    KernelThread(u32, String),
    /// leakscope itself.
    #[error("{0} is leakscope itself: it cannot trace its own allocations; give another process's PID")]
    Myself(u32),
    /// A thread's ID instead of a process's.
    #[error("{tid} is a thread of process {tgid}; give that PID")]
    ThreadId {
        /// What was given.
        tid: u32,
        /// The process it belongs to.
        tgid: u32,
    },
    /// Compiled for 32 bits.
    #[error("process {0} ({1}) is a 32-bit program: only x86-64 programs can be traced")]
    ThirtyTwoBit(u32, String),
    /// Reading `/proc` was refused.
    #[error("cannot read /proc/{pid}/{what}: {error}; run with sudo")]
    Denied {
        pid: u32,
        /// The file.
        what: &'static str,
        /// What the kernel said.
        error: String,
    },
}

/// The target's identity, read once at the start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Process {
    /// PID (TGID) in our PID namespace.
    pub pid: u32,
    /// The thread through which its files, mappings and memory are reached: the main one, whose ID is the
    /// PID, while that lives.
    pub through: u32,
    /// Short name.
    pub comm: String,
    /// Path of its program, as the target names it.
    #[serde(serialize_with = "super::recorded::lossy_path_if_any")]
    pub exe: Option<PathBuf>,
    /// Command line.
    pub cmdline: Vec<String>,
    /// Start time in clock ticks since boot: together with the PID it names the process for good.
    pub start_ticks: u64,
    /// The highest `Seccomp:` of its threads' statuses: 0 none, 1 strict, 2 filter. A filter that a
    /// thread installs later is not seen.
    pub seccomp: u32,
    /// Name of the process that traces it, as a debugger does.
    pub tracer: Option<String>,
    /// Container ID, where its cgroup path shows one.
    pub container: Option<String>,
}

impl Process {
    /// Looks at `pid` and refuses what cannot be traced.
    pub fn inspect(pid: u32) -> Result<Self, ProcessError> {
        let process = Self::inspect_threads(pid)?;
        if process.through == pid { Ok(process) } else { Err(ProcessError::LeaderGone(pid, process.comm)) }
    }

    /// Looks at `pid` and refuses what has no threads to be looked at.
    pub fn inspect_threads(pid: u32) -> Result<Self, ProcessError> {
        if pid == std::process::id() {
            return Err(ProcessError::Myself(pid));
        }
        let status = read(pid, "status")?;
        let field =
            |name: &str| status.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
        let comm = field("Name").unwrap_or("?").to_owned();
        let tgid: u32 = field("Tgid").and_then(|v| v.parse().ok()).unwrap_or(pid);
        if tgid != pid {
            return Err(ProcessError::ThreadId { tid: pid, tgid });
        }
        let has_ended = field("State").is_some_and(|s| s.starts_with(['Z', 'X']));
        let through = if has_ended { living_thread(pid) } else { Some(pid) };
        let Some(through) = through else { return Err(ProcessError::Zombie(pid, comm)) };
        let has_memory = has_ended || field("VmSize").is_some();
        if field("Kthread") == Some("1") || (field("Kthread").is_none() && !has_memory) {
            return Err(ProcessError::KernelThread(pid, comm));
        }
        let stat = read(pid, "stat")?;
        let cmdline = fs::read(format!("/proc/{through}/cmdline")).unwrap_or_default();
        let process = Self {
            pid,
            through,
            exe: fs::read_link(format!("/proc/{through}/exe")).ok(),
            cmdline: cmdline
                .split(|&b| b == 0)
                .filter(|a| !a.is_empty())
                .map(|a| String::from_utf8_lossy(a).into_owned())
                .collect(),
            start_ticks: start_ticks(&stat).unwrap_or(0),
            seccomp: strictest_seccomp(pid),
            tracer: host::tracer(&status),
            container: fs::read_to_string(format!("/proc/{pid}/cgroup")).ok().and_then(|t| container_id(&t)),
            comm,
        };
        process.refuse_32_bit()?;
        Ok(process)
    }

    fn refuse_32_bit(&self) -> Result<(), ProcessError> {
        use std::io::Read as _;
        let mut ident = [0u8; 20];
        let exe = format!("/proc/{}/exe", self.through);
        let read = crate::files::linked(exe.as_ref()).and_then(|mut f| f.read_exact(&mut ident));
        match read {
            Ok(()) if &ident[..4] == b"\x7fELF" && ident[4] != 2 => {
                Err(ProcessError::ThirtyTwoBit(self.pid, self.comm.clone()))
            }
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                Err(ProcessError::Denied { pid: self.pid, what: "exe", error: e.to_string() })
            }
            _ => Ok(()),
        }
    }

    /// Whether the process of this PID is still the one that was inspected, and no zombie. A main thread that
    /// had ended then does not matter.
    pub fn is_alive(&self) -> bool {
        fs::read_to_string(format!("/proc/{}/stat", self.pid)).is_ok_and(|stat| {
            start_ticks(&stat) == Some(self.start_ticks)
                && (lives(&stat) || (self.through != self.pid && living_thread(self.pid).is_some()))
        })
    }

    /// Whether it still has threads besides its main one.
    pub fn has_threads(&self) -> bool {
        threads(self.pid).len() > 1
    }

    /// Resident memory in bytes; `None` once the process has ended.
    pub fn rss_bytes(&self) -> Option<u64> {
        let statm = fs::read_to_string(format!("/proc/{}/statm", self.through)).ok()?;
        let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
        (pages > 0).then_some(pages * 4096)
    }
}

/// IDs of the threads of `pid`.
fn threads(pid: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// A thread of `pid` that has not ended.
fn living_thread(pid: u32) -> Option<u32> {
    let lives =
        |tid: &u32| fs::read_to_string(format!("/proc/{pid}/task/{tid}/stat")).is_ok_and(|s| lives(&s));
    threads(pid).into_iter().find(lives)
}

/// Whether that is the `stat` of a thread that has not ended.
fn lives(stat: &str) -> bool {
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn strictest_seccomp(pid: u32) -> u32 {
    let of_thread = |tid: u32| {
        let status = fs::read(format!("/proc/{pid}/task/{tid}/status")).ok()?;
        let status = String::from_utf8_lossy(&status).into_owned();
        status.lines().find_map(|l| l.strip_prefix("Seccomp:"))?.trim().parse::<u32>().ok()
    };
    threads(pid).into_iter().filter_map(of_thread).max().unwrap_or(0)
}

fn read(pid: u32, what: &'static str) -> Result<String, ProcessError> {
    match fs::read(format!("/proc/{pid}/{what}")) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            Err(ProcessError::Denied { pid, what, error: e.to_string() })
        }
        Err(_) => Err(ProcessError::NoSuchProcess(pid)),
    }
}

/// Field 22 of `/proc/PID/stat`; the name (field 2) may hold anything, so count from its end.
fn start_ticks(stat: &str) -> Option<u64> {
    stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()
}

/// The last 64-digit hex name in a cgroup path, as Docker, containerd, CRI-O and podman write it.
fn container_id(cgroup: &str) -> Option<String> {
    cgroup
        .split(|c: char| !c.is_ascii_hexdigit())
        .rfind(|part| part.len() == 64)
        .map(|id| id[..12].to_owned())
}

/// Threads of `pid`; `None` once it has ended.
pub fn thread_count(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|l| l.strip_prefix("Threads:"))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_time_survives_odd_names() {
        let mut stat = String::from("12 (a) b) S 1");
        for field in 5..=30 {
            stat.push_str(&format!(" {field}"));
        }
        assert_eq!(start_ticks(&stat), Some(22));
        assert_eq!(start_ticks("12 (x"), None);
    }

    #[test]
    fn container_ids() {
        let id = "0123456789abcdef".repeat(4);
        assert_eq!(container_id(&format!("0::/docker-{id}.scope\n")), Some("0123456789ab".into()));
        assert_eq!(container_id("0::/user.slice/session-2.scope\n"), None);
    }

    #[test]
    fn itself_and_nobody_are_refused() {
        assert_eq!(
            Process::inspect(std::process::id()).err(),
            Some(ProcessError::Myself(std::process::id()))
        );
        assert_eq!(Process::inspect(u32::MAX - 1).err(), Some(ProcessError::NoSuchProcess(u32::MAX - 1)));
    }
}

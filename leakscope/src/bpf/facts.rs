//! What this machine offers, as plain facts. What follows from them is [`super::verdict`]'s.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::trials;

/// What became of a trial.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tried {
    /// It was not tried.
    #[default]
    Not,
    Allowed,
    /// The kernel refused it.
    Refused {
        /// The number of the error.
        errno: i32,
    },
}

impl From<io::Result<()>> for Tried {
    fn from(result: io::Result<()>) -> Self {
        match result {
            Ok(()) => Self::Allowed,
            Err(error) => Self::Refused { errno: error.raw_os_error().unwrap_or(0) },
        }
    }
}

/// Facts about kernel and rights. Recorded ones are test data for the verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// `uname -r`.
    pub release: String,
    /// `uname -m`.
    pub machine: String,
    /// Effective user ID.
    pub euid: u32,
    /// `CapEff` of our status.
    pub capabilities: u64,
    /// Whether `/sys/kernel/btf/vmlinux` can be read.
    pub btf: bool,
    /// Whether the kernel has the uprobe event source.
    pub uprobe_pmu: bool,
    /// Whether it has multi links that select a process; `None` where that could not be tried.
    #[serde(default)]
    pub multi_links: Option<bool>,
    /// The active lockdown mode; `None` where the kernel has no lockdown.
    pub lockdown: Option<String>,
    /// `kernel.perf_event_paranoid`.
    pub perf_event_paranoid: Option<i32>,
    /// Where tracefs is mounted, if it is.
    pub tracefs: Option<String>,
    /// Loading a BPF program of the kind that probes run.
    #[serde(default)]
    pub load_program: Tried,
    /// Opening a uprobe event, on a file that no process has mapped.
    #[serde(default)]
    pub open_uprobe: Tried,
    /// Whether we run in the machine's own PID namespace, whose numbers the BPF side sees.
    pub initial_pid_namespace: bool,
}

/// The link of the first PID namespace: PROC_PID_INIT_INO is 0xEFFFFFFC (include/linux/proc_ns.h).
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";

impl Facts {
    /// Looks at this machine.
    pub fn gather() -> Self {
        let (release, machine) = uname();
        Self {
            release,
            machine,
            euid: rustix::process::geteuid().as_raw(),
            capabilities: capabilities().unwrap_or(0),
            btf: fs::File::open("/sys/kernel/btf/vmlinux").is_ok(),
            uprobe_pmu: Path::new("/sys/bus/event_source/devices/uprobe/type").exists(),
            multi_links: super::attach::multi_links(),
            lockdown: fs::read_to_string("/sys/kernel/security/lockdown").ok().and_then(|t| active_mode(&t)),
            perf_event_paranoid: sysctl("perf_event_paranoid"),
            tracefs: tracefs(),
            load_program: trials::load_program().into(),
            open_uprobe: trials::open_uprobe().into(),
            initial_pid_namespace: fs::read_link("/proc/self/ns/pid")
                .is_ok_and(|name| name.as_os_str() == INITIAL_PID_NAMESPACE),
        }
    }

    /// Major and minor version of the kernel.
    pub fn version(&self) -> Option<(u32, u32)> {
        let mut parts = self.release.split(['.', '-']);
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    }
}

fn uname() -> (String, String) {
    let name = rustix::system::uname();
    (name.release().to_string_lossy().into_owned(), name.machine().to_string_lossy().into_owned())
}

fn capabilities() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let text = status.lines().find_map(|l| l.strip_prefix("CapEff:"))?;
    u64::from_str_radix(text.trim(), 16).ok()
}

fn sysctl(name: &str) -> Option<i32> {
    fs::read_to_string(format!("/proc/sys/kernel/{name}")).ok()?.trim().parse().ok()
}

/// The word in brackets: `none [integrity] confidentiality`.
fn active_mode(text: &str) -> Option<String> {
    Some(text.split_once('[')?.1.split_once(']')?.0.to_owned())
}

fn tracefs() -> Option<String> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    mounts.lines().find_map(|l| {
        let mut fields = l.split(' ').skip(1);
        let at = fields.next()?;
        (fields.next() == Some("tracefs")).then(|| at.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine() {
        let facts = Facts::gather();
        assert!(facts.version().is_some_and(|(major, _)| major >= 4), "{facts:?}");
        assert_eq!(facts.machine, "x86_64");
        assert_eq!(active_mode("none [integrity] confidentiality\n").as_deref(), Some("integrity"));
    }
}

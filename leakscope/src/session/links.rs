//! Which kind of link carries the probes of a target.
//!
//! Multi links go on and off all at once, which is quick. But their traps stay in forked children, which then
//! pay for each, and the kernel runs their programs for the target's own threads only: a child that shares its
//! memory (`vfork`) and allocates there would go unseen. So a target gets them only where neither is to be
//! expected, and one that makes a process nevertheless goes over to perf links.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use leakscope_common::probe::Cookie;
use object::{Object as _, ObjectSymbol as _};

use super::seccomp;
use crate::bpf::attach::{Links, ProbeSite, multi_links};
use crate::collect::linker::LIBRARIES_CHANGED;
use crate::process::{AddressSpace, Module, Process};

/// Functions that make a process which shares its maker's memory and goes on in the maker's own code.
const SHARING: [&str; 4] = ["vfork", "__vfork", "clone", "__clone"];

/// Files that hold these functions, or start threads by them. Where they make processes (`posix_spawn`, `system`,
/// `popen`), the child calls no allocator before its exec.
const LIBC: [&str; 6] = ["libc.so", "libc-", "libc.musl", "libpthread", "ld-", "ld.so"];

/// Why it is that kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Multi links: nothing speaks against them.
    Multi,
    /// The kernel has no multi links that select a process.
    NoMultiLinks,
    /// So many children run the target's own program: it forks workers.
    Workers(usize),
    /// A file calls a function that makes processes which share the target's memory.
    Shares { file: String, function: &'static str },
}

impl Choice {
    /// Chooses for a target; changes nothing.
    pub fn of(process: &Process, space: &AddressSpace) -> Self {
        if multi_links() != Some(true) {
            return Self::NoMultiLinks;
        }
        if let Some(shares) = space.modules().find_map(|(_, module)| shares(module)) {
            return shares;
        }
        match workers(process.pid) {
            0 => Self::Multi,
            n => Self::Workers(n),
        }
    }

    /// The kind.
    pub fn links(&self) -> Links {
        if *self == Self::Multi { Links::Multi } else { Links::Perf }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Multi => f.write_str("multi links"),
            Self::NoMultiLinks => {
                f.write_str("perf links: this kernel has no multi links that select a process (Linux 6.10)")
            }
            Self::Workers(n) => {
                write!(f, "perf links, which leave nothing in forked children: {n} run the same program")
            }
            Self::Shares { file, function } => {
                write!(f, "perf links, which see children that share the memory: {file} calls {function}")
            }
        }
    }
}

/// A place in our own code that never runs.
pub(super) fn idle_place() -> Option<ProbeSite> {
    #[inline(never)]
    extern "C" fn idle() {
        std::hint::black_box(());
    }
    Some(ProbeSite {
        // A program that is always loaded.
        program: LIBRARIES_CHANGED,
        function: "idle".to_owned(),
        path: PathBuf::from("/proc/self/exe"),
        file: "leakscope itself".to_owned(),
        offset: seccomp::own_offset(idle as *const () as u64)?,
        cookie: Cookie(0),
    })
}

/// Whether a module calls one of [`SHARING`]. What makes such a system call by itself is not seen.
pub(super) fn shares(module: &Module) -> Option<Choice> {
    let name = module.path.file_name()?.to_string_lossy();
    if LIBC.iter().any(|libc| name.starts_with(libc)) {
        return None;
    }
    let parsed = module.elf.as_ref().ok()?.parsed().ok()?;
    // A program that is linked statically has the function in itself, because something calls it.
    let statically = parsed.dynamic_symbols().next().is_none();
    let imported = parsed.dynamic_symbols().filter(|s| s.is_undefined());
    let own = parsed.symbols().filter(|s| statically && s.is_definition());
    let function = imported.chain(own).find_map(|symbol| {
        let name = symbol.name().ok()?;
        SHARING.into_iter().find(|sharing| *sharing == name)
    })?;
    Some(Choice::Shares { file: module.path.display().to_string(), function })
}

/// Children of `pid` that run its program.
fn workers(pid: u32) -> usize {
    let program = |pid: u32| fs::metadata(format!("/proc/{pid}/exe")).map(|m| (m.dev(), m.ino())).ok();
    let Some(own) = program(pid) else { return 0 };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|&other| parent(other) == Some(pid) && program(other) == Some(own)).count()
}

/// The parent of `pid`.
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold anything.
    let close = stat.iter().rposition(|&b| b == b')')?;
    std::str::from_utf8(&stat[close + 1..]).ok()?.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_known() {
        let own = std::process::id();
        assert_eq!(parent(own), Some(std::os::unix::process::parent_id()));
        assert_eq!(parent(0), None);
    }

    #[test]
    fn a_child_that_runs_another_program_is_no_worker() -> std::io::Result<()> {
        let mut child = std::process::Command::new("sleep").arg("60").spawn()?;
        assert_eq!(parent(child.id()), Some(std::process::id()));
        // It has been executed: `spawn` waits for that.
        assert_eq!(workers(std::process::id()), 0);
        child.kill()?;
        child.wait().map(drop)
    }
}

//! Places probes and takes them away.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use aya::programs::uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLink, UProbeScope};
use leakscope_common::probe::Cookie;

use super::object::{Object, uprobe};
use super::{BpfError, chain};

/// Which program a probe runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Entry of an allocating function.
    AllocEntry,
    /// Return probe of such a function.
    AllocReturn,
    /// A `ret` instruction of such a function.
    AllocRetInstruction,
    /// Entry of a freeing function.
    FreeEntry,
    /// The dynamic linker's notification.
    LibrariesChanged,
    /// Where a goroutine is created.
    GoCreated,
    /// Where one ends.
    GoExited,
    /// Where a span is taken from the Go heap.
    GoAllocated,
}

impl Role {
    const fn program(self) -> &'static str {
        match self {
            Self::AllocEntry => "alloc_entry",
            Self::AllocReturn => "alloc_return",
            Self::AllocRetInstruction => "alloc_ret_instruction",
            Self::FreeEntry => "free_entry",
            Self::LibrariesChanged => "libraries_changed",
            Self::GoCreated => "go_created",
            Self::GoExited => "go_exited",
            Self::GoAllocated => "go_allocated",
        }
    }
}

/// One probe to attach.
#[derive(Clone, Debug)]
pub struct ProbeSite {
    /// What it runs.
    pub role: Role,
    /// The function, for messages.
    pub function: String,
    /// Path that opens the file (`/proc/PID/map_files/…`).
    pub path: PathBuf,
    /// The file's name, for messages.
    pub file: String,
    /// Offset in the file.
    pub offset: u64,
    /// What the program is told.
    pub cookie: Cookie,
}

/// Attached probes. Dropping them one by one takes about 0.1 s each; see [`Attached::detach`].
#[derive(Debug, Default)]
pub struct Attached {
    links: Vec<UProbeLink>,
}

impl Attached {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.links.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// Attaches `site` for the process `pid` only.
    pub fn add(&mut self, object: &mut Object, pid: u32, site: &ProbeSite) -> Result<(), BpfError> {
        let error = |error: String| BpfError::Attach {
            function: site.function.clone(),
            file: site.file.clone(),
            error,
        };
        let scope = UProbeScope::OneProcess(NonZeroU32::new(pid).ok_or_else(|| error("PID 0".into()))?);
        let point = UProbeAttachPoint {
            location: UProbeAttachLocation::AbsoluteOffset(site.offset),
            cookie: Some(site.cookie.0),
        };
        let program = uprobe(&mut object.ebpf, site.role.program())?;
        let attached = program.attach(point, &site.path, scope);
        let id = match attached {
            Ok(id) => id,
            Err(_) if !Path::new(&format!("/proc/{pid}")).exists() => return Err(BpfError::TargetGone),
            Err(e) => return Err(error(chain(&e))),
        };
        self.links.push(program.take_link(id).map_err(|e| error(chain(&e)))?);
        Ok(())
    }

    /// Takes all probes away. The kernel waits for a grace period per probe, so they are closed
    /// from many threads at once.
    pub fn detach(self) {
        let mut links = self.links;
        let threads = links.len().min(64);
        std::thread::scope(|scope| {
            for remaining in (1..=threads).rev() {
                let share: Vec<UProbeLink> = links.split_off(links.len() - links.len() / remaining);
                if std::thread::Builder::new().spawn_scoped(scope, move || drop(share)).is_err() {
                    // No thread to be had: what is left is dropped here, one after the other.
                    break;
                }
            }
        });
    }
}

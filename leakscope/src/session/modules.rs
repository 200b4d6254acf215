//! Files of the target with their allocator functions.

use crate::collect::Log;
use crate::collect::heap::FileProbes;
use crate::collect::heap::find::{find_probes, why_none};
use crate::failure::Failure;
use crate::files::TargetFiles;
use crate::process::{AddressSpace, ModuleId, Process, ProcessError};
use crate::runtime;
use crate::symbol::DebugSearch;

/// What probes would find in a target.
#[derive(Debug)]
pub struct Visible {
    /// Its mappings and files.
    pub space: AddressSpace,
    /// Files with allocator functions.
    pub files: Vec<FileProbes>,
    /// What could not be read.
    pub warnings: Vec<String>,
    /// Why there is no allocator function, if there is none and it can be told.
    pub why_none: Option<&'static str>,
}

/// The mappings of a target and their files.
pub(super) fn address_space(process: &Process) -> Result<AddressSpace, Failure> {
    let space = AddressSpace::read(process.through).map_err(|error| {
        Failure::from(match error.kind() {
            std::io::ErrorKind::PermissionDenied => {
                ProcessError::Denied { pid: process.pid, what: "maps", error: error.to_string() }
            }
            _ => ProcessError::NoSuchProcess(process.pid),
        })
    })?;
    if space.mappings().is_empty() {
        return Err(ProcessError::NoSuchProcess(process.pid).into());
    }
    Ok(space)
}

/// Where the target's debug files are looked for.
pub(super) fn debug_search(pid: u32, log: &mut dyn Log) -> DebugSearch {
    let target = TargetFiles::of(pid);
    if let Err(error) = &target {
        log.detail(&format!("debug files in the target's file system are not used: {error}"));
    }
    DebugSearch::new(target.ok())
}

/// Looks at a target without touching it.
pub fn look(process: &Process) -> Result<Visible, Failure> {
    let space = address_space(process)?;
    let modules: Vec<ModuleId> = space.modules().map(|(id, _)| id).collect();
    let (files, warnings) = find_probes(&space, &modules);
    let why_none = if files.iter().all(|f| f.plan.probes.is_empty()) {
        runtime::of(process, &space).no_allocator().or_else(|| why_none(&space))
    } else {
        None
    };
    Ok(Visible { space, files, warnings, why_none })
}

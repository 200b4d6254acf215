//! Files of the target with their allocator functions.

use super::Watcher;
use super::probes::FileProbes;
use crate::failure::Failure;
use crate::files::TargetFiles;
use crate::probe::{self, Plan, PlannedProbe, SkipReason, Skipped};
use crate::process::{AddressSpace, ModuleId, Process, ProcessError};
use crate::runtime::{self, Runtime};
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
pub(super) fn debug_search(pid: u32, watcher: &mut dyn Watcher) -> DebugSearch {
    let target = TargetFiles::of(pid);
    if let Err(error) = &target {
        watcher.detail(&format!("debug files in the target's file system are not used: {error}"));
    }
    DebugSearch::new(target.ok())
}

/// Looks at a target without touching it.
pub fn look(process: &Process) -> Result<Visible, Failure> {
    let space = address_space(process)?;
    let modules: Vec<ModuleId> = space.modules().map(|(id, _)| id).collect();
    let (files, warnings) = find_probes(&space, &modules);
    let why_none = if files.iter().all(|f| f.plan.probes.is_empty()) {
        why_none(&space, runtime::of(process, &space))
    } else {
        None
    };
    Ok(Visible { space, files, warnings, why_none })
}

/// Looks for allocator functions in `modules`. Files that cannot be read are reported, not fatal.
pub(super) fn find_probes(space: &AddressSpace, modules: &[ModuleId]) -> (Vec<FileProbes>, Vec<String>) {
    let mut found = Vec::new();
    let mut warnings = Vec::new();
    for &id in modules {
        let module = space.module(id);
        let name = module.path.display();
        let elf = match &module.elf {
            Ok(elf) => elf,
            Err(error) => {
                warnings
                    .push(format!("{name}: {error}; its allocator functions and symbols cannot be found"));
                continue;
            }
        };
        match probe::plan(elf) {
            Ok(plan) if plan.probes.is_empty() && plan.skipped.is_empty() => {}
            Ok(mut plan) => {
                leave_out_remapped(space, id, &mut plan);
                found.push(FileProbes { module: id, plan });
            }
            Err(error) => warnings.push(format!("{name}: {error}; its allocator functions cannot be found")),
        }
    }
    (found, warnings)
}

/// Takes out the probes on code that no mapping of its file holds any more: they would never be hit.
fn leave_out_remapped(space: &AddressSpace, id: ModuleId, plan: &mut Plan) {
    let (moved, kept) =
        std::mem::take(&mut plan.probes).into_iter().partition(|p| space.is_remapped(id, p.placement.entry));
    plan.probes = kept;
    let moved: Vec<PlannedProbe> = moved;
    let skipped = |probe: PlannedProbe| Skipped { names: probe.names, reason: SkipReason::Remapped };
    plan.skipped.extend(moved.into_iter().map(skipped));
}

/// Why a target without any allocator function has none, if that can be told.
pub(super) fn why_none(space: &AddressSpace, runtime: &dyn Runtime) -> Option<&'static str> {
    let has = |section: &'static str| {
        space.modules().any(|(_, m)| {
            m.elf.as_ref().is_ok_and(|elf| {
                use object::{Object as _, ObjectSection as _};
                elf.parsed().is_ok_and(|p| p.sections().any(|s| s.name() == Ok(section)))
            })
        })
    };
    if let Some(why) = runtime.no_allocator() {
        return Some(why);
    }
    let statically_linked = space.modules().filter(|(_, m)| m.is_file()).count() <= 1;
    (statically_linked && !has(".symtab"))
        .then_some("a static program without symbols: its malloc has no name")
}

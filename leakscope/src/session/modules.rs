//! Files of the target with their allocator functions.

use super::probes::FileProbes;
use crate::probe;
use crate::target::{AddressSpace, ModuleId};

/// Looks for allocator functions in `modules`. Files that cannot be read are reported, not fatal.
pub fn find_probes(space: &AddressSpace, modules: &[ModuleId]) -> (Vec<FileProbes>, Vec<String>) {
    let mut found = Vec::new();
    let mut warnings = Vec::new();
    for &id in modules {
        let module = space.module(id);
        let name = module.path.display();
        let elf = match &module.elf {
            Ok(elf) => elf,
            Err(error) => {
                warnings.push(format!("{name}: {error}; its allocator functions and symbols cannot be found"));
                continue;
            }
        };
        match probe::plan(elf) {
            Ok(plan) if plan.probes.is_empty() && plan.skipped.is_empty() => {}
            Ok(plan) => found.push(FileProbes { module: id, plan }),
            Err(error) => warnings.push(format!("{name}: {error}; its allocator functions cannot be found")),
        }
    }
    (found, warnings)
}

/// Why a target without any allocator function has none, if that can be told.
pub(super) fn why_none(space: &AddressSpace) -> Option<&'static str> {
    let has = |section: &'static str| {
        space.modules().any(|(_, m)| {
            m.elf.as_ref().is_ok_and(|elf| {
                use object::{Object as _, ObjectSection as _};
                elf.parsed().is_ok_and(|p| p.sections().any(|s| s.name() == Ok(section)))
            })
        })
    };
    if has(".go.buildinfo") {
        return Some("a Go program: its heap is the Go runtime's own");
    }
    let statically_linked = space.modules().filter(|(_, m)| m.id.is_some()).count() <= 1;
    (statically_linked && !has(".symtab")).then_some("a static program without symbols: its malloc has no name")
}

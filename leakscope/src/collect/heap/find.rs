//! Which files of the target have allocator functions, and why none has, if none has.

use super::FileProbes;
use crate::probe::{self, Plan, PlannedProbe, SkipReason, Skipped};
use crate::process::{AddressSpace, ElfFile, ModuleId};
use crate::symbol::is_jitdump;

/// Looks for allocator functions in `modules`. Files that cannot be read are reported, not fatal.
pub fn find_probes(space: &AddressSpace, modules: &[ModuleId]) -> (Vec<FileProbes>, Vec<String>) {
    let mut found = Vec::new();
    let mut warnings = Vec::new();
    for &id in modules {
        let module = space.module(id);
        let name = module.path.display();
        let elf = match &module.elf {
            Ok(elf) => elf,
            // Mapped only to be found by those who read it.
            Err(_) if is_jitdump(&module.path) => continue,
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

/// Why a target without any allocator function has none, if its files tell.
pub fn why_none(space: &AddressSpace) -> Option<&'static str> {
    let has_symbols = |elf: &ElfFile| {
        use object::{Object as _, ObjectSection as _};
        elf.parsed().is_ok_and(|file| file.sections().any(|section| section.name() == Ok(".symtab")))
    };
    let statically_linked = space.modules().filter(|(_, m)| m.is_file()).count() <= 1;
    let named = || space.modules().any(|(_, m)| m.elf.as_ref().is_ok_and(|elf| has_symbols(elf)));
    (statically_linked && !named()).then_some("a static program without symbols: its malloc has no name")
}

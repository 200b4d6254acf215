//! Which files of the target have allocator functions, and what has a heap that these do not show.

use super::FileProbes;
use crate::probe::{self, Plan, PlannedProbe, SkipReason, Skipped};
use crate::process::{AddressSpace, ModuleId};

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

/// What in the target has a heap of its own that the allocator's functions do not see, if anything.
pub fn own_heap(space: &AddressSpace) -> Option<&'static str> {
    const RUNTIMES: [(&str, &str); 6] = [
        ("libpython", PYTHON),
        ("python", PYTHON),
        ("libjvm", "Java's heap is mapped by the JVM itself"),
        ("node", "V8's heap is mapped by V8 itself"),
        ("libnode", "V8's heap is mapped by V8 itself"),
        ("libcoreclr", ".NET's heap is mapped by its runtime"),
    ];
    /// CPython's pymalloc, Objects/obmalloc.c.
    const PYTHON: &str =
        "Python keeps small objects in arenas of its own; start it with PYTHONMALLOC=malloc to see them";
    let names: Vec<&str> = space.modules().filter_map(|(_, m)| m.path.file_name()?.to_str()).collect();
    let is = |name: &str, runtime: &str| {
        name.strip_prefix(runtime)
            .is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit() || ".so".contains(c)))
    };
    RUNTIMES.iter().find(|(runtime, _)| names.iter().any(|n| is(n, runtime))).map(|(_, why)| *why)
}

/// Why a target without any allocator function has none, if that can be told.
pub fn why_none(space: &AddressSpace) -> Option<&'static str> {
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
    let statically_linked = space.modules().filter(|(_, m)| m.is_file()).count() <= 1;
    (statically_linked && !has(".symtab"))
        .then_some("a static program without symbols: its malloc has no name")
}

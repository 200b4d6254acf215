//! From planned functions to the probes that are attached, in the order that is safe.

use std::collections::HashSet;

use crate::bpf::attach::{ProbeProgram, ProbeSite};
use crate::probe::{Exit, Plan};
use crate::process::{AddressSpace, ModuleId};
use leakscope_common::probe::Effect;

/// Entry of a freeing function. What frees comes before what returns, and that before what allocates: so no block
/// is seen allocated whose free could be missed.
pub const FREE_ENTRY: ProbeProgram = ProbeProgram { perf: "free_entry", multi: "free_entry_m", rank: 0 };
/// Return probe of an allocating function.
pub const ALLOC_RETURN: ProbeProgram =
    ProbeProgram { perf: "alloc_return", multi: "alloc_return_m", rank: 1 };
/// A `ret` instruction of such a function.
pub const ALLOC_RET_INSTRUCTION: ProbeProgram =
    ProbeProgram { perf: "alloc_ret_instruction", multi: "alloc_ret_instruction_m", rank: 2 };
pub const ALLOC_ENTRY: ProbeProgram = ProbeProgram { perf: "alloc_entry", multi: "alloc_entry_m", rank: 3 };
/// All of them.
pub const PROGRAMS: [ProbeProgram; 4] = [FREE_ENTRY, ALLOC_RETURN, ALLOC_RET_INSTRUCTION, ALLOC_ENTRY];

/// The planned probes of one file.
#[derive(Debug)]
pub struct FileProbes {
    /// The file.
    pub module: ModuleId,
    /// Its functions.
    pub plan: Plan,
}

/// Numbers functions over the whole session; 0 is no function.
#[derive(Debug, Default)]
pub(super) struct FunctionNumbers(u16);

impl FunctionNumbers {
    fn take(&mut self, count: usize) -> Option<u16> {
        let first = self.0.checked_add(1)?;
        self.0 = self.0.checked_add(u16::try_from(count).ok()?)?;
        Some(first)
    }
}

/// The probes of `file`: freeing functions first, then returns, then entries.
///
/// `None` once there are no numbers left for its functions. In this order a block is never seen allocated by a run of probes that would miss its free.
pub(super) fn sites(
    space: &AddressSpace,
    file: &FileProbes,
    numbers: &mut FunctionNumbers,
) -> Option<Vec<ProbeSite>> {
    let module = space.module(file.module);
    // Some of a group's functions may have been left out.
    let count = file.plan.probes.iter().map(|probe| probe.group + 1).max().unwrap_or(0);
    let first = numbers.take(count)?;
    let mut sites = Vec::new();
    let mut returns = HashSet::new();
    for probe in &file.plan.probes {
        let cookie = probe.placement.cookie(first + probe.group as u16);
        let site = |program, offset| ProbeSite {
            program,
            function: probe.name().to_owned(),
            path: module.probe_path.clone(),
            file: module.path.display().to_string(),
            offset,
            cookie,
        };
        let entry = probe.placement.entry;
        if probe.effect() == Effect::Free {
            sites.push(site(FREE_ENTRY, entry));
            continue;
        }
        sites.push(site(ALLOC_ENTRY, entry));
        match &probe.placement.exit {
            Exit::None => {}
            Exit::ReturnProbe => sites.push(site(ALLOC_RETURN, entry)),
            Exit::Instructions { offsets, .. } => {
                let fresh = offsets.iter().filter(|o| returns.insert(**o));
                sites.extend(fresh.map(|&o| site(ALLOC_RET_INSTRUCTION, o)));
            }
        }
    }
    sites.sort_by_key(|site| site.program.rank);
    Some(sites)
}

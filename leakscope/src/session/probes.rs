//! From planned functions to the probes that are attached, in the order that is safe.

use std::collections::HashSet;
use std::ops::Range;

use crate::bpf::attach::{ProbeSite, Role};
use crate::probe::{Exit, Plan, discover};
use crate::process::{AddressSpace, ModuleId};
use leakscope_common::probe::{Cookie, Effect};

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
        let site = |role, offset| ProbeSite {
            role,
            function: probe.name().to_owned(),
            path: module.probe_path.clone(),
            file: module.path.display().to_string(),
            offset,
            cookie,
        };
        let entry = probe.placement.entry;
        if probe.effect() == Effect::Free {
            sites.push(site(Role::FreeEntry, entry));
            continue;
        }
        sites.push(site(Role::AllocEntry, entry));
        match &probe.placement.exit {
            Exit::None => {}
            Exit::ReturnProbe => sites.push(site(Role::AllocReturn, entry)),
            Exit::Instructions { offsets, .. } => {
                let fresh = offsets.iter().filter(|o| returns.insert(**o));
                sites.extend(fresh.map(|&o| site(Role::AllocRetInstruction, o)));
            }
        }
    }
    sites.sort_by_key(|site| site.role.rank());
    Some(sites)
}

/// The dynamic linker's notification function, which debuggers use too: it is called whenever the
/// list of libraries changes (`r_brk` in glibc's and musl's `link.h`).
const LIBRARIES_CHANGED: &str = "_dl_debug_state";

/// Where the code of glibc's dynamic linker lies.
pub(super) fn linker_code(space: &AddressSpace) -> Option<Range<u64>> {
    let is_linker = |id| space.module(id).elf.as_ref().is_ok_and(|elf| discover::is_dynamic_linker(elf));
    let named = |id: &ModuleId| is_linker_name(space.module(*id).path.file_name()?.to_str()?).then_some(());
    let mapped =
        space.mappings().iter().find(|m| m.module.filter(|id| named(id).is_some()).is_some_and(is_linker));
    mapped.map(|m| m.mapping.start..m.mapping.end)
}

/// A probe on the dynamic linker's notification, if `module` is the dynamic linker.
pub(super) fn linker_site(space: &AddressSpace, id: ModuleId) -> Option<ProbeSite> {
    use object::{Object as _, ObjectSymbol as _};
    let module = space.module(id);
    if !is_linker_name(module.path.file_name()?.to_str()?) {
        return None;
    }
    let elf = module.elf.as_ref().ok()?;
    let parsed = elf.parsed().ok()?;
    let symbol = parsed
        .dynamic_symbols()
        .chain(parsed.symbols())
        .find(|s| s.is_definition() && s.name() == Ok(LIBRARIES_CHANGED))?;
    Some(ProbeSite {
        role: Role::LibrariesChanged,
        function: LIBRARIES_CHANGED.to_owned(),
        path: module.probe_path.clone(),
        file: module.path.display().to_string(),
        offset: elf.offset_of_address(symbol.address())?,
        cookie: Cookie(0),
    })
}

/// Whether a dynamic linker may be called so.
fn is_linker_name(name: &str) -> bool {
    ["ld-", "ld.so", "ld64", "libc.musl", "libc.so"].iter().any(|prefix| name.starts_with(prefix))
}

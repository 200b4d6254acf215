//! From planned functions to the probes that are attached, in the order that is safe.

use std::collections::HashSet;

use crate::bpf::attach::{ProbeSite, Role};
use crate::probe::{Exit, Plan};
use crate::target::{AddressSpace, ModuleId};
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
    let first = numbers.take(file.plan.probes.len())?;
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
    sites.sort_by_key(|s| match s.role {
        Role::FreeEntry => 0,
        Role::AllocReturn | Role::AllocRetInstruction => 1,
        Role::AllocEntry | Role::LibrariesChanged => 2,
        Role::GoCreated | Role::GoExited | Role::GoAllocated => 3,
    });
    Some(sites)
}

/// The dynamic linker's notification function, which debuggers use too: it is called whenever the
/// list of libraries changes (`r_brk` in glibc's and musl's `link.h`).
const LIBRARIES_CHANGED: &str = "_dl_debug_state";

/// A probe on the dynamic linker's notification, if `module` is the dynamic linker.
pub(super) fn linker_site(space: &AddressSpace, id: ModuleId) -> Option<ProbeSite> {
    use object::{Object as _, ObjectSymbol as _};
    let module = space.module(id);
    let name = module.path.file_name()?.to_str()?;
    if !["ld-", "ld.so", "ld64", "libc.musl", "libc.so"].iter().any(|prefix| name.starts_with(prefix)) {
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

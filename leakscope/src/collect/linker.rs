//! The dynamic linker of the target: where its code lies, and the function that tells of libraries that come and
//! go.

use std::ops::Range;

use leakscope_common::probe::Cookie;

use crate::bpf::attach::{ProbeProgram, ProbeSite};
use crate::probe::discover;
use crate::process::{AddressSpace, ModuleId};

/// The dynamic linker's notification: for the sake of unwind rows and of probes in libraries loaded later.
pub const LIBRARIES_CHANGED: ProbeProgram =
    ProbeProgram { perf: "libraries_changed", multi: "libraries_changed_m", rank: 4 };

/// The dynamic linker's notification function, which debuggers use too: it is called whenever the
/// list of libraries changes (`r_brk` in glibc's and musl's `link.h`).
const NOTIFICATION: &str = "_dl_debug_state";

/// Where the code of glibc's dynamic linker lies.
pub fn linker_code(space: &AddressSpace) -> Option<Range<u64>> {
    let is_linker = |id| space.module(id).elf.as_ref().is_ok_and(|elf| discover::is_dynamic_linker(elf));
    let named = |id: &ModuleId| is_linker_name(space.module(*id).path.file_name()?.to_str()?).then_some(());
    let mapped =
        space.mappings().iter().find(|m| m.module.filter(|id| named(id).is_some()).is_some_and(is_linker));
    mapped.map(|m| m.mapping.start..m.mapping.end)
}

/// A probe on the dynamic linker's notification, if `module` is the dynamic linker.
pub fn linker_site(space: &AddressSpace, id: ModuleId) -> Option<ProbeSite> {
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
        .find(|s| s.is_definition() && s.name() == Ok(NOTIFICATION))?;
    Some(ProbeSite {
        program: LIBRARIES_CHANGED,
        function: NOTIFICATION.to_owned(),
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

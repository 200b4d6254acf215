//! Everything that is read before the kernel side is loaded: mappings, allocators, unwind rows.

use super::modules::address_space;
use super::{Config, Told, Watcher, seccomp, usage};
use crate::collect::{Collectors, Unwinding};
use crate::failure::Failure;
use crate::process::{AddressSpace, Host, ModuleId, Process, inspect};
use crate::runtime::{Options, Runtimes};

/// What is known before the attach.
pub(super) struct Prepared {
    pub(super) process: Process,
    pub(super) space: AddressSpace,
    pub(super) runtimes: Runtimes,
    pub(super) collectors: Collectors,
    /// The program that runs another one inside itself, if the target is one.
    pub(super) host: Option<&'static Host>,
    pub(super) unwinding: Unwinding,
}

/// Reads all that is needed about `process`.
pub(super) fn prepare(
    process: Process,
    config: &Config,
    watcher: &mut dyn Watcher,
) -> Result<Prepared, Failure> {
    usage::raise_file_limit();
    let threads = inspect::thread_count(process.pid).unwrap_or(0);
    let mut collectors = Collectors::of(&config.wishes, threads);
    if collectors.iter().any(|collector| collector.probes()) {
        seccomp::check(&process)?;
    }
    let mut space = address_space(&process)?;
    let host = Host::of(&process, &space);
    if let Some(host) = host {
        watcher.warn(&host.sentence());
    }
    let modules: Vec<ModuleId> = space.modules().map(|(id, _)| id).collect();
    watcher.detail(&format!("{} mapped files", modules.len()));
    if host.is_none_or(|host| host.probes) {
        collectors.iter_mut().for_each(|collector| collector.plan(&space, &modules, &mut Told(watcher)));
    }
    let options = Options { most_held: config.holders, ..Options::default() };
    let runtimes = Runtimes::find(&process, &space, options, &mut Told(watcher));
    let unwinding = Unwinding::build(&space, runtimes.rows(), &mut Told(watcher));
    space.forget_caches();
    Ok(Prepared { process, space, runtimes, collectors, host, unwinding })
}

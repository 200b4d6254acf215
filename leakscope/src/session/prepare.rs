//! Everything that is read before the kernel side is loaded: mappings, allocators, unwind rows.

use std::collections::HashMap;

use leakscope_common::unwind::{BUCKET_SHIFT, MappingEntry};

use super::modules::{Visible, address_space, look};
use super::probes::FileProbes;
use super::{Config, Log, Watcher, seccomp, usage};
use crate::bpf::object::Sizes;
use crate::failure::Failure;
use crate::losses;
use crate::process::{AddressSpace, Host, MappedModule, ModuleId, Process};
use crate::runtime::{CodeRows, Opened, Options, Runtimes};
use crate::unwind::{self, FileRows, FileSlot, RowStats, TableFull, UnwindTable};

/// Fewest sites (distinct allocating stacks) that the map holds.
const MIN_SITES: u32 = 1 << 16;
/// Most of them.
const MAX_SITES: u32 = 1 << 20;
/// Fewest threads that the map holds; more for a target that has more.
const MIN_THREADS: u32 = 1 << 14;
/// Most of them.
const MAX_THREADS: u32 = 1 << 20;
/// Wait sites that the map holds: distinct stacks that block, for each thing that they wait on.
const WAIT_SITES: u32 = 1 << 14;
/// Pairs of waker and wait site.
const WAKES: u32 = 1 << 14;
/// Stacks that create threads.
const CREATIONS: u32 = 1 << 12;
/// Room for rows of libraries loaded later.
const SPARE_ROWS: u32 = 1 << 18;
/// Room for their buckets.
const SPARE_BUCKETS: u32 = 1 << 14;

/// Most rows that are uploaded, 8 bytes each: 512 MiB.
const MAX_ROWS: u32 = 1 << 26;
/// Most buckets, 8 bytes each in the kernel: enough for 16 GiB of code.
const MAX_BUCKETS: u32 = 1 << 24;

/// What is known before the attach.
pub(super) struct Prepared {
    pub(super) process: Process,
    pub(super) space: AddressSpace,
    /// Its runtimes.
    pub(super) runtimes: Runtimes,
    pub(super) probes: Vec<FileProbes>,
    /// The program that runs another one inside itself, if the target is one.
    pub(super) host: Option<&'static Host>,
    pub(super) files_searched: usize,
    pub(super) unwinding: Unwinding,
    pub(super) sizes: Sizes,
}

/// The unwind table and which files are in it.
pub(super) struct Unwinding {
    pub(super) table: UnwindTable,
    slots: HashMap<ModuleId, FileSlot>,
    /// Files whose rows did not fit.
    pub(super) full: u64,
    /// Files whose unwind information was too much or too damaged to be taken whole.
    pub(super) incomplete: u64,
}

impl Unwinding {
    /// The rows of everything that is mapped, and how many rows and buckets the maps should hold.
    pub(super) fn build(
        space: &AddressSpace,
        runtimes: &Runtimes,
        watcher: &mut dyn Watcher,
    ) -> (Self, u32, u32) {
        let mut built = Vec::new();
        // Code of a runtime may have tables of its own.
        let mut own: HashMap<ModuleId, CodeRows> = runtimes.opened().filter_map(Opened::rows).collect();
        for (id, module) in space.modules() {
            let Ok(elf) = &module.elf else { continue };
            let own = own.remove(&id);
            let rows = unwind::build(elf, own.as_ref().map(|own| own.text));
            if let Some(own) = own {
                built.push((id, rows.unwrap_or_else(|_| FileRows::none()).replaced(own.text, own.rows)));
                continue;
            }
            match rows {
                Ok(rows) => {
                    let RowStats { followed, not_followed, .. } = rows.stats();
                    if followed + not_followed > 0 {
                        watcher.detail(&format!(
                            "{}: {followed} functions without unwind tables were followed by their code, \
                             {not_followed} could not be",
                            module.path.display()
                        ));
                    }
                    built.push((id, rows));
                }
                Err(error) => watcher
                    .detail(&format!("{}: {error}; frame pointers are used there", module.path.display())),
            }
        }
        // Saturating: what exceeds the tables is refused file by file, and counted.
        let rows = built.iter().fold(0u32, |sum, (_, r)| sum.saturating_add(r.slots() as u32 + 1));
        let buckets = built.iter().fold(0u32, |sum, (_, r)| {
            sum.saturating_add(r.rows().last().map_or(0, |last| (last.pc >> BUCKET_SHIFT) + 2))
        });
        let rows = rows.saturating_add(rows / 8).saturating_add(SPARE_ROWS).min(MAX_ROWS);
        let buckets = buckets.saturating_add(buckets / 8).saturating_add(SPARE_BUCKETS).min(MAX_BUCKETS);
        let table = UnwindTable::new(rows, buckets);
        let mut unwinding = Self { table, slots: HashMap::new(), full: 0, incomplete: 0 };
        for (id, rows) in &built {
            unwinding.add(*id, rows);
        }
        watcher.detail(&format!("{} unwind rows", unwinding.table.row_count()));
        (unwinding, rows, buckets)
    }

    /// Adds the rows of a file. A file without rows is unwound by frame pointers.
    fn add(&mut self, id: ModuleId, rows: &unwind::FileRows) {
        self.incomplete += u64::from(rows.stats().truncated);
        match self.table.add_file(rows) {
            Ok(slot) => {
                self.slots.insert(id, slot);
            }
            Err(TableFull::Rows { .. } | TableFull::Buckets { .. }) => self.full += 1,
        }
    }

    /// Adds files that were mapped later.
    pub(super) fn add_modules(&mut self, space: &AddressSpace, modules: &[ModuleId]) {
        for &id in modules {
            if let Some(Ok(rows)) = space.module(id).elf.as_ref().ok().map(|elf| unwind::build(elf, None)) {
                self.add(id, &rows);
            }
        }
    }

    /// What could not be taken, by name.
    pub(super) fn losses(&self) -> [(&'static str, u64); 2] {
        [(losses::ROWS_FULL, self.full), (losses::ROWS_INCOMPLETE, self.incomplete)]
    }

    /// The mapping table for the kernel side.
    pub(super) fn mappings(&self, space: &AddressSpace) -> Vec<MappingEntry> {
        let entry = |m: &MappedModule| {
            let id = m.module?;
            let (slot, elf) = (*self.slots.get(&id)?, space.module(id).elf.as_ref().ok()?);
            unwind::mapping_entry(elf, slot, &m.mapping)
        };
        let entry = |m: &MappedModule| entry(m).unwrap_or_else(|| unwind::anonymous_entry(&m.mapping));
        space.mappings().iter().map(entry).collect()
    }
}

/// Reads all that is needed about `process`.
pub(super) fn prepare(
    process: Process,
    config: &Config,
    watcher: &mut dyn Watcher,
) -> Result<Prepared, Failure> {
    usage::raise_file_limit();
    let (mut space, probes, warnings) = if config.tracing.heap {
        seccomp::check(&process)?;
        let Visible { space, files, warnings, .. } = look(&process)?;
        (space, files, warnings)
    } else {
        (address_space(&process)?, Vec::new(), Vec::new())
    };
    let host = Host::of(&process, &space);
    let probing = host.is_none_or(|host| host.probes);
    if let Some(host) = host {
        watcher.warn(&host.sentence());
    }
    let probes = if probing { probes } else { Vec::new() };
    let modules: Vec<ModuleId> = space.modules().map(|(id, _)| id).collect();
    watcher.detail(&format!("{} mapped files", modules.len()));
    for warning in &warnings {
        watcher.warn(warning);
    }
    for file in &probes {
        for probe in &file.plan.probes {
            let place = &probe.placement;
            watcher.detail(&format!(
                "{}: {} at +{:#x} `{}`",
                space.module(file.module).path.display(),
                probe.name(),
                place.distance,
                place.instruction
            ));
            for warning in &probe.warnings {
                watcher.detail(warning);
            }
        }
    }
    let runtimes = Runtimes::find(&process, &space, Options::default(), &mut Log(watcher));
    let (unwinding, rows, buckets) = Unwinding::build(&space, &runtimes, watcher);
    space.forget_caches();
    let threads = usage::threads(process.pid).unwrap_or(0);
    let threads =
        u32::try_from(threads.saturating_mul(2)).unwrap_or(u32::MAX).clamp(MIN_THREADS, MAX_THREADS);
    let (heap, waits) = (config.tracing.heap, config.tracing.waits);
    let mut sizes = Sizes {
        live: if heap { config.max_live } else { 1 },
        sites: if heap { (config.max_live / 8).clamp(MIN_SITES, MAX_SITES) } else { 1 },
        rows,
        buckets,
        threads,
        wait_sites: if waits { WAIT_SITES } else { 1 },
        wakes: if waits { WAKES } else { 1 },
        creations: CREATIONS,
        ..Sizes::CENSUS
    };
    for opened in runtimes.opened() {
        opened.reserve(config.tracing, &mut sizes);
    }
    Ok(Prepared { process, files_searched: modules.len(), space, runtimes, probes, host, unwinding, sizes })
}

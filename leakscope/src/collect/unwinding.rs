//! The unwind rows of a target's code, for the kernel side and for walks in userspace: shared by all that take
//! stacks.

use std::collections::{HashMap, HashSet};

use leakscope_common::config::MAX_FILE_PARTS;
use leakscope_common::unwind::{BUCKET_SHIFT, MappingEntry, Row};

use super::Log;
use crate::bpf::BpfError;
use crate::bpf::maps::MapSize;
use crate::bpf::object::Object;
use crate::bpf::tables::Tables;
use crate::losses;
use crate::process::{AddressSpace, MappedModule, ModuleId};
use crate::unwind::{self, FileRows, FileSlot, RowStats, TableFull, UnwindTable};

/// Room for rows of libraries loaded later.
const SPARE_ROWS: u32 = 1 << 18;
/// Room for their buckets.
const SPARE_BUCKETS: u32 = 1 << 14;
/// Most rows that are uploaded, 8 bytes each: 512 MiB.
const MAX_ROWS: u32 = 1 << 26;
/// Most buckets, 8 bytes each in the kernel: enough for 16 GiB of code.
const MAX_BUCKETS: u32 = 1 << 24;

/// Rows of code whose runtime has unwind tables of its own.
#[derive(Clone, Debug)]
pub struct OwnRows {
    /// The file that holds the code.
    pub module: ModuleId,
    /// First virtual address of the code and the one after its last.
    pub text: (u32, u32),
    /// Its rows, by address; the first lies at the start of the code.
    pub rows: Vec<Row>,
    /// Whether there were more than are taken.
    pub truncated: bool,
}

/// The unwind table and which files are in it.
#[derive(Debug)]
pub struct Unwinding {
    table: UnwindTable,
    slots: HashMap<ModuleId, FileSlot>,
    /// Files some of whose rows are of their runtime.
    with_own: HashSet<ModuleId>,
    /// Rows and buckets that the kernel side has room for.
    room: (u32, u32),
    /// Files whose parts the kernel side was told.
    told: HashSet<ModuleId>,
    /// How many parts they have.
    parts: u32,
    /// The kernel side's copy, once that is loaded.
    tables: Option<Tables>,
    /// Files whose rows did not fit.
    full: u64,
    /// Files whose unwind information was too much or too damaged to be taken whole.
    incomplete: u64,
    /// Mappings that did not fit the table.
    mappings_lost: u64,
}

impl Unwinding {
    /// The rows of everything that is mapped.
    pub fn build(space: &AddressSpace, own: impl IntoIterator<Item = OwnRows>, log: &mut dyn Log) -> Self {
        let mut built = Vec::new();
        let mut with_own = HashSet::new();
        let mut own: HashMap<ModuleId, OwnRows> = own.into_iter().map(|own| (own.module, own)).collect();
        for (id, module) in space.modules() {
            let Ok(elf) = &module.elf else { continue };
            let own = own.remove(&id);
            let rows = unwind::build(elf, own.as_ref().map(|own| own.text));
            if let Some(own) = own {
                with_own.insert(id);
                built.push((id, rows.unwrap_or_else(|_| FileRows::none()).replaced(own.text, own.rows)));
                continue;
            }
            match rows {
                Ok(rows) => {
                    let RowStats { followed, not_followed, .. } = rows.stats();
                    if followed + not_followed > 0 {
                        log.detail(&format!(
                            "{}: {followed} functions without unwind tables were followed by their code, \
                             {not_followed} could not be",
                            module.path.display()
                        ));
                    }
                    built.push((id, rows));
                }
                Err(error) => {
                    log.detail(&format!("{}: {error}; frame pointers are used there", module.path.display()));
                }
            }
        }
        // Saturating: what exceeds the tables is refused file by file, and counted.
        let rows = built.iter().fold(0u32, |sum, (_, r)| sum.saturating_add(r.slots() as u32 + 1));
        let buckets = built.iter().fold(0u32, |sum, (_, r)| {
            sum.saturating_add(r.rows().last().map_or(0, |last| (last.pc >> BUCKET_SHIFT) + 2))
        });
        let rows = rows.saturating_add(rows / 8).saturating_add(SPARE_ROWS).min(MAX_ROWS);
        let buckets = buckets.saturating_add(buckets / 8).saturating_add(SPARE_BUCKETS).min(MAX_BUCKETS);
        let mut unwinding = Self {
            table: UnwindTable::new(rows, buckets),
            slots: HashMap::new(),
            with_own,
            room: (rows, buckets),
            told: HashSet::new(),
            parts: 0,
            tables: None,
            full: 0,
            incomplete: 0,
            mappings_lost: 0,
        };
        for (id, rows) in &built {
            unwinding.add(*id, rows);
        }
        log.detail(&format!("{} unwind rows", unwinding.table.row_count()));
        unwinding
    }

    /// Sizes of the maps, where the kernel side unwinds.
    pub fn maps(&self) -> [MapSize; 2] {
        let (rows, buckets) = self.room;
        [MapSize { name: "ROWS", entries: rows }, MapSize { name: "BUCKETS", entries: buckets }]
    }

    /// Adds the rows of a file. A file without rows is unwound by frame pointers.
    fn add(&mut self, id: ModuleId, rows: &FileRows) {
        self.incomplete += u64::from(rows.stats().truncated);
        match self.table.add_file(rows) {
            Ok(slot) => {
                self.slots.insert(id, slot);
            }
            Err(TableFull::Rows { .. } | TableFull::Buckets { .. }) => self.full += 1,
        }
    }

    /// Adds files that were mapped later.
    pub fn add_modules(&mut self, space: &AddressSpace, modules: &[ModuleId]) {
        for &id in modules.iter() {
            if !self.slots.contains_key(&id)
                && let Some(Ok(rows)) = space.module(id).elf.as_ref().ok().map(|elf| unwind::build(elf, None))
            {
                self.add(id, &rows);
            }
        }
    }

    /// Has rows of their runtimes take the place of others in files that were mapped later.
    pub fn take_own(
        &mut self,
        object: &mut Object,
        space: &AddressSpace,
        all: Vec<OwnRows>,
    ) -> Result<(), BpfError> {
        for own in all {
            let Ok(elf) = &space.module(own.module).elf else { continue };
            if self.with_own.insert(own.module) {
                let rows = unwind::build(elf, Some(own.text)).unwrap_or_else(|_| FileRows::none());
                self.add(own.module, &rows.replaced(own.text, own.rows));
                self.told.remove(&own.module);
            }
        }
        self.upload(object, space)
    }

    /// Adds files that were mapped, but never when somebody looked, and writes what the kernel side does not have of
    /// them: they may come again.
    pub fn learn(&mut self, object: &mut Object, space: &AddressSpace) -> Result<(), BpfError> {
        let new: Vec<_> = space.unmet().filter(|id| !self.slots.contains_key(id)).collect();
        self.add_modules(space, &new);
        self.write_rows(object)?;
        self.tell_parts(object, space)
    }

    /// Tells the kernel side which parts of files there are rows of, wherever they will be mapped.
    fn tell_parts(&mut self, object: &mut Object, space: &AddressSpace) -> Result<(), BpfError> {
        for (&id, &slot) in &self.slots {
            if self.told.contains(&id) {
                continue;
            }
            let (Ok(elf), Some(printed)) = (&space.module(id).elf, space.printed(id)) else { continue };
            self.told.insert(id);
            for (part, rows) in unwind::file_parts(elf, slot, printed) {
                if self.parts < MAX_FILE_PARTS {
                    object.insert("FILE_PARTS", part, rows)?;
                    self.parts += 1;
                }
            }
        }
        Ok(())
    }

    /// What could not be taken, by name.
    pub fn losses(&self) -> [(&'static str, u64); 3] {
        [
            (losses::ROWS_FULL, self.full),
            (losses::ROWS_INCOMPLETE, self.incomplete),
            (losses::MAPPINGS_FULL, self.mappings_lost),
        ]
    }

    /// The rows.
    pub fn table(&self) -> &UnwindTable {
        &self.table
    }

    /// The mapping table: which rows hold where.
    pub fn mappings(&self, space: &AddressSpace) -> Vec<MappingEntry> {
        let entry = |m: &MappedModule| {
            let id = m.module?;
            let (slot, elf) = (*self.slots.get(&id)?, space.module(id).elf.as_ref().ok()?);
            unwind::mapping_entry(elf, slot, &m.mapping)
        };
        let entry = |m: &MappedModule| entry(m).unwrap_or_else(|| unwind::anonymous_entry(&m.mapping));
        space.mappings().iter().map(entry).collect()
    }

    /// Writes rows and mappings that the kernel side does not have yet.
    pub fn upload(&mut self, object: &mut Object, space: &AddressSpace) -> Result<(), BpfError> {
        let mappings = self.mappings(space);
        let tables = self.write_rows(object)?;
        self.mappings_lost = tables.publish(object, &mappings)? as u64;
        self.tell_parts(object, space)
    }

    fn write_rows(&mut self, object: &Object) -> Result<&mut Tables, BpfError> {
        let tables = match self.tables.take() {
            Some(tables) => tables,
            None => Tables::map(object, self.room.0, self.room.1)?,
        };
        let tables = self.tables.insert(tables);
        let pending = self.table.pending();
        tables.write_rows(pending.row_start, pending.rows, pending.bucket_start, pending.buckets)?;
        self.table.mark_uploaded();
        Ok(tables)
    }
}

//! The target's executable mappings with the files behind them, kept up to date.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Write as _;

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::MemfdFlags;
use serde::{Deserialize, Serialize};

use super::elf::{ElfError, ElfFile};
use super::mapped::{History, Identity, MappedCode, MappedFile, Names};
use super::maps::{self, FileId, Mapping, MappingKind};
use super::remapped;
use super::seen::Seen;

/// Index of a module; stays valid for the life of the [`AddressSpace`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ModuleId(pub usize);

/// A file that is, or was, mapped executable.
#[derive(Debug)]
pub struct Module {
    /// Name: the path as the target sees it, or `[vdso]`.
    pub path: PathBuf,
    /// Identity; `None` for the vDSO, and for a file that could not be opened.
    pub id: Option<FileId>,
    /// The open file, or why there is none.
    pub elf: Result<Rc<ElfFile>, ElfError>,
    /// A path that opens the mapped file while it is mapped: where probes are attached; empty for the vDSO.
    pub probe_path: PathBuf,
}

impl Module {
    /// Whether it is a file, not the vDSO.
    pub fn is_file(&self) -> bool {
        !self.probe_path.as_os_str().is_empty()
    }

    /// Its build ID in hexadecimal digits, where that is known.
    pub fn build_id_text(&self) -> Option<String> {
        match &self.elf {
            Ok(elf) => elf.build_id_text(),
            Err(ElfError::Recorded { build_id }) => build_id.clone(),
            Err(_) => None,
        }
    }
}

/// A mapping and the module behind it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MappedModule {
    pub mapping: Mapping,
    /// Its module; `None` for anonymous memory and other special mappings.
    pub module: Option<ModuleId>,
    /// Runtime address minus the file's virtual address; meaningful with a module.
    pub bias: u64,
}

impl MappedModule {
    /// Where an address in it lies.
    fn place(&self, address: u64) -> Location {
        match self.module {
            Some(module) => Location::Module(module, address.wrapping_sub(self.bias)),
            None => Location::Anonymous,
        }
    }
}

/// Where an address lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Location {
    /// In a module, at this virtual address of its file.
    Module(ModuleId, u64),
    /// In executable memory without a file.
    Anonymous,
    /// In no known executable mapping.
    Unmapped,
}

/// The executable part of the target's address space.
#[derive(Debug, Default)]
pub struct AddressSpace {
    pid: u32,
    pub(super) mappings: Vec<MappedModule>,
    pub(super) modules: Vec<Module>,
    /// Modules by the identity of their file; several only where that is not what it should be.
    by_file: HashMap<FileId, Vec<ModuleId>>,
    /// Modules whose file could not be opened.
    unopened: HashMap<(FileId, PathBuf), ModuleId>,
    vdso: Option<ModuleId>,
    /// Ranges without a file that hold no file's code, so that they are compared once.
    run_time_code: HashSet<(u64, u64)>,
    /// What was mapped at an earlier moment that is being looked at, where that was something else.
    pub(super) then: Vec<MappedModule>,
    /// What was mapped since the kernel tells that.
    pub(super) past: History,
    /// Files that are looked for by their names.
    names: Names,
    /// Records of what was mapped that were lost, of whatever process.
    records_lost: u64,
    /// See [`Self::is_in_doubt`].
    doubted: Cell<bool>,
    /// Modules by what the kernel printed of them.
    pub(super) by_print: HashMap<(FileId, PathBuf), ModuleId>,
    /// Modules that [`Self::refresh`] has yet to return: they have been gone whenever it looked.
    pub(super) unmet: Vec<ModuleId>,
    /// Those that went while it looks.
    gone: Vec<ModuleId>,
}

impl AddressSpace {
    /// Reads the mappings of `pid` and opens their files.
    pub fn read(pid: u32) -> std::io::Result<Self> {
        let mut space = Self { pid, ..Self::default() };
        space.refresh()?;
        Ok(space)
    }

    /// Reads the mappings again; modules keep their IDs. Returns the new modules.
    ///
    /// Modules that are gone keep their open files, so that what was seen in them still symbolizes.
    pub fn refresh(&mut self) -> std::io::Result<Vec<ModuleId>> {
        let all = maps::all(self.pid)?;
        if !all.iter().any(|(_, executable)| *executable) {
            // It has ended: what is still to come was seen in the mappings of before.
            return Ok(Vec::new());
        }
        self.then.clear();
        let known = self.modules.len();
        let code = (0..all.len()).filter(|&index| all[index].1);
        self.mappings = code
            .map(|index| match all[index].0.kind {
                MappingKind::Anonymous => self.remapped(&all, index),
                _ => self.attach_module(all[index].0.clone()),
            })
            .collect();
        let gone = std::mem::take(&mut self.gone);
        let met = |id: &ModuleId| {
            self.mappings.iter().any(|mapped| mapped.module == Some(*id)) && !gone.contains(id)
        };
        let (mut new, unmet): (Vec<_>, Vec<_>) = std::mem::take(&mut self.unmet).into_iter().partition(met);
        new.extend((known..self.modules.len()).map(ModuleId).filter(|id| !unmet.contains(id)));
        self.unmet = unmet;
        Ok(new)
    }

    /// Has [`Self::locate`] tell what was mapped at a moment that has passed, until the next refresh: a library may
    /// be gone by the time that somebody asks.
    pub fn as_of(&mut self, seen: Seen) {
        let now = |mapping: &Mapping, all: &[MappedModule]| {
            all.binary_search_by_key(&mapping.start, |mapped| mapped.mapping.start)
                .ok()
                .map(|at| all[at].clone())
                .filter(|mapped| (mapped.mapping.end, mapped.mapping.offset) == (mapping.end, mapping.offset))
                .filter(|mapped| mapped.mapping.kind == mapping.kind)
        };
        for (printed, path, file) in seen.files {
            self.keep(printed, path, file);
        }
        self.remember(&seen.mapped);
        self.records_lost = self.records_lost.saturating_add(seen.lost);
        self.then.clear();
        for mapping in seen.code {
            let MappingKind::File { printed, path, .. } = &mapping.kind else { continue };
            if now(&mapping, &self.mappings).is_some() {
                continue;
            }
            if let Some(&module) = self.by_print.get(&(*printed, path.clone())) {
                let placed = self.placed(mapping, Some(module));
                self.then.push(placed);
            }
        }
    }

    /// Keeps a file that was mapped, if it is not known.
    fn keep(&mut self, printed: FileId, path: PathBuf, file: File) {
        let Ok(metadata) = file.metadata() else { return };
        let id = FileId::of(&metadata);
        let known = self.by_file.get(&id).into_iter().flatten().copied();
        let known = known.into_iter().find(|&known| self.module(known).path == path);
        let module =
            known.unwrap_or_else(|| self.add_unmet(path.clone(), id, ElfFile::from_file(file).map(Rc::new)));
        self.by_print.insert((printed, path), module);
    }

    /// Adds a file that no look at the mappings has met.
    fn add_unmet(&mut self, path: PathBuf, id: FileId, elf: Result<Rc<ElfFile>, ElfError>) -> ModuleId {
        let module = self.add(Module { path: path.clone(), id: Some(id), elf, probe_path: path });
        self.by_file.entry(id).or_default().push(module);
        self.unmet.push(module);
        module
    }

    /// Remembers what the kernel told was mapped.
    fn remember(&mut self, mapped: &[MappedCode]) {
        let mut past = std::mem::take(&mut self.past);
        for code in mapped {
            past.add(code, |file| {
                let module = self.told_module(file);
                let kind = MappingKind::File {
                    printed: file.identity.printed(),
                    path: file.path.clone(),
                    deleted: file.deleted,
                };
                let mapping = Mapping { start: code.start, end: code.end, offset: file.offset, kind };
                self.placed(mapping, Some(module))
            });
        }
        self.past = past;
    }

    /// The module of a file that the kernel told of.
    fn told_module(&mut self, file: &MappedFile) -> ModuleId {
        let is_it = |elf: &Result<Rc<ElfFile>, ElfError>| match &file.identity {
            Identity::BuildId(id) => elf.as_ref().is_ok_and(|elf| elf.build_id() == Some(id)),
            Identity::Printed(_) => false,
        };
        let printed = self.by_print.get(&(file.identity.printed(), file.path.clone())).copied();
        let same = || self.modules().find(|(_, module)| module.path == file.path && is_it(&module.elf));
        let known = printed.or_else(|| same().map(|(id, _)| id)).or_else(|| self.names.known(file));
        if let Some(known) = known {
            return known;
        }
        let module = match self.names.open(self.pid, file) {
            Ok((id, elf)) => self.add_unmet(file.path.clone(), id, Ok(Rc::new(elf))),
            Err(error) => {
                let (path, probe_path) = (file.path.clone(), file.path.clone());
                self.add(Module { path, id: None, elf: Err(error), probe_path })
            }
        };
        self.names.learn(file, module);
        module
    }

    /// How often a file was mapped where stacks had been seen in another one.
    pub fn replaced(&self) -> u64 {
        self.past.replaced()
    }

    /// How much of what was mapped since the kernel tells that is not known.
    pub fn records_lost(&self) -> u64 {
        self.records_lost.saturating_add(self.past.left_out())
    }

    fn attach_module(&mut self, mapping: Mapping) -> MappedModule {
        let module = match &mapping.kind {
            MappingKind::File { printed, path, deleted } => {
                Some(self.file_module(&mapping, (*printed, path, *deleted)))
            }
            MappingKind::Vdso => {
                if self.vdso.is_none() {
                    self.vdso = Some(self.add(Module {
                        path: PathBuf::from("[vdso]"),
                        id: None,
                        elf: dump_vdso(&mapping, self.pid),
                        probe_path: PathBuf::new(),
                    }));
                }
                self.vdso
            }
            MappingKind::Anonymous | MappingKind::Special(_) => None,
        };
        self.placed(mapping, module)
    }

    fn placed(&self, mapping: Mapping, module: Option<ModuleId>) -> MappedModule {
        let bias = module
            .and_then(|m| self.modules[m.0].elf.as_ref().ok())
            .and_then(|elf| elf.bias(mapping.start, mapping.offset))
            .unwrap_or(mapping.start.wrapping_sub(mapping.offset));
        MappedModule { mapping, module, bias }
    }

    /// The module of a mapped file. The mapping itself is opened, so it does not matter what its name means
    /// here, or to whom.
    fn file_module(
        &mut self,
        mapping: &Mapping,
        (printed, path, deleted): (FileId, &Path, bool),
    ) -> ModuleId {
        let probe_path = mapping.map_files_path(self.pid);
        if let Ok(metadata) = std::fs::metadata(&probe_path) {
            let known = self.by_file.get(&FileId::of(&metadata)).into_iter().flatten();
            if let Some(same) = known.copied().find(|&id| self.module(id).path == path) {
                if self.unmet.contains(&same) {
                    self.modules[same.0].probe_path = probe_path;
                }
                return same;
            }
        }
        let opened = crate::files::linked(&probe_path).and_then(|file| Ok((file.metadata()?, file)));
        let (metadata, file) = match opened {
            Ok(opened) => opened,
            // The link goes with the mapping.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let identity = Identity::Printed(printed);
                let (path, offset) = (path.to_owned(), mapping.offset);
                let gone = self.told_module(&MappedFile { path, deleted, offset, identity });
                self.gone.push(gone);
                return gone;
            }
            Err(error) => {
                let name = (printed, path.to_owned());
                if let Some(&known) = self.unopened.get(&name) {
                    return known;
                }
                let elf = Err(ElfError::Io(error));
                let id = self.add(Module { path: path.to_owned(), id: None, elf, probe_path });
                self.unopened.insert(name, id);
                return id;
            }
        };
        let id = FileId::of(&metadata);
        let elf = ElfFile::from_file(file).map(Rc::new);
        let known = self.by_file.get(&id).into_iter().flatten();
        // Another name of the same file, unless what is in it says otherwise.
        let same = known.copied().find(|&known| match (&self.module(known).elf, &elf) {
            (Ok(known), Ok(elf)) => known.build_id() == elf.build_id(),
            (known, elf) => known.is_err() && elf.is_err(),
        });
        if let Some(same) = same {
            return same;
        }
        let module = self.add(Module { path: path.to_owned(), id: Some(id), elf, probe_path });
        self.by_file.entry(id).or_default().push(module);
        module
    }

    /// A mapping without a file, with the file whose code it holds, if there is one.
    fn remapped(&mut self, all: &[(Mapping, bool)], index: usize) -> MappedModule {
        let mapping = &all[index].0;
        let known = |m: &&MappedModule| {
            m.module.is_some() && (m.mapping.start, m.mapping.end) == (mapping.start, mapping.end)
        };
        if let Some(known) = self.mappings.iter().find(known) {
            return known.clone();
        }
        let range = (mapping.start, mapping.end);
        if !self.run_time_code.contains(&range) {
            for neighbour in remapped::neighbours(all, index) {
                if let Some(offset) = self.offset_in(neighbour, mapping) {
                    let module = self.attach_module(neighbour.clone()).module;
                    return self.placed(Mapping { offset, ..mapping.clone() }, module);
                }
            }
            self.run_time_code.insert(range);
        }
        MappedModule { mapping: mapping.clone(), module: None, bias: mapping.start }
    }

    /// The offset that a mapping's code has in the file of a neighbour, if it is that file's.
    fn offset_in(&self, neighbour: &Mapping, mapping: &Mapping) -> Option<u64> {
        let file = crate::files::linked(&neighbour.map_files_path(self.pid)).ok()?;
        let elf = ElfFile::from_file(file).ok()?;
        let offset = remapped::offset(&elf, neighbour, mapping)?;
        remapped::holds_the_files_code(&elf, self.pid, mapping, offset).then_some(offset)
    }

    /// Whether the code at an offset of a module's file was moved to memory without a file. The kernel places
    /// no probe there.
    pub fn is_remapped(&self, module: ModuleId, offset: u64) -> bool {
        self.mappings.iter().any(|m| {
            let into = offset.checked_sub(m.mapping.offset);
            m.module == Some(module)
                && m.mapping.kind == MappingKind::Anonymous
                && into.is_some_and(|into| into < m.mapping.end - m.mapping.start)
        })
    }

    fn add(&mut self, module: Module) -> ModuleId {
        self.modules.push(module);
        ModuleId(self.modules.len() - 1)
    }

    /// Drops what was read of the files; they stay open and are read again as needed.
    pub fn forget_caches(&mut self) {
        for elf in self.modules.iter_mut().filter_map(|m| m.elf.as_mut().ok()) {
            if let Some(elf) = Rc::get_mut(elf) {
                elf.forget_cache();
            }
        }
    }

    /// Where `address` lay at a moment that has passed, CLOCK_MONOTONIC in ns.
    pub fn locate_at(&self, address: u64, at_ns: u64) -> Location {
        if self.past.is_empty() {
            return self.locate(address);
        }
        let now = self.locate(address);
        let Some(found) = self.past.at(address, at_ns) else { return now };
        let told = found.place(address);
        // After a loss, what came in its place may be what was not told.
        if now != told && now != Location::Unmapped && self.records_lost() > 0 {
            self.doubted.set(true);
            return now;
        }
        told
    }

    /// Whether a loss made it unsure which code lay at an address that was asked for.
    pub fn is_in_doubt(&self) -> bool {
        self.doubted.get()
    }

    /// Where `address` lies now, or at the moment of [`Self::as_of`].
    pub fn locate(&self, address: u64) -> Location {
        let found = found(&self.then, address).or_else(|| found(&self.mappings, address));
        found.map_or(Location::Unmapped, |found| found.place(address))
    }

    /// The mappings, sorted by address.
    pub fn mappings(&self) -> &[MappedModule] {
        &self.mappings
    }

    pub fn module(&self, id: ModuleId) -> &Module {
        &self.modules[id.0]
    }

    /// All modules with their IDs.
    pub fn modules(&self) -> impl Iterator<Item = (ModuleId, &Module)> {
        self.modules.iter().enumerate().map(|(i, m)| (ModuleId(i), m))
    }
}

/// The mapping that holds an address; they are sorted.
fn found(mappings: &[MappedModule], address: u64) -> Option<&MappedModule> {
    let after = mappings.partition_point(|m| m.mapping.start <= address);
    mappings.get(after.checked_sub(1)?).filter(|m| address < m.mapping.end)
}

/// Most bytes that a vDSO is taken to have; today's have 8 KiB.
const VDSO_MAX: u64 = 1 << 20;

/// Copies the vDSO out of the target's memory into a file of ours, so that it is read like others.
fn dump_vdso(mapping: &Mapping, pid: u32) -> Result<Rc<ElfFile>, ElfError> {
    let size = (mapping.end - mapping.start).min(VDSO_MAX);
    let mut image = vec![0; size as usize];
    File::open(format!("/proc/{pid}/mem"))?.read_exact_at(&mut image, mapping.start)?;
    let memory = rustix::fs::memfd_create(c"leakscope-vdso", MemfdFlags::CLOEXEC);
    let mut file = File::from(memory.map_err(std::io::Error::from)?);
    file.write_all(&image)?;
    ElfFile::from_file(file).map(Rc::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At addresses where nothing is mapped now, and by the build ID that the kernel tells.
    #[test]
    fn what_was_mapped_is_located_at_its_time() {
        let mut space = AddressSpace::read(std::process::id()).expect("own address space");
        let here = what_was_mapped_is_located_at_its_time as *const () as u64;
        let Location::Module(own, address) = space.locate(here) else { panic!("own code has a module") };
        let module = space.module(own);
        let elf = module.elf.as_ref().expect("own program");
        let Some(id) = elf.build_id().map(<[u8]>::to_vec) else { return };
        let offset = elf.offset_of_address(address).expect("own code");
        let file = |path: &Path, identity| {
            Some(MappedFile { path: path.to_owned(), deleted: false, offset: offset & !0xfff, identity })
        };
        let code = |at_ns, file| MappedCode { at_ns, start: 0x10_0000, end: 0x20_0000, file };
        let other = file(Path::new("/none.so"), Identity::BuildId(vec![7]));
        let mapped = vec![code(10, file(&module.path, Identity::BuildId(id))), code(20, other)];
        space.as_of(Seen { mapped, lost: 3, ..Seen::default() });
        let at = 0x10_0000 + (offset & 0xfff);
        assert_eq!(space.locate_at(at, 9), Location::Unmapped);
        assert_eq!(space.locate_at(at, 19), Location::Module(own, address));
        let Location::Module(gone, _) = space.locate_at(at, 20) else { panic!("it was told") };
        assert!(matches!(space.module(gone).elf, Err(ElfError::Unmapped)));
        assert_eq!((space.locate_at(here, 20), space.records_lost()), (Location::Module(own, address), 3));
    }

    #[test]
    fn own_code_and_vdso_are_located() {
        let mut space = AddressSpace::read(std::process::id()).expect("own address space");
        let here = own_code_and_vdso_are_located as *const () as u64;
        let Location::Module(module, address) = space.locate(here) else { panic!("own code has a module") };
        let elf = space.module(module).elf.as_ref().expect("own program");
        assert!(elf.offset_of_address(address).is_some());
        assert_eq!(space.locate(8), Location::Unmapped);
        let (_, vdso) = space.modules().find(|(_, m)| !m.is_file()).expect("vDSO");
        assert!(vdso.elf.as_ref().expect("vDSO image").build_id().is_some());
        assert_eq!(space.refresh().expect("refresh"), []);
    }
}

//! A running Go program: where its tables and its runtime's variables lie.

use std::cell::OnceCell;
use std::collections::HashSet;

use super::buildinfo::{self, BuildInfo};
use super::error::GoError;
use super::image::Image;
use super::memory::{Memory, Remote};
use super::moduledata::{self, Part};
use super::offsets::{GLayout, Offsets};
use super::pclntab::{Function, HEADER, Header, LARGEST};
use super::{allgs, calibrate, debug_info, wait_reasons};
use crate::process::{AddressSpace, Location, ModuleId};

/// Most plugins.
const MOST_PARTS: usize = 256;
/// Most bytes of all function tables.
const MOST_TABLES: u64 = 2 * LARGEST;
/// Functions whose inlined calls are checked.
const CHECKED_TREES: u32 = 64;
/// Where `gofunc` is looked for in the description of a part, if the version is not known.
const FIRST_OF_GOFUNC: usize = 256;
const LAST_OF_GOFUNC: usize = 480;
/// The description of a part, in the table of offsets.
const MODULEDATA: &str = "moduledata";

/// A Go program.
#[derive(Debug)]
pub struct Program {
    /// What it says of its making.
    pub info: BuildInfo,
    /// The N of Go 1.N.
    pub minor: u32,
    /// Where members lie.
    pub offsets: Offsets,
    /// Whether `offsets` are known to be of this version, not those of another one.
    pub offsets_known: bool,
    /// Where the members of a goroutine lie.
    pub layout: GLayout,
    /// The program, then its plugins.
    pub parts: Vec<Part>,
    /// Path of its file, as the target names it.
    pub path: String,
    /// Its build ID, in hex.
    pub build_id: Option<String>,
    /// Runtime address minus virtual address.
    pub bias: u64,
    image: Image,
    memory: Box<dyn Memory>,
    /// Where `runtime.allgptr` and `runtime.allglen` lie.
    all: OnceCell<(u64, u64)>,
    reasons: OnceCell<Vec<std::sync::Arc<str>>>,
}

impl std::fmt::Debug for dyn Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Memory")
    }
}

/// What is known of a Go program: that it is one, and how far it can be read.
#[derive(Debug)]
pub struct Found {
    /// The file that it is in.
    pub module: ModuleId,
    /// What it says of its making.
    pub info: BuildInfo,
    /// The program, or why it is not read.
    pub program: Result<Program, GoError>,
}

/// Looks whether `pid` is a Go program, and which libraries it has loaded that are written in Go: all with a runtime
/// of their own, by the addresses of their files. Plugins have none.
pub fn find(pid: u32, space: &AddressSpace, layouts: LayoutSource) -> Vec<Found> {
    let mut looked_at = HashSet::new();
    let modules = space.mappings().iter().filter_map(|mapped| mapped.module);
    let modules = modules.filter(|module| looked_at.insert(*module));
    let mut found: Vec<Found> = modules.filter_map(|id| find_in(pid, space, layouts, id)).collect();
    let plugins: HashSet<ModuleId> = found.iter().flat_map(|found| plugins(found, space)).collect();
    found.retain(|found| !plugins.contains(&found.module));
    found
}

/// Looks whether one of the files of `pid` is written in Go, and no plugin as far as it says itself (since Go 1.21).
pub fn find_in(pid: u32, space: &AddressSpace, layouts: LayoutSource, id: ModuleId) -> Option<Found> {
    let module = space.module(id);
    let elf = module.elf.as_ref().ok()?;
    let info = buildinfo::find(elf)?;
    if info.settings.get("-buildmode").is_some_and(|mode| mode == "plugin") {
        return None;
    }
    let place = ProgramFile {
        path: module.path.display().to_string(),
        elf: std::rc::Rc::clone(elf),
        bias: space.mappings().iter().find(|mapped| mapped.module == Some(id))?.bias,
        memory: Box::new(Remote::of(pid)),
        layouts,
    };
    let program = Program::open(info.clone(), place);
    Some(Found { module: id, info, program })
}

/// The files of a program's plugins.
fn plugins<'a>(found: &'a Found, space: &'a AddressSpace) -> impl Iterator<Item = ModuleId> + 'a {
    let parts = found.program.iter().flat_map(|program| program.parts.iter().skip(1));
    parts.filter_map(|part| match space.locate(part.text.0) {
        Location::Module(module, _) if module != found.module => Some(module),
        _ => None,
    })
}

/// Where layouts come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LayoutSource {
    /// The table where it has the version, else the program's DWARF, else calibration.
    #[default]
    Best,
    /// The program's DWARF alone.
    DebugInfo,
    /// Calibration alone.
    Calibration,
}

/// Where a program lies.
pub struct ProgramFile {
    /// Path of its file.
    pub path: String,
    pub elf: std::rc::Rc<crate::process::ElfFile>,
    /// Runtime address minus the file's virtual address.
    pub bias: u64,
    pub memory: Box<dyn Memory>,
    /// Where layouts come from.
    pub layouts: LayoutSource,
}

impl Program {
    /// Finds what is needed to read goroutines.
    pub fn open(info: BuildInfo, place: ProgramFile) -> Result<Self, GoError> {
        let minor = info.minor().ok_or_else(|| GoError::UnknownVersion(info.version.clone()))?;
        if minor < 18 {
            return Err(GoError::TooOld(info.version));
        }
        let ProgramFile { path, elf, bias, memory, layouts } = place;
        let image = Image::new(Some(std::rc::Rc::clone(&elf)), bias);
        let table =
            moduledata::find_pclntab(&elf, bias).ok_or(GoError::NotFound("the function table (pclntab)"))?;
        let first = moduledata::find(&elf, &image, &*memory, bias, table)
            .ok_or(GoError::NotFound("the runtime's description of the program (moduledata)"))?;
        let mut offsets = Offsets::of(minor);
        let known = layouts == LayoutSource::Best && offsets.is_of(minor);
        let told = !known && layouts != LayoutSource::Calibration && debug_info::add(&elf, &mut offsets);
        let layout = GLayout::new(&offsets).ok_or(GoError::NotFound("the layout of a goroutine"))?;
        let build_id = elf.build_id_text();
        let mut program = Self {
            info,
            minor,
            offsets,
            offsets_known: known || told,
            layout,
            parts: vec![first],
            path,
            build_id,
            bias,
            image,
            memory,
            all: OnceCell::new(),
            reasons: OnceCell::new(),
        };
        if !known && !told {
            program.calibrate()?;
        }
        if !program.names_inlined_functions() {
            return Err(GoError::NotFound("the tree of inlined functions (funcdata)"));
        }
        program.find_plugins();
        Ok(program)
    }

    /// Finds the layout by what must hold.
    fn calibrate(&mut self) -> Result<(), GoError> {
        let layout = calibrate::layout(self, &self.layout);
        self.layout = layout.ok_or(GoError::NotFound("the layout of a goroutine, by calibration,"))?;
        if !self.names_inlined_functions() {
            let found = (FIRST_OF_GOFUNC..LAST_OF_GOFUNC).step_by(8).find(|at| {
                self.offsets.set(MODULEDATA, "gofunc", *at);
                self.names_inlined_functions()
            });
            found.ok_or(GoError::NotFound("the tree of inlined functions (funcdata), by calibration,"))?;
        }
        Ok(())
    }

    /// Whether the place of the function data is right: what is said to be inlined has names, and was
    /// inlined within the bounds of its function.
    fn names_inlined_functions(&self) -> bool {
        let Some(part) = self.parts.first() else { return false };
        let table = &part.pclntab;
        let data = self.offsets.find(MODULEDATA, "gofunc").and_then(|at| part.word(at));
        let (mut checked, mut right) = (0, 0);
        for function in (0..table.functions()).filter_map(|i| table.function(i)) {
            let Some(tree) = table.inline_tree(function) else { continue };
            checked += 1;
            let size = table.inlined_call_size();
            let call = data
                .and_then(|data| self.constant(data.checked_add(u64::from(tree))?, size))
                .and_then(|bytes| table.inlined_call(&bytes));
            let within = |parent: u32| u64::from(parent) < table.end(function) - function.entry;
            right += u32::from(call.is_some_and(|c| within(c.parent) && table.is_name(c)));
            if checked == CHECKED_TREES {
                break;
            }
        }
        right == checked
    }

    /// Follows the list of parts.
    fn find_plugins(&mut self) {
        let Some(next) = self.offsets.find(MODULEDATA, "next") else { return };
        let elsewhere = Image::new(None, 0);
        while self.parts.len() < MOST_PARTS {
            let Some(address) = self.parts.last().and_then(|part| part.word(next)).filter(|a| *a != 0) else {
                return;
            };
            if self.parts.iter().any(|part| part.address == address) {
                return;
            }
            let memory = &*self.memory;
            let header = |table| Header::parse(&memory.bytes(table, HEADER)?);
            let part = memory
                .u64(address)
                .and_then(|table| moduledata::at(&elsewhere, memory, address, table, &header(table)?));
            let Some(part) = part else { return };
            // They may all describe one table.
            let taken: usize = self.parts.iter().map(|part| part.pclntab.size()).sum();
            if (taken + part.pclntab.size()) as u64 > MOST_TABLES {
                return;
            }
            self.parts.push(part);
        }
    }

    /// Whether it has loaded a plugin since its parts were found.
    pub fn has_more_parts(&self) -> bool {
        let Some(next) = self.offsets.find(MODULEDATA, "next") else { return false };
        let last = self.parts.last().map(|part| part.address.wrapping_add(next as u64));
        let more = last.and_then(|at| self.memory.u64(at)).filter(|address| *address != 0);
        more.is_some_and(|address| {
            self.parts.len() < MOST_PARTS && self.parts.iter().all(|p| p.address != address)
        })
    }

    /// The target's memory.
    pub fn memory(&self) -> &dyn Memory {
        &*self.memory
    }

    /// Its file, where that is open.
    pub fn file(&self) -> Option<&std::fs::File> {
        self.image.file()
    }

    /// The same, parsed.
    pub fn elf(&self) -> Option<&crate::process::ElfFile> {
        self.image.elf()
    }

    /// Bytes of the program that do not change.
    pub fn constant(&self, address: u64, length: usize) -> Option<Vec<u8>> {
        self.image.constant(self.memory(), address, length)
    }

    /// Where an address lies in the program's file.
    pub fn file_offset(&self, address: u64) -> Option<u64> {
        self.image.file_offset(address)
    }

    /// The part whose code holds an address.
    pub fn part_of(&self, pc: u64) -> Option<&Part> {
        self.parts.iter().find(|part| part.text.0 <= pc && pc < part.text.1)
    }

    /// The function that holds an address.
    pub fn function_at(&self, pc: u64) -> Option<(&Part, Function)> {
        let part = self.part_of(pc)?;
        Some((part, part.pclntab.find(pc)?))
    }

    /// A function of the program itself by its name.
    pub fn function(&self, name: &str) -> Option<(&Part, Function)> {
        let part = self.parts.first()?;
        Some((part, part.pclntab.by_name(name)?))
    }

    /// The runtime's list of goroutines: where its start and its length are kept.
    pub fn all_goroutines(&self) -> Result<(u64, u64), GoError> {
        if let Some(found) = self.all.get() {
            return Ok(*found);
        }
        let found = allgs::find(self).ok_or(GoError::NotFound("the list of goroutines (runtime.allgs)"))?;
        Ok(*self.all.get_or_init(|| found))
    }

    /// The target's own words for why a goroutine waits, by number; empty where they were not found.
    pub fn wait_reasons(&self) -> &[std::sync::Arc<str>] {
        self.reasons.get_or_init(|| wait_reasons::find(self))
    }
}

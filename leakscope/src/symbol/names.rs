//! Frames of stacks with their names: the one place where they are made, whatever names the code.

use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::jit::JitCode;
use super::recorded::{RecordedFrame, RecordedNames};
use super::{CodeFile, DebugSearch, NoSymbol, Resolved, SymbolFrame, Symbolizer};
use crate::process::{AddressSpace, FileId, Location, ModuleId};
use crate::stack::Frame;

/// A frame and where its code lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedFrame {
    /// Address in the target (of callers: the return address).
    pub address: u64,
    /// Path of the file that the code is in, as the target names it.
    pub module: Option<String>,
    /// Build ID of that file, in hex.
    pub build_id: Option<String>,
    /// Virtual address within it.
    pub offset: Option<u64>,
    /// What the code is, or why that is not known.
    pub symbol: SymbolFrame,
}

/// Names code of one file by the tables of a runtime, which a stripped file has as well.
pub trait NamesCode: fmt::Debug {
    /// The frames at a virtual address of the file, innermost first: none for code that the runtime never shows; `None` if that is not the runtime's code.
    /// `exact` tells an instruction's own address from a return address.
    fn names(&mut self, address: u64, exact: bool) -> Option<Vec<SymbolFrame>>;
}

/// Names frames; keeps the files of all modules that were seen on a stack.
#[derive(Debug)]
pub struct Names {
    search: Rc<DebugSearch>,
    symbolizer: Symbolizer,
    files: HashMap<ModuleId, Option<CodeFile>>,
    /// Files that a runtime names the code of.
    runtimes: HashMap<ModuleId, Box<dyn NamesCode>>,
    /// Code that is made at run time.
    jit: JitCode,
    recorded: RecordedNames,
}

impl Names {
    /// `search` finds debug files.
    pub fn new(search: DebugSearch) -> Self {
        let search = Rc::new(search);
        Self {
            jit: JitCode::new(Rc::clone(&search)),
            search,
            symbolizer: Symbolizer::new(),
            files: HashMap::new(),
            runtimes: HashMap::new(),
            recorded: RecordedNames::No,
        }
    }

    /// Those of a recording alone: no file is opened.
    pub fn of_recording() -> Self {
        Self { recorded: RecordedNames::Only(HashMap::new()), ..Self::new(DebugSearch::default()) }
    }

    /// Keeps all names from now on, for [`Self::take_new`].
    pub fn keep(&mut self) {
        self.recorded = RecordedNames::Kept { known: HashMap::new(), new: Vec::new() };
    }

    /// The names that were kept since.
    pub fn take_new(&mut self) -> Vec<RecordedFrame> {
        self.recorded.take_new()
    }

    /// Takes in names of the recording.
    pub fn learn(&mut self, names: Vec<RecordedFrame>) {
        self.recorded.learn(names);
    }

    /// Asks `names` first for the code of `module`.
    pub fn ask(&mut self, module: ModuleId, names: Box<dyn NamesCode>) {
        self.runtimes.insert(module, names);
    }

    /// Opens the debug files of a frame's module while the target's file system can be reached, and notes what the
    /// target calls code that it may throw away.
    pub fn prepare(&mut self, space: &AddressSpace, frame: &Frame) {
        if matches!(self.recorded, RecordedNames::Only(_)) {
            return;
        }
        if frame.location == Location::Anonymous {
            self.jit.note(space, frame.address, frame.exact);
        }
        if let Location::Module(module, _) = frame.location
            && !self.files.contains_key(&module)
            && let Some(file) = self.file(space, module)
        {
            file.locate_debug();
        }
    }

    /// Why frames have no lines although debug info was there: for those who want to know.
    pub fn notes(&self) -> Vec<String> {
        let unusable = self.symbolizer.unusable_debug_info();
        let mut notes: Vec<String> =
            unusable.map(|(path, why)| format!("{}: debug info not used: {why}", path.display())).collect();
        let refused = self.files.values().flatten().flat_map(|file| file.locate_debug().refused());
        notes.extend(refused.map(|r| format!("{}: debug file not used: {}", r.path.display(), r.why)));
        notes
    }

    fn file(&mut self, space: &AddressSpace, id: ModuleId) -> Option<&CodeFile> {
        let search = &self.search;
        let open = || {
            let module = space.module(id);
            let elf = Rc::clone(module.elf.as_ref().ok()?);
            // The vDSO has no identity; no file has this one.
            let identity = module.id.unwrap_or(FileId { device: u64::MAX, inode: 0 });
            Some(CodeFile::new(elf, module.path.clone(), identity, Rc::clone(search)))
        };
        self.files.entry(id).or_insert_with(open).as_ref()
    }

    /// The frames that one frame of a stack stands for: itself, and before it what was inlined
    /// into it.
    pub fn frames(&mut self, space: &AddressSpace, frame: &Frame) -> Vec<NamedFrame> {
        if let Some(named) = self.recorded.get(frame) {
            return named;
        }
        let named = self.resolve(space, frame);
        self.recorded.keep(frame, &named);
        named
    }

    fn resolve(&mut self, space: &AddressSpace, frame: &Frame) -> Vec<NamedFrame> {
        let unplaced = |why| NamedFrame {
            address: frame.address,
            module: None,
            build_id: None,
            offset: None,
            symbol: SymbolFrame { why_unknown: Some(why), ..SymbolFrame::default() },
        };
        let (id, address) = match frame.location {
            Location::Module(id, address) => (id, address),
            Location::Anonymous => {
                let symbol = self.jit.name(space, frame.address, frame.exact);
                return vec![NamedFrame { symbol, ..unplaced(NoSymbol::Anonymous) }];
            }
            Location::Unmapped => return vec![unplaced(NoSymbol::Unmapped)],
        };
        let module = space.module(id);
        let named = NamedFrame {
            module: Some(module.path.display().to_string()),
            build_id: module.elf.as_ref().ok().and_then(|elf| elf.build_id_text()),
            offset: Some(address),
            ..unplaced(NoSymbol::Unmapped)
        };
        let symbols = self.symbols(space, id, address, frame.exact);
        symbols.into_iter().map(|symbol| NamedFrame { symbol, ..named.clone() }).collect()
    }

    /// What names a virtual address of a module: its runtime, else its symbols.
    fn symbols(&mut self, space: &AddressSpace, id: ModuleId, address: u64, exact: bool) -> Vec<SymbolFrame> {
        if let Some(frames) = self.runtimes.get_mut(&id).and_then(|names| names.names(address, exact)) {
            return frames;
        }
        // First opened, then borrowed anew: the symbolizer and the files are two members.
        self.file(space, id);
        let Some(Some(file)) = self.files.get(&id) else {
            let error = space.module(id).elf.as_ref().err();
            let why = error.map_or_else(|| "it is gone".to_owned(), ToString::to_string);
            return Resolved::unknown(NoSymbol::Unreadable(why)).frames;
        };
        let resolved = self.symbolizer.resolve(file, address, exact);
        if !exact && resolved.frames.iter().all(|f| f.function.is_none()) {
            // The address that a signal handler returns to starts its function: nothing calls there.
            return self.symbolizer.resolve(file, address, true).frames.clone();
        }
        resolved.frames.clone()
    }
}

//! Frames of stacks as frames of the report: names, files and lines.

use std::collections::HashMap;
use std::rc::Rc;

use super::model;
use crate::process::{AddressSpace, FileId, Location, ModuleId};
use crate::runtime::go::census::GoFrame;
use crate::runtime::go::frames::{CodeAddress, Frames};
use crate::runtime::go::program::Program;
use crate::section::frame::{Code, Name};
use crate::section::go_frames;
use crate::stack::{Frame, Stack};
use crate::symbol::{CodeFile, DebugSearch, NoSymbol, SymbolFrame, Symbolizer};

/// Resolves frames; keeps the files of all modules that were seen on a stack.
#[derive(Debug)]
pub struct Names {
    search: Rc<DebugSearch>,
    symbolizer: Symbolizer,
    files: HashMap<ModuleId, Option<CodeFile>>,
    go: Option<GoNames>,
}

/// A Go program, whose own tables name its code whether it is stripped or not.
#[derive(Debug)]
struct GoNames {
    module: ModuleId,
    program: Rc<Program>,
    frames: Frames,
}

impl Names {
    /// `search` finds debug files.
    pub fn new(search: DebugSearch) -> Self {
        Self { search: Rc::new(search), symbolizer: Symbolizer::new(), files: HashMap::new(), go: None }
    }

    /// Has the code of `module` named by the tables of the Go program in it.
    pub fn use_go(&mut self, module: ModuleId, program: Rc<Program>) {
        self.go = Some(GoNames { module, program, frames: Frames::default() });
    }

    /// Opens the debug files of the modules on a stack while the target's file system can be
    /// reached.
    pub fn prepare(&mut self, space: &AddressSpace, stack: &Stack) {
        for frame in &stack.frames {
            if let Location::Module(module, _) = frame.location
                && !self.files.contains_key(&module)
                && let Some(file) = self.file(space, module)
            {
                file.locate_debug();
            }
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
    pub fn frames(&mut self, space: &AddressSpace, frame: &Frame) -> Vec<model::Frame> {
        let unknown = |why: NoSymbol| Name::unknown(why);
        let (id, address) = match frame.location {
            Location::Module(id, address) => (id, address),
            Location::Anonymous => {
                return vec![model::Frame::new(frame.address, None, unknown(NoSymbol::Anonymous))];
            }
            Location::Unmapped => {
                return vec![model::Frame::new(frame.address, None, unknown(NoSymbol::Unmapped))];
            }
        };
        let module = space.module(id);
        let path = module.path.display().to_string();
        let placed = |build_id: Option<&str>, name: Name| {
            model::Frame::new(frame.address, Some(Code { module: &path, build_id, offset: address }), name)
        };
        if let Some(go) = self.go.as_mut().filter(|go| go.module == id)
            && let Some(frames) = go.frames(address, frame.exact)
        {
            let build_id = go.program.build_id.as_deref();
            return frames.iter().map(|f| placed(build_id, go_frames::name(f))).collect();
        }
        let Some(file) = self.file(space, id) else {
            let why = module.elf.as_ref().err().map_or_else(|| "it is gone".to_owned(), ToString::to_string);
            return vec![placed(None, unknown(NoSymbol::Unreadable(why)))];
        };
        let build_id = file.elf().build_id_text();
        // Borrowed anew: the symbolizer and the files are two members.
        let Some(Some(file)) = self.files.get(&id) else { return Vec::new() };
        let mut resolved = self.symbolizer.resolve(file, address, frame.exact);
        if !frame.exact && resolved.frames.iter().all(|f| f.function.is_none()) {
            // The address that a signal handler returns to starts its function: nothing calls there.
            resolved = self.symbolizer.resolve(file, address, true);
        }
        let name = |f: &SymbolFrame| Name {
            function: f.function.clone(),
            function_offset: f.offset_in_function,
            file: f.file.clone(),
            line: f.line,
            function_line: f.function_line,
            inlined: f.inlined,
            why_unknown: f.why_unknown.as_ref().map(ToString::to_string),
        };
        resolved.frames.iter().map(|f| placed(build_id.as_deref(), name(f))).collect()
    }
}

impl GoNames {
    /// The frames at a virtual address of the program's file, if it is Go code.
    fn frames(&mut self, address: u64, exact: bool) -> Option<Vec<GoFrame>> {
        let at = CodeAddress { pc: address.wrapping_add(self.program.bias), exact };
        let place = self.frames.place(&self.program, at)?;
        Some(place.frames().cloned().collect())
    }
}

//! Logical frames of code addresses, by the target's own tables: what was inlined is unfolded, and
//! wrappers that the compiler made are left out, as `runtime.CallersFrames` does.

use std::collections::HashMap;
use std::sync::Arc;

use super::goroutine::GoFrame;
use super::moduledata::Part;
use super::pclntab::{Function, InlinedCall};
use super::program::Program;

/// Most functions inlined into each other.
const DEEPEST_INLINING: usize = 100;
/// Most frames and bytes of names that are kept; what comes after has none. A program that is no lie has
/// some 100,000 return addresses on its stacks.
const MOST_FRAMES: usize = 1 << 21;
const MOST_NAME_BYTES: usize = 1 << 28;
/// Functions whose caller did not call: the address under them is the instruction itself
/// (`runtime/traceback.go`).
const INJECTED: [&str; 3] = ["runtime.sigpanic", "runtime.asyncPreempt", "runtime.debugCallV2"];
/// Functions that a wrapper calls where it fails: then it is shown (`elideWrapperCalling`).
const PANICS: [&str; 3] = ["runtime.gopanic", "runtime.sigpanic", "runtime.panicwrap"];
/// The function whose kind comes before that of wrappers (`internal/abi/symtab.go`).
const BEFORE_WRAPPERS: &str = "runtime.systemstack_switch";

/// What is known of an address on a stack.
#[derive(Clone, Debug)]
pub struct PcInfo {
    /// Bytes from the stack pointer to the return address; `None` where the tables have none.
    pub frame_size: Option<u32>,
    /// Whether its function is the outermost of its stack.
    pub top: bool,
    /// Whether what lies above was interrupted and did not call.
    pub injected: bool,
    /// Logical frames, innermost first, with the kind of their functions.
    frames: Vec<(u8, Arc<GoFrame>)>,
}

impl PcInfo {
    /// The logical frames, innermost first.
    pub fn frames(&self) -> impl Iterator<Item = &GoFrame> {
        self.frames.iter().map(|(_, frame)| &**frame)
    }
}

/// An address on a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CodeAddress {
    /// Where, in the target.
    pub pc: u64,
    /// Whether it is the instruction itself, not a return address.
    pub exact: bool,
}

/// Resolves addresses, each once.
#[derive(Debug, Default)]
pub struct Frames {
    places: HashMap<CodeAddress, Arc<PcInfo>>,
    names: HashMap<String, Arc<str>>,
    kept_frames: usize,
    kept_name_bytes: usize,
    /// Kind of wrappers, and of the functions before which they are shown.
    kinds: Option<(Option<u8>, Vec<u8>)>,
}

impl Frames {
    /// What is known of an address; `None` if it lies in no Go function.
    pub fn place(&mut self, program: &Program, at: CodeAddress) -> Option<Arc<PcInfo>> {
        if let Some(known) = self.places.get(&at) {
            return Some(Arc::clone(known));
        }
        if self.kept_frames >= MOST_FRAMES || self.kept_name_bytes >= MOST_NAME_BYTES {
            return None;
        }
        let place = Arc::new(self.resolve(program, at)?);
        self.kept_frames += place.frames.len();
        self.places.insert(at, Arc::clone(&place));
        Some(place)
    }

    /// The frames of a stack's addresses, innermost first.
    pub fn stack(&mut self, program: &Program, addresses: &[CodeAddress]) -> Vec<GoFrame> {
        let (wrapper, panics) = self.kinds(program);
        let (mut frames, mut callee) = (Vec::new(), 0);
        for at in addresses {
            let Some(place) = self.place(program, *at) else {
                frames.push(self.unknown(at.pc));
                continue;
            };
            for (kind, frame) in &place.frames {
                if Some(*kind) != wrapper || panics.contains(&callee) {
                    frames.push(GoFrame::clone(frame));
                }
                callee = *kind;
            }
        }
        frames
    }

    /// The frames of one address without wrappers: none, if it is in a wrapper alone. `None` if it lies in no Go function.
    pub fn shown(&mut self, program: &Program, at: CodeAddress) -> Option<Vec<GoFrame>> {
        let (wrapper, _) = self.kinds(program);
        let place = self.place(program, at)?;
        let shown = place.frames.iter().filter(|(kind, _)| Some(*kind) != wrapper);
        Some(shown.map(|(_, frame)| GoFrame::clone(frame)).collect())
    }

    /// The innermost frame of one address.
    pub fn innermost(&mut self, program: &Program, at: CodeAddress) -> Option<GoFrame> {
        Some(GoFrame::clone(&self.place(program, at)?.frames.first()?.1))
    }

    /// The frame of an address that has just one, because what was inlined there has addresses of its own.
    pub fn one(&mut self, program: &Program, at: CodeAddress) -> GoFrame {
        self.innermost(program, at).unwrap_or_else(|| self.unknown(at.pc))
    }

    /// The frame of an address in no Go function.
    fn unknown(&mut self, address: u64) -> GoFrame {
        GoFrame {
            address,
            function: self.intern(String::new()),
            function_offset: None,
            file: self.intern(String::new()),
            line: 0,
            start_line: 0,
            inlined: false,
        }
    }

    fn kinds(&mut self, program: &Program) -> (Option<u8>, Vec<u8>) {
        let kind = |name: &str| program.function(name).map(|(part, f)| part.pclntab.kind(f));
        let find = || {
            let wrapper = kind(BEFORE_WRAPPERS).and_then(|k| k.checked_add(1));
            (wrapper, PANICS.iter().filter_map(|name| kind(name)).collect())
        };
        self.kinds.get_or_insert_with(find).clone()
    }

    fn intern(&mut self, name: String) -> Arc<str> {
        let kept = &mut self.kept_name_bytes;
        let intern = |name: &String| {
            *kept += name.len();
            Arc::from(name.as_str())
        };
        self.names.entry(name).or_insert_with_key(intern).clone()
    }

    fn resolve(&mut self, program: &Program, at: CodeAddress) -> Option<PcInfo> {
        let (part, function) = program.function_at(at.pc)?;
        let table = &part.pclntab;
        let own = table.name(function);
        // The call lies before a return address.
        let mut pc = if !at.exact && at.pc > function.entry { at.pc - 1 } else { at.pc };
        let mut frames = Vec::new();
        loop {
            let call = inlined_at(program, part, function, pc).filter(|_| frames.len() < DEEPEST_INLINING);
            let (name, kind) = match call {
                Some(call) => (table.inlined_name(call), call.kind),
                None => (own.clone(), table.kind(function)),
            };
            let (file, line) = table.line(function, pc).unwrap_or_default();
            let frame = GoFrame {
                address: at.pc,
                function: self.intern(name),
                function_offset: call.is_none().then(|| at.pc - function.entry),
                file: self.intern(file),
                line,
                start_line: call.map_or_else(|| table.start_line(function), |call| call.start_line),
                inlined: call.is_some(),
            };
            frames.push((kind, Arc::new(frame)));
            match call {
                Some(call) => pc = function.entry.wrapping_add(u64::from(call.parent)),
                None => break,
            }
        }
        Some(PcInfo {
            frame_size: table.frame_size(function, at.pc),
            top: table.is_top(function),
            injected: INJECTED.contains(&own.as_str()),
            frames,
        })
    }
}

fn inlined_at(program: &Program, part: &Part, function: Function, pc: u64) -> Option<InlinedCall> {
    let table = &part.pclntab;
    let tree = table.inline_tree(function)?;
    let index = table.inline_index(function, pc)?;
    let data = part.word(program.offsets.find("moduledata", "gofunc")?)?;
    let size = table.inlined_call_size();
    let address = data.checked_add(u64::from(tree))?.checked_add(u64::from(index) * size as u64)?;
    table.inlined_call(&program.constant(address, size)?)
}

//! Tables of what stacks are made of, in JSON: each text, frame and stack once, and a stack's number where it is.
//!
//! Whoever writes or reads JSON with tables does it in `writing` or `reading`: what has a stack in it knows
//! nothing of the rest of the file. Outside of these, frames stand where the stack is, as they do in reports of
//! version 1. Numbers are handed out while sites are written, so the tables stand behind these; who reads looks for
//! the tables first.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use schemars::JsonSchema;
use serde::de::{Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

use super::frame::{Address, Frame, or_empty};
use super::shared::SharedFrames;
use crate::symbol::name::bounded;

/// What is done with stacks on this thread.
#[derive(Default)]
enum Scope {
    #[default]
    NoTables,
    Writing(Box<Written>),
    Reading(Read),
    /// Their schema is made.
    Describing,
}

thread_local! {
    static SCOPE: RefCell<Scope> = RefCell::default();
}

/// Leaves a scope, also on a panic.
struct Leave(Scope);

impl Drop for Leave {
    fn drop(&mut self) {
        SCOPE.replace(std::mem::take(&mut self.0));
    }
}

fn within<T>(scope: Scope, work: impl FnOnce() -> T) -> T {
    let _leave = Leave(SCOPE.replace(scope));
    work()
}

/// Writes JSON with tables.
pub(crate) fn writing<T>(write: impl FnOnce() -> T) -> T {
    within(Scope::Writing(Box::default()), write)
}

/// Reads JSON that has these tables.
pub(crate) fn reading<T>(tables: Read, read: impl FnOnce() -> T) -> T {
    within(Scope::Reading(tables), read)
}

/// Makes the schema of JSON with tables.
pub(crate) fn describing<T>(describe: impl FnOnce() -> T) -> T {
    within(Scope::Describing, describe)
}

/// Whether stacks are numbers here.
pub(crate) fn are_used() -> bool {
    SCOPE.with_borrow(|scope| matches!(scope, Scope::Writing(_) | Scope::Describing))
}

/// What a field with frames is called where it has a stack's number.
pub(crate) fn field(name: &'static str) -> &'static str {
    match name {
        "frames" if are_used() => "stack",
        "owner_frames" if are_used() => "owner_stack",
        name => name,
    }
}

/// The number of a stack that is written; none where frames are written in its place.
pub(super) fn number(frames: &SharedFrames) -> Option<u32> {
    SCOPE.with_borrow_mut(|scope| match scope {
        Scope::Writing(tables) => Some(tables.stack(frames)),
        _ => None,
    })
}

/// The stack of a number.
pub(super) fn stack(number: u64) -> Result<SharedFrames, String> {
    SCOPE.with_borrow(|scope| match scope {
        Scope::Reading(tables) => tables.stack(number),
        _ => Err(format!("stack {number} is in no table: there are none")),
    })
}

/// Numbers that are handed out, in the order in which they are asked for.
#[derive(Default)]
struct Written {
    strings: Vec<Arc<str>>,
    by_text: HashMap<Arc<str>, u32, RandomState>,
    frames: Vec<Arc<Frame>>,
    by_handle: HashMap<*const Frame, u32, RandomState>,
    by_frame: HashMap<Arc<Frame>, u32, RandomState>,
    stacks: Vec<Box<[u32]>>,
    by_list: HashMap<Box<[u32]>, u32, RandomState>,
    /// Kept, so that no other stack comes to lie where one of these has been.
    kept: HashMap<*const Arc<Frame>, (SharedFrames, u32), RandomState>,
}

/// The number of what comes next. Memory ends long before numbers do.
fn next<T>(all: &[T]) -> u32 {
    u32::try_from(all.len()).unwrap_or(u32::MAX)
}

impl Written {
    fn stack(&mut self, frames: &SharedFrames) -> u32 {
        if let Some((_, number)) = self.kept.get(&frames.as_ptr()) {
            return *number;
        }
        let list: Box<[u32]> = frames.iter().map(|frame| self.frame(frame)).collect();
        let number = *self.by_list.entry(list).or_insert_with_key(|list| {
            self.stacks.push(list.clone());
            next(&self.stacks) - 1
        });
        if !frames.is_empty() {
            self.kept.insert(frames.as_ptr(), (frames.clone(), number));
        }
        number
    }

    fn frame(&mut self, frame: &Arc<Frame>) -> u32 {
        *self.by_handle.entry(Arc::as_ptr(frame)).or_insert_with(|| {
            *self.by_frame.entry(Arc::clone(frame)).or_insert_with(|| {
                self.frames.push(Arc::clone(frame));
                next(&self.frames) - 1
            })
        })
    }

    fn string(&mut self, text: Option<&Arc<str>>) -> Option<u32> {
        let text = text?;
        Some(*self.by_text.entry(Arc::clone(text)).or_insert_with(|| {
            self.strings.push(Arc::clone(text));
            next(&self.strings) - 1
        }))
    }

    fn row(&mut self, frame: &Frame) -> FrameRow {
        FrameRow {
            address: frame.address,
            module: self.string(frame.module.as_ref()),
            build_id: self.string(frame.build_id.as_ref()),
            offset: frame.offset,
            function: self.string(frame.function.as_ref()),
            function_offset: frame.function_offset,
            file: self.string(frame.file.as_ref()),
            line: frame.line,
            function_line: frame.function_line,
            inlined: frame.inlined,
            why_unknown: self.string(frame.why_unknown.as_ref()),
        }
    }
}

/// Texts, frames and stacks, each once. What refers to one has its place in the list, from 0.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct Tables {
    /// Texts of frames.
    strings: Vec<Arc<str>>,
    /// Frames.
    frames: Vec<FrameRow>,
    /// The frames of each stack by their places in `frames`, innermost first.
    stacks: Vec<Vec<u32>>,
}

/// A frame; its texts are places in `strings`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "TableFrame")]
struct FrameRow {
    /// Address in the target (of callers: the return address).
    #[serde(with = "or_empty")]
    #[schemars(with = "String")]
    address: Option<Address>,
    /// File that the code is in.
    module: Option<u32>,
    /// Its build ID.
    build_id: Option<u32>,
    /// Virtual address within that file: what addr2line takes.
    offset: Option<Address>,
    /// Function; its name is cut at 4 KiB, and then ends in `…`.
    function: Option<u32>,
    /// Bytes from the function's start.
    function_offset: Option<u64>,
    /// Source file.
    file: Option<u32>,
    /// Line in it.
    line: Option<u32>,
    /// Line of the function's declaration; where debug info does not tell (it has line tables alone), that of
    /// its first instruction. Go programs tell it from Go 1.20 on.
    function_line: Option<u32>,
    /// Whether it was inlined into the next frame.
    inlined: bool,
    /// Why there is no function.
    why_unknown: Option<u32>,
}

/// The place of the tables among the fields of a file: behind all that has stacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TablesHere;

impl TablesHere {
    /// Whether nothing is to be written here.
    pub(crate) fn is_empty(&self) -> bool {
        !are_used()
    }
}

impl Serialize for TablesHere {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        use serde::ser::{Error as _, SerializeStruct as _};
        let written = SCOPE.with_borrow_mut(|scope| match scope {
            Scope::Writing(tables) => std::mem::take(&mut **tables),
            _ => Written::default(),
        });
        let Written { frames, stacks, .. } = &written;
        let mut texts = Written::default();
        let mut tables = to.serialize_struct("Tables", 3)?;
        let rows = Lines::new(frames.iter().map(|frame| texts.row(frame)));
        tables.serialize_field("frames", &rows)?;
        rows.failed().map_or(Ok(()), |why| Err(S::Error::custom(why)))?;
        drop(rows);
        tables.serialize_field("strings", &texts.strings)?;
        tables.serialize_field("stacks", &Lines::new(stacks.iter()))?;
        tables.end()
    }
}

/// They were looked for before.
impl<'de> Deserialize<'de> for TablesHere {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(from).map(|_| Self)
    }
}

impl JsonSchema for TablesHere {
    fn schema_name() -> Cow<'static, str> {
        "Tables".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Tables::json_schema(generator)
    }
}

/// A list with an element a line, whatever the format: numbers a line each would make files twice as long.
struct Lines<I>(RefCell<I>, RefCell<Option<serde_json::Error>>);

impl<I> Lines<I> {
    fn new(rows: I) -> Self {
        Self(RefCell::new(rows), RefCell::new(None))
    }

    fn failed(&self) -> Option<serde_json::Error> {
        self.1.take()
    }
}

impl<T: Serialize, I: Iterator<Item = T>> Serialize for Lines<I> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut rows = self.0.borrow_mut();
        let line = |row: T| -> Option<Box<RawValue>> {
            to_raw_value(&row).map_err(|error| self.1.replace(Some(error))).ok()
        };
        to.collect_seq(rows.by_ref().filter_map(line))
    }
}

/// Tables of a file.
pub(crate) struct Read {
    stacks: Vec<SharedFrames>,
}

impl Tables {
    /// Puts frames and stacks together. An error says which number is of nothing.
    pub(crate) fn resolved(self) -> Result<Read, serde_json::Error> {
        let Self { strings, frames, stacks } = self;
        // Names that are cut are cut once: many frames can have one.
        let functions: Vec<Arc<str>> = strings
            .iter()
            .map(|text| match bounded(text) {
                Cow::Borrowed(_) => Arc::clone(text),
                Cow::Owned(cut) => cut.into(),
            })
            .collect();
        let frames = frames.into_iter().map(|row| row.frame(&strings, &functions));
        let frames = frames.collect::<Result<Vec<_>, _>>()?;
        let stack = |numbers: Vec<u32>| {
            let frame =
                |number: &u32| frames.get(*number as usize).cloned().ok_or_else(|| none("frame", *number));
            Ok(SharedFrames::from(numbers.iter().map(frame).collect::<Result<Vec<_>, _>>()?))
        };
        Ok(Read { stacks: stacks.into_iter().map(stack).collect::<Result<_, serde_json::Error>>()? })
    }
}

fn none(what: &str, number: u32) -> serde_json::Error {
    serde_json::Error::custom(format!("{what} {number} is not in the tables"))
}

impl FrameRow {
    fn frame(self, strings: &[Arc<str>], functions: &[Arc<str>]) -> Result<Arc<Frame>, serde_json::Error> {
        let text = |texts: &[Arc<str>], number: Option<u32>| {
            number
                .map(|number| texts.get(number as usize).cloned().ok_or_else(|| none("string", number)))
                .transpose()
        };
        Ok(Arc::new(Frame {
            address: self.address,
            module: text(strings, self.module)?,
            build_id: text(strings, self.build_id)?,
            offset: self.offset,
            function: text(functions, self.function)?,
            function_offset: self.function_offset,
            file: text(strings, self.file)?,
            line: self.line,
            function_line: self.function_line,
            inlined: self.inlined,
            why_unknown: text(strings, self.why_unknown)?,
        }))
    }
}

impl Read {
    fn stack(&self, number: u64) -> Result<SharedFrames, String> {
        let found = usize::try_from(number).ok().and_then(|number| self.stacks.get(number));
        found.cloned().ok_or_else(|| format!("stack {number} is not in the tables"))
    }
}

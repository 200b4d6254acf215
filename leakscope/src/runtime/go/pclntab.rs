//! The table of functions and lines that every Go program carries (`runtime/symtab.go`,
//! `cmd/link/internal/ld/pcln.go`): stripping does not take it away.
//!
//! Layout of Go 1.18 and 1.19 (magic 0xfffffff0) and of 1.20 to 1.27 (0xfffffff1). Every number in it
//! is taken as a lie until it points into the table.

use std::cell::Cell;

use super::bytes::{u32_at, u64_at, varint};

/// Bytes of the header.
pub const HEADER: usize = 72;
/// Magic number of Go 1.18 and 1.19.
pub const MAGIC_118: u32 = 0xffff_fff0;
/// Magic number of Go 1.20 and later.
pub const MAGIC_120: u32 = 0xffff_fff1;
/// Largest table that is taken.
pub const LARGEST: u64 = 1 << 29;
/// Most functions that a table is taken to have; one that claims more lies.
const MOST_FUNCTIONS: u64 = 1 << 24;
/// Longest name that is kept.
const LONGEST_NAME: usize = 1 << 14;
/// Most steps through a table of values of one function.
const MOST_STEPS: usize = 1 << 20;
/// Most steps through all of them, each time that one is looked up: tables that never end would take for
/// ever. About ten seconds.
const ALL_STEPS: u64 = 1 << 32;
/// `_FUNCDATA_InlTree`, `_PCDATA_InlTreeIndex` (`internal/abi/symtab.go`).
const FUNCDATA_INLINE_TREE: usize = 3;
const PCDATA_INLINE_INDEX: usize = 2;
/// `FUNCDATA_OpenCodedDeferInfo`.
const FUNCDATA_DEFERS: usize = 4;
/// Entry of the inline tree: the first layout is of Go 1.18 and 1.19.
const INLINED_CALL_118: usize = 20;
const INLINED_CALL_120: usize = 16;
/// `funcFlag_TOPFRAME`: the outermost function of a stack.
const FLAG_TOP: u8 = 1;

/// `funcFlag_SPWRITE`: it sets the stack pointer in a way that the table cannot tell.
const FLAG_SETS_SP: u8 = 2;

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whether the layout is that of Go 1.20 and later.
    pub go120: bool,
    functions: usize,
    names: usize,
    units: usize,
    files: usize,
    values: usize,
    records: usize,
}

impl Header {
    /// Reads a header; `None` if it cannot be one.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let go120 = match u32_at(bytes, 0)? {
            MAGIC_120 => true,
            MAGIC_118 => false,
            _ => return None,
        };
        // Two zero bytes, instruction size quantum of x86, size of a pointer.
        if bytes.get(4..8)? != [0, 0, 1, 8] {
            return None;
        }
        let functions = u64_at(bytes, 8)?;
        let part = |at: usize| usize::try_from(u64_at(bytes, at)?).ok().filter(|p| *p as u64 <= LARGEST);
        let header = Self {
            go120,
            functions: usize::try_from(functions).ok()?,
            names: part(32)?,
            units: part(40)?,
            files: part(48)?,
            values: part(56)?,
            records: part(64)?,
        };
        let ascending = HEADER <= header.names + 8
            && header.names < header.units
            && header.units <= header.files
            && header.files < header.values
            && header.values < header.records;
        (functions > 0 && functions < MOST_FUNCTIONS && ascending).then_some(header)
    }

    /// How many functions there are.
    pub fn functions(&self) -> usize {
        self.functions
    }

    /// Where the parts begin, in the order of the module's slices: names, units, files, values, functions.
    pub fn parts(&self) -> [usize; 5] {
        [self.names, self.units, self.files, self.values, self.records]
    }
}

/// A function table whose size and structure were checked, kept whole.
#[derive(Debug)]
pub struct Pclntab {
    bytes: Vec<u8>,
    header: Header,
    /// Runtime address of the first instruction.
    text: u64,
    /// Steps that are left.
    steps: Cell<u64>,
}

/// A function of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its number in the order of addresses.
    pub index: usize,
    /// Runtime address of its first instruction.
    pub entry: u64,
    /// Where its record lies in the table.
    record: usize,
}

/// A call that was inlined at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InlinedCall {
    /// Kind of the inlined function.
    pub kind: u8,
    /// Where its name lies.
    name: usize,
    /// An address in the function that it was inlined into, from that one's entry.
    pub parent: u32,
    /// Line that the inlined function begins at; 0 before Go 1.20.
    pub start_line: u32,
}

impl Pclntab {
    /// Takes a table; `text` is where the code that it describes begins.
    pub fn new(bytes: Vec<u8>, text: u64) -> Option<Self> {
        let header = Header::parse(&bytes)?;
        let end = header.records.checked_add(header.functions.checked_mul(8)?.checked_add(4)?)?;
        (end <= bytes.len()).then_some(Self { bytes, header, text, steps: Cell::new(ALL_STEPS) })
    }

    /// How many functions there are.
    pub fn functions(&self) -> usize {
        self.header.functions
    }

    /// Entry and end of the code.
    pub fn range(&self) -> (u64, u64) {
        let end = self.entry(self.header.functions).unwrap_or(self.text);
        (self.entry(0).unwrap_or(self.text), end)
    }

    fn entry(&self, index: usize) -> Option<u64> {
        Some(self.text.wrapping_add(u64::from(u32_at(&self.bytes, self.header.records + 8 * index)?)))
    }

    /// A function by its number.
    pub fn function(&self, index: usize) -> Option<Function> {
        if index >= self.header.functions {
            return None;
        }
        let record = u32_at(&self.bytes, self.header.records + 8 * index + 4)? as usize;
        Some(Function { index, entry: self.entry(index)?, record: self.header.records + record })
    }

    /// The function that holds an address.
    pub fn find(&self, pc: u64) -> Option<Function> {
        let (start, end) = self.range();
        if pc < start || pc >= end {
            return None;
        }
        let (mut low, mut high) = (0, self.header.functions);
        while high - low > 1 {
            let middle = usize::midpoint(low, high);
            if self.entry(middle)? <= pc { low = middle } else { high = middle }
        }
        self.function(low).filter(|f| f.entry <= pc)
    }

    /// Where a function's code ends: where the next one's begins.
    pub fn end(&self, function: Function) -> u64 {
        self.entry(function.index + 1).unwrap_or(function.entry).max(function.entry)
    }

    /// The function of this name, the first if there are several.
    pub fn by_name(&self, name: &str) -> Option<Function> {
        (0..self.header.functions).filter_map(|i| self.function(i)).find(|f| self.is_named(*f, name))
    }

    /// Whether this is a function's name.
    pub fn is_named(&self, function: Function, name: &str) -> bool {
        let Some(at) = u32_at(&self.bytes, function.record + 4) else { return false };
        let rest = self.bytes.get(self.header.names + at as usize..).unwrap_or_default();
        rest.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
    }

    fn text_at(&self, at: usize) -> String {
        let rest = self.bytes.get(at..).unwrap_or_default();
        let rest = &rest[..rest.len().min(LONGEST_NAME)];
        let end = rest.iter().position(|b| *b == 0).unwrap_or(rest.len());
        String::from_utf8_lossy(&rest[..end]).into_owned()
    }

    /// A function's name as the linker wrote it, type arguments included.
    pub fn name(&self, function: Function) -> String {
        let at = u32_at(&self.bytes, function.record + 4).unwrap_or(u32::MAX);
        self.text_at(self.header.names.saturating_add(at as usize))
    }

    /// Bytes of a function's record.
    fn record_size(&self) -> usize {
        if self.header.go120 { 44 } else { 40 }
    }

    fn record_byte(&self, function: Function, from_end: usize) -> u8 {
        let at = (function.record + self.record_size()).saturating_sub(from_end);
        self.bytes.get(at).copied().unwrap_or(0)
    }

    /// A function's kind (`funcID`).
    pub fn kind(&self, function: Function) -> u8 {
        self.record_byte(function, 4)
    }

    /// Whether it is the outermost of its stack.
    pub fn is_top(&self, function: Function) -> bool {
        self.record_byte(function, 3) & FLAG_TOP != 0
    }

    /// Whether it sets the stack pointer, to go to another stack.
    pub fn switches_stacks(&self, function: Function) -> bool {
        self.record_byte(function, 3) & FLAG_SETS_SP != 0
    }

    /// Bytes of the table.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The sizes that a function's frame has, each from an address on; `None` from where it is not known.
    /// Takes a step from `steps` for each.
    pub fn frame_sizes<'a>(
        &'a self,
        function: Function,
        steps: &'a mut usize,
    ) -> impl Iterator<Item = (u64, Option<u32>)> + 'a {
        let table = self.record_u32(function, 16).filter(|table| *table != 0);
        let mut at = table.and_then(|table| self.header.values.checked_add(table as usize));
        let (mut start, mut value, mut first) = (function.entry, -1i32, true);
        let mut ended = false;
        std::iter::from_fn(move || {
            if ended || *steps == 0 {
                return None;
            }
            *steps -= 1;
            let next = at.and_then(|at| {
                let (coded, next) = varint(&self.bytes, at)?;
                let (step, next) = varint(&self.bytes, next)?;
                (coded != 0 || first).then_some((coded, step, next))
            });
            let from = start;
            let Some((coded, step, next)) = next else {
                ended = true;
                return Some((from, None));
            };
            first = false;
            at = Some(next);
            value = value.wrapping_add((coded >> 1).cast_signed() ^ -((coded & 1).cast_signed()));
            start = start.wrapping_add(u64::from(step));
            Some((from, u32::try_from(value).ok()))
        })
    }

    /// The value that a table of values has at an address.
    fn value(&self, table: u32, function: Function, pc: u64) -> Option<i32> {
        if table == 0 {
            return None;
        }
        let mut at = self.header.values.checked_add(table as usize)?;
        let (mut covered, mut value, mut first) = (function.entry, -1i32, true);
        for _ in 0..MOST_STEPS {
            self.steps.set(self.steps.get().checked_sub(1)?);
            let (coded, next) = varint(&self.bytes, at)?;
            if coded == 0 && !first {
                return None;
            }
            first = false;
            let change = (coded >> 1).cast_signed() ^ -((coded & 1).cast_signed());
            let (step, next) = varint(&self.bytes, next)?;
            at = next;
            covered = covered.wrapping_add(u64::from(step));
            value = value.wrapping_add(change);
            if pc < covered {
                return Some(value);
            }
        }
        None
    }

    fn record_u32(&self, function: Function, at: usize) -> Option<u32> {
        u32_at(&self.bytes, function.record + at)
    }

    /// Bytes between the stack pointer at an address and the return address.
    pub fn frame_size(&self, function: Function, pc: u64) -> Option<u32> {
        let size = self.value(self.record_u32(function, 16)?, function, pc)?;
        u32::try_from(size).ok()
    }

    /// File and line of an address, of the innermost function that was inlined there.
    pub fn line(&self, function: Function, pc: u64) -> Option<(String, u32)> {
        let file = self.value(self.record_u32(function, 20)?, function, pc)?;
        let line = self.value(self.record_u32(function, 24)?, function, pc)?;
        let unit = self.record_u32(function, 32)?;
        let entry = u64::from(unit).checked_add_signed(i64::from(file))?;
        let entry = self.header.units.checked_add(usize::try_from(entry.checked_mul(4)?).ok()?)?;
        let at = u32_at(&self.bytes, entry).filter(|at| *at != u32::MAX)?;
        Some((self.text_at(self.header.files.checked_add(at as usize)?), u32::try_from(line).ok()?))
    }

    /// The line that a function begins at; 0 where the table does not say, as before Go 1.20.
    pub fn start_line(&self, function: Function) -> u32 {
        if self.header.go120 { self.record_u32(function, 36).unwrap_or(0) } else { 0 }
    }

    fn tables(&self, function: Function) -> Option<(usize, usize)> {
        let values = self.record_u32(function, 28)? as usize;
        Some((values, usize::from(self.record_byte(function, 1))))
    }

    /// Where the tree of what was inlined into a function lies, from the start of the function data
    /// (`moduledata.gofunc`).
    pub fn inline_tree(&self, function: Function) -> Option<u32> {
        self.function_data(function, FUNCDATA_INLINE_TREE)
    }

    /// Where it is told how a function keeps its deferred calls, from the start of the function data; `None`
    /// where it has none, or keeps them in a list.
    pub fn defers(&self, function: Function) -> Option<u32> {
        self.function_data(function, FUNCDATA_DEFERS)
    }

    /// Where one of a function's tables of data (`FUNCDATA_…`) lies, from the start of the function data; `None`
    /// where it has none.
    pub fn function_data(&self, function: Function, which: usize) -> Option<u32> {
        let (values, data) = self.tables(function)?;
        if which >= data {
            return None;
        }
        let at = values.checked_add(which)?.checked_mul(4)?;
        self.record_u32(function, self.record_size().checked_add(at)?).filter(|at| *at != u32::MAX)
    }

    /// The number of the inlined call at an address; `None` where nothing was inlined.
    pub fn inline_index(&self, function: Function, pc: u64) -> Option<u32> {
        u32::try_from(self.pc_data(function, PCDATA_INLINE_INDEX, pc)?).ok()
    }

    /// The value that one of a function's tables of values (`PCDATA_…`) has at an address; `None` where it has no such
    /// table.
    pub fn pc_data(&self, function: Function, which: usize, pc: u64) -> Option<i32> {
        if which >= self.tables(function)?.0 {
            return None;
        }
        self.value(self.record_u32(function, self.record_size() + 4 * which)?, function, pc)
    }

    /// Bytes of an entry of an inline tree.
    pub fn inlined_call_size(&self) -> usize {
        if self.header.go120 { INLINED_CALL_120 } else { INLINED_CALL_118 }
    }

    /// An entry of an inline tree.
    pub fn inlined_call(&self, bytes: &[u8]) -> Option<InlinedCall> {
        let (kind, name, parent) = if self.header.go120 { (0, 4, 8) } else { (2, 12, 16) };
        Some(InlinedCall {
            kind: *bytes.get(kind)?,
            name: u32_at(bytes, name)? as usize,
            parent: u32_at(bytes, parent)?,
            start_line: if self.header.go120 { u32_at(bytes, 12)? } else { 0 },
        })
    }

    /// Whether a name begins where the call says.
    pub fn is_name(&self, call: InlinedCall) -> bool {
        let at = self.header.names.saturating_add(call.name);
        at < self.header.units
            && at.checked_sub(1).and_then(|before| self.bytes.get(before)) == Some(&0)
            && self.bytes.get(at).is_some_and(|b| *b != 0)
    }

    /// The name of an inlined function.
    pub fn inlined_name(&self, call: InlinedCall) -> String {
        self.text_at(self.header.names.saturating_add(call.name))
    }
}

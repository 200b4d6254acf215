//! What a parked goroutine's stack holds: only what the compiler's maps call a pointer, so that what it no longer
//! uses keeps nothing (`runtime/mgcmark.go`, `scanframeworker`; `runtime/mgcstack.go`; `runtime/symtab.go`).

use std::collections::HashMap;
use std::rc::Rc;

use crate::runtime::go::bytes::{u32_at, u64_at};
use crate::runtime::go::pclntab::Function;
use crate::runtime::go::program::Program;

/// `FUNCDATA_ArgsPointerMaps`, `FUNCDATA_LocalsPointerMaps`, `FUNCDATA_StackObjects`, `PCDATA_StackMapIndex`
/// (`internal/abi/symtab.go`).
const ARGUMENTS: usize = 0;
const LOCALS: usize = 1;
const OBJECTS: usize = 2;
const INDEX: usize = 1;
/// Bytes of a record of a variable on the stack (`runtime/stack.go`, `stackObjectRecord`).
const OBJECT: u64 = 16;
/// Most of them in a function, most words of a map, and most frames.
const MOST_OBJECTS: u64 = 1 << 14;
const MOST_WORDS: u32 = 1 << 20;
const DEEPEST: usize = 1 << 16;
/// `g._panic` and `g._defer`, which point into the stack (`runtime/runtime2.go`, Go 1.19 to 1.27).
const RECORDS: [usize; 2] = [32, 40];
/// Words of such a record.
const RECORD_WORDS: u64 = 10;
/// Functions whose caller did not call: it was interrupted where it has no map.
const INJECTED: [&str; 3] = ["runtime.sigpanic", "runtime.asyncPreempt", "runtime.debugCallV2"];

/// A map of words: which are pointers.
type Bits = Option<(u32, Vec<u8>)>;

/// What is known of the frame of an address.
#[derive(Debug)]
struct Frame {
    /// Bytes from the stack pointer to the return address.
    size: u64,
    top: bool,
    /// Whether its caller was interrupted.
    injected: bool,
    /// Whether it has no maps, as assembly has none: all of its words count.
    unmapped: bool,
    arguments: Bits,
    locals: Bits,
    /// Variables whose address is taken: from which base, how far, and their size.
    objects: Vec<(bool, i32, u64)>,
}

/// Frames by their addresses.
#[derive(Debug, Default)]
pub(in super::super) struct StackMaps {
    frames: HashMap<u64, Option<Rc<Frame>>>,
}

/// A goroutine's stack as it was read, from the stack pointer on.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Stack<'a> {
    pub pc: u64,
    pub sp: u64,
    /// First address of the whole stack, and the one after its last.
    pub bounds: (u64, u64),
    pub bytes: &'a [u8],
    pub g: &'a [u8],
}

impl Stack<'_> {
    fn word(&self, address: u64) -> Option<u64> {
        u64_at(self.bytes, usize::try_from(address.checked_sub(self.sp)?).ok()?)
    }

    fn holds(&self, address: u64) -> bool {
        (self.bounds.0..self.bounds.1).contains(&address)
    }
}

/// Where a word lies on the stack (0: not there), and it.
type Word = (u64, u64);
/// Where the return address of a frame lies, and the address that the frame is at.
pub(in super::super) type FrameEnd = (u64, u64);

/// A variable on the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Variable {
    start: u64,
    size: u64,
    reached: bool,
}

impl StackMaps {
    /// Hands out where on a stack each pointer lies that is in use, and the pointer. Returns where frames end, with the
    /// address that each is at; `None` if the stack cannot be followed by its maps.
    pub(in super::super) fn reach(
        &mut self,
        program: &Program,
        stack: Stack<'_>,
        each: &mut dyn FnMut(u64, u64),
    ) -> Option<Vec<FrameEnd>> {
        let (words, variables, frames) = self.walk(program, stack)?;
        reach_from(stack, words, variables, each);
        Some(frames)
    }

    /// The pointers of all frames, and the variables in them.
    fn walk(
        &mut self,
        program: &Program,
        stack: Stack<'_>,
    ) -> Option<(Vec<Word>, Vec<Variable>, Vec<FrameEnd>)> {
        let (mut words, mut variables, mut frames) = (Vec::new(), Vec::new(), Vec::new());
        let word = |at| stack.word(at).map(|word| (at, word));
        let (mut pc, mut sp, mut interrupted) = (stack.pc, stack.sp, false);
        for _ in 0..DEEPEST {
            let frame = self.frame(program, pc)?;
            let end = sp.checked_add(frame.size)?;
            // The caller's frame pointer lies below the return address.
            let top_of_locals = if frame.size > 0 { end.wrapping_sub(8) } else { end };
            if interrupted || frame.injected || frame.unmapped {
                words.extend((sp..end).step_by(8).filter_map(word));
            } else if let Some((count, bits)) = &frame.locals {
                let low = top_of_locals.wrapping_sub(u64::from(*count) * 8);
                words.extend(set(*count, bits).filter_map(|at| word(low.wrapping_add(8 * at))));
            }
            let arguments = end.checked_add(8)?;
            if let Some((count, bits)) = &frame.arguments {
                words.extend(set(*count, bits).filter_map(|at| word(arguments.wrapping_add(8 * at))));
            }
            variables.extend(frame.objects.iter().map(|(local, offset, size)| Variable {
                start: if *local { top_of_locals } else { arguments }.wrapping_add_signed(i64::from(*offset)),
                size: *size,
                reached: false,
            }));
            frames.push((end, pc));
            if frame.top {
                break;
            }
            interrupted = frame.injected;
            pc = stack.word(end)?;
            sp = arguments;
        }
        words.extend(RECORDS.iter().filter_map(|at| Some((0, u64_at(stack.g, *at)?))));
        variables.sort_unstable();
        variables.dedup();
        Some((words, variables, frames))
    }

    fn frame(&mut self, program: &Program, pc: u64) -> Option<Rc<Frame>> {
        self.frames.entry(pc).or_insert_with(|| Frame::of(program, pc).map(Rc::new)).clone()
    }
}

impl Frame {
    fn of(program: &Program, pc: u64) -> Option<Self> {
        let (part, function) = program.function_at(pc)?;
        let table = &part.pclntab;
        let size = u64::from(table.frame_size(function, pc)?);
        // A return address may already belong to what comes after the call.
        let called = if pc > function.entry { pc - 1 } else { pc };
        let index = table.pc_data(function, INDEX, called).unwrap_or(-1).max(0).cast_unsigned();
        let bits = |which| bitmap(program, function, which, index);
        let name = table.name(function);
        Some(Self {
            size,
            top: table.is_top(function),
            injected: INJECTED.contains(&name.as_str()),
            unmapped: size > 8 && data(program, function, LOCALS).is_none(),
            arguments: bits(ARGUMENTS),
            locals: bits(LOCALS),
            objects: variables(program, function),
        })
    }
}

/// Where one of a function's tables lies.
fn data(program: &Program, function: Function, which: usize) -> Option<u64> {
    let part = program.part_of(function.entry)?;
    let base = part.word(program.offsets.find("moduledata", "gofunc")?)?;
    base.checked_add(u64::from(part.pclntab.function_data(function, which)?))
}

/// A map of a function (`runtime/symtab.go`, `stackmap`: how many, bits of each, then they).
fn bitmap(program: &Program, function: Function, which: usize, index: u32) -> Bits {
    let at = data(program, function, which)?;
    let header = program.constant(at, 8)?;
    let (maps, bits) = (u32_at(&header, 0)?, u32_at(&header, 4)?);
    if index >= maps || bits > MOST_WORDS {
        return None;
    }
    let bytes = bits.div_ceil(8);
    let at = at.checked_add(8 + u64::from(index) * u64::from(bytes))?;
    Some((bits, program.constant(at, bytes as usize)?))
}

fn variables(program: &Program, function: Function) -> Vec<(bool, i32, u64)> {
    let all = || -> Option<Vec<(bool, i32, u64)>> {
        let at = data(program, function, OBJECTS)?;
        let count = u64_at(&program.constant(at, 8)?, 0)?.min(MOST_OBJECTS);
        let records = program.constant(at.checked_add(8)?, usize::try_from(count * OBJECT).ok()?)?;
        let record = |bytes: &[u8; OBJECT as usize]| {
            let offset = u32_at(bytes, 0)?.cast_signed();
            Some((offset < 0, offset, u64::from(u32_at(bytes, 4)?)))
        };
        Some(records.as_chunks().0.iter().filter_map(record).collect())
    };
    all().unwrap_or_default()
}

/// The words that a map calls pointers.
fn set(count: u32, bits: &[u8]) -> impl Iterator<Item = u64> + '_ {
    (0..u64::from(count))
        .filter(|at| bits.get((at / 8) as usize).is_some_and(|byte| byte >> (at % 8) & 1 != 0))
}

/// The index of the variable that holds an address.
fn holding(variables: &[Variable], address: u64) -> Option<usize> {
    let at = variables.partition_point(|variable| variable.start <= address).checked_sub(1)?;
    (address < variables[at].start.saturating_add(variables[at].size)).then_some(at)
}

/// Follows pointers: into the heap, and through variables on the stack that others point to.
fn reach_from(
    stack: Stack<'_>,
    mut words: Vec<Word>,
    mut variables: Vec<Variable>,
    each: &mut dyn FnMut(u64, u64),
) {
    while let Some((place, word)) = words.pop() {
        if !stack.holds(word) {
            each(place, word);
            continue;
        }
        let at = |at| stack.word(at).map(|word| (at, word));
        match holding(&variables, word).map(|at| &mut variables[at]) {
            Some(variable) if variable.reached => {}
            Some(variable) => {
                variable.reached = true;
                let end = variable.start.saturating_add(variable.size);
                let end = end.min(stack.sp.saturating_add(stack.bytes.len() as u64));
                let own = (variable.start & !7..end).step_by(8);
                words.extend(own.filter_map(at));
            }
            // A record of a deferred call, or what has no map: it may point anywhere.
            None => {
                let near = (0..RECORD_WORDS).filter_map(|n| at((word & !7).wrapping_add(8 * n)));
                for (place, word) in near {
                    match holding(&variables, word).map(|at| variables[at]) {
                        Some(known) if !known.reached => words.push((place, word)),
                        Some(_) => {}
                        None if stack.holds(word) => {}
                        None => each(place, word),
                    }
                }
            }
        }
    }
}

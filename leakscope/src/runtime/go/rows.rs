//! Unwind rows for Go code, which has no `.eh_frame`: from the frame sizes of its function table.
//!
//! The return address lies above the frame and the caller's frame pointer directly below it (the
//! compiler's prologue, `cmd/internal/obj/x86/obj6.go`). Functions that change the stack pointer in
//! another way, to switch stacks, have no row: their callers are found by the frame pointer, which they
//! keep since Go 1.21. The one that calls C has a rule of its own, so that what C allocates is charged to the Go code
//! that called it; so have those that leave for another stack, as the one that C calls.

use leakscope_common::unwind::{Row, cfa, rbp};

use super::moduledata::Part;
use super::program::Program;
use crate::collect::OwnRows;
use crate::process::ModuleId;

/// Most rows.
pub const MOST: usize = 16 << 20;
/// The function that leaves a goroutine's stack for good: under it is the thread's own stack, empty.
const LEAVES: &str = "runtime.mcall";
/// Those that go to the thread's own stack, empty too, and come back. Since Go 1.21 they keep the goroutine's
/// frame pointer there, which leads on; before, nothing does (`runtime/asm_amd64.s`).
const LEAVE_FOR_A_WHILE: [&str; 2] = ["runtime.systemstack", "runtime.morestack"];
const FIRST_WITH_FRAME_POINTER: u32 = 21;
/// The function that calls C: on the thread's stack, wherever the goroutine's is.
const CALLS_C: &str = "runtime.asmcgocall";
/// Last version in which it keeps the goroutine's stack pointer 5 words up (`runtime/asm_amd64.s`); since
/// then it lies at the stack pointer.
const LAST_WITH_ROOM: u32 = 21;
const ROOM: u8 = 5;
/// Functions that go on on another stack, which need not lie below theirs, and leave the frame pointer where they set
/// it: the one that C calls, and (since Go 1.21) one that goes to the thread's own stack (`runtime/asm_amd64.s`).
const CHANGE_STACK: [&str; 2] = ["runtime.cgocallback", "runtime.systemstack"];
/// Longest frame that a row can tell, in words.
const LONGEST: u32 = u16::MAX as u32 - 1;

/// Where the code of a part lies.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub module: ModuleId,
    /// Runtime address minus the file's virtual address.
    pub bias: u64,
}

/// A member's offset in words as a row holds it; 0 where it does not fit.
fn words(offset: usize) -> u8 {
    u8::try_from(offset / size_of::<u64>()).unwrap_or(0)
}

/// The rows of a part of the program; `None` if its code lies too high for rows.
pub fn build(program: &Program, part: &Part, Place { module, bias }: Place) -> Option<OwnRows> {
    let relative = |pc: u64| u32::try_from(pc.wrapping_sub(bias)).ok();
    let text = (relative(part.text.0)?, relative(part.text.1)?);
    let first = Row::new(text.0, cfa::NO_INFO, 0, rbp::SAME, 0);
    let mut rows = OwnRows { module, text, rows: vec![first], truncated: false };
    let mut steps = part.pclntab.size();
    for function in (0..part.pclntab.functions()).filter_map(|i| part.pclntab.function(i)) {
        let end = part.pclntab.end(function).min(part.text.1);
        if function.entry < part.text.0 || function.entry >= end {
            continue;
        }
        if rows.rows.len() >= MOST || steps == 0 {
            rows.truncated = true;
            break;
        }
        if part.pclntab.is_named(function, CALLS_C) {
            // Since Go 1.21 the assembler has it save the frame pointer (`cmd/internal/obj/x86/obj6.go`).
            let saves = part.pclntab.frame_sizes(function, &mut steps).any(|(_, size)| size == Some(8));
            let room = if program.minor <= LAST_WITH_ROOM { ROOM } else { 0 };
            if let Some(pc) = relative(function.entry) {
                let layout = &program.layout;
                let goroutine = (words(layout.id), words(layout.created_at));
                push(&mut rows.rows, pc, Row::go_calls_c(0, (room, saves.into()), goroutine));
            }
            continue;
        }
        let leads_on = program.minor >= FIRST_WITH_FRAME_POINTER;
        let is_bottom = part.pclntab.is_named(function, LEAVES)
            || !leads_on && LEAVE_FOR_A_WHILE.iter().any(|name| part.pclntab.is_named(function, name));
        if is_bottom {
            if let Some(pc) = relative(function.entry) {
                push(&mut rows.rows, pc, Row::new(0, cfa::END_OF_STACK, 0, rbp::SAME, 0));
            }
            continue;
        }
        add(part, function, end, &mut rows.rows, &mut steps, relative);
    }
    rows.rows.dedup_by(|later, earlier| later.same_rule(*earlier));
    Some(rows)
}

fn add(
    part: &Part,
    function: super::pclntab::Function,
    end: u64,
    rows: &mut Vec<Row>,
    steps: &mut usize,
    relative: impl Fn(u64) -> Option<u32>,
) {
    let table = &part.pclntab;
    let mut push = |pc: u64, row: Row| {
        if let Some(pc) = relative(pc) {
            push(rows, pc, row);
        }
    };
    if table.is_top(function) {
        push(function.entry, Row::new(0, cfa::END_OF_STACK, 0, rbp::SAME, 0));
        return;
    }
    let changes = CHANGE_STACK.iter().any(|name| table.is_named(function, name));
    if table.switches_stacks(function) && !changes {
        push(function.entry, Row::new(0, cfa::NO_INFO, 0, rbp::SAME, 0));
        return;
    }
    for (start, size) in
        table.frame_sizes(function, steps).take_while(|(start, _)| (function.entry..end).contains(start))
    {
        let framed = size.is_some_and(|size| size > 0);
        push(start, if changes && framed { CHANGES_STACK } else { row(size) });
    }
}

/// Adds a row. Functions of no length, or tables that overlap: the later one wins.
fn push(rows: &mut Vec<Row>, pc: u32, row: Row) {
    if rows.len() < MOST {
        while rows.last().is_some_and(|last| last.pc >= pc) {
            rows.pop();
        }
        rows.push(Row { pc, ..row });
    }
}

/// The rule of [`CHANGE_STACK`].
const CHANGES_STACK: Row = Row::new(0, cfa::GO_CHANGES_STACK, 0, rbp::SAME, 0);

/// The rule where the return address lies `size` bytes above the stack pointer.
fn row(size: Option<u32>) -> Row {
    match size {
        Some(size) if size % 8 == 0 && size / 8 <= LONGEST => {
            // Where the frame is not empty, the frame pointer lies in its last word.
            let (kind, offset) = if size == 0 { (rbp::SAME, 0) } else { (rbp::CFA, -2) };
            Row::new(0, cfa::RSP, (size / 8 + 1) as u16, kind, offset)
        }
        _ => Row::new(0, cfa::NO_INFO, 0, rbp::SAME, 0),
    }
}

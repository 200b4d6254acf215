//! Rows for code without call frame information, from what its instructions do to the stack pointer.
//!
//! musl is built without `.eh_frame`, and so is much assembly. Where no row is, each function is followed
//! from its first instruction, where the return address lies at rsp, along all its ways: pushes, pops, sums
//! and frame pointers tell where the CFA is (`state`), and where two ways meet they must agree (`flow`). A
//! function in which they don't has no rows, and frame pointers are followed there as everywhere else without
//! rows. Functions are found by their symbols, the entry point, calls, and addresses that code or data hold
//! (`starts`).
//!
//! What lies on other ways than jumps is inferred, in the compilers' own terms: a call that would lead into
//! code with another frame does not return, and code that nothing leads to is where a computed jump of its
//! function goes. A function that has dropped its return address and calls another one is the first of its
//! thread, as is the one that the program starts with. That holds for C; where most code of another kind is,
//! nothing is inferred ([`is_followed`]).

mod code;
mod flow;
mod gaps;
mod starts;
mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::FileExt as _;

use iced_x86::InstructionInfoFactory;
use leakscope_common::unwind::{Row, cfa, rbp};
use object::read::elf::{Dyn as _, ProgramHeader as _};
use object::{LittleEndian, Object as _, ObjectSection as _, SectionFlags, elf};

use self::code::Code;
use self::flow::{Found, Function};
use self::gaps::Gaps;
use self::starts::Starts;
use self::state::State;
use super::wide::WideRules;
use crate::process::{ElfError, ElfFile};

/// Most code without rows that is looked at. A browser's whole code is ten times that; it has rows.
const MOST_CODE: u32 = 32 << 20;
/// Most of it in a program or library that needs other libraries: what starts a program has less.
const MOST_FOREIGN: u32 = 4 << 10;
/// Most bytes of code that are read to find it.
const MOST_TEXT: u64 = 1 << 30;
/// Most looks at functions, each time that something new is learnt of one.
const LOOKS: usize = 8;

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Made {
    /// Functions that have rows.
    pub(super) functions: u32,
    /// Functions whose ways do not agree.
    pub(super) refused: u32,
    /// Whether there was too much code.
    pub(super) truncated: bool,
}

/// Fills the gaps of `rows`, except in `skipped`.
pub(super) fn fill(
    elf: &ElfFile,
    rows: &mut Vec<Row>,
    wide: &mut WideRules,
    skipped: Option<(u32, u32)>,
) -> Result<Made, ElfError> {
    let parts = executable(elf)?;
    let ranges: Vec<(u32, u32)> = parts.iter().map(|&(start, end, _)| (start, end)).collect();
    let gaps = Gaps::find(&ranges, rows, skipped);
    if gaps.bytes() == 0 {
        return Ok(Made::default());
    }
    if gaps.bytes() > MOST_FOREIGN && !is_followed(elf, rows)? {
        return Ok(Made::default());
    }
    if gaps.bytes() > MOST_CODE {
        return Ok(Made { truncated: true, ..Made::default() });
    }
    let mut code = Code::default();
    for &(start, end, offset) in &parts {
        code.push(start, read(elf, offset, u64::from(end - start))?);
    }
    let starts = starts::find(elf, &code, &gaps);
    let mut maker = Maker {
        code: &code,
        gaps: &gaps,
        wide,
        info: InstructionInfoFactory::new(),
        found: BTreeMap::new(),
        looks: BTreeMap::new(),
        entries: BTreeMap::new(),
        queue: BTreeSet::new(),
        endless: BTreeSet::new(),
        starts,
    };
    maker.run();
    let (made, new) = maker.into_rows();
    insert(rows, &new, &gaps);
    Ok(made)
}

/// Whether code without rows is followed, however much there is: in a file without any call frame information, and
/// in one that brings its C library along, as static programs do and as musl's own library.
///
/// Elsewhere much code without call frame information was not made by a compiler of C: V8's builtins in node keep
/// return addresses and arguments where no such compiler would, but they do have frame pointers.
fn is_followed(elf: &ElfFile, rows: &[Row]) -> Result<bool, ElfError> {
    let endian = LittleEndian;
    let parsed = elf.parsed()?;
    let headers = parsed.elf_program_headers();
    let mut dynamic =
        headers.iter().filter_map(|h| h.dynamic(endian, parsed.data()).ok().flatten()).flatten();
    let alone = headers.iter().all(|h| h.p_type(endian) != elf::PT_INTERP)
        && dynamic.all(|entry| entry.d_tag(endian) != elf::DT_NEEDED);
    Ok(alone || rows.iter().all(|row| row.cfa_kind() == cfa::NO_INFO))
}

/// Bytes of the file, not through its read cache, which would keep them.
fn read(elf: &ElfFile, offset: u64, size: u64) -> Result<Vec<u8>, ElfError> {
    let end = offset.checked_add(size).filter(|_| size <= MOST_TEXT);
    if end.is_none_or(|end| elf.file().metadata().map_or(0, |m| m.len()) < end) {
        return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
    }
    let mut bytes = vec![0; size as usize];
    elf.file().read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

/// The executable sections, or segments where there are no sections: start, end, offset in the file.
fn executable(elf: &ElfFile) -> Result<Vec<(u32, u32, u64)>, ElfError> {
    let part = |start: u64, size: u64, offset: u64| {
        let (start, end) = (u32::try_from(start).ok()?, u32::try_from(start.checked_add(size)?).ok()?);
        (start < end).then_some((start, end, offset))
    };
    let parsed = elf.parsed()?;
    let mut parts: Vec<(u32, u32, u64)> = parsed
        .sections()
        .filter(|section| {
            matches!(section.flags(), SectionFlags::Elf { sh_flags } if sh_flags & u64::from(elf::SHF_EXECINSTR) != 0)
        })
        // Jumps from one of its entries to the first carry what they have pushed. It has call frame information.
        .filter(|section| section.name_bytes() != Ok(b".plt"))
        .filter_map(|section| part(section.address(), section.file_range()?.1, section.file_range()?.0))
        .collect();
    if parts.is_empty() {
        let segments = elf.segments().iter().filter(|segment| segment.executable);
        parts = segments.filter_map(|s| part(s.address, s.file_size, s.offset)).collect();
    }
    parts.sort_unstable();
    // Overlapping ones are no real file's.
    parts.dedup_by(|later, earlier| later.0 < earlier.1);
    Ok(parts)
}

struct Maker<'a> {
    code: &'a Code,
    gaps: &'a Gaps,
    wide: &'a mut WideRules,
    info: InstructionInfoFactory,
    starts: Starts,
    /// What was learnt of each function up to its end.
    found: BTreeMap<u32, (u32, Found)>,
    looks: BTreeMap<u32, usize>,
    /// Where functions are come to, by function. A part that lies apart from its function has no call's frame
    /// among them.
    entries: BTreeMap<u32, Vec<(u32, State)>>,
    /// Functions to look at.
    queue: BTreeSet<u32>,
    /// Functions that never return.
    endless: BTreeSet<u32>,
}

impl Maker<'_> {
    fn run(&mut self) {
        let functions: Vec<u32> = self.starts.functions.keys().copied().collect();
        functions.into_iter().for_each(|at| self.enter(at, at, State::ENTRY));
        loop {
            while let Some(start) = self.queue.pop_first() {
                self.look(start);
            }
            let jumps: Vec<(u32, State)> =
                self.found.values_mut().flat_map(|(_, found)| std::mem::take(&mut found.leaves)).collect();
            if !jumps.is_empty() {
                jumps.into_iter().for_each(|(target, state)| self.jumped(target, state));
                continue;
            }
            if self.note_endless() {
                continue;
            }
            // What was found by its address alone, where a function can be and none was found.
            let taken = std::mem::take(&mut self.starts.taken);
            let held = if taken.is_empty() { std::mem::take(&mut self.starts.held) } else { BTreeSet::new() };
            if taken.is_empty() && held.is_empty() {
                return;
            }
            for (at, is_function) in
                taken.iter().map(|at| (*at, true)).chain(held.iter().map(|at| (*at, false)))
            {
                if self.can_start(at, is_function) {
                    self.begin(at, State::ENTRY);
                    self.queue.remove(&at);
                    self.look(at);
                }
            }
        }
    }

    /// Notes functions that turned out to never return; whether any that call them are to be looked at anew.
    fn note_endless(&mut self) -> bool {
        let endless =
            |(start, (_, found)): (&u32, &(u32, Found))| (!found.refused && !found.returns).then_some(*start);
        let now: BTreeSet<u32> = self.found.iter().filter_map(endless).collect();
        let callers = self.found.iter().filter(|(_, (_, found))| {
            found.calls.iter().any(|call| now.contains(call) && !self.endless.contains(call))
        });
        self.queue.extend(callers.map(|(start, _)| *start));
        self.endless = now;
        !self.queue.is_empty()
    }

    /// A function, or a part of one, begins at `at`.
    fn begin(&mut self, at: u32, state: State) {
        self.starts.functions.insert(at, None);
        self.enter(at, at, state);
        // It was taken for a part of what lies before.
        if let Some((&start, (end, _))) = self.found.range(..at).next_back()
            && at < *end
        {
            self.queue.insert(start);
        }
    }

    /// The function at `start` is come to at `at`.
    fn enter(&mut self, start: u32, at: u32, state: State) {
        let entries = self.entries.entry(start).or_default();
        if !entries.contains(&(at, state)) {
            entries.push((at, state));
            self.queue.insert(start);
        }
    }

    /// Where the function ends.
    fn end(&self, start: u32) -> u32 {
        let next = self.starts.functions.range(start + 1..).next().map_or(u32::MAX, |(&next, _)| next);
        let symbol = self.starts.functions.get(&start).copied().flatten().unwrap_or(u32::MAX);
        next.min(symbol).min(self.gaps.end_of(start).unwrap_or(start))
    }

    fn look(&mut self, start: u32) {
        let looks = self.looks.entry(start).or_default();
        *looks += 1;
        if *looks > LOOKS {
            return;
        }
        let end = self.end(start);
        let entries = self.entries.get(&start).map_or(&[][..], Vec::as_slice);
        let function = Function { start, end, entries, endless: &self.endless };
        let found = flow::function(self.code, &function, self.wide, &mut self.info);
        let gaps = self.gaps;
        for &target in found.calls.iter().filter(|&&at| gaps.contains(at)) {
            if !self.starts.functions.contains_key(&target) {
                self.begin(target, State::ENTRY);
            }
        }
        self.starts.taken.extend(found.takes.iter().copied().filter(|&at| gaps.contains(at)));
        self.found.insert(start, (end, found));
    }

    /// A function jumps out of itself: to another one instead of returning, or to a part of it that lies
    /// apart.
    fn jumped(&mut self, target: u32, state: State) {
        if !self.gaps.contains(target) {
            return;
        }
        if self.starts.functions.contains_key(&target) {
            // A function is come to with a call's frame; what else there is, is a part.
            if self.entries.get(&target).is_some_and(|entries| !entries.contains(&(target, State::ENTRY))) {
                self.enter(target, target, state);
            }
            return;
        }
        let within = self.found.range(..target).next_back().filter(|(_, (end, _))| target < *end);
        match within.filter(|(_, (_, found))| found.refused || found.has_rule(target)) {
            Some((&start, _)) => self.enter(start, target, state),
            None => self.begin(target, state),
        }
    }

    /// Whether a function that nothing calls can start at `at`: not inside another one, and behind an end.
    /// `is_function`: rather than where a computed jump goes.
    fn can_start(&self, at: u32, is_function: bool) -> bool {
        if self.starts.functions.contains_key(&at) {
            return false;
        }
        let inside = self.found.range(..at).next_back().is_some_and(|(_, (end, found))| {
            at < *end
                && (found.refused || found.has_rule(at) && !(is_function && found.inferred.contains(&at)))
        });
        let before = at.checked_sub(1).and_then(|before| self.code.bytes(before)).map(|bytes| bytes[0]);
        // ret, nop, int3, hlt, the zeros of long nops; jumps end in any byte, and then alignment tells.
        !inside && (at.is_multiple_of(16) || matches!(before, None | Some(0xc3 | 0x90 | 0xcc | 0xf4 | 0)))
    }

    fn into_rows(self) -> (Made, Vec<Row>) {
        let mut made = Made::default();
        let mut rows = Vec::new();
        let row = |pc, kind| Row::new(pc, kind, 0, rbp::SAME, 0);
        for (&start, (end, found)) in &self.found {
            made.functions += u32::from(!found.refused && !found.rows.is_empty());
            made.refused += u32::from(found.refused);
            if self.starts.entry == Some(start) {
                // Nothing has called it.
                rows.extend([row(start, cfa::END_OF_STACK), row(*end, cfa::NO_INFO)]);
                continue;
            }
            // A function that was shortened later on keeps the rows of its part.
            let limit = self.end(start).min(*end);
            rows.extend(found.rows.iter().filter(|row| row.pc < limit));
            rows.push(row(limit, cfa::NO_INFO));
        }
        // A handler returns to the first byte, so its call would lie before it.
        for &(start, end) in &self.starts.signal_returns {
            let start = start.saturating_sub(1);
            rows.retain(|row| row.pc < start || row.pc >= end);
            rows.extend([row(start, cfa::SIGNAL), row(end, cfa::NO_INFO)]);
        }
        // At one address the rule wins over the end of what lies before.
        rows.sort_by_key(|row| (row.pc, row.cfa_kind() != cfa::NO_INFO));
        rows.dedup_by(|later, earlier| {
            let same = later.pc == earlier.pc;
            if same {
                *earlier = *later;
            }
            same
        });
        (made, rows)
    }
}

/// Puts `new` rows into the gaps of `rows`.
fn insert(rows: &mut Vec<Row>, new: &[Row], gaps: &Gaps) {
    let mut merged = Vec::with_capacity(rows.len() + new.len());
    let mut old = rows.iter().copied().peekable();
    for (start, end) in gaps.iter() {
        while let Some(row) = old.next_if(|row| row.pc < start) {
            merged.push(row);
        }
        let first = new.partition_point(|row| row.pc < start);
        let inside = &new[first..][..new[first..].partition_point(|row| row.pc < end)];
        if inside.first().is_none_or(|row| row.pc > start) {
            merged.push(Row::new(start, cfa::NO_INFO, 0, rbp::SAME, 0));
        }
        merged.extend_from_slice(inside);
        // The gap's own row, and the end of what lies in it.
        while old.next_if(|row| row.pc < end).is_some() {}
        if old.peek().is_none_or(|next| next.pc > end) {
            merged.push(Row::new(end, cfa::NO_INFO, 0, rbp::SAME, 0));
        }
    }
    merged.extend(old);
    super::rows::thin_out(&mut merged, 0);
    *rows = merged;
}

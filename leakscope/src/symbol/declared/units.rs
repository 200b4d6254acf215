//! The units of an image's debug info, parsed when they are asked about.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use gimli::{DebugInfoOffset, Dwarf, EndianReader, LittleEndian, Reader as _, Unit, UnitOffset};
use memmap2::Mmap;
use object::{Object as _, ObjectSection as _};

/// Most units kept parsed.
const MOST_UNITS: usize = 256;

/// The debug info of an image.
pub(super) struct Units {
    dwarf: Dwarf<Bytes>,
    /// Where units begin in `.debug_info`, ascending.
    starts: Vec<usize>,
    code: Vec<Code>,
    known: HashMap<usize, Rc<Known>>,
}

/// A unit, and where its functions are.
pub(super) struct Known {
    pub(super) unit: Unit<Bytes>,
    functions: Vec<Code>,
    /// What is inlined into the functions that were asked about, the outer before the inner.
    inlined: RefCell<HashMap<usize, Vec<Code>>>,
}

/// A range of code, and the offset of what it belongs to: of a unit in `.debug_info`, or of a
/// function in its unit.
#[derive(Clone, Copy, Debug)]
struct Code {
    begin: u64,
    end: u64,
    owner: usize,
    /// The largest `end` up to here.
    reach: u64,
}

impl Code {
    fn holds(&self, address: u64) -> bool {
        self.begin <= address && address < self.end
    }
}

impl std::fmt::Debug for Units {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Units").field("units", &self.starts.len()).finish_non_exhaustive()
    }
}

impl Units {
    /// Reads which units there are and what code they have.
    pub(super) fn open(file: &File) -> io::Result<Self> {
        let dwarf = load(file)?;
        let (mut starts, mut code) = (Vec::new(), Vec::new());
        let mut headers = dwarf.units();
        while let Ok(Some(header)) = headers.next() {
            let Some(DebugInfoOffset(start)) = header.debug_info_offset() else { continue };
            starts.push(start);
            let Ok(unit) = dwarf.unit(header) else { continue };
            add_ranges(dwarf.unit_ranges(&unit), start, &mut code);
        }
        Ok(Self { dwarf, starts, code: sorted(code), known: HashMap::new() })
    }

    /// The unit around `offset` of `.debug_info`, and the offset within it.
    pub(super) fn around(&mut self, offset: usize) -> Option<(Rc<Known>, UnitOffset)> {
        let before = self.starts.partition_point(|&start| start <= offset).checked_sub(1)?;
        let known = self.known(self.starts[before])?;
        let inside = DebugInfoOffset(offset).to_unit_offset(&known.unit.header)?;
        Some((known, inside))
    }

    /// The unit with the function at `at`, and the entries of that function and of all that is inlined
    /// there, the outermost first.
    pub(super) fn functions_at(&mut self, at: u64) -> Option<(Rc<Known>, Vec<UnitOffset>)> {
        let owners: Vec<usize> = around(&self.code, at).map(|code| code.owner).collect();
        for start in owners {
            let Some(known) = self.known(start) else { continue };
            // A function within another one is the smaller one.
            let function = around(&known.functions, at).min_by_key(|code| code.end - code.begin);
            if let Some(function) = function {
                let mut chain = vec![UnitOffset(function.owner)];
                let mut inlined = known.inlined.borrow_mut();
                let inlined = inlined
                    .entry(function.owner)
                    .or_insert_with(|| inlined_into(&self.dwarf, &known.unit, UnitOffset(function.owner)));
                chain.extend(inlined.iter().filter(|code| code.holds(at)).map(|code| UnitOffset(code.owner)));
                return Some((Rc::clone(&known), chain));
            }
        }
        None
    }

    fn known(&mut self, start: usize) -> Option<Rc<Known>> {
        if let Some(known) = self.known.get(&start) {
            return Some(Rc::clone(known));
        }
        let header = self.dwarf.debug_info.header_from_offset(DebugInfoOffset(start)).ok()?;
        let unit = self.dwarf.unit(header).ok()?;
        let mut functions = Vec::new();
        // What was read before an error counts.
        let _ = add_functions(&self.dwarf, &unit, &mut functions);
        let known = Rc::new(Known { unit, functions: sorted(functions), inlined: RefCell::default() });
        if self.known.len() >= MOST_UNITS {
            self.known.clear();
        }
        self.known.insert(start, Rc::clone(&known));
        Some(known)
    }
}

fn add_functions(dwarf: &Dwarf<Bytes>, unit: &Unit<Bytes>, functions: &mut Vec<Code>) -> gimli::Result<()> {
    let mut entries = unit.entries_raw(None)?;
    while !entries.is_empty() {
        let offset = entries.next_offset();
        let Some(abbreviation) = entries.read_abbreviation()? else { continue };
        entries.skip_attributes(abbreviation.attributes())?;
        if abbreviation.tag() == gimli::DW_TAG_subprogram {
            add_ranges(dwarf.die_ranges(unit, &unit.entry(offset)?), offset.0, functions);
        }
    }
    Ok(())
}

fn inlined_into(dwarf: &Dwarf<Bytes>, unit: &Unit<Bytes>, function: UnitOffset) -> Vec<Code> {
    let mut inlined = Vec::new();
    // What was read before an error counts.
    let _ = add_inlined(dwarf, unit, function, &mut inlined);
    inlined
}

fn add_inlined(
    dwarf: &Dwarf<Bytes>,
    unit: &Unit<Bytes>,
    function: UnitOffset,
    inlined: &mut Vec<Code>,
) -> gimli::Result<()> {
    let mut entries = unit.entries_at_offset(function)?;
    entries.next_entry()?;
    let depth = entries.depth();
    while let Some(entry) = entries.next_dfs()? {
        if entry.depth() <= depth {
            break;
        }
        if entry.tag() == gimli::DW_TAG_inlined_subroutine {
            add_ranges(dwarf.die_ranges(unit, entry), entry.offset().0, inlined);
        }
    }
    Ok(())
}

/// Ranges of code that was left out when the program was linked begin at 0 or at the last address.
fn add_ranges(ranges: gimli::Result<gimli::RangeIter<Bytes>>, owner: usize, code: &mut Vec<Code>) {
    let Ok(mut ranges) = ranges else { return };
    while let Ok(Some(range)) = ranges.next() {
        if range.begin != 0 && range.begin < range.end {
            code.push(Code { begin: range.begin, end: range.end, owner, reach: 0 });
        }
    }
}

fn sorted(mut code: Vec<Code>) -> Vec<Code> {
    code.sort_by_key(|code| code.begin);
    let mut reach = 0;
    for code in &mut code {
        reach = reach.max(code.end);
        code.reach = reach;
    }
    code.shrink_to_fit();
    code
}

/// The ranges around `at`, the last to begin first.
fn around(code: &[Code], at: u64) -> impl Iterator<Item = &Code> {
    let before = code.partition_point(|code| code.begin <= at);
    code[..before].iter().rev().take_while(move |code| at < code.reach).filter(move |code| at < code.end)
}

/// A section of a mapped image. Copies share the mapping.
pub(super) type Bytes = EndianReader<LittleEndian, Mapped>;

/// An image in memory.
#[derive(Clone, Debug)]
pub(super) struct Mapped(Arc<Mmap>);

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

// SAFETY: a mapping does not move, wherever the handle to it goes.
unsafe impl gimli::StableDeref for Mapped {}
// SAFETY: copies share one mapping, which lives as long as the last of them.
unsafe impl gimli::CloneStableDeref for Mapped {}

fn load(file: &File) -> io::Result<Dwarf<Bytes>> {
    // SAFETY: an image is memory of our own, which nothing writes to or truncates once it is made.
    let map = Arc::new(unsafe { Mmap::map(file) }?);
    let parsed = object::File::parse(&**map).map_err(io::Error::other)?;
    let whole = EndianReader::new(Mapped(Arc::clone(&map)), LittleEndian);
    let section = |id: gimli::SectionId| -> gimli::Result<Bytes> {
        let range = parsed.section_by_name(id.name()).and_then(|section| section.file_range());
        let (start, size) = range.unwrap_or((0, 0));
        let mut reader = whole.clone();
        reader.skip(start as usize)?;
        reader.truncate(size as usize)?;
        Ok(reader)
    };
    Dwarf::load(section).map_err(io::Error::other)
}

//! The units of an image's debug info, parsed when they are asked about.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use gimli::{
    AbbreviationsCacheStrategy, DebugInfoOffset, Dwarf, EndianReader, LittleEndian, Reader as _,
    Section as _, Unit, UnitOffset,
};
use memmap2::Mmap;
use object::{Object as _, ObjectSection as _};

/// Most units kept parsed.
const MOST_UNITS: usize = 256;
/// Most ranges of code kept of these.
const MOST_RANGES: usize = 1 << 20;
/// Units, and functions, that are looked at for one address: more than one only where their code overlaps.
const MOST_OWNERS: usize = 4;
/// Bytes of debug info that tell of a range of code, at least: an entry that shares its ranges with others
/// would make more of them, which are left out.
const BYTES_A_RANGE: usize = 4;

/// The debug info of an image.
pub(super) struct Units {
    dwarf: Dwarf<Bytes>,
    /// Where units begin in `.debug_info`, ascending.
    starts: Vec<usize>,
    code: Vec<Code>,
    known: HashMap<usize, Rc<Known>>,
    /// Most ranges of code that are read at once: there can be no more, by the size of what tells of them.
    most: usize,
    /// Ranges of code in `known`.
    held: usize,
}

/// A unit, and where its functions are.
pub(super) struct Known {
    pub(super) unit: Unit<Bytes>,
    /// Read when first asked for.
    functions: OnceCell<Vec<Code>>,
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
        let mut dwarf = load(file)?;
        // Those that several units share are read once.
        dwarf.populate_abbreviations_cache(AbbreviationsCacheStrategy::Duplicates);
        let size = dwarf.debug_info.reader().len() + dwarf.ranges.debug_ranges().reader().len();
        let most = (size + dwarf.ranges.debug_rnglists().reader().len()) / BYTES_A_RANGE;
        let (mut starts, mut code, mut left) = (Vec::new(), Vec::new(), most);
        let mut headers = dwarf.units();
        while let Ok(Some(header)) = headers.next() {
            let Some(DebugInfoOffset(start)) = header.debug_info_offset() else { continue };
            starts.push(start);
            let Ok(unit) = dwarf.unit(header) else { continue };
            if !add_ranges(dwarf.unit_ranges(&unit), start, &mut left, &mut code) {
                break;
            }
        }
        Ok(Self { dwarf, starts, code: sorted(code), known: HashMap::new(), most, held: 0 })
    }

    /// The unit around `offset` of `.debug_info`, and the offset within it.
    pub(super) fn around(&mut self, offset: usize) -> Option<(Rc<Known>, UnitOffset)> {
        let before = self.starts.partition_point(|&start| start <= offset).checked_sub(1)?;
        let known = self.known(self.starts[before])?;
        let inside = DebugInfoOffset(offset).to_unit_offset(&known.unit.header)?;
        Some((known, inside))
    }

    /// The unit with the function at `at`, and the entries of that function and of all that is inlined
    /// there, the outermost first. Several where a linker has made one of functions that are equal.
    pub(super) fn functions_at(&mut self, at: u64) -> Vec<(Rc<Known>, Vec<UnitOffset>)> {
        let owners: Vec<usize> = around(&self.code, at).map(|code| code.owner).take(MOST_OWNERS).collect();
        let mut found: Vec<(Rc<Known>, Code)> = Vec::new();
        for start in owners {
            let Some(known) = self.known(start) else { continue };
            let here: Vec<Code> = around(self.functions(&known), at).copied().collect();
            found.extend(here.into_iter().map(|code| (Rc::clone(&known), code)));
        }
        // A function within another one is the smaller one.
        let Some(smallest) = found.iter().map(|(_, code)| code.end - code.begin).min() else {
            return Vec::new();
        };
        found.retain(|(_, code)| code.end - code.begin == smallest);
        found.truncate(MOST_OWNERS);
        let mut chains = Vec::with_capacity(found.len());
        for (known, Code { owner, .. }) in found {
            let mut chain = vec![UnitOffset(owner)];
            chain.extend(self.inlined(&known, owner, at));
            chains.push((known, chain));
        }
        chains
    }

    fn functions<'a>(&mut self, known: &'a Known) -> &'a [Code] {
        known.functions.get_or_init(|| {
            let mut functions = Vec::new();
            // What was read before an error counts.
            let _ = add_functions(&self.dwarf, &known.unit, self.most, &mut functions);
            self.held += functions.len();
            sorted(functions)
        })
    }

    /// What is inlined into a function at an address, the outer before the inner.
    fn inlined(&mut self, known: &Known, function: usize, at: u64) -> Vec<UnitOffset> {
        let mut of_unit = known.inlined.borrow_mut();
        let inlined = of_unit.entry(function).or_insert_with(|| {
            let mut inlined = Vec::new();
            // What was read before an error counts.
            let _ = add_inlined(&self.dwarf, &known.unit, UnitOffset(function), self.most, &mut inlined);
            self.held += inlined.len();
            inlined
        });
        inlined.iter().filter(|code| code.holds(at)).map(|code| UnitOffset(code.owner)).collect()
    }

    fn known(&mut self, start: usize) -> Option<Rc<Known>> {
        if let Some(known) = self.known.get(&start) {
            return Some(Rc::clone(known));
        }
        let header = self.dwarf.debug_info.header_from_offset(DebugInfoOffset(start)).ok()?;
        let unit = self.dwarf.unit(header).ok()?;
        let known = Rc::new(Known { unit, functions: OnceCell::new(), inlined: RefCell::default() });
        if self.known.len() >= MOST_UNITS || self.held > MOST_RANGES {
            self.known.clear();
            self.held = 0;
        }
        self.known.insert(start, Rc::clone(&known));
        Some(known)
    }
}

fn add_functions(
    dwarf: &Dwarf<Bytes>,
    unit: &Unit<Bytes>,
    mut left: usize,
    functions: &mut Vec<Code>,
) -> gimli::Result<()> {
    let mut entries = unit.entries_raw(None)?;
    while !entries.is_empty() {
        let offset = entries.next_offset();
        let Some(abbreviation) = entries.read_abbreviation()? else { continue };
        entries.skip_attributes(abbreviation.attributes())?;
        if abbreviation.tag() == gimli::DW_TAG_subprogram {
            let ranges = dwarf.die_ranges(unit, &unit.entry(offset)?);
            if !add_ranges(ranges, offset.0, &mut left, functions) {
                break;
            }
        }
    }
    Ok(())
}

fn add_inlined(
    dwarf: &Dwarf<Bytes>,
    unit: &Unit<Bytes>,
    function: UnitOffset,
    mut left: usize,
    inlined: &mut Vec<Code>,
) -> gimli::Result<()> {
    let mut entries = unit.entries_at_offset(function)?;
    entries.next_entry()?;
    let depth = entries.depth();
    while let Some(entry) = entries.next_dfs()? {
        if entry.depth() <= depth {
            break;
        }
        let ranges = || dwarf.die_ranges(unit, entry);
        if entry.tag() == gimli::DW_TAG_inlined_subroutine
            && !add_ranges(ranges(), entry.offset().0, &mut left, inlined)
        {
            break;
        }
    }
    Ok(())
}

/// Adds ranges as long as any are `left` to be read; whether there are. Those of code that was left out when
/// the program was linked begin at 0 or at the last address.
fn add_ranges(
    ranges: gimli::Result<gimli::RangeIter<Bytes>>,
    owner: usize,
    left: &mut usize,
    code: &mut Vec<Code>,
) -> bool {
    let Ok(mut ranges) = ranges else { return true };
    while let Ok(Some(range)) = ranges.next() {
        let Some(fewer) = left.checked_sub(1) else { return false };
        *left = fewer;
        if range.begin != 0 && range.begin < range.end {
            code.push(Code { begin: range.begin, end: range.end, owner, reach: 0 });
        }
    }
    true
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

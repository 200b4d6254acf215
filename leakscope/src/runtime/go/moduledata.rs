//! The runtime's own description of the program's parts (`runtime/symtab.go`, `moduledata`).

use super::bytes::u64_at;
use super::image::Image;
use super::memory::Memory;
use super::pclntab::{HEADER, Header, LARGEST, Pclntab};
use crate::process::{ElfFile, Segment};

/// Offsets that are the same from Go 1.19 to 1.27.
const FTAB: usize = 128;
const MIN_PC: usize = 160;
const TEXT: usize = 176;
const ETEXT: usize = 184;
const NOPTRDATA: usize = 192;
const DATA: usize = 208;
const BSS: usize = 224;
const NOPTRBSS: usize = 240;
const ENOPTRBSS: usize = 248;
/// Bytes that are looked at.
const SIZE: usize = 640;
/// Largest writable part of a file that is searched.
const LARGEST_DATA: u64 = 1 << 30;
/// Bytes of a page.
const PAGE: u64 = 4096;
/// Most bytes of all segments that are searched.
const MOST_SEARCHED: u64 = 1 << 31;
/// Most places whose table is read to see whether it is the program's.
const MOST_CANDIDATES: usize = 8;

/// A part of the program: the program itself, or a plugin.
#[derive(Debug)]
pub struct Part {
    /// Where its description lies.
    pub address: u64,
    /// The bytes of the description.
    bytes: Vec<u8>,
    /// Where its function table lies.
    pub pclntab_address: u64,
    /// Its functions and lines.
    pub pclntab: Pclntab,
    /// First instruction and the one after the last.
    pub text: (u64, u64),
}

impl Part {
    /// A member of the description.
    pub fn word(&self, offset: usize) -> Option<u64> {
        u64_at(&self.bytes, offset)
    }

    /// The parts of its memory that hold variables: first and last address, those the runtime's lists
    /// live in first.
    pub fn variables(&self) -> Vec<(u64, u64)> {
        // bss, data, noptrbss, noptrdata: bounds in the order of the addresses.
        let bounds = [(BSS, NOPTRBSS), (DATA, BSS), (NOPTRBSS, ENOPTRBSS), (NOPTRDATA, DATA)];
        let range = |(low, high): (usize, usize)| Some((self.word(low)?, self.word(high)?));
        bounds
            .into_iter()
            .filter_map(range)
            .filter(|(low, high)| low < high && high - low <= LARGEST_DATA)
            .collect()
    }

    /// The parts of its memory that hold variables with pointers, as the collector takes them.
    pub fn pointer_variables(&self) -> Vec<(u64, u64)> {
        let range = |(low, high): (usize, usize)| Some((self.word(low)?, self.word(high)?));
        let ranges = [(DATA, BSS), (BSS, NOPTRBSS)].into_iter().filter_map(range);
        ranges.filter(|(low, high)| low < high && high - low <= LARGEST_DATA).collect()
    }

    /// Whether an address lies among its variables.
    pub fn is_variable(&self, address: u64) -> bool {
        let (low, high) = (self.word(NOPTRDATA), self.word(ENOPTRBSS));
        low.is_some_and(|low| low <= address) && high.is_some_and(|high| address < high)
    }
}

/// Where the function table may lie: its section, else wherever its header is found.
pub fn find_pclntab(elf: &ElfFile, bias: u64) -> Option<u64> {
    for name in [".gopclntab", ".data.rel.ro.gopclntab"] {
        if let Ok(Some((address, _))) = section_address(elf, name) {
            return Some(address.wrapping_add(bias));
        }
    }
    // Without section headers: it is aligned to 32 bytes, and nothing else begins so.
    for segment in within_budget(elf.segments().iter()) {
        let Ok(bytes) = elf.bytes_at(segment.offset, segment.file_size) else { continue };
        let found = (0..bytes.len().saturating_sub(HEADER)).step_by(8).find(|at| {
            bytes[*at + 1..].starts_with(&[0xff, 0xff, 0xff, 0, 0, 1, 8])
                && Header::parse(&bytes[*at..]).is_some()
        });
        if let Some(at) = found {
            return Some(segment.address.wrapping_add(at as u64).wrapping_add(bias));
        }
    }
    None
}

fn section_address(elf: &ElfFile, name: &str) -> Result<Option<(u64, u64)>, crate::process::ElfError> {
    use object::{Object as _, ObjectSection as _};
    Ok(elf.parsed()?.section_by_name(name).map(|s| (s.address(), s.size())))
}

/// Finds the first part: a description that points to the table at `pclntab` and agrees with its header.
pub fn find(elf: &ElfFile, image: &Image, memory: &dyn Memory, bias: u64, pclntab: u64) -> Option<Part> {
    let header = Header::parse(&image.constant(memory, pclntab, HEADER)?)?;
    if let Ok(Some((address, _))) = section_address(elf, ".go.module")
        && let Some(part) = at(image, memory, address.wrapping_add(bias), pclntab, &header)
    {
        return Some(part);
    }
    let mut candidates = 0;
    let segments = elf.segments().iter().filter(|s| !s.executable && s.file_size <= LARGEST_DATA);
    for segment in within_budget(segments) {
        let start = segment.address.wrapping_add(bias);
        let words = usize::try_from(segment.file_size).ok()? & !7;
        // Relocated as it was loaded: only memory tells. What is not writable cannot hold it.
        let Some(bytes) = memory.bytes(start, words) else { continue };
        for offset in (0..words).step_by(8) {
            if u64_at(&bytes, offset) != Some(pclntab) || !agrees(&bytes[offset..], pclntab, &header) {
                continue;
            }
            if let Some(part) = at(image, memory, start.wrapping_add(offset as u64), pclntab, &header) {
                return Some(part);
            }
            candidates += 1;
            if candidates == MOST_CANDIDATES {
                return None;
            }
        }
    }
    None
}

/// Segments until together they have too many bytes: in a file that lies, they overlap.
fn within_budget<'a>(segments: impl Iterator<Item = &'a Segment>) -> impl Iterator<Item = &'a Segment> {
    let mut left = MOST_SEARCHED;
    segments.map_while(move |segment| {
        // Each costs something, whatever its size.
        left = left.checked_sub(segment.file_size.saturating_add(PAGE))?;
        Some(segment)
    })
}

/// Whether a description agrees with the header of the table that it points to.
fn agrees(bytes: &[u8], pclntab: u64, header: &Header) -> bool {
    let word = |offset: usize| u64_at(bytes, offset);
    let text = (word(TEXT), word(ETEXT));
    word(0) == Some(pclntab)
        && [8, 32, 56, 80, 104]
            .into_iter()
            .zip(header.parts())
            .all(|(offset, part)| word(offset) == Some(pclntab.wrapping_add(part as u64)))
        && word(FTAB + 8) == Some(header.functions() as u64 + 1)
        && text.0.is_some()
        && text.0 < text.1
}

/// The part whose description lies at `address`, if it describes the table at `pclntab`.
pub fn at(image: &Image, memory: &dyn Memory, address: u64, pclntab: u64, header: &Header) -> Option<Part> {
    let bytes = memory.bytes(address, SIZE).or_else(|| memory.bytes(address, ENOPTRBSS + 112))?;
    let word = |offset: usize| u64_at(&bytes, offset);
    if !agrees(&bytes, pclntab, header) {
        return None;
    }
    let end = word(104)?.checked_add(word(112)?)?;
    let size = end.checked_sub(pclntab).filter(|size| *size <= LARGEST)?;
    let text = (word(TEXT)?, word(ETEXT)?);
    let table = image.constant(memory, pclntab, usize::try_from(size).ok()?)?;
    let pclntab_address = pclntab;
    let pclntab = Pclntab::new(table, text.0)?;
    (word(MIN_PC)? == pclntab.range().0).then_some(Part { address, bytes, pclntab_address, pclntab, text })
}

//! A file -> its sorted rows: from its `.eh_frame`, and from its code where that has nothing.

use std::collections::HashMap;
use std::os::unix::fs::FileExt as _;

use gimli::{
    BaseAddresses, CommonInformationEntry, EhFrame, EhFrameOffset, FrameDescriptionEntry, LittleEndian,
    UnwindContext, UnwindSection as _,
};
use leakscope_common::unwind::{Row, WideRule, cfa, rbp};
#[cfg(test)]
use object::read::elf::ElfFile64;

use super::makecontext;
use super::prologue;
use super::rule::{self, Slice, Storage};
use super::section::{self, EhFrameAt};
use super::wide::WideRules;
use crate::process::{ElfError, ElfFile};

/// Largest `.eh_frame` that is read; that of a browser is a tenth of it.
const MAX_SECTION: u64 = 256 << 20;
/// Most rows before they are sorted and thinned out; libLLVM needs a tenth of it.
const MAX_ROWS: usize = 16 << 20;
/// Longest common entry (CIE) that is evaluated: it runs anew for each of its functions. Usual are
/// 20 bytes.
const MAX_CIE: usize = 512;
/// Most common entries that are kept parsed.
const MAX_CIES: usize = 1024;
/// Bytes of instructions that are run, per byte of the section. Real files need two at most.
const WORK_PER_BYTE: usize = 8;
/// Longest gap between two functions that is taken for padding.
const PADDING: u32 = 15;

/// Why a file has no rows.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// The ELF file could not be read or parsed.
    #[error(transparent)]
    Elf(#[from] ElfError),
    /// It has no call frame information, and its code tells nothing; only frame pointers can help.
    #[error("no .eh_frame section: the file was built without unwind tables")]
    NoEhFrame,
    /// The section is larger than any real one.
    #[error(".eh_frame is implausibly large: {0} bytes")]
    TooLarge(u64),
    /// Rows hold 32-bit addresses.
    #[error("code at virtual address {0:#x}: only the first 4 GiB can be tabled")]
    AddressTooHigh(u64),
}

/// What became of the call frame information.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowStats {
    /// Functions (FDEs) that gave rows.
    pub functions: u32,
    /// Functions that were skipped or cut short: malformed, or beyond what is accepted.
    pub bad_functions: u32,
    /// Rows whose rule is a wide one.
    pub wide: u32,
    /// Rows whose rule the format cannot hold.
    pub unsupported: u32,
    /// Functions without call frame information whose rows come from their code.
    pub followed: u32,
    /// Functions without it whose code was not understood.
    pub not_followed: u32,
    /// Whether a limit on rows or work left functions out.
    pub truncated: bool,
}

/// The unwind rows of one file: sorted by `pc`, no `pc` twice, the first at `pc` 0. Rows of wide rules hold
/// indices that are counted from the first slot of the file's wide rules.
#[derive(Clone, Debug)]
pub struct FileRows {
    rows: Vec<Row>,
    wide: Vec<WideRule>,
    stats: RowStats,
}

impl FileRows {
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The wide rules.
    pub fn wide(&self) -> &[WideRule] {
        &self.wide
    }

    /// Slots of the row space that the rows and their wide rules take.
    pub fn slots(&self) -> usize {
        self.rows.len() + self.wide.len() * WideRule::SLOTS
    }

    /// What became of the call frame information.
    pub fn stats(&self) -> RowStats {
        self.stats
    }

    /// These rows, with those of the code from `text.0` to `text.1` replaced by `rows`, which are sorted
    /// and lie in it.
    pub fn replaced(self, text: (u32, u32), rows: Vec<Row>) -> Self {
        let (before, rest) = self.rows.split_at(self.rows.partition_point(|row| row.pc < text.0));
        let after = &rest[rest.partition_point(|row| row.pc <= text.1)..];
        // The rule that held where the replaced part ends.
        let last = self.rows.iter().rev().find(|row| row.pc <= text.1).copied();
        let end =
            last.map_or(Row::new(text.1, cfa::NO_INFO, 0, rbp::SAME, 0), |row| Row { pc: text.1, ..row });
        let rows = [before, &rows, &[end], after].concat();
        Self { rows, ..self }
    }

    /// No rows: frame pointers everywhere.
    pub fn none() -> Self {
        Self {
            rows: vec![Row::new(0, cfa::NO_INFO, 0, rbp::SAME, 0)],
            wide: Vec::new(),
            stats: RowStats::default(),
        }
    }
}

/// The rows of an ELF image in memory. Tests mutate images; what is traced is read from files.
#[cfg(test)]
#[derive(Clone, Debug)]
pub(super) struct ImageRows {
    pub(super) rows: FileRows,
    /// Virtual address of the image's first byte; 0 for every vDSO seen.
    pub(super) base: u64,
}

/// Builds the rows of a file: from its call frame information, and where it has none from its code, except
/// from `skipped.0` to `skipped.1`, which gets rows in another way.
pub fn build(elf: &ElfFile, skipped: Option<(u32, u32)>) -> Result<FileRows, RowsError> {
    for segment in elf.segments().iter().filter(|s| s.executable) {
        if segment.address.saturating_add(segment.file_size) > u64::from(u32::MAX) {
            return Err(RowsError::AddressTooHigh(segment.address));
        }
    }
    let mut built = match section::locate(&elf.parsed()?) {
        Some(at) => {
            let size = buffer_size(at, elf.file().metadata().map_err(ElfError::Io)?.len())?;
            // Not through the file's read cache, which would keep the section for as long as the file.
            let mut bytes = vec![0; size];
            elf.file().read_exact_at(&mut bytes, at.offset).map_err(ElfError::Io)?;
            Built::from_sections(&bytes, at.address)
        }
        None => Built::default(),
    };
    let made = prologue::fill(elf, &mut built.rows, &mut built.wide, skipped)?;
    if built.rows.len() == 1 {
        return Err(RowsError::NoEhFrame);
    }
    built.stats.followed = made.functions;
    built.stats.not_followed = made.refused;
    built.stats.truncated |= made.truncated;
    Ok(makecontext::end_coroutines(elf, built.into_rows()))
}

/// Builds the rows of a file from its code alone, as if it had no call frame information.
#[cfg(test)]
pub(super) fn build_from_code(elf: &ElfFile) -> FileRows {
    let mut built = Built::default();
    let made = prologue::fill(elf, &mut built.rows, &mut built.wide, None).expect("readable");
    (built.stats.followed, built.stats.not_followed) = (made.functions, made.refused);
    built.into_rows()
}

/// Builds the rows of an ELF image in memory.
#[cfg(test)]
pub(super) fn build_from_image(image: &[u8]) -> Result<ImageRows, RowsError> {
    use object::read::elf::ProgramHeader as _;
    let endian = object::LittleEndian;
    let parsed = ElfFile64::<object::LittleEndian, _>::parse(image).map_err(ElfError::Parse)?;
    let base = parsed
        .elf_program_headers()
        .iter()
        .find(|p| p.p_type(endian) == object::elf::PT_LOAD)
        .map_or(0, |p| p.p_vaddr(endian).wrapping_sub(p.p_offset(endian)));
    let at = section::locate(&parsed).ok_or(RowsError::NoEhFrame)?;
    let size = buffer_size(at, image.len() as u64)?;
    let bytes = usize::try_from(at.offset).ok().and_then(|start| image.get(start..)?.get(..size));
    Ok(ImageRows { rows: build_from_sections(bytes.ok_or(RowsError::NoEhFrame)?, at.address), base })
}

/// The section's size, checked against what holds it.
fn buffer_size(at: EhFrameAt, available: u64) -> Result<usize, RowsError> {
    if at.size > MAX_SECTION {
        return Err(RowsError::TooLarge(at.size));
    }
    match at.offset.checked_add(at.size) {
        Some(end) if end <= available => Ok(at.size as usize),
        _ => Err(ElfError::Io(std::io::ErrorKind::UnexpectedEof.into()).into()),
    }
}

/// Builds the rows of a `.eh_frame` section that lies at virtual address `eh_frame_address`.
///
/// What is malformed is skipped and counted.
pub fn build_from_sections(eh_frame: &[u8], eh_frame_address: u64) -> FileRows {
    Built::from_sections(eh_frame, eh_frame_address).into_rows()
}

/// Rows that others may still join.
struct Built {
    rows: Vec<Row>,
    wide: WideRules,
    stats: RowStats,
}

impl Default for Built {
    fn default() -> Self {
        let rows = vec![Row::new(0, cfa::NO_INFO, 0, rbp::SAME, 0)];
        Self { rows, wide: WideRules::default(), stats: RowStats::default() }
    }
}

impl Built {
    fn from_sections(eh_frame: &[u8], eh_frame_address: u64) -> Self {
        let mut builder = Builder::new(eh_frame, eh_frame_address);
        builder.run();
        let mut rows = builder.rows;
        // Functions mostly come in the order of their addresses, which makes a stable sort quick. At
        // the same address a real row beats an end, and else the later one wins.
        rows.sort_by_key(|row| (row.pc, row.cfa_kind() != cfa::NO_INFO));
        thin_out(&mut rows, PADDING);
        Self { rows, wide: builder.wide, stats: builder.stats }
    }

    fn into_rows(self) -> FileRows {
        let mut stats = self.stats;
        let count = |kind| self.rows.iter().filter(|row| row.cfa_kind() == kind).count() as u32;
        (stats.wide, stats.unsupported) = (count(cfa::WIDE), count(cfa::UNSUPPORTED));
        FileRows { wide: self.wide.into_rules(), rows: self.rows, stats }
    }
}

/// Keeps the last row of each address, and of these only rows that change the rule; an end of at most
/// `padding` bytes is none.
pub(super) fn thin_out(rows: &mut Vec<Row>, padding: u32) {
    let mut kept = 0;
    for at in 0..rows.len() {
        let row = rows[at];
        if let Some(next) = rows.get(at + 1) {
            let gap = next.pc - row.pc;
            if gap == 0 || (kept > 0 && row.cfa_kind() == cfa::NO_INFO && gap <= padding) {
                continue;
            }
        }
        if kept > 0 && rows[kept - 1].same_rule(row) {
            continue;
        }
        rows[kept] = row;
        kept += 1;
    }
    rows.truncate(kept);
    rows.shrink_to_fit();
}

struct Builder<'a> {
    eh_frame: EhFrame<Slice<'a>>,
    bytes: &'a [u8],
    bases: BaseAddresses,
    context: Box<UnwindContext<usize, Storage>>,
    cies: HashMap<usize, CommonInformationEntry<Slice<'a>>>,
    work_left: usize,
    rows: Vec<Row>,
    wide: WideRules,
    stats: RowStats,
}

/// A limit on rows or work was reached.
struct Exhausted;

impl<'a> Builder<'a> {
    fn new(bytes: &'a [u8], address: u64) -> Self {
        let mut eh_frame = EhFrame::new(bytes, LittleEndian);
        eh_frame.set_address_size(8);
        Self {
            eh_frame,
            bytes,
            bases: BaseAddresses::default().set_eh_frame(address),
            context: Box::new(UnwindContext::new_in()),
            cies: HashMap::new(),
            work_left: bytes.len().saturating_mul(WORK_PER_BYTE).saturating_add(1 << 16),
            rows: vec![Row::new(0, cfa::NO_INFO, 0, rbp::SAME, 0)],
            wide: WideRules::default(),
            stats: RowStats::default(),
        }
    }

    /// Walks the entries by their lengths alone, so a malformed one costs only itself.
    fn run(&mut self) {
        let mut at = 0;
        while let Some((end, is_cie)) = entry(self.bytes, at) {
            if !is_cie && self.function(at, end).is_err() {
                self.stats.truncated = true;
                return;
            }
            at = end;
        }
    }

    fn function(&mut self, at: usize, end: usize) -> Result<(), Exhausted> {
        let cies = &mut self.cies;
        let fde = self.eh_frame.fde_from_offset(&self.bases, EhFrameOffset(at), |section, bases, cie_at| {
            if let Some(cie) = cies.get(&cie_at.0) {
                return Ok(cie.clone());
            }
            let cie = section.cie_from_offset(bases, cie_at)?;
            if cies.len() < MAX_CIES {
                cies.insert(cie_at.0, cie.clone());
            }
            Ok(cie)
        });
        let Ok(fde) = fde else {
            self.stats.bad_functions += 1;
            return Ok(());
        };
        let work = (end - at).saturating_add(fde.cie().entry_len());
        self.work_left = self.work_left.checked_sub(work).ok_or(Exhausted)?;
        let (start, end) = match (u32::try_from(fde.initial_address()), u32::try_from(fde.end_address())) {
            (Ok(start), Ok(end)) if start <= end && fde.cie().entry_len() <= MAX_CIE => (start, end),
            _ => {
                self.stats.bad_functions += 1;
                return Ok(());
            }
        };
        // Left over from functions that the linker dropped.
        if start == end {
            return Ok(());
        }
        let mut covered = start;
        let result = self.rows_of(&fde, end, &mut covered);
        self.rows.push(Row::new(covered, cfa::NO_INFO, 0, rbp::SAME, 0));
        match result {
            Ok(()) => self.stats.functions += 1,
            Err(FunctionError::Malformed) => self.stats.bad_functions += 1,
            Err(FunctionError::Exhausted) => return Err(Exhausted),
        }
        Ok(())
    }

    /// Adds the rows of a function, as far as they can be had; they hold up to `covered`.
    fn rows_of(
        &mut self,
        fde: &FrameDescriptionEntry<Slice<'a>>,
        end: u32,
        covered: &mut u32,
    ) -> Result<(), FunctionError> {
        let signal = fde.is_signal_trampoline();
        let first = self.rows.len();
        let mut table = fde.rows(&self.eh_frame, &self.bases, &mut self.context)?;
        while let Some(source) = table.next_row()? {
            let (start, row_end) = (source.start_address(), source.end_address().min(u64::from(end)));
            if start >= row_end {
                continue;
            }
            let row = rule::row(&self.eh_frame, source, start as u32, signal, &mut self.wide);
            if self.rows.len() == first || self.rows.last().is_none_or(|last| !last.same_rule(row)) {
                if self.rows.len() >= MAX_ROWS {
                    return Err(FunctionError::Exhausted);
                }
                self.rows.push(row);
            }
            *covered = row_end as u32;
        }
        Ok(())
    }
}

enum FunctionError {
    Malformed,
    Exhausted,
}

impl From<gimli::Error> for FunctionError {
    fn from(_: gimli::Error) -> Self {
        Self::Malformed
    }
}

/// The entry at `at`: where it ends, and whether it is a common one. `None` at the list's end.
fn entry(bytes: &[u8], at: usize) -> Option<(usize, bool)> {
    let word = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    let (length, content) = match word(at)? {
        0 => return None,
        u32::MAX => {
            let length = u64::from_le_bytes(*bytes.get(at + 4..)?.first_chunk()?);
            (usize::try_from(length).ok()?, at + 12)
        }
        length => (length as usize, at + 4),
    };
    let end = content.checked_add(length).filter(|&end| end <= bytes.len())?;
    let is_cie = length < 4 || word(content)? == 0;
    Some((end, is_cie))
}

//! ELF files of the target, read in pieces: nothing is mapped (a file truncated under a mapping
//! would kill us), and only what is asked for is read.

use std::fs::File;
use std::io;
#[cfg(test)]
use std::path::Path;

use object::read::elf::{ElfFile64, FileHeader as _, ProgramHeader as _};
use object::read::{ReadCache, ReadRef};
use object::{LittleEndian, Object as _, ObjectSection as _, elf};

/// Why a file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// It could not be opened or read.
    #[error("cannot read: {0}")]
    Io(#[from] io::Error),
    /// It is no ELF file that can be parsed.
    #[error("not a usable ELF file: {0}")]
    Parse(#[from] object::Error),
    /// It is for another kind of machine.
    #[error("not an x86-64 ELF file")]
    OtherMachine,
    /// A section is larger than this reader accepts.
    #[error("section {0} is implausibly large")]
    TooLarge(&'static str),
    /// It was mapped, and is not any more; no file of its name is known to be the same.
    #[error("it was unmapped before leakscope could read it")]
    Unmapped,
    /// It was there when the target was recorded; the recording does not hold it.
    #[error("a recording does not hold the file")]
    Recorded { build_id: Option<String> },
}

/// Largest section that is read whole.
const MAX_SECTION: u64 = 1 << 30;
/// Largest piece that the parser may ask for: section headers and symbols. What a file says of its sizes may be
/// a lie, and a sparse file is as large as it likes.
const MAX_PIECE: u64 = 512 << 20;

/// A loadable segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Offset in the file.
    pub offset: u64,
    /// Bytes in the file.
    pub file_size: u64,
    /// Virtual address that the file asks for.
    pub address: u64,
    /// Whether it is mapped executable.
    pub executable: bool,
}

/// A section's virtual address and its bytes, compressed if the file has them so.
pub type Section<'a> = (u64, &'a [u8]);

/// An open ELF file. Holds the file open, so it stays readable when its name or process is gone.
#[derive(Debug)]
pub struct ElfFile {
    cache: ReadCache<File>,
    file: File,
    segments: Vec<Segment>,
    build_id: Option<Vec<u8>>,
}

/// The parsed view of an [`ElfFile`].
pub type ParsedElf<'a> = ElfFile64<'a, LittleEndian, Pieces<'a>>;

/// The pieces of a file that were read; none that the parser asks for is larger than 512 MiB.
#[derive(Clone, Copy, Debug)]
pub struct Pieces<'a>(&'a ReadCache<File>);

impl<'a> ReadRef<'a> for Pieces<'a> {
    fn len(self) -> Result<u64, ()> {
        self.0.len()
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'a [u8], ()> {
        if size > MAX_PIECE { Err(()) } else { self.0.read_bytes_at(offset, size) }
    }

    fn read_bytes_at_until(self, range: std::ops::Range<u64>, delimiter: u8) -> Result<&'a [u8], ()> {
        self.0.read_bytes_at_until(range, delimiter)
    }
}

impl ElfFile {
    /// Opens and checks the file at `path`.
    #[cfg(test)]
    pub(crate) fn open(path: &Path) -> Result<Self, ElfError> {
        Self::from_file(File::open(path)?)
    }

    /// Takes an open file.
    pub fn from_file(file: File) -> Result<Self, ElfError> {
        let cache = ReadCache::new(file.try_clone()?);
        let (segments, build_id) = {
            let parsed = parse(&cache)?;
            let endian = LittleEndian;
            if parsed.elf_header().e_machine(endian) != elf::EM_X86_64 {
                return Err(ElfError::OtherMachine);
            }
            let segments = parsed
                .elf_program_headers()
                .iter()
                .filter(|p| p.p_type(endian) == elf::PT_LOAD)
                .map(|p| Segment {
                    offset: p.p_offset(endian),
                    file_size: p.p_filesz(endian),
                    address: p.p_vaddr(endian),
                    executable: p.p_flags(endian) & elf::PF_X != 0,
                })
                .collect();
            (segments, parsed.build_id().ok().flatten().map(<[u8]>::to_vec))
        };
        Ok(Self { cache, file, segments, build_id })
    }

    /// Whether it has section headers.
    pub fn has_sections(&self) -> bool {
        self.parsed().is_ok_and(|parsed| parsed.sections().next().is_some())
    }

    /// The parsed file; cheap, reads only headers and what is then asked for.
    pub fn parsed(&self) -> Result<ParsedElf<'_>, ElfError> {
        parse(&self.cache)
    }

    /// Whether it names itself as a library does.
    pub fn is_library(&self) -> bool {
        use object::read::elf::Dyn as _;
        let dynamic = |parsed: ParsedElf<'_>| {
            let (table, _) = parsed.elf_section_table().dynamic(LittleEndian, parsed.data()).ok()??;
            Some(table.iter().any(|d| d.tag(LittleEndian) == elf::DT_SONAME))
        };
        self.parsed().ok().and_then(dynamic).unwrap_or(false)
    }

    /// Drops what was read; it is read again as needed.
    pub fn forget_cache(&mut self) {
        self.cache.clear();
    }

    /// The open file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The loadable segments.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The GNU build ID.
    pub fn build_id(&self) -> Option<&[u8]> {
        self.build_id.as_deref()
    }

    /// The build ID in hexadecimal digits.
    pub fn build_id_text(&self) -> Option<String> {
        self.build_id().map(|id| id.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The virtual address at a file offset in an executable segment.
    pub fn address_of_offset(&self, offset: u64) -> Option<u64> {
        self.segments
            .iter()
            .find(|s| s.executable && offset.checked_sub(s.offset).is_some_and(|d| d < s.file_size))
            .map(|s| s.address.wrapping_add(offset - s.offset))
    }

    /// The file offset of a virtual address in an executable segment.
    pub fn offset_of_address(&self, address: u64) -> Option<u64> {
        self.segments
            .iter()
            .find(|s| s.executable && address.checked_sub(s.address).is_some_and(|d| d < s.file_size))
            .map(|s| s.offset.wrapping_add(address - s.address))
    }

    /// The load bias of a mapping of this file: runtime address minus virtual address.
    ///
    /// `None` if no executable segment covers the mapping's offset.
    pub fn bias(&self, mapping_start: u64, mapping_offset: u64) -> Option<u64> {
        let page = |value: u64| value & !0xfff;
        let segment = self.segments.iter().find(|s| {
            s.executable
                && mapping_offset >= page(s.offset)
                && mapping_offset < s.offset.saturating_add(s.file_size)
        })?;
        Some(
            mapping_start
                .wrapping_sub(mapping_offset)
                .wrapping_add(segment.offset)
                .wrapping_sub(segment.address),
        )
    }

    /// `size` bytes at a file offset.
    pub fn bytes_at(&self, offset: u64, size: u64) -> Result<&[u8], ElfError> {
        if size > MAX_SECTION {
            return Err(ElfError::TooLarge("(bytes)"));
        }
        (&self.cache)
            .read_bytes_at(offset, size)
            .map_err(|()| ElfError::Io(io::Error::from(io::ErrorKind::UnexpectedEof)))
    }

    /// A section as it lies in the file, if the file has it.
    pub fn section(&self, name: &'static str) -> Result<Option<Section<'_>>, ElfError> {
        let parsed = self.parsed()?;
        let Some(section) = parsed.section_by_name(name) else { return Ok(None) };
        if section.size() > MAX_SECTION {
            return Err(ElfError::TooLarge(name));
        }
        Ok(Some((section.address(), section.data()?)))
    }
}

fn parse(cache: &ReadCache<File>) -> Result<ParsedElf<'_>, ElfError> {
    Ok(ElfFile64::parse(Pieces(cache))?)
}

//! Symbol images: the sections that names come from, copied out of the target's files.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use object::read::{CompressedFileRange, CompressionFormat};
use object::{Object as _, ObjectSection as _, elf};
use rustix::fs::MemfdFlags;

use super::decompress;
use super::find::{DebugFiles, MAX_FILE_BYTES};
use crate::interrupt::Mark;
use crate::process::elf::{ParsedElf, Pieces};
use crate::process::{ElfError, ElfFile};

/// Most bytes copied for one file. The debug info of Firefox's libxul fits, that of a debug build
/// of Chromium does not: such a file gets names from its symbol table, without lines.
pub const MAX_IMAGE_BYTES: u64 = 1 << 30;
/// Most bytes copied for all files of a symbolizer.
pub const MAX_TOTAL_BYTES: u64 = 2 << 30;
/// Largest compressed section, and largest MiniDebugInfo when decompressed.
const MAX_IN_MEMORY: u64 = 256 << 20;

/// The sections that functions, inlining and lines are read from. Locations of variables, macros
/// and indexes by name are left out: they are a third of the whole.
const DWARF_SECTIONS: [&str; 11] = [
    ".debug_abbrev",
    ".debug_addr",
    ".debug_aranges",
    ".debug_info",
    ".debug_line",
    ".debug_line_str",
    ".debug_ranges",
    ".debug_rnglists",
    ".debug_str",
    ".debug_str_offsets",
    ".debug_types",
];

/// Why an image could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum ImageError {
    #[error(transparent)]
    Elf(#[from] ElfError),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("larger than {} MiB", MAX_IMAGE_BYTES >> 20)]
    TooLarge,
}

impl From<object::Error> for ImageError {
    fn from(error: object::Error) -> Self {
        Self::Elf(ElfError::Parse(error))
    }
}

/// An ELF file of our own making, in memory.
#[derive(Debug)]
pub(super) struct Image {
    file: File,
    /// Bytes it occupies.
    pub(super) size: u64,
}

impl Image {
    /// The file itself.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Path to open it by, while it lives.
    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    /// Everything about `elf`: DWARF and symbols. `None` if there is no DWARF.
    ///
    /// `supplement` is the image of the dwz file; it must live until the image has been opened.
    pub(super) fn with_dwarf(
        elf: &ElfFile,
        debug: &DebugFiles,
        supplement: Option<&Self>,
        limit: u64,
    ) -> Result<Option<Self>, ImageError> {
        let sources = debug.debug.iter().chain([elf]);
        let Some(holder) = sources.into_iter().find(|file| has_section(file, ".debug_info")) else {
            return Ok(None);
        };
        let mut writer = Writer::new(limit)?;
        writer.dwarf(holder)?;
        if let (Some(image), Some(id)) = (supplement, debug.supplement.as_ref().and_then(ElfFile::build_id)) {
            // blazesym joins this name with the directory that it is told to search.
            let mut link = format!("{}\0", image.file.as_raw_fd()).into_bytes();
            link.extend_from_slice(id);
            writer.section(".gnu_debugaltlink", elf::SHT_PROGBITS, 0, &mut link.as_slice())?;
        }
        writer.symbols(elf, debug)?;
        Ok(Some(writer.finish()?))
    }

    /// The symbol tables of `elf` alone.
    pub(super) fn symbols_only(elf: &ElfFile, debug: &DebugFiles, limit: u64) -> Result<Self, ImageError> {
        let mut writer = Writer::new(limit)?;
        writer.symbols(elf, debug)?;
        writer.finish()
    }

    /// The DWARF of a dwz file, marked with its build ID.
    pub(super) fn supplement(elf: &ElfFile, limit: u64) -> Result<Self, ImageError> {
        let mut writer = Writer::new(limit)?;
        writer.dwarf(elf)?;
        let id = elf.build_id().unwrap_or_default();
        let mut note = Vec::new();
        for word in [4, id.len() as u32, elf::NT_GNU_BUILD_ID] {
            note.extend_from_slice(&word.to_le_bytes());
        }
        note.extend_from_slice(b"GNU\0");
        note.extend_from_slice(id);
        writer.section(".note.gnu.build-id", elf::SHT_NOTE, 0, &mut note.as_slice())?;
        writer.finish()
    }
}

/// Whether `elf` has this section, with contents.
pub(super) fn has_section(elf: &ElfFile, name: &str) -> bool {
    elf.parsed().is_ok_and(|parsed| section(&parsed, name).is_some_and(|section| section.size() > 0))
}

type Section<'a, 'f> = object::read::elf::ElfSection64<'a, 'f, object::LittleEndian, Pieces<'a>>;

/// A section that is in the file, under its name or the one that old linkers gave it when it was
/// compressed.
fn section<'a, 'f>(parsed: &'f ParsedElf<'a>, name: &str) -> Option<Section<'a, 'f>> {
    parsed
        .section_by_name(name)
        .or_else(|| {
            parsed.section_by_name(&format!(".z{}", name.strip_prefix(".debug").map(|_| &name[1..])?))
        })
        .filter(|section| section.elf_section_header().sh_type.get(object::LittleEndian) != elf::SHT_NOBITS)
}

/// Writes an image, section by section.
struct Writer {
    file: File,
    begun: Mark,
    position: u64,
    limit: u64,
    names: Vec<u8>,
    headers: Vec<u8>,
    count: u16,
}

impl Writer {
    fn new(limit: u64) -> io::Result<Self> {
        let file = memory_file()?;
        let mut writer = Self {
            file,
            begun: Mark::now(),
            position: 0,
            limit,
            names: vec![0],
            headers: vec![0; HEADER],
            count: 1,
        };
        writer.write(&[0; FILE_HEADER])?;
        Ok(writer)
    }

    /// The DWARF sections of `source`.
    fn dwarf(&mut self, source: &ElfFile) -> Result<(), ImageError> {
        let parsed = checked(source)?;
        for name in DWARF_SECTIONS {
            let Some(section) = section(&parsed, name) else { continue };
            self.copy(name, elf::SHT_PROGBITS, source.file(), section.compressed_file_range()?, 1)?;
        }
        Ok(())
    }

    /// The best static symbol table there is, and the dynamic one.
    fn symbols(&mut self, elf: &ElfFile, debug: &DebugFiles) -> Result<(), ImageError> {
        let full = debug.debug.iter().chain([elf]).find(|file| has_section(file, ".symtab"));
        if let Some(file) = full {
            self.symbol_table(file, ".symtab", ".strtab", elf::SHT_SYMTAB)?;
        } else if let Some(mini) = mini_debug_info(elf)? {
            self.symbol_table(&mini, ".symtab", ".strtab", elf::SHT_SYMTAB)?;
        }
        self.symbol_table(elf, ".dynsym", ".dynstr", elf::SHT_DYNSYM)
    }

    fn symbol_table(
        &mut self,
        source: &ElfFile,
        name: &str,
        strings_name: &str,
        kind: u32,
    ) -> Result<(), ImageError> {
        let parsed = checked(source)?;
        let Some(section) = section(&parsed, name) else { return Ok(()) };
        let link = section.elf_section_header().sh_link.get(object::LittleEndian);
        let link = object::SectionIndex(link as usize);
        let strings = parsed.section_by_index(link)?;
        self.copy(name, kind, source.file(), section.compressed_file_range()?, SYMBOL)?;
        self.copy(strings_name, elf::SHT_STRTAB, source.file(), strings.compressed_file_range()?, 1)
    }

    /// Copies a section, decompressed; its size is cut to a multiple of `unit`.
    fn copy(
        &mut self,
        name: &str,
        kind: u32,
        source: &File,
        range: CompressedFileRange,
        unit: u64,
    ) -> Result<(), ImageError> {
        let size = range.uncompressed_size / unit * unit;
        if size > self.limit.saturating_sub(self.position) {
            return Err(ImageError::TooLarge);
        }
        if range.format == CompressionFormat::None {
            let mut reader = At { file: source, offset: range.offset };
            return self.section(name, kind, size, &mut (&mut reader).take(size));
        }
        let data = read_range(source, range.offset, range.compressed_size)?;
        let mut reader = decompress::reader(&data, range.format)?.take(size);
        self.section(name, kind, size, &mut reader)
    }

    /// Appends what `reader` gives; `expected` is 0 or the length that it must have.
    fn section(
        &mut self,
        name: &str,
        kind: u32,
        expected: u64,
        reader: &mut dyn Read,
    ) -> Result<(), ImageError> {
        self.align()?;
        let start = self.position;
        let mut buffer = vec![0; 1 << 18];
        loop {
            self.begun.check()?;
            match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => self.write(&buffer[..count])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        let size = self.position - start;
        if expected != 0 && size != expected {
            return Err(
                io::Error::new(io::ErrorKind::UnexpectedEof, format!("section {name} is cut short")).into()
            );
        }
        self.header(name, kind, start, size);
        Ok(())
    }

    fn header(&mut self, name: &str, kind: u32, offset: u64, size: u64) {
        let name_offset = self.names.len() as u32;
        self.names.extend_from_slice(name.as_bytes());
        self.names.push(0);
        let is_table = kind == elf::SHT_SYMTAB || kind == elf::SHT_DYNSYM;
        let h = &mut self.headers;
        h.extend_from_slice(&name_offset.to_le_bytes());
        h.extend_from_slice(&kind.to_le_bytes());
        // Flags, address.
        h.extend_from_slice(&[0; 16]);
        h.extend_from_slice(&offset.to_le_bytes());
        h.extend_from_slice(&size.to_le_bytes());
        // A symbol table is followed by its strings.
        h.extend_from_slice(&(if is_table { u32::from(self.count) + 1 } else { 0 }).to_le_bytes());
        h.extend_from_slice(&0u32.to_le_bytes());
        h.extend_from_slice(&8u64.to_le_bytes());
        h.extend_from_slice(&(if is_table { SYMBOL } else { 0 }).to_le_bytes());
        self.count += 1;
    }

    /// Section names, section headers, file header.
    fn finish(mut self) -> Result<Image, ImageError> {
        let index = self.count;
        let offset = self.position;
        // Its own name follows the names so far: `.shstrtab` and a zero.
        let size = self.names.len() as u64 + 10;
        self.header(".shstrtab", elf::SHT_STRTAB, offset, size);
        let names = std::mem::take(&mut self.names);
        self.write(&names)?;
        self.align()?;
        let table = self.position;
        let headers = std::mem::take(&mut self.headers);
        self.write(&headers)?;

        let mut h = Vec::with_capacity(FILE_HEADER);
        h.extend_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
        h.extend_from_slice(&elf::ET_DYN.to_le_bytes());
        h.extend_from_slice(&elf::EM_X86_64.to_le_bytes());
        h.extend_from_slice(&1u32.to_le_bytes());
        // Entry, program headers.
        h.extend_from_slice(&[0; 16]);
        h.extend_from_slice(&table.to_le_bytes());
        h.extend_from_slice(&0u32.to_le_bytes());
        for half in [FILE_HEADER as u16, 0, 0, HEADER as u16, self.count, index] {
            h.extend_from_slice(&half.to_le_bytes());
        }
        self.file.write_all_at(&h, 0)?;
        Ok(Image { file: self.file, size: self.position })
    }

    fn align(&mut self) -> Result<(), ImageError> {
        let padding = self.position.next_multiple_of(16) - self.position;
        Ok(self.write(&[0; 16][..padding as usize])?)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.position += bytes.len() as u64;
        Ok(())
    }
}

const FILE_HEADER: usize = 64;
const HEADER: usize = 64;
const SYMBOL: u64 = 24;

/// The parsed view, if the file has a size that we read.
fn checked(elf: &ElfFile) -> Result<ParsedElf<'_>, ImageError> {
    if elf.file().metadata()?.len() > MAX_FILE_BYTES {
        return Err(ImageError::TooLarge);
    }
    Ok(elf.parsed()?)
}

/// The ELF file inside `.gnu_debugdata`, an xz-compressed symbol table that Fedora leaves in
/// stripped binaries.
fn mini_debug_info(elf: &ElfFile) -> Result<Option<ElfFile>, ImageError> {
    let parsed = checked(elf)?;
    let Some((offset, size)) = parsed.section_by_name(".gnu_debugdata").and_then(|s| s.file_range()) else {
        return Ok(None);
    };
    let data = read_range(elf.file(), offset, size)?;
    let mut file = memory_file()?;
    let copied = io::copy(&mut decompress::xz(&data).take(MAX_IN_MEMORY), &mut file)?;
    if copied == MAX_IN_MEMORY {
        return Err(ImageError::TooLarge);
    }
    Ok(Some(ElfFile::from_file(file)?))
}

/// An anonymous file in memory.
fn memory_file() -> io::Result<File> {
    Ok(rustix::fs::memfd_create(c"leakscope-symbols", MemfdFlags::CLOEXEC)?.into())
}

fn read_range(file: &File, offset: u64, size: u64) -> Result<Vec<u8>, ImageError> {
    if size > MAX_IN_MEMORY || size > file.metadata()?.len() {
        return Err(ImageError::TooLarge);
    }
    let mut data = vec![0; size as usize];
    file.read_exact_at(&mut data, offset)?;
    Ok(data)
}

/// Reads a file from an offset on, and leaves its cursor alone.
struct At<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

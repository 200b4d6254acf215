//! Where an ELF file has its `.eh_frame`.

use gimli::{BaseAddresses, EhFrameHdr, Pointer};
use object::read::elf::{ElfFile64, ProgramHeader as _};
use object::{LittleEndian, Object as _, ObjectSection as _, ReadRef, elf};

/// Enough of `.eh_frame_hdr` to find `.eh_frame`: four bytes of encodings and the pointer.
const HEADER_BYTES: u64 = 12;

/// Call frame information in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EhFrameAt {
    /// Offset in the file.
    pub(super) offset: u64,
    /// Bytes; up to the end of the segment if only the segments are known, and then the list's
    /// terminator ends it.
    pub(super) size: u64,
    /// Virtual address of its first byte.
    pub(super) address: u64,
}

/// Finds `.eh_frame` by its section header, or by the program header of `.eh_frame_hdr` in files
/// whose section headers are stripped.
pub(super) fn locate<'data, R: ReadRef<'data>>(
    parsed: &ElfFile64<'data, LittleEndian, R>,
) -> Option<EhFrameAt> {
    by_section(parsed).or_else(|| by_program_header(parsed)).filter(|at| at.size > 0)
}

fn by_section<'data, R: ReadRef<'data>>(parsed: &ElfFile64<'data, LittleEndian, R>) -> Option<EhFrameAt> {
    let section = parsed.section_by_name(".eh_frame")?;
    // `None` in separate debug files, where the section takes no space.
    let (offset, size) = section.file_range()?;
    Some(EhFrameAt { offset, size, address: section.address() })
}

fn by_program_header<'data, R: ReadRef<'data>>(
    parsed: &ElfFile64<'data, LittleEndian, R>,
) -> Option<EhFrameAt> {
    let endian = LittleEndian;
    let headers = parsed.elf_program_headers();
    let header = headers.iter().find(|p| p.p_type(endian) == elf::PT_GNU_EH_FRAME)?;
    let size = header.p_filesz(endian).min(HEADER_BYTES);
    let bytes = parsed.data().read_bytes_at(header.p_offset(endian), size).ok()?;
    let bases = BaseAddresses::default().set_eh_frame_hdr(header.p_vaddr(endian));
    let address = eh_frame_pointer(bytes, &bases)?;
    headers.iter().filter(|p| p.p_type(endian) == elf::PT_LOAD).find_map(|p| {
        let inside = address.checked_sub(p.p_vaddr(endian))?;
        let size = p.p_filesz(endian).checked_sub(inside)?;
        Some(EhFrameAt { offset: p.p_offset(endian).checked_add(inside)?, size, address })
    })
}

fn eh_frame_pointer(bytes: &[u8], bases: &BaseAddresses) -> Option<u64> {
    // The search table behind the pointer is not needed: DW_EH_PE_omit for its two encodings.
    let mut header = [0u8; HEADER_BYTES as usize];
    let size = bytes.len().min(header.len());
    header[..size].copy_from_slice(&bytes[..size]);
    header[2..4].fill(gimli::DW_EH_PE_omit.0);
    let header = EhFrameHdr::new(&header[..size], gimli::LittleEndian).parse(bases, 8).ok()?;
    match header.eh_frame_ptr() {
        Pointer::Direct(address) => Some(address),
        Pointer::Indirect(_) => None,
    }
}

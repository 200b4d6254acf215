//! The file that holds the Go program, at the addresses where it is mapped.

use std::os::unix::fs::FileExt as _;
use std::rc::Rc;

use super::memory::Memory;
use crate::process::ElfFile;

/// What does not change while the program runs is read from its file, so that the target's pages are
/// not touched; where the file does not have it (a packed program, a plugin), from memory.
#[derive(Debug)]
pub struct Image {
    elf: Option<Rc<ElfFile>>,
    bias: u64,
}

impl Image {
    /// `bias`: runtime address minus the file's virtual address.
    pub fn new(elf: Option<Rc<ElfFile>>, bias: u64) -> Self {
        Self { elf, bias }
    }

    /// The file, where it is open.
    pub fn file(&self) -> Option<&std::fs::File> {
        self.elf.as_deref().map(ElfFile::file)
    }

    /// The same, parsed.
    pub fn elf(&self) -> Option<&ElfFile> {
        self.elf.as_deref()
    }

    /// Constant bytes at a runtime address.
    pub fn constant(&self, memory: &dyn Memory, address: u64, length: usize) -> Option<Vec<u8>> {
        self.in_file(address, length).or_else(|| memory.bytes(address, length))
    }

    /// Where a runtime address lies in the file.
    pub fn file_offset(&self, address: u64) -> Option<u64> {
        self.elf.as_ref()?.offset_of_address(address.wrapping_sub(self.bias))
    }

    /// The same from the file alone.
    pub fn in_file(&self, address: u64, length: usize) -> Option<Vec<u8>> {
        let elf = self.elf.as_ref()?;
        let wanted = address.wrapping_sub(self.bias);
        let size = length as u64;
        let offset = elf.segments().iter().find_map(|s| {
            let within = wanted.checked_sub(s.address)?;
            (within.checked_add(size)? <= s.file_size).then(|| s.offset.checked_add(within))?
        })?;
        // What the file says of its segments may be a lie: no more is asked for than it has.
        let file = elf.file();
        if offset.checked_add(size)? > file.metadata().ok()?.len() {
            return None;
        }
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, offset).ok()?;
        Some(bytes)
    }
}

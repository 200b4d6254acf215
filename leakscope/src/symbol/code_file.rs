//! A file of the target that has code on some stack.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::find::{DebugFiles, DebugSearch};
use crate::process::{ElfFile, FileId};

/// A file of the target with code in it, held open together with its debug files.
#[derive(Debug)]
pub struct CodeFile {
    elf: Rc<ElfFile>,
    path: PathBuf,
    id: FileId,
    search: Rc<DebugSearch>,
    debug: OnceCell<DebugFiles>,
}

impl CodeFile {
    /// `path` is the name in the target's mount namespace; `search` finds debug files.
    pub fn new(elf: Rc<ElfFile>, path: PathBuf, id: FileId, search: Rc<DebugSearch>) -> Self {
        Self { elf, path, id, search, debug: OnceCell::new() }
    }

    /// Finds and opens the debug files, once. Call it when the file is first seen: they may be
    /// gone later.
    ///
    /// A file that holds debug info itself costs nothing; with a debug link, the file it names is
    /// read through for its checksum.
    pub fn locate_debug(&self) -> &DebugFiles {
        self.debug.get_or_init(|| self.search.locate(&self.elf, &self.path))
    }

    /// The open file.
    pub fn elf(&self) -> &Rc<ElfFile> {
        &self.elf
    }

    /// Name in the target's mount namespace.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Device and inode.
    pub fn id(&self) -> FileId {
        self.id
    }

    /// GNU build ID.
    pub fn build_id(&self) -> Option<&[u8]> {
        self.elf.build_id()
    }
}

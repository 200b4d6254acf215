//! What is mapped at one moment, for who looks at it later.

use std::collections::HashSet;
use std::fs::File;
use std::path::PathBuf;

use super::mapped::MappedCode;
use super::maps::{self, FileId, Mapping, MappingKind};

/// Executable mappings, and the files behind them that were not seen before.
#[derive(Debug, Default)]
pub struct Seen {
    pub(super) code: Vec<Mapping>,
    pub(super) files: Vec<(FileId, PathBuf, File)>,
    /// What the kernel told was mapped since the moment before.
    pub(super) mapped: Vec<MappedCode>,
    /// Records of that which were lost, of whatever process.
    pub(super) lost: u64,
}

impl Seen {
    /// Adds what the kernel has told.
    pub fn add_told(&mut self, (mapped, lost): (Vec<MappedCode>, u64)) {
        (self.mapped, self.lost) = (mapped, lost);
    }
}

/// Looks at the mappings of a process now and then.
#[derive(Debug)]
pub struct Seer {
    pid: u32,
    known: HashSet<(FileId, PathBuf)>,
}

/// Files that are kept open for who looks later.
const MOST_FILES: usize = 256;

impl Seer {
    pub fn new(pid: u32) -> Self {
        Self { pid, known: HashSet::new() }
    }

    /// What is mapped now; nothing if that cannot be read.
    pub fn look(&mut self) -> Seen {
        let code = maps::executable(self.pid).unwrap_or_default();
        let mut files = Vec::new();
        for mapping in &code {
            let MappingKind::File { printed, path, .. } = &mapping.kind else { continue };
            let name = (*printed, path.clone());
            if files.len() < MOST_FILES
                && !self.known.contains(&name)
                && let Ok(file) = crate::files::linked(&mapping.map_files_path(self.pid))
            {
                self.known.insert(name);
                files.push((*printed, path.clone(), file));
            }
        }
        Seen { code, files, ..Seen::default() }
    }
}

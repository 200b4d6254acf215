//! Which runtime a process has, by what `/proc` shows of it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::files::linked;
use crate::process::ElfFile;
use crate::process::maps::{self, FileId, MappingKind};
use crate::runtime::{Clues, Runtime, RuntimeName, by_contents, detect, library_by_contents};

/// Most files of each kind whose answer is kept.
const MOST_FILES: usize = 4096;
/// Most libraries of a process that are opened.
const MOST_LIBRARIES: usize = 512;

/// What a file's contents tell.
type Told = Option<&'static dyn Runtime>;

/// Tells runtimes, and remembers what the files are.
#[derive(Debug, Default)]
pub(super) struct Detector {
    /// By device, inode and time of change.
    programs: HashMap<(u64, u64, i64), Told>,
    /// By what `/proc/PID/maps` prints, so that a library is opened once.
    libraries: HashMap<(FileId, PathBuf), Told>,
}

impl Detector {
    /// The runtime of the process below `directory`; `None` where it may not be read.
    pub(super) fn detect(&mut self, directory: &Path) -> Option<RuntimeName> {
        let link = std::fs::read_link(directory.join("exe")).ok()?;
        let name = link.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let text = std::fs::read(directory.join("maps")).ok()?;
        let mapped = |(mapping, executable): (maps::Mapping, bool)| match mapping.kind {
            MappingKind::File { printed, path, .. } if executable => {
                Some(Mapped { file: (printed, path), link: (mapping.start, mapping.end) })
            }
            _ => None,
        };
        let mapped = maps::parse(&text).into_iter().filter_map(mapped).collect();
        Some(RuntimeName::from(detect(&mut Listed { detector: self, directory, name, mapped })))
    }
}

/// A file that is mapped executable.
struct Mapped {
    file: (FileId, PathBuf),
    /// The addresses, by which its link in `map_files` is called.
    link: (u64, u64),
}

/// The clues of a process below `/proc`.
struct Listed<'a> {
    detector: &'a mut Detector,
    directory: &'a Path,
    name: String,
    mapped: Vec<Mapped>,
}

impl Clues for Listed<'_> {
    fn program(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.name)
    }

    fn program_contents(&mut self) -> Told {
        let file = linked(&self.directory.join("exe")).ok()?;
        let metadata = file.metadata().ok()?;
        // Where there are no section headers the search reads the whole file: once a file.
        remembered(&mut self.detector.programs, (metadata.dev(), metadata.ino(), metadata.mtime()), || {
            by_contents(&ElfFile::from_file(file).ok()?)
        })
    }

    fn libraries(&self) -> Vec<Cow<'_, str>> {
        let names = self.mapped.iter().filter_map(|mapped| mapped.file.1.file_name());
        names.map(|name| name.to_string_lossy()).collect()
    }

    fn library_contents(&mut self) -> Told {
        self.mapped.iter().take(MOST_LIBRARIES).find_map(|mapped| {
            let (start, end) = mapped.link;
            let link = self.directory.join(format!("map_files/{start:x}-{end:x}"));
            remembered(&mut self.detector.libraries, mapped.file.clone(), || {
                library_by_contents(&ElfFile::from_file(linked(&link).ok()?).ok()?)
            })
        })
    }
}

fn remembered<K: std::hash::Hash + Eq>(
    known: &mut HashMap<K, Told>,
    file: K,
    look: impl FnOnce() -> Told,
) -> Told {
    if let Some(told) = known.get(&file) {
        return *told;
    }
    let told = look();
    if known.len() >= MOST_FILES {
        known.clear();
    }
    known.insert(file, told);
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_is_native() {
        let runtime = Detector::default().detect(Path::new("/proc/self"));
        assert_eq!(runtime.as_ref().map(RuntimeName::as_str), Some("native"));
    }
}

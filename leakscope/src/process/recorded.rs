//! The address space as a recording keeps it: where which file is mapped, but not the files.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, Serializer};

use super::mapped::History;
use super::{AddressSpace, ElfError, FileId, MappedModule, Module};

/// Mappings, and the identity of the files behind them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RecordedSpace {
    mappings: Vec<MappedModule>,
    modules: Vec<RecordedModule>,
    /// What was mapped at the moment that is looked at, where that was something else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    then: Vec<MappedModule>,
    /// What was mapped since the kernel tells that.
    #[serde(default, skip_serializing_if = "History::is_empty")]
    past: History,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct RecordedModule {
    #[serde(serialize_with = "lossy_path")]
    path: PathBuf,
    id: Option<FileId>,
    build_id: Option<String>,
    /// Whether it could not be read for want of rights.
    denied: bool,
    is_file: bool,
}

/// It names a module that it does not have.
#[derive(Debug, thiserror::Error)]
#[error("a mapping is of a file that is not listed")]
pub struct NoSuchModule;

impl RecordedSpace {
    /// An address space as it is now.
    pub fn of(space: &AddressSpace) -> Self {
        let module = |module: &Module| RecordedModule {
            path: module.path.clone(),
            id: module.id,
            build_id: module.build_id_text(),
            denied: matches!(&module.elf, Err(ElfError::Io(e)) if e.kind() == io::ErrorKind::PermissionDenied),
            is_file: module.is_file(),
        };
        Self {
            mappings: space.mappings.clone(),
            modules: space.modules.iter().map(module).collect(),
            then: space.then.clone(),
            past: space.past.clone(),
        }
    }

    /// The address space that it was. Nothing can be read from its files.
    pub fn into_space(self) -> Result<AddressSpace, NoSuchModule> {
        let count = self.modules.len();
        let all = self.mappings.iter().chain(&self.then).chain(self.past.mapped());
        if all.into_iter().any(|mapped| mapped.module.is_some_and(|id| id.0 >= count)) {
            return Err(NoSuchModule);
        }
        let module = |recorded: RecordedModule| Module {
            // Not empty for a file, as it is of the vDSO.
            probe_path: if recorded.is_file { recorded.path.clone() } else { PathBuf::new() },
            path: recorded.path,
            id: recorded.id,
            elf: Err(if recorded.denied {
                ElfError::Io(io::ErrorKind::PermissionDenied.into())
            } else {
                ElfError::Recorded { build_id: recorded.build_id }
            }),
        };
        let modules = self.modules.into_iter().map(module).collect();
        let mut space = AddressSpace::default();
        space.mappings = self.mappings;
        space.modules = modules;
        space.then = self.then;
        space.past = self.past;
        Ok(space)
    }
}

/// Writes a path as text: a report shows it so, too.
pub(super) fn lossy_path<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

/// The same of one that may be missing.
pub(super) fn lossy_path_if_any<S: Serializer>(
    path: &Option<PathBuf>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    path.as_deref().map(Path::to_string_lossy).serialize(serializer)
}

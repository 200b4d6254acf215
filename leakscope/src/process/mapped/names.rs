//! Files that were mapped, found again by their names.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use super::super::elf::{ElfError, ElfFile};
use super::super::maps::FileId;
use super::super::space::ModuleId;
use super::record::{Identity, MappedFile};
use crate::files::TargetFiles;

/// Most files that are opened so.
const MOST: usize = 256;

/// The names that were looked for, and what is below the target's root.
#[derive(Debug, Default)]
pub(in super::super) struct Names {
    files: Option<io::Result<TargetFiles>>,
    known: HashMap<(PathBuf, Identity), ModuleId>,
}

impl Names {
    /// The module of a file that was looked for.
    pub(in super::super) fn known(&self, file: &MappedFile) -> Option<ModuleId> {
        self.known.get(&(file.path.clone(), file.identity.clone())).copied()
    }

    /// What is known of it from now on.
    pub(in super::super) fn learn(&mut self, file: &MappedFile, module: ModuleId) {
        // Of more, none is opened.
        if self.known.len() >= MOST {
            return;
        }
        self.known.insert((file.path.clone(), file.identity.clone()), module);
    }

    /// Opens it as the target's user could, if what has its name now is the same file.
    pub(in super::super) fn open(
        &mut self,
        pid: u32,
        file: &MappedFile,
    ) -> Result<(FileId, ElfFile), ElfError> {
        if file.deleted || self.known.len() >= MOST {
            return Err(ElfError::Unmapped);
        }
        let files = self.files.get_or_insert_with(|| TargetFiles::of(pid)).as_ref();
        let opened =
            files.map_err(|_| ElfError::Unmapped)?.open(&file.path).map_err(|_| ElfError::Unmapped)?;
        let metadata = opened.metadata()?;
        let inode = printed(&metadata);
        let elf = ElfFile::from_file(File::try_clone(&opened)?)?;
        let same = match &file.identity {
            Identity::BuildId(id) => elf.build_id() == Some(id),
            Identity::Printed(printed) => *printed == inode,
        };
        if same { Ok((FileId::of(&metadata), elf)) } else { Err(ElfError::Unmapped) }
    }
}

/// A file's identity as the kernel prints it, where it has no other one for it than stat(2) has.
pub(in super::super) fn printed(metadata: &std::fs::Metadata) -> FileId {
    let device = metadata.dev();
    let halves = (rustix::fs::major(device), rustix::fs::minor(device));
    FileId { device: u64::from(halves.0) << 32 | u64::from(halves.1), inode: metadata.ino() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(identity: Identity) -> MappedFile {
        let path = std::env::current_exe().expect("own path");
        MappedFile { path, deleted: false, offset: 0, identity }
    }

    #[test]
    fn a_file_counts_if_it_is_the_same() {
        let pid = std::process::id();
        let path = std::env::current_exe().expect("own path");
        let metadata = path.metadata().expect("own program");
        let id = ElfFile::open(&path).expect("own program").build_id().map(<[u8]>::to_vec);
        let inode = printed(&metadata);
        let mut names = Names::default();
        let mut found = |file: &MappedFile| match names.open(pid, file) {
            Ok((found, _)) => Some(found),
            Err(ElfError::Unmapped) => None,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(found(&own(Identity::Printed(inode))), Some(FileId::of(&metadata)));
        if let Some(id) = id {
            assert_eq!(found(&own(Identity::BuildId(id))), Some(FileId::of(&metadata)));
        }
        assert_eq!(found(&own(Identity::BuildId(vec![1, 2, 3]))), None);
        assert_eq!(found(&own(Identity::Printed(FileId { inode: inode.inode + 1, ..inode }))), None);
        assert_eq!(found(&MappedFile { deleted: true, ..own(Identity::Printed(inode)) }), None);
        assert_eq!(found(&MappedFile { path: "/none".into(), ..own(Identity::Printed(inode)) }), None);
    }
}

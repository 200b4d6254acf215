//! What the kernel knows files by.

use super::mapped::printed;
use super::maps::{FileId, MappingKind};
use super::space::{AddressSpace, ModuleId};

impl AddressSpace {
    /// Files that were mapped, but never when somebody looked.
    pub fn unmet(&self) -> impl Iterator<Item = ModuleId> {
        self.unmet.iter().copied()
    }

    /// What the kernel prints of a module's file; where it was never seen to print it, what stat(2) tells.
    pub fn printed(&self, id: ModuleId) -> Option<FileId> {
        let mapped = self.mappings.iter().filter(|mapped| mapped.module == Some(id));
        let mut seen = mapped.filter_map(|mapped| match mapped.mapping.kind {
            MappingKind::File { printed, .. } => Some(printed),
            _ => None,
        });
        let kept =
            || self.by_print.iter().find(|(_, module)| **module == id).map(|((printed, _), _)| *printed);
        let own = || Some(printed(&self.module(id).elf.as_ref().ok()?.file().metadata().ok()?));
        seen.next().or_else(kept).or_else(own)
    }
}

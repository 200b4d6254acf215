//! The process under observation: what it is, what it maps, and the files behind its mappings.

pub mod elf;
pub mod host;
pub mod inspect;
pub mod mapped;
pub mod maps;
mod printed;
pub mod recorded;
mod remapped;
pub mod resident;
pub mod seen;
pub mod space;

pub use elf::{ElfError, ElfFile, Segment};
pub use host::Host;
pub use inspect::{Process, ProcessError};
pub use maps::{FileId, Mapping, MappingKind};
pub use space::{AddressSpace, Location, MappedModule, Module, ModuleId};

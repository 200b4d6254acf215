//! Ties a mapping of the target to its file's rows.

use leakscope_common::unwind::MappingEntry;

#[cfg(test)]
use super::rows::ImageRows;
use super::table::FileSlot;
use crate::process::{ElfFile, Mapping};

/// The entry of a mapped file. `None` if none of the file's executable segments is mapped there.
pub fn mapping_entry(elf: &ElfFile, slot: FileSlot, mapping: &Mapping) -> Option<MappingEntry> {
    Some(entry(mapping, elf.bias(mapping.start, mapping.offset)?, slot))
}

/// The entry of an ELF image in memory that starts with the mapping: the vDSO.
#[cfg(test)]
pub(super) fn image_entry(image: &ImageRows, slot: FileSlot, mapping: &Mapping) -> MappingEntry {
    entry(mapping, mapping.start.wrapping_sub(image.base), slot)
}

/// The entry of code without rows (made at run time, or a file without unwind information): frame
/// pointers only.
pub fn anonymous_entry(mapping: &Mapping) -> MappingEntry {
    entry(mapping, mapping.start, FileSlot::EMPTY)
}

fn entry(mapping: &Mapping, bias: u64, slot: FileSlot) -> MappingEntry {
    MappingEntry {
        start: mapping.start,
        end: mapping.end,
        bias,
        bucket_base: slot.bucket_base,
        buckets: slot.buckets,
    }
}

//! Ties a mapping of the target to its file's rows.

use std::os::unix::fs::MetadataExt as _;

use leakscope_common::unwind::{FilePart, MappingEntry, PartRows};

#[cfg(test)]
use super::rows::ImageRows;
use super::table::FileSlot;
use crate::process::{ElfFile, FileId, Mapping, Segment};

/// The entry of a mapped file. `None` if none of the file's executable segments is mapped there.
pub fn mapping_entry(elf: &ElfFile, slot: FileSlot, mapping: &Mapping) -> Option<MappingEntry> {
    Some(entry(mapping, elf.bias(mapping.start, mapping.offset)?, slot))
}

/// The executable parts of a file that the kernel prints as `printed`, with where their rows are.
pub fn file_parts(elf: &ElfFile, slot: FileSlot, printed: FileId) -> Vec<(FilePart, PartRows)> {
    let Ok(metadata) = elf.file().metadata() else { return Vec::new() };
    let part = |segment: &Segment| {
        let within = segment.offset & 0xfff;
        let part = FilePart {
            inode: printed.inode,
            // `MKDEV` of include/linux/kdev_t.h.
            device: printed.device >> 32 << 20 | printed.device & 0xf_ffff,
            size: metadata.size(),
            changed_s: metadata.ctime().cast_unsigned(),
            offset: segment.offset - within,
        };
        let address = segment.address.wrapping_sub(within);
        (part, PartRows { address, bucket_base: slot.bucket_base, buckets: slot.buckets })
    };
    elf.segments().iter().filter(|segment| segment.executable).map(part).collect()
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

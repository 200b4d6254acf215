//! Code of a file that a program has moved to memory without one.
//!
//! Some programs copy their own code to huge pages at the same addresses (`node --use-largepages`, BOLT's
//! hugify, what uses Intel's iodlr). Such a mapping has no name, but it lies where a segment of the file
//! belongs, between that file's other mappings, and holds what the file holds. Both are asked for: code made at
//! run time may lie next to a file, too.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use super::elf::ElfFile;
use super::maps::{Mapping, MappingKind};

/// How many mappings without a file may lie between one and its file's nearest.
const NEAREST: usize = 8;
/// Places of a mapping that are compared with the file, and bytes of each.
const PLACES: u64 = 16;
const SAMPLE: u64 = 64;
/// Places that may differ: a debugger's breakpoint, or code that patches itself.
const MAY_DIFFER: usize = 1;
const PAGE: u64 = 4096;

/// The file mappings next to the one at `index` among all mappings, the nearest first.
pub(super) fn neighbours(all: &[(Mapping, bool)], index: usize) -> impl Iterator<Item = &Mapping> {
    let is_file = |mapping: &&Mapping| matches!(mapping.kind, MappingKind::File { .. });
    let before = all[..index].iter().rev().map(|(mapping, _)| mapping).take(NEAREST).find(is_file);
    let after = all[index + 1..].iter().map(|(mapping, _)| mapping).take(NEAREST).find(is_file);
    before.into_iter().chain(after)
}

/// The offset in the file that belongs at the start of `mapping`, if that lies in an executable segment of the
/// file of which `neighbour` is a mapping.
pub(super) fn offset(elf: &ElfFile, neighbour: &Mapping, mapping: &Mapping) -> Option<u64> {
    let down = |value: u64| value & !(PAGE - 1);
    let up = |value: u64| value.checked_add(PAGE - 1).map(down);
    let biases = elf.segments().iter().filter_map(|s| {
        let covers = neighbour.offset >= down(s.offset)
            && neighbour.offset < s.offset.checked_add(s.file_size.max(1))?;
        let at = s.address.checked_sub(s.offset)?.checked_add(neighbour.offset)?;
        covers.then(|| neighbour.start.wrapping_sub(at))
    });
    biases.into_iter().find_map(|bias| {
        elf.segments().iter().filter(|s| s.executable).find_map(|s| {
            let start = s.address.wrapping_add(bias);
            let end = start.checked_add(s.file_size)?;
            let inside = mapping.start >= down(start) && mapping.end <= up(end)?;
            inside.then(|| mapping.start.wrapping_sub(start).wrapping_add(s.offset))
        })
    })
}

/// Whether the memory of `pid` in `mapping` holds what the file holds from `offset` on.
pub(super) fn holds_the_files_code(elf: &ElfFile, pid: u32, mapping: &Mapping, offset: u64) -> bool {
    let Ok(memory) = File::open(format!("/proc/{pid}/mem")) else { return false };
    let size = mapping.end.saturating_sub(mapping.start);
    let mut differ = 0;
    let mut compared = 0;
    for place in 0..PLACES {
        let into = (size / PLACES * place) & !(SAMPLE - 1);
        let (mut seen, mut filed) = ([0; SAMPLE as usize], [0; SAMPLE as usize]);
        // What lies past the file's end was never copied from it.
        if elf.file().read_exact_at(&mut filed, offset.saturating_add(into)).is_err() {
            continue;
        }
        compared += 1;
        if memory.read_exact_at(&mut seen, mapping.start + into).is_err() || seen != filed {
            differ += 1;
        }
    }
    compared >= PLACES as usize / 2 && differ <= MAY_DIFFER
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> (ElfFile, Vec<(Mapping, bool)>) {
        let exe = std::env::current_exe().expect("own path");
        let text = std::fs::read("/proc/self/maps").expect("own maps");
        (ElfFile::open(&exe).expect("own program"), super::super::maps::parse(&text))
    }

    #[test]
    fn own_code_lies_where_its_neighbours_say() {
        let (elf, all) = own();
        let here = own_code_lies_where_its_neighbours_say as *const () as u64;
        let index = all.iter().position(|(m, _)| m.start <= here && here < m.end).expect("mapped");
        let mapping = &all[index].0;
        let found: Vec<u64> = neighbours(&all, index).filter_map(|n| offset(&elf, n, mapping)).collect();
        assert!(!found.is_empty() && found.iter().all(|&at| at == mapping.offset), "{found:x?} {mapping:x?}");
        assert!(holds_the_files_code(&elf, std::process::id(), mapping, mapping.offset));
        assert!(
            !holds_the_files_code(&elf, std::process::id(), mapping, mapping.offset + PAGE),
            "other code"
        );
        // What reaches past the segment is none of it.
        let larger = Mapping { end: mapping.end + 16 * PAGE, ..mapping.clone() };
        assert!(neighbours(&all, index).all(|n| offset(&elf, n, &larger).is_none()));
    }
}

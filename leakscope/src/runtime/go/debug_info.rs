//! Offsets out of the program's own DWARF, where it has some: for versions that the table lacks.

use std::io::Read as _;

use gimli::{
    AttributeValue, DebuggingInformationEntry, Dwarf, DwarfSections, EndianSlice, LittleEndian, Section as _,
    Unit,
};
use object::read::CompressionFormat;
use object::{Object as _, ObjectSection as _};

use super::offsets::Offsets;
use crate::process::ElfFile;
use crate::symbol::decompress;

/// Largest section that is taken, decompressed.
const LARGEST: u64 = 1 << 29;
/// Most work: bytes of abbreviations, attributes and bytes of names that are looked at. The largest Go
/// programs need a tenth of it, and it is spent within seconds.
const MOST_WORK: u64 = 1 << 30;
/// Structures whose members are wanted.
const WANTED: [&str; 19] = [
    "g",
    "gobuf",
    "m",
    "p",
    "moduledata",
    "bucket",
    "memRecord",
    "memRecordCycle",
    "mspan",
    "mheap",
    "mcache",
    "sudog",
    "hchan",
    "heapArena",
    "timer",
    "mstats",
    "heapStatsDelta",
    "gcControllerState",
    "fixalloc",
];

type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// The sections of the file's DWARF, decompressed.
pub fn sections(elf: &ElfFile) -> Option<DwarfSections<Vec<u8>>> {
    let parsed = elf.parsed().ok()?;
    let section = |name: &str| -> Vec<u8> {
        let Some(section) = parsed.section_by_name(name) else { return Vec::new() };
        let Ok(compressed) = section.compressed_data() else { return Vec::new() };
        let mut bytes = Vec::new();
        let size = compressed.uncompressed_size.min(LARGEST);
        match compressed.format {
            CompressionFormat::None => compressed.data.to_vec(),
            format => {
                let read = decompress::reader(compressed.data, format)
                    .and_then(|reader| reader.take(size).read_to_end(&mut bytes));
                if read.is_ok() { bytes } else { Vec::new() }
            }
        }
    };
    DwarfSections::load(|id| Ok::<_, gimli::Error>(section(id.name()))).ok()
}

/// Adds what the file's DWARF says to `offsets`; whether it told of a goroutine.
pub fn add(elf: &ElfFile, offsets: &mut Offsets) -> bool {
    let Some(sections) = sections(elf) else { return false };
    let dwarf = sections.borrow(|bytes| EndianSlice::new(bytes, LittleEndian));
    read(&dwarf, offsets, Work { left: MOST_WORK })
}

/// Reads all units, as long as there is work left; whether they told of a goroutine.
fn read(dwarf: &Dwarf<Slice<'_>>, offsets: &mut Offsets, mut work: Work) -> bool {
    let abbreviations = dwarf.debug_abbrev.reader().len() as u64;
    let mut left: Vec<&str> = WANTED.to_vec();
    let mut units = dwarf.units();
    while let Ok(Some(header)) = units.next() {
        // A unit may have them all.
        if left.is_empty() || !work.spend(abbreviations) {
            break;
        }
        let Ok(unit) = dwarf.unit(header) else { continue };
        let _ = read_unit(dwarf, &unit, &mut left, offsets, &mut work);
    }
    !left.contains(&"g") && !left.contains(&"gobuf") && !left.contains(&"moduledata")
}

/// What may still be looked at.
struct Work {
    left: u64,
}

impl Work {
    /// Whether there is so much left; it is spent then.
    fn spend(&mut self, amount: u64) -> bool {
        self.left = self.left.saturating_sub(amount.saturating_add(1));
        self.left > 0
    }
}

/// Reads the structures of a unit, as long as there is work left.
fn read_unit<'a>(
    dwarf: &Dwarf<Slice<'a>>,
    unit: &Unit<Slice<'a>>,
    left: &mut Vec<&str>,
    offsets: &mut Offsets,
    work: &mut Work,
) -> gimli::Result<()> {
    let mut cursor = unit.entries();
    // The wanted structure that the cursor is in, and its depth.
    let mut inside: Option<(&str, isize)> = None;
    while let Some(entry) = cursor.next_dfs()? {
        if !work.spend(entry.attrs().len() as u64) {
            break;
        }
        let depth = entry.depth();
        if inside.is_some_and(|(_, structure)| depth <= structure) {
            inside = None;
        }
        if let Some((structure, at)) = inside {
            if depth == at + 1 && entry.tag() == gimli::DW_TAG_member {
                let offset =
                    entry.attr_value(gimli::DW_AT_data_member_location).and_then(|v| v.udata_value());
                if let (Some(name), Some(offset)) = (name(dwarf, unit, entry, work), offset) {
                    offsets.set(structure, &name, usize::try_from(offset).unwrap_or(usize::MAX));
                }
            }
            continue;
        }
        if entry.tag() != gimli::DW_TAG_structure_type {
            continue;
        }
        let Some(name) = name(dwarf, unit, entry, work) else { continue };
        let Some(bare) = name.strip_prefix("runtime.") else { continue };
        if let Some(index) = left.iter().position(|wanted| *wanted == bare) {
            let structure = left.swap_remove(index);
            let size = entry.attr_value(gimli::DW_AT_byte_size).and_then(|v| v.udata_value());
            if let Some(size) = size {
                offsets.set(structure, "__size", usize::try_from(size).unwrap_or(usize::MAX));
            }
            inside = Some((structure, depth));
        }
    }
    Ok(())
}

fn name<'a>(
    dwarf: &Dwarf<Slice<'a>>,
    unit: &Unit<Slice<'a>>,
    entry: &DebuggingInformationEntry<Slice<'a>>,
    work: &mut Work,
) -> Option<String> {
    let value: AttributeValue<Slice<'a>> = entry.attr_value(gimli::DW_AT_name)?;
    let name = dwarf.attr_string(unit, value).ok()?;
    work.spend(name.len() as u64).then(|| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A unit, a structure with a name and a size, a member with a name and a place; in strings and bytes.
    const ABBREVIATIONS: [u8; 24] =
        [1, 0x11, 1, 0, 0, 2, 0x13, 1, 3, 8, 0xb, 0xb, 0, 0, 3, 0xd, 0, 3, 8, 0x38, 0xb, 0, 0, 0];

    /// A unit with the structures, each of one member.
    fn unit(structures: &[(&str, &str, u8)]) -> Vec<u8> {
        let mut entries = vec![1];
        for (structure, member, at) in structures {
            entries.push(2);
            entries.extend_from_slice(structure.as_bytes());
            entries.extend_from_slice(&[0, 100, 3]);
            entries.extend_from_slice(member.as_bytes());
            entries.extend_from_slice(&[0, *at, 0]);
        }
        entries.push(0);
        let mut unit = (entries.len() as u32 + 7).to_le_bytes().to_vec();
        unit.extend_from_slice(&[4, 0, 0, 0, 0, 0, 8]);
        unit.extend_from_slice(&entries);
        unit
    }

    fn read_with(info: &[u8], abbreviations: &[u8], work: u64) -> (bool, Offsets) {
        let mut offsets = Offsets::of(0);
        let dwarf = Dwarf {
            debug_abbrev: gimli::DebugAbbrev::new(abbreviations, LittleEndian),
            debug_info: gimli::DebugInfo::new(info, LittleEndian),
            ..Dwarf::default()
        };
        (read(&dwarf, &mut offsets, Work { left: work }), offsets)
    }

    #[test]
    fn structures_of_the_runtime() {
        let mut info = unit(&[("main.g", "goid", 3), ("runtime.g", "goid", 7)]);
        info.extend(unit(&[("runtime.gobuf", "pc", 8), ("runtime.moduledata", "text", 9)]));
        let (whole, offsets) = read_with(&info, &ABBREVIATIONS, MOST_WORK);
        assert!(whole);
        let found = [("g", "goid"), ("g", "__size"), ("gobuf", "pc"), ("moduledata", "text")];
        assert_eq!(found.map(|(s, m)| offsets.find(s, m)), [Some(7), Some(100), Some(8), Some(9)]);
        assert!(!read_with(&info[..60], &ABBREVIATIONS, MOST_WORK).0, "cut short");
    }

    /// What comes after too much of anything is not looked at.
    #[test]
    fn work_is_bounded() {
        let wanted = [("runtime.g", "goid", 7), ("runtime.gobuf", "pc", 8), ("runtime.moduledata", "a", 9)];
        let after = |before: &[u8]| [before, &unit(&wanted)].concat();
        let entries = after(&unit(&[("x", "y", 1); 1000]));
        let units = after(&unit(&[]).repeat(1000));
        let name = "runtime.".to_owned() + &"n".repeat(20_000);
        let names = after(&unit(&[(&name, "y", 1)]));
        for info in [&entries, &units, &names] {
            assert!(read_with(info, &ABBREVIATIONS, MOST_WORK).0);
            let (whole, offsets) = read_with(info, &ABBREVIATIONS, 4000);
            assert!(!whole && offsets.find("g", "goid") != Some(7));
        }
        let mut many = ABBREVIATIONS.to_vec();
        many.extend_from_slice(&[0; 5000]);
        assert!(!read_with(&after(&[]), &many, 4000).0);
    }
}

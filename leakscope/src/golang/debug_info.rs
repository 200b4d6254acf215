//! Offsets out of the program's own DWARF, where it has some: for versions that the table lacks.

use std::io::Read as _;

use gimli::{AttributeValue, DebuggingInformationEntry, Dwarf, EndianSlice, LittleEndian, Unit};
use object::read::CompressionFormat;
use object::{Object as _, ObjectSection as _};

use super::offsets::Offsets;
use crate::symbol::decompress;
use crate::target::ElfFile;

/// Largest section that is taken, decompressed.
const LARGEST: u64 = 1 << 29;
/// Structures whose members are wanted.
const WANTED: [&str; 15] = [
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
];

type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// Adds what the file's DWARF says to `offsets`; whether it told of a goroutine.
pub fn add(elf: &ElfFile, offsets: &mut Offsets) -> bool {
    let Ok(parsed) = elf.parsed() else { return false };
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
    let Ok(sections) = gimli::DwarfSections::load(|id| Ok::<_, gimli::Error>(section(id.name()))) else {
        return false;
    };
    let dwarf = sections.borrow(|bytes| EndianSlice::new(bytes, LittleEndian));
    let mut left: Vec<&str> = WANTED.to_vec();
    let mut units = dwarf.units();
    while let Ok(Some(header)) = units.next() {
        let Ok(unit) = dwarf.unit(header) else { continue };
        let _ = read_unit(&dwarf, &unit, &mut left, offsets);
        if left.is_empty() {
            break;
        }
    }
    !left.contains(&"g") && !left.contains(&"gobuf") && !left.contains(&"moduledata")
}

/// Reads the structures of a unit.
fn read_unit<'a>(
    dwarf: &Dwarf<Slice<'a>>,
    unit: &Unit<Slice<'a>>,
    left: &mut Vec<&str>,
    offsets: &mut Offsets,
) -> gimli::Result<()> {
    let mut cursor = unit.entries();
    // The wanted structure that the cursor is in, and its depth.
    let mut inside: Option<(&str, isize)> = None;
    while let Some(entry) = cursor.next_dfs()? {
        let depth = entry.depth();
        if inside.is_some_and(|(_, structure)| depth <= structure) {
            inside = None;
        }
        if let Some((structure, at)) = inside {
            if depth == at + 1 && entry.tag() == gimli::DW_TAG_member {
                let offset =
                    entry.attr_value(gimli::DW_AT_data_member_location).and_then(|v| v.udata_value());
                if let (Some(name), Some(offset)) = (name(dwarf, unit, entry), offset) {
                    offsets.set(structure, &name, usize::try_from(offset).unwrap_or(usize::MAX));
                }
            }
            continue;
        }
        if entry.tag() != gimli::DW_TAG_structure_type {
            continue;
        }
        let Some(name) = name(dwarf, unit, entry) else { continue };
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
) -> Option<String> {
    let value: AttributeValue<Slice<'a>> = entry.attr_value(gimli::DW_AT_name)?;
    Some(dwarf.attr_string(unit, value).ok()?.to_string_lossy().into_owned())
}

//! The types of package variables out of the program's debug info, as types that it has at run time
//! (`cmd/internal/dwarf`: `DW_AT_go_runtime_type` and others).

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use gimli::{
    AttributeValue, DebugInfoOffset, DebuggingInformationEntry, DwAt, Dwarf, EndianSlice, LittleEndian,
    Operation, Unit, UnitOffset, UnitSectionOffset,
};

use super::flat::What;
use super::types::Types;
use super::variables::{Leaf, LeafType};
use crate::runtime::go::debug_info;
use crate::runtime::go::program::Program;

const GO_KIND: DwAt = DwAt(0x2900);
const GO_ELEMENT: DwAt = DwAt(0x2902);
const GO_RUNTIME_TYPE: DwAt = DwAt(0x2904);
/// `reflect.Slice`, `reflect.String`
const SLICE: u64 = 23;
const STRING: u64 = 24;
/// Most entries that are looked at, types in each other, and parts of one variable.
const MOST_ENTRIES: u64 = 1 << 26;
const DEEPEST: u32 = 8;
const MOST_PARTS: usize = 1 << 12;
/// Most types that are put together.
const MOST_TYPES: usize = 1 << 18;

type Slice<'a> = EndianSlice<'a, LittleEndian>;
type Entry<'a> = DebuggingInformationEntry<Slice<'a>>;

/// What a part is, by the address (or offset) of the run time's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Value(u64),
    Pointer(u64),
    Slice(u64),
    Text,
}

type Parts = Rc<Vec<(u64, String, Told)>>;

/// The parts of variables whose type is known, by the variable's address.
pub(super) fn read(program: &Program, types: &mut Types<'_>) -> BTreeMap<u64, Vec<Leaf>> {
    let Some(sections) = program.elf().and_then(debug_info::sections) else { return BTreeMap::new() };
    let dwarf = sections.borrow(|bytes| EndianSlice::new(bytes, LittleEndian));
    let mut reader =
        Reader { units: units(&dwarf), dwarf: &dwarf, known: HashMap::new(), left: MOST_ENTRIES };
    let found = reader.variables(program);
    let mut id = |told| {
        let at = types.placed(told, program.bias);
        types.find(at)
    };
    let mut leaf = |(offset, member, told): &(u64, String, Told)| {
        let of = match *told {
            Told::Value(at) => LeafType::Value(id(at)),
            Told::Pointer(at) => LeafType::Slot(What::Pointer(id(at))),
            Told::Slice(at) => LeafType::Slot(What::Slice(id(at))),
            Told::Text => LeafType::Slot(What::Text),
        };
        let none = [LeafType::Value(0), LeafType::Slot(What::Pointer(0)), LeafType::Slot(What::Slice(0))];
        (!none.contains(&of)).then(|| Leaf { offset: *offset, member: member.clone(), of })
    };
    found.into_iter().map(|(at, parts)| (at, parts.iter().filter_map(&mut leaf).collect())).collect()
}

fn units<'a>(dwarf: &Dwarf<Slice<'a>>) -> Vec<(DebugInfoOffset, Unit<Slice<'a>>)> {
    let (mut all, mut headers) = (Vec::new(), dwarf.units());
    while let Ok(Some(header)) = headers.next() {
        if let UnitSectionOffset(at) = header.offset()
            && let Ok(unit) = dwarf.unit(header)
        {
            all.push((DebugInfoOffset(at), unit));
        }
    }
    all
}

struct Reader<'a, 'd> {
    dwarf: &'d Dwarf<Slice<'a>>,
    units: Vec<(DebugInfoOffset, Unit<Slice<'a>>)>,
    known: HashMap<(usize, UnitOffset), Parts>,
    left: u64,
}

impl<'a> Reader<'a, '_> {
    fn variables(&mut self, program: &Program) -> BTreeMap<u64, Parts> {
        let ranges: Vec<(u64, u64)> =
            program.parts.iter().flat_map(|part| part.pointer_variables()).collect();
        let mut wanted: Vec<(u64, usize, AttributeValue<Slice<'a>>)> = Vec::new();
        for (at, (_, unit)) in self.units.iter().enumerate() {
            let mut entries = unit.entries();
            while let Ok(Some(entry)) = entries.next_dfs() {
                let Some(left) = self.left.checked_sub(1) else { break };
                self.left = left;
                if entry.tag() != gimli::DW_TAG_variable {
                    continue;
                }
                let address = self.address(unit, entry).map(|address| address.wrapping_add(program.bias));
                if let Some(address) =
                    address.filter(|at| ranges.iter().any(|(low, high)| (low..high).contains(&at)))
                    && let Some(of) = entry.attr_value(gimli::DW_AT_type)
                {
                    wanted.push((address, at, of));
                }
            }
        }
        let parts = |(address, unit, of)| (address, self.of(unit, of, 0));
        wanted.into_iter().map(parts).collect()
    }

    /// Where a variable lies that is not on a stack.
    fn address(&self, unit: &Unit<Slice<'a>>, entry: &Entry<'a>) -> Option<u64> {
        let AttributeValue::Exprloc(location) = entry.attr_value(gimli::DW_AT_location)? else { return None };
        match location.operations(unit.encoding()).next().ok()?? {
            Operation::Address { address } => Some(address),
            Operation::AddressIndex { index } => self.dwarf.address(unit, index).ok(),
            _ => None,
        }
    }

    /// The parts of a type that an attribute refers to.
    fn of(&mut self, unit: usize, value: AttributeValue<Slice<'a>>, depth: u32) -> Parts {
        let place = match value {
            AttributeValue::UnitRef(at) => Some((unit, at)),
            AttributeValue::DebugInfoRef(at) => {
                let index = self.units.partition_point(|(start, _)| start.0 <= at.0).checked_sub(1);
                index.and_then(|index| Some((index, at.to_unit_offset(&self.units[index].1.header)?)))
            }
            _ => None,
        };
        let Some(place) = place.filter(|_| depth < DEEPEST) else { return Parts::default() };
        if let Some(known) = self.known.get(&place) {
            return Rc::clone(known);
        }
        let parts = Rc::new(self.read(place, depth).unwrap_or_default());
        if self.known.len() < MOST_TYPES {
            self.known.insert(place, Rc::clone(&parts));
        }
        parts
    }

    fn read(&mut self, (unit, at): (usize, UnitOffset), depth: u32) -> Option<Vec<(u64, String, Told)>> {
        let entry = self.units[unit].1.entry(at).ok()?;
        let whole = |told| Some(vec![(0, String::new(), told)]);
        let address = match entry.attr_value(GO_RUNTIME_TYPE) {
            Some(AttributeValue::Addr(address)) => address,
            Some(other) => other.udata_value().unwrap_or(0),
            None => 0,
        };
        if address != 0 {
            return whole(Told::Value(address));
        }
        let kind = entry.attr_value(GO_KIND).and_then(|value| value.udata_value()).unwrap_or(0);
        if kind == STRING {
            return whole(Told::Text);
        }
        let (tag, of) = (entry.tag(), entry.attr_value(gimli::DW_AT_type));
        if kind == SLICE {
            let element = entry.attr_value(GO_ELEMENT)?;
            return whole(Told::Slice(self.value_of(unit, element, depth)?));
        }
        match tag {
            gimli::DW_TAG_typedef => Some(self.of(unit, of?, depth + 1).to_vec()),
            gimli::DW_TAG_pointer_type => whole(Told::Pointer(self.value_of(unit, of?, depth)?)),
            gimli::DW_TAG_structure_type => self.members((unit, at), depth),
            _ => None,
        }
    }

    /// The type at run time of something that has one.
    fn value_of(&mut self, unit: usize, of: AttributeValue<Slice<'a>>, depth: u32) -> Option<u64> {
        match self.of(unit, of, depth + 1)[..] {
            [(0, _, Told::Value(address))] => Some(address),
            _ => None,
        }
    }

    fn members(&mut self, (unit, at): (usize, UnitOffset), depth: u32) -> Option<Vec<(u64, String, Told)>> {
        let mut members: Vec<(u64, String, AttributeValue<Slice<'a>>)> = Vec::new();
        {
            let in_unit = &self.units[unit].1;
            let mut tree = in_unit.entries_tree(Some(at)).ok()?;
            let mut children = tree.root().ok()?.children();
            while let Ok(Some(child)) = children.next() {
                let entry = child.entry();
                let offset =
                    entry.attr_value(gimli::DW_AT_data_member_location).and_then(|at| at.udata_value());
                let name = entry.attr_value(gimli::DW_AT_name);
                let name = name.and_then(|name| self.dwarf.attr_string(in_unit, name).ok());
                if let (Some(of), true) = (entry.attr_value(gimli::DW_AT_type), members.len() < MOST_PARTS) {
                    let name = name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                    members.push((offset.unwrap_or(0), name, of));
                }
            }
        }
        let mut parts = Vec::new();
        for (offset, name, of) in members {
            for (inner, member, told) in self.of(unit, of, depth + 1).iter() {
                if parts.len() >= MOST_PARTS {
                    break;
                }
                parts.push((offset.saturating_add(*inner), format!(".{name}{member}"), *told));
            }
        }
        Some(parts)
    }
}

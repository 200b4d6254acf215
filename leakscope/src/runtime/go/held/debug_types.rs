//! The types of package variables out of the program's debug info (`cmd/internal/dwarf`: `DW_AT_go_runtime_type` and
//! others).

use std::collections::{BTreeMap, HashMap};

use gimli::{
    AttributeValue, DebugInfoOffset, DebuggingInformationEntry, DwAt, Dwarf, EndianSlice, LittleEndian,
    Operation, Unit, UnitOffset, UnitSectionOffset,
};

use super::types::{Field, Shape, Type, Types};
use super::variables::{Leaf, LeafType};
use crate::runtime::go::debug_info;
use crate::runtime::go::program::Program;

const GO_KIND: DwAt = DwAt(0x2900);
const GO_ELEMENT: DwAt = DwAt(0x2902);
const GO_RUNTIME_TYPE: DwAt = DwAt(0x2904);
/// `reflect.Func` and others.
const FUNCTION: u64 = 19;
const INTERFACE: u64 = 20;
const SLICE: u64 = 23;
const STRING: u64 = 24;
/// The structure that an interface without methods is.
const EMPTY: &[u8] = b"runtime.eface";
/// Most entries that are looked at, and typedefs of each other.
const MOST_ENTRIES: u64 = 1 << 26;
const DEEPEST: u32 = 16;
/// Most types that are put together, and members of one.
const MOST_TYPES: usize = 1 << 17;
const MOST_MEMBERS: usize = 1 << 12;

type Slice<'a> = EndianSlice<'a, LittleEndian>;
type Entry<'a> = DebuggingInformationEntry<Slice<'a>>;
/// A unit by its number, and an entry of it.
type Place = (usize, UnitOffset);

/// The types of variables by their addresses. Those that the program has not at run time are made of the debug info.
pub(super) fn read(program: &Program, types: &mut Types<'_>) -> BTreeMap<u64, Vec<Leaf>> {
    let Some(sections) = program.elf().and_then(debug_info::sections) else { return BTreeMap::new() };
    let dwarf = sections.borrow(|bytes| EndianSlice::new(bytes, LittleEndian));
    let units = units(&dwarf);
    let mut reader =
        Reader { units: &units, dwarf: &dwarf, types, program, known: HashMap::new(), todo: Vec::new() };
    let found: Vec<(u64, u64)> = reader.variables();
    while let Some((place, address)) = reader.todo.pop() {
        if let Some(made) = reader.made(place) {
            reader.types.fill(address, made);
        }
    }
    let leaf = |(at, of)| {
        let id = types.find(of);
        (id != 0).then(|| (at, vec![Leaf { offset: 0, member: String::new(), of: LeafType::Value(id) }]))
    };
    found.into_iter().filter_map(leaf).collect()
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

struct Reader<'a, 'd, 't> {
    dwarf: &'d Dwarf<Slice<'a>>,
    units: &'d [(DebugInfoOffset, Unit<Slice<'a>>)],
    types: &'d mut Types<'t>,
    program: &'d Program,
    /// Addresses of types: the program's own, or those of types that are made.
    known: HashMap<Place, u64>,
    /// What is yet to be made.
    todo: Vec<(Place, u64)>,
}

impl<'a> Reader<'a, '_, '_> {
    /// Addresses of variables, and of their types.
    fn variables(&mut self) -> Vec<(u64, u64)> {
        let parts = self.program.parts.iter();
        let ranges: Vec<(u64, u64)> = parts.flat_map(|part| part.pointer_variables()).collect();
        let (mut wanted, mut left) = (Vec::new(), MOST_ENTRIES);
        for (at, (_, unit)) in self.units.iter().enumerate() {
            let mut entries = unit.entries();
            while let Ok(Some(entry)) = entries.next_dfs() {
                let Some(rest) = left.checked_sub(1) else { break };
                left = rest;
                if entry.tag() != gimli::DW_TAG_variable {
                    continue;
                }
                let address = self.address(unit, entry).map(|at| at.wrapping_add(self.program.bias));
                if let Some(address) =
                    address.filter(|at| ranges.iter().any(|(low, high)| (low..high).contains(&at)))
                    && let Some(of) = entry.attr_value(gimli::DW_AT_type)
                {
                    wanted.push((address, at, of));
                }
            }
        }
        wanted.into_iter().map(|(address, unit, of)| (address, self.of(unit, of))).collect()
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

    fn place(&self, unit: usize, value: AttributeValue<Slice<'a>>) -> Option<Place> {
        match value {
            AttributeValue::UnitRef(at) => Some((unit, at)),
            AttributeValue::DebugInfoRef(at) => {
                let index = self.units.partition_point(|(start, _)| start.0 <= at.0).checked_sub(1)?;
                Some((index, at.to_unit_offset(&self.units[index].1.header)?))
            }
            _ => None,
        }
    }

    fn entry(&self, (unit, at): Place) -> Option<Entry<'a>> {
        self.units[unit].1.entry(at).ok()
    }

    /// The address of a type that an attribute refers to; 0 if it is not known.
    fn of(&mut self, unit: usize, value: AttributeValue<Slice<'a>>) -> u64 {
        let Some(mut place) = self.place(unit, value) else { return 0 };
        for _ in 0..DEEPEST {
            if let Some(known) = self.known.get(&place) {
                return *known;
            }
            let Some(entry) = self.entry(place) else { return 0 };
            let own = match entry.attr_value(GO_RUNTIME_TYPE) {
                Some(AttributeValue::Addr(address)) => address,
                Some(other) => other.udata_value().unwrap_or(0),
                None => 0,
            };
            if own != 0 {
                let address = self.types.placed(own, self.program.bias);
                self.known.insert(place, address);
                return address;
            }
            // Interfaces and functions are known by what they are defined as.
            let kind = number(&entry, GO_KIND);
            match entry.attr_value(gimli::DW_AT_type).and_then(|of| self.place(place.0, of)) {
                Some(next)
                    if entry.tag() == gimli::DW_TAG_typedef && ![FUNCTION, INTERFACE].contains(&kind) =>
                {
                    place = next;
                }
                _ => break,
            }
        }
        if self.known.len() >= MOST_TYPES {
            return 0;
        }
        let address = self.types.reserve();
        self.known.insert(place, address);
        self.todo.push((place, address));
        address
    }

    fn text(&self, unit: usize, entry: &Entry<'a>) -> Option<Slice<'a>> {
        let name = entry.attr_value(gimli::DW_AT_name)?;
        self.dwarf.attr_string(&self.units[unit].1, name).ok()
    }

    /// A type out of its entry.
    fn made(&mut self, place: Place) -> Option<Type> {
        let entry = self.entry(place)?;
        let (tag, kind, size) =
            (entry.tag(), number(&entry, GO_KIND), number(&entry, gimli::DW_AT_byte_size));
        let target = entry.attr_value(gimli::DW_AT_type);
        let name = self.text(place.0, &entry).map(|name| name.to_string_lossy().into_owned());
        let shape = match kind {
            STRING => Shape::Text,
            FUNCTION => Shape::Function,
            INTERFACE => {
                let inner = self.entry(self.place(place.0, target?)?)?;
                Shape::Interface {
                    empty: self.text(place.0, &inner).is_some_and(|name| name.slice() == EMPTY),
                }
            }
            SLICE => Shape::Slice(self.of(place.0, entry.attr_value(GO_ELEMENT)?)),
            _ => match tag {
                gimli::DW_TAG_pointer_type => {
                    target.map_or(Shape::Raw, |target| Shape::Pointer(self.of(place.0, target)))
                }
                gimli::DW_TAG_structure_type => Shape::Structure(self.members(place)?),
                gimli::DW_TAG_array_type => self.array(place, size, target?)?,
                gimli::DW_TAG_base_type => Shape::Plain,
                _ => return None,
            },
        };
        let (size, pointers) = match shape {
            Shape::Plain => (size, 0),
            Shape::Text => (16, 8),
            Shape::Interface { .. } => (16, 16),
            Shape::Slice(_) => (24, 8),
            Shape::Structure(_) | Shape::Array { .. } => (size, size),
            _ => (8, 8),
        };
        Some(Type { size, pointers, name: name.unwrap_or_default().into(), shape })
    }

    fn array(&mut self, place: Place, size: u64, target: AttributeValue<Slice<'a>>) -> Option<Shape> {
        let inner = self.place(place.0, target)?;
        let mut element = self.entry(inner)?;
        for _ in 0..DEEPEST {
            match element.attr_value(gimli::DW_AT_type).and_then(|of| self.place(inner.0, of)) {
                Some(next) if element.tag() == gimli::DW_TAG_typedef => element = self.entry(next)?,
                _ => break,
            }
        }
        let each = match element.tag() {
            gimli::DW_TAG_pointer_type => 8,
            _ => number(&element, gimli::DW_AT_byte_size),
        };
        Some(Shape::Array { element: self.of(place.0, target), count: size.checked_div(each)? })
    }

    fn members(&mut self, place: Place) -> Option<Vec<Field>> {
        let mut members: Vec<(u64, String, AttributeValue<Slice<'a>>)> = Vec::new();
        let unit = &self.units[place.0].1;
        let mut tree = unit.entries_tree(Some(place.1)).ok()?;
        let mut children = tree.root().ok()?.children();
        while let Ok(Some(child)) = children.next() {
            let entry = child.entry();
            let name = self.text(place.0, entry).map(|name| name.to_string_lossy().into_owned());
            if let Some(of) = entry.attr_value(gimli::DW_AT_type)
                && members.len() < MOST_MEMBERS
            {
                members.push((
                    number(entry, gimli::DW_AT_data_member_location),
                    name.unwrap_or_default(),
                    of,
                ));
            }
        }
        let field = |(offset, name, of)| Field { name, of: self.of(place.0, of), offset };
        Some(members.into_iter().map(field).collect())
    }
}

fn number(entry: &Entry<'_>, attribute: DwAt) -> u64 {
    entry.attr_value(attribute).and_then(|value| value.udata_value()).unwrap_or(0)
}

//! How the entries of a map lie: in buckets up to Go 1.23 (`runtime/map.go`, `bmap`), in groups since
//! (`internal/runtime/maps/group.go`).

use std::collections::HashMap;
use std::rc::Rc;

use super::flat::What;
use super::types::{Shape, TypeId, Types};

/// Entries of a bucket or a group, each of which has a byte that tells whether it is one.
const ENTRIES: u64 = 8;
/// The first version with groups.
pub(super) const FIRST_WITH_GROUPS: u32 = 24;
/// The least that the byte of an entry in a bucket has (`minTopHash`): less is free or was moved.
const LEAST_HASH: u8 = 5;
/// The bit of a byte that says that there is no entry in a group (`ctrlEmpty`, `ctrlDeleted`).
const NO_ENTRY: u8 = 0x80;

/// A pointer in a bucket or group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EntrySlot {
    pub offset: usize,
    pub what: What,
    /// Which entry it is of; none: it leads to the next bucket.
    pub entry: Option<u8>,
    /// The offset within the first entry.
    pub step: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct EntryLayout {
    /// Bytes of a bucket or group.
    pub size: usize,
    pub slots: Vec<EntrySlot>,
    /// Where the first value lies, and its type. What is before is a key.
    pub value: (u32, TypeId),
    groups: bool,
}

impl EntryLayout {
    /// Whether there is an entry, by the bytes of the bucket or group.
    pub(super) fn has(&self, bytes: &[u8], entry: u8) -> bool {
        let Some(byte) = bytes.get(usize::from(entry)) else { return false };
        if self.groups { byte & NO_ENTRY == 0 } else { *byte >= LEAST_HASH }
    }

    fn read(types: &mut Types<'_>, map: TypeId, minor: u32) -> Option<Self> {
        let Shape::Map { value, table } = types.at(map).shape else { return None };
        let (table, value) = (types.find(table), types.find(value));
        let size = types.at(table).size;
        if table == 0 || size <= ENTRIES || size > 1 << 20 {
            return None;
        }
        let Shape::Structure(fields) = types.at(table).shape.clone() else { return None };
        let flat = types.flat(table);
        let groups = minor >= FIRST_WITH_GROUPS;
        // Where keys and values begin, and how far apart they are: one after the other, or pairs of them.
        let at = |n: usize| fields.get(n).map(|field| field.offset);
        let pairs = groups && fields.len() == 2;
        let (first, apart) = if pairs {
            let slots = types.find(fields.get(1)?.of);
            let Shape::Array { element, .. } = types.at(slots).shape else { return None };
            let element = types.find(element);
            let (slot, Shape::Structure(pair)) = (types.at(element).size, types.at(element).shape.clone())
            else {
                return None;
            };
            ([ENTRIES, ENTRIES + pair.get(1)?.offset], [slot, slot])
        } else {
            let [keys, values, end] = [at(1)?, at(2)?, at(3).unwrap_or(size)];
            ([keys, values], [values.checked_sub(keys)? / ENTRIES, end.checked_sub(values)? / ENTRIES])
        };
        let end = at(3).filter(|_| !pairs).unwrap_or(size);
        let slot = |slot: &super::flat::Slot| {
            let at = u64::from(slot.offset);
            let which = if pairs { 0 } else { usize::from(at >= first[1]) };
            let inside = at.checked_sub(first[which]).filter(|_| at < end && apart[which] > 0);
            let entry = inside.map(|inside| inside / apart[which]).filter(|entry| *entry < ENTRIES);
            let step = entry.map_or(at, |entry| at - entry * apart[which]);
            EntrySlot {
                offset: slot.offset as usize,
                what: slot.what,
                entry: entry.map(|entry| entry as u8),
                step: step as u32,
            }
        };
        let slots = flat.slots.iter().map(slot).collect();
        Some(Self { size: size as usize, slots, value: (first[1] as u32, value), groups })
    }
}

/// Layouts by the maps' types.
#[derive(Debug, Default)]
pub(super) struct EntryLayouts {
    known: HashMap<TypeId, Option<Rc<EntryLayout>>, foldhash::fast::RandomState>,
}

impl EntryLayouts {
    pub(super) fn of(&mut self, types: &mut Types<'_>, map: TypeId, minor: u32) -> Option<Rc<EntryLayout>> {
        let read = || EntryLayout::read(types, map, minor).map(Rc::new);
        self.known.entry(map).or_insert_with(read).clone()
    }
}

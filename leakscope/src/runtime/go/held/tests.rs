//! Types as the linker lays them out, and what is made of them, whatever their bytes are.

use proptest::prelude::*;

use super::entries::EntryLayouts;
use super::flat::{Slot, What};
use super::types::{Shape, TypeId, Types};
use crate::runtime::go::memory::{Batch, Memory, Piece};

const BASE: u64 = 0x50_0000;
/// Kinds (`internal/abi/type.go`).
const INT: u8 = 2;
const ARRAY: u8 = 17;
const CHANNEL: u8 = 18;
const INTERFACE: u8 = 20;
const MAP: u8 = 21;
const POINTER: u8 = 22;
const SLICE: u8 = 23;
const TEXT: u8 = 24;
const STRUCTURE: u8 = 25;
const RAW: u8 = 26;

/// Memory that types are written to, one behind the other.
#[derive(Clone, Debug, Default)]
struct Made {
    bytes: Vec<u8>,
}

impl Memory for Made {
    fn read(&self, address: u64, buffer: &mut [u8]) -> bool {
        let from = address.checked_sub(BASE).and_then(|from| usize::try_from(from).ok());
        // Pages are whole: behind what was written there are zeros.
        let Some(from) = from.filter(|from| *from < self.bytes.len().next_multiple_of(4096)) else {
            return false;
        };
        for (at, byte) in buffer.iter_mut().enumerate() {
            *byte = self.bytes.get(from + at).copied().unwrap_or(0);
        }
        true
    }

    fn read_many(&self, pieces: &[Piece]) -> Batch {
        Batch::new(pieces)
    }
}

impl Made {
    fn put(&mut self, bytes: &[u8]) -> u64 {
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        let at = BASE + self.bytes.len() as u64;
        self.bytes.extend_from_slice(bytes);
        at
    }

    fn name(&mut self, name: &str) -> u64 {
        let mut bytes = vec![0, name.len() as u8];
        bytes.extend_from_slice(name.as_bytes());
        self.put(&bytes)
    }

    fn of(&mut self, kind: u8, (size, pointers): (u64, u64), name: &str, more: &[u64]) -> u64 {
        let name = self.name(name) - BASE;
        let mut bytes = [size, pointers].map(u64::to_le_bytes).concat();
        bytes.extend_from_slice(&7u32.to_le_bytes());
        bytes.extend_from_slice(&[0, 8, 8, kind]);
        bytes.extend_from_slice(&[0; 16]);
        bytes.extend_from_slice(&(name as u32).to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        more.iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
        self.put(&bytes)
    }

    fn structure(&mut self, size: (u64, u64), name: &str, fields: &[(&str, u64, u64)]) -> u64 {
        let fields: Vec<u64> =
            fields.iter().flat_map(|(field, of, at)| [self.name(field), *of, *at]).collect();
        let count = fields.len() as u64 / 3;
        let list = self.put(&fields.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>());
        self.of(STRUCTURE, size, name, &[0, list, count, count])
    }

    fn types(&self) -> Types<'_> {
        let end = BASE + self.bytes.len() as u64;
        Types::new(self, vec![(BASE, end)], (BASE, end))
    }
}

/// A program's types: `type user struct { name string; tags []string; boss *user; any interface{}; more [2]*int }`, and
/// maps from strings to users, in groups and in buckets.
struct Story {
    made: Made,
    user: u64,
    groups: u64,
    buckets: u64,
    atomic: u64,
}

fn story() -> Story {
    let mut made = Made::default();
    made.put(&[0; 8]);
    let int = made.of(INT, (8, 0), "int", &[]);
    let text = made.of(TEXT, (16, 8), "string", &[]);
    let tags = made.of(SLICE, (24, 8), "[]string", &[text]);
    let any = made.of(INTERFACE, (16, 16), "interface {}", &[0, 0, 0, 0]);
    let to_int = made.of(POINTER, (8, 8), "*int", &[int]);
    let two = made.of(ARRAY, (16, 16), "[2]*int", &[to_int, 0, 2]);
    let raw = made.of(RAW, (8, 8), "unsafe.Pointer", &[]);
    // Who points to it stands before it: its place is filled in.
    let boss = made.of(POINTER, (8, 8), "*main.user", &[0]);
    let fields =
        [("name", text, 0), ("tags", tags, 16), ("boss", boss, 40), ("any", any, 48), ("more", two, 64)];
    let user = made.structure((80, 80), "main.user", &fields);
    let at = (boss - BASE) as usize + 48;
    made.bytes[at..at + 8].copy_from_slice(&user.to_le_bytes());
    let eight = made.of(ARRAY, (8, 0), "[8]uint8", &[int, 0, 1]);
    let pair = made.structure((24, 24), "struct", &[("key", text, 0), ("elem", boss, 16)]);
    let slots = made.of(ARRAY, (192, 192), "[8]struct", &[pair, 0, 8]);
    let group =
        made.structure((200, 200), "map.group[string]*main.user", &[("ctrl", int, 0), ("slots", slots, 8)]);
    let groups = made.of(MAP, (8, 8), "map[string]*main.user", &[text, boss, group]);
    let keys = made.of(ARRAY, (128, 128), "[8]string", &[text, 0, 8]);
    let values = made.of(ARRAY, (64, 64), "[8]*main.user", &[boss, 0, 8]);
    let bucket = [("topbits", eight, 0), ("keys", keys, 8), ("elems", values, 136), ("overflow", raw, 200)];
    let bucket = made.structure((208, 208), "map.bucket[string]*main.user", &bucket);
    let buckets = made.of(MAP, (8, 8), "map[string]*main.user", &[text, boss, bucket]);
    let none = made.of(ARRAY, (0, 0), "[0]*main.user", &[boss, 0, 0]);
    let atomic = [("_", none, 0), ("_", none, 0), ("v", raw, 0)];
    let atomic = made.structure((8, 8), "atomic.Pointer[main.user]", &atomic);
    made.of(CHANNEL, (8, 8), "chan main.user", &[user]);
    Story { made, user, groups, buckets, atomic }
}

#[test]
fn types_and_their_pointers() {
    let story = story();
    let mut types = story.made.types();
    let user = types.find(story.user);
    assert_eq!((&*types.at(user).name, types.at(user).size), ("main.user", 80));
    let Shape::Structure(fields) = &types.at(user).shape else { panic!("{:?}", types.at(user)) };
    let fields: Vec<(&str, u64)> = fields.iter().map(|field| (field.name.as_str(), field.offset)).collect();
    assert_eq!(fields, [("name", 0), ("tags", 16), ("boss", 40), ("any", 48), ("more", 64)]);
    let flat = types.flat(user);
    let offsets: Vec<u32> = flat.slots.iter().map(|slot| slot.offset).collect();
    assert!(flat.whole && offsets == [0, 16, 40, 48, 64, 72], "{flat:?}");
    assert_eq!((flat.slots[0].what, flat.slots[5].step), (What::Text, 64), "elements of an array are alike");
    assert_eq!(flat.slots[2], Slot { offset: 40, step: 40, what: What::Pointer(user) });
    assert_eq!(flat.slots[3].what, What::Interface { empty: true });
    let members = [0, 24, 40, 72].map(|offset| types.member(user, offset));
    assert_eq!(members, [".name", ".tags", ".boss", ".more[…]"]);
    let atomic = types.find(story.atomic);
    assert_eq!(types.flat(atomic).slots, [Slot { offset: 0, step: 0, what: What::Pointer(user) }]);
    assert_eq!([types.find(story.user + 1), types.find(0), types.find(u64::MAX)], [0; 3], "there is none");
}

#[test]
fn entries_of_maps() {
    let story = story();
    let mut types = story.made.types();
    let user: TypeId = types.find(story.user);
    for (map, minor, full, free) in [(story.groups, 24, 0x01, 0x80), (story.buckets, 23, 0x05, 0x01)] {
        let map = types.find(map);
        let layout = EntryLayouts::default().of(&mut types, map, minor).expect("a layout");
        let values: Vec<(usize, Option<u8>, u32)> = layout
            .slots
            .iter()
            .filter(|slot| slot.what == What::Pointer(user))
            .map(|slot| (slot.offset, slot.entry, slot.step))
            .collect();
        assert_eq!(values.len(), 8);
        let (first, apart) = if minor == 24 { (24, 24) } else { (136, 8) };
        assert_eq!(values[0], (first, Some(0), first as u32));
        assert_eq!(values[7], (first + 7 * apart, Some(7), first as u32));
        assert_eq!(layout.value.0, first as u32);
        let after = layout.slots.iter().filter(|slot| slot.entry.is_none()).count();
        assert_eq!(after, usize::from(minor == 23), "buckets go on");
        let mut bytes = vec![free; layout.size];
        bytes[3] = full;
        assert_eq!([2, 3, 9].map(|entry| layout.has(&bytes[..8], entry)), [false, true, false]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn types_of_any_bytes(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..60)) {
        let mut story = story();
        for (at, value) in changes {
            let at = at.index(story.made.bytes.len());
            story.made.bytes[at] = value;
        }
        let mut types = story.made.types();
        let mut layouts = EntryLayouts::default();
        for at in (0..story.made.bytes.len() as u64).step_by(24) {
            let id = types.find(BASE + at);
            prop_assert!(types.flat(id).slots.len() <= 1 << 13);
            for offset in [0, 8, 40, u64::MAX] {
                let _ = types.member(id, offset);
            }
            for minor in [23, 24] {
                if let Some(layout) = layouts.of(&mut types, id, minor) {
                    prop_assert!((9..=1 << 20).contains(&layout.size));
                    let _ = layout.has(&[0xff; 4], 7);
                }
            }
            let _ = (types.of_table(BASE + at), types.placed(at, BASE));
        }
    }
}

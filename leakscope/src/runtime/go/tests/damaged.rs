//! Nothing in a program's file or memory makes the reader panic, hang or grow without bound.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use crate::runtime::go::offsets::{Offsets, VERSIONS};
use crate::runtime::go::pclntab::Pclntab;
use crate::runtime::go::synthetic::{Edit, FUNCTIONS, Synthetic, exercise, exercise_table, table};

fn edits(most: usize) -> impl Strategy<Value = Vec<Edit>> {
    let edit = (any::<u16>(), any::<u16>(), any::<u8>(), any::<u64>())
        .prop_map(|(structure, offset, kind, value)| Edit { structure, offset, kind, value });
    prop::collection::vec(edit, 1..most)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn one_word(version in 0..VERSIONS.len(), edits in edits(2)) {
        let mut program = Synthetic::new(VERSIONS[version]);
        edits.iter().for_each(|edit| edit.apply(&mut program));
        exercise(&program);
    }

    #[test]
    fn many_words(version in 0..VERSIONS.len(), edits in edits(40)) {
        let mut program = Synthetic::new(VERSIONS[version]);
        edits.iter().for_each(|edit| edit.apply(&mut program));
        exercise(&program);
    }

    #[test]
    fn one_structure_of_any_bytes(version in 0..VERSIONS.len(), which: prop::sample::Index, bytes in prop::collection::vec(any::<u8>(), 1..600)) {
        let mut program = Synthetic::new(VERSIONS[version]);
        let (_, at, size) = program.structures[which.index(program.structures.len())];
        let bytes: Vec<u8> = bytes.iter().copied().cycle().take(size as usize).collect();
        program.write(at, &bytes);
        exercise(&program);
    }

    #[test]
    fn files_cut_off(version in 0..VERSIONS.len(), at: prop::sample::Index) {
        let mut program = Synthetic::new(VERSIONS[version]);
        let length = at.index(program.file.len());
        program.file.truncate(length);
        exercise(&program);
    }

    #[test]
    fn tables(go120: bool, cut: prop::sample::Index, changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..60)) {
        let mut table = table(go120);
        for (at, value) in changes {
            let at = at.index(table.len());
            table[at] = value;
        }
        exercise_table(table.clone());
        table.truncate(cut.index(table.len()));
        exercise_table(table);
    }
}

/// A list whose first note is its own next one.
#[test]
fn notes_in_a_circle() {
    for version in VERSIONS {
        let mut program = Synthetic::new(version);
        let specials = Offsets::of(version).find("mspan", "specials").expect("known") as u64;
        let spans: Vec<u64> = program.addresses_of("span").collect();
        spans.iter().for_each(|span| program.set(span + specials, span + specials));
        exercise(&program);
        let (reads, ..) = program.space.cost();
        assert!(reads < 100_000, "{reads} reads");
    }
}

fn word(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize
}

/// Where the parts of a table begin that the header has at `at`.
fn part(bytes: &[u8], at: usize) -> usize {
    word(bytes, at)
}

#[test]
fn values_without_end() {
    let mut bytes = table(true);
    let (values, records) = (part(&bytes, 56), part(&bytes, 64));
    let last = FUNCTIONS.len() - 1;
    let record = records + word(&bytes, records + 8 * last + 4);
    let at = (bytes.len() - values) as u32;
    for member in [16, 20, 24] {
        bytes[record + member..record + member + 4].copy_from_slice(&at.to_le_bytes());
    }
    // Each changes the value and covers no code.
    bytes.extend([2, 0].repeat(4 << 20));
    let started = Instant::now();
    let table = Pclntab::new(bytes, 0x1000).expect("a table");
    let function = table.function(last).expect("a function");
    assert_eq!(table.frame_size(function, function.entry), None);
    // Each look is bounded, so all of a stack's are.
    for _ in 0..20 {
        assert_eq!(table.line(function, function.entry), None);
    }
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn names_without_end() {
    let mut bytes = table(true);
    let (names, units) = (part(&bytes, 32), part(&bytes, 40));
    bytes[names..units].fill(b'a');
    bytes.extend(std::iter::repeat_n(b'a', 1 << 20));
    let table = Pclntab::new(bytes, 0x1000).expect("a table");
    let function = table.function(0).expect("a function");
    assert!(table.name(function).len() <= 1 << 14);
    assert_eq!(table.by_name("runtime.main"), None);
}

#[test]
fn functions_that_the_table_has_no_room_for() {
    for count in [0, 1 << 24, (1 << 24) - 1, FUNCTIONS.len() as u64 * 20, u64::MAX] {
        let mut bytes = table(true);
        bytes[8..16].copy_from_slice(&count.to_le_bytes());
        assert!(Pclntab::new(bytes, 0x1000).is_none(), "{count}");
    }
}

#[test]
fn records_and_entries_beyond_the_table() {
    for lie in [u32::MAX, 1 << 31, 1 << 20] {
        for member in [0, 4] {
            let mut bytes = table(true);
            let records = part(&bytes, 64);
            for i in 0..FUNCTIONS.len() {
                let at = records + 8 * i + member;
                bytes[at..at + 4].copy_from_slice(&lie.to_le_bytes());
            }
            exercise_table(bytes);
        }
    }
}

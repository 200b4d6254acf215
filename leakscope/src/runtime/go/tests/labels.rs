//! Labels that lie: not shown, and counted.

use super::{goroutine, loss, snapshot};
use crate::losses::GO_LABELS;
use crate::runtime::go::synthetic::Synthetic;

/// Goroutine 17 has labels that cannot be read; all else can.
fn assert_unread(program: &Synthetic) {
    let snapshot = snapshot(program).expect("goroutines");
    assert_eq!((goroutine(&snapshot, 17).labels, loss(&snapshot, GO_LABELS)), (None, 1));
    assert!(goroutine(&snapshot, 22).labels.is_some());
    assert!(program.space.cost().0 < 100_000);
}

fn damaged(minor: u32, what: &str, at: u64, value: u64) -> Synthetic {
    let mut program = Synthetic::new(minor);
    let address = program.address_of(what);
    program.set(address + at, value);
    program
}

#[test]
fn a_slice_of_all_memory() {
    for length in [u64::MAX, 1 << 20, 1000] {
        assert_unread(&damaged(27, "labels", 8, length));
    }
}

#[test]
fn strings_of_all_memory() {
    for length in [u64::MAX, 1 << 40, 1 << 14] {
        assert_unread(&damaged(27, "label slice", 8, length));
        assert_unread(&damaged(23, "label bucket", 8 + 8, length));
    }
}

#[test]
fn labels_nowhere() {
    for address in [8, u64::MAX, u64::MAX - 15] {
        assert_unread(&damaged(27, "labels", 0, address));
        assert_unread(&damaged(23, "labels", 0, address));
        assert_unread(&damaged(23, "label map", 16, address));
    }
}

#[test]
fn a_map_of_more_buckets_than_there_is_memory() {
    for bits in [63u64, 64, 255, 10] {
        assert_unread(&damaged(23, "label map", 8, bits << 8));
    }
}

#[test]
fn buckets_in_a_circle() {
    let mut program = Synthetic::new(23);
    let bucket = program.address_of("label bucket");
    program.set(bucket + 264, bucket);
    assert_unread(&program);
    // And as many labels as are taken at most.
    let map = program.address_of("label map");
    program.set(map, 1024);
    program.set(map + 24, bucket);
    assert_unread(&program);
}

//! The heap of a sound program, and of programs that lie about it.

use crate::runtime::go::frames::Frames;
use crate::runtime::go::heap;
use crate::runtime::go::offsets::VERSIONS;
use crate::runtime::go::synthetic::heap::{IN_USE_BYTES, PROFILE};
use crate::runtime::go::synthetic::{Synthetic, exercise};

#[test]
fn in_every_layout() {
    for minor in VERSIONS {
        let program = Synthetic::new(minor).open().expect("a program");
        let heap = heap::read(&program, &mut Frames::default()).expect("a heap");
        assert_eq!(heap.heap_in_use_bytes, IN_USE_BYTES, "{minor}");
        // One stack: one site.
        let sites: Vec<_> =
            heap.sites.iter().map(|s| (s.alloc_objects, s.live_objects, s.live_bytes)).collect();
        let truth = PROFILE.iter().fold((0, 0, 0), |sum, (size, allocs, frees)| {
            (sum.0 + allocs, sum.1 + allocs - frees, sum.2 + (allocs - frees) * size)
        });
        assert_eq!(sites, [truth], "{minor}");
        let names: Vec<_> = heap.sites[0].frames.iter().map(|frame| &*frame.function).collect();
        assert_eq!(names, ["main.worker", "main.main"], "{minor}");
    }
}

/// Puts a word into every place of a structure, one after the other; how many of them were refused.
fn refused(what: &str, word: u64) -> usize {
    let mut refused = 0;
    let mut sound = Synthetic::new(24);
    let (at, size) = sound.structures.iter().find(|s| s.0 == what).map(|s| (s.1, s.2)).expect("a structure");
    for at in (at..at + size - 7).step_by(8) {
        let mut program = std::mem::replace(&mut sound, Synthetic::new(24));
        program.set(at, word);
        exercise(&program);
        let read = program.open().and_then(|opened| heap::read(&opened, &mut Frames::default()).map(drop));
        refused += usize::from(read.is_err());
    }
    refused
}

#[test]
fn lies() {
    for word in [0, 1, 8, u64::MAX, 1 << 63, 1 << 40, 0xc500_0000, 0xc600_0000] {
        // A bucket in the list, a span among nine and the whole heap.
        refused("bucket", word);
        refused("span", word);
        refused("list of spans", word);
    }
    assert!(refused("bucket", u64::MAX) >= 5, "kind, hash, size, depth, stack");
    assert!(refused("heap", u64::MAX) >= 3, "generation, list, length");
}

/// A list that leads back to its beginning.
#[test]
fn buckets_in_a_circle() {
    let mut program = Synthetic::new(27);
    let buckets: Vec<u64> = program.addresses_of("bucket").collect();
    program.set(buckets[2] + 8, buckets[0]);
    let opened = program.open().expect("a program");
    let read = heap::read(&opened, &mut Frames::default());
    assert!(read.is_err_and(|error| error.to_string().contains("a bucket of the memory profile")));
}

//! The heap of the synthetic program: a list of spans, and the runtime's profile of it.

use super::bytes::Bytes;
use super::{HEAP, Synthetic, code};
use crate::runtime::go::heap::buckets::hash;
use crate::runtime::go::offsets::Offsets;

/// Where the list of spans, their descriptions, what they hold and the profile lie.
const LIST: u64 = HEAP + 0x500_0000;
const SPANS: u64 = HEAP + 0x501_0000;
const OBJECTS: u64 = HEAP + 0x700_0000;
const BUCKETS: u64 = HEAP + 0x600_0000;
/// Between one description or bucket and the next.
const ROOM: u64 = 0x200;
/// `runtime.pageSize`
const PAGE: u64 = 8192;
/// The heap's sweep generation: four collections.
const GENERATION: u32 = 8;
/// Objects of a span are so large; a span has room for so many.
const SIZE: u64 = 48;
const ELEMENTS: u64 = 170;
/// Objects in each span in use; then there is one that holds stacks, and a free one.
const TAKEN: [u64; 7] = [0, 1, 20, 63, 64, 65, 170];
/// Pages in use.
pub(super) const PAGES_IN_USE: u64 = TAKEN.len() as u64;
/// Size, objects allocated, objects freed of each bucket.
pub const PROFILE: [(u64, u64, u64); 3] = [(64, 30, 7), (1024, 5, 0), (32, 8, 8)];

/// Bytes in objects.
pub const IN_USE_BYTES: u64 = SIZE * (1 + 20 + 63 + 64 + 65 + 170);

/// Lays out the variables: the rate of the profile, its cycle, its list, and the heap itself.
pub(super) fn variables(made: &mut Synthetic, file: &mut Bytes, offsets: &Offsets) -> (u64, u64) {
    let rate = made.put(file, "rate", &1u64.to_le_bytes());
    let cycle = made.put(file, "cycle", &(((GENERATION / 2) << 1) | 1).to_le_bytes());
    made.put(file, "buckets", &BUCKETS.to_le_bytes());
    let member = |member| offsets.find("mheap", member).expect("known");
    let mut heap = vec![0; member("__size")];
    let spans = TAKEN.len() as u64 + 2;
    heap[member("sweepgen")..][..4].copy_from_slice(&GENERATION.to_le_bytes());
    for (i, word) in [LIST, spans, spans].into_iter().enumerate() {
        heap[member("allspans") + 8 * i..][..8].copy_from_slice(&word.to_le_bytes());
    }
    heap[member("pagesInUse")..][..8].copy_from_slice(&PAGES_IN_USE.to_le_bytes());
    file.align(32);
    let at = file.push(&heap);
    // What lies before is never looked at, and little of what lies behind.
    let (first, last) = (member("sweepgen"), member("pagesInUse") + 8);
    made.structures.push(("heap", at + first as u64, (last - first) as u64));
    (rate, cycle)
}

/// Lays out what they refer to.
pub(super) fn add(made: &mut Synthetic) {
    let offsets = Offsets::of(made.minor);
    let states = TAKEN.iter().map(|taken| (1, *taken)).chain([(2, 0), (0, 0)]);
    let mut list = Vec::new();
    for (i, (state, taken)) in states.enumerate() {
        let at = SPANS + ROOM * i as u64;
        list.extend(at.to_le_bytes());
        made.map("span", at, span(&offsets, i as u64, state, taken));
    }
    made.map("list of spans", LIST, list);
    let mut profile = vec![0; 2 * 4096];
    for (i, (size, allocs, frees)) in PROFILE.into_iter().enumerate() {
        let at = ROOM * i as u64;
        let next = if i + 1 < PROFILE.len() { BUCKETS + at + ROOM } else { 0 };
        let bytes = bucket(&offsets, next, size, allocs, frees);
        profile[at as usize..][..bytes.len()].copy_from_slice(&bytes);
        made.structures.push(("bucket", BUCKETS + at, bytes.len() as u64));
    }
    made.space.map(BUCKETS, profile);
}

fn span(offsets: &Offsets, number: u64, state: u8, taken: u64) -> Vec<u8> {
    let member = |member| offsets.find("mspan", member).expect("known");
    let mut bytes = vec![0; member("__size")];
    let wide = member("nelems") - member("freeindex") == 8;
    let start = OBJECTS + number * PAGE;
    let words = [
        ("startAddr", start),
        ("npages", 1),
        ("allocCache", u64::MAX),
        ("elemsize", SIZE),
        ("limit", start + SIZE * ELEMENTS),
    ];
    for (name, word) in words {
        bytes[member(name)..][..8].copy_from_slice(&word.to_le_bytes());
    }
    for (name, index) in [("freeindex", taken), ("nelems", ELEMENTS)] {
        let width = if wide { 8 } else { 2 };
        bytes[member(name)..][..width].copy_from_slice(&index.to_le_bytes()[..width]);
    }
    bytes[member("sweepgen")..][..4].copy_from_slice(&GENERATION.to_le_bytes());
    bytes[member("allocCount")..][..2].copy_from_slice(&taken.to_le_bytes()[..2]);
    bytes[member("spanclass")] = 11;
    bytes[member("state")] = state;
    bytes
}

fn bucket(offsets: &Offsets, next: u64, size: u64, allocs: u64, frees: u64) -> Vec<u8> {
    let bucket = |member| offsets.find("bucket", member).expect("known");
    let record = |member| offsets.find("memRecord", member).expect("known");
    let cycle = |member| offsets.find("memRecordCycle", member).expect("known");
    let stack = [code("main.worker", 20), code("main.main", 20)];
    let counts = bucket("__size") + 8 * stack.len();
    let mut bytes = vec![0; counts + record("__size")];
    let mut set = |at: usize, word: u64| bytes[at..][..8].copy_from_slice(&word.to_le_bytes());
    set(bucket("allnext"), next);
    set(bucket("typ"), 1);
    set(bucket("hash"), hash(&stack, size));
    set(bucket("size"), size);
    set(bucket("nstk"), stack.len() as u64);
    for (i, pc) in stack.into_iter().enumerate() {
        set(bucket("__size") + 8 * i, pc);
    }
    set(counts + record("active") + cycle("allocs"), allocs);
    set(counts + record("active") + cycle("frees"), frees);
    bytes
}

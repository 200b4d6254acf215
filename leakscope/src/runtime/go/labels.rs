//! Labels of goroutines (`runtime/pprof`, `labelMap`).

use std::collections::BTreeMap;

use super::bytes::u64_at;
use super::program::Program;

/// First version in which labels are a slice; before it they are a map.
const SLICE_SINCE: u32 = 24;
/// Most labels of a goroutine.
const MOST: u64 = 1 << 10;
/// Most bytes of a goroutine's labels.
const MOST_BYTES: usize = 1 << 16;
/// Longest key or value.
const LONGEST: u64 = 1 << 14;
/// Bytes of a string's header.
const STRING: u64 = 16;
/// Layout of a map in Go 1.23 and before (`runtime/map.go`, `hmap` and `bmap`): members of the map…
const MAP_BITS: usize = 9;
const MAP_BUCKETS: usize = 16;
const MAP_OLD_BUCKETS: usize = 24;
const MAP_SIZE: usize = 32;
/// … and buckets of eight: states, keys, values, next bucket.
const SLOTS: u64 = 8;
const BUCKET: u64 = SLOTS + 2 * SLOTS * STRING + 8;
/// States below are of empty slots (`minTopHash`).
const FIRST_USED: u8 = 5;

/// The labels at `address`, the value of a goroutine's `labels`; `None` if they cannot be read.
pub fn read(program: &Program, address: u64) -> Option<BTreeMap<String, String>> {
    if program.minor >= SLICE_SINCE { read_slice(program, address) } else { read_map(program, address) }
}

/// Labels of which there are not too many.
#[derive(Default)]
struct Collected {
    all: BTreeMap<String, String>,
    bytes: usize,
}

impl Collected {
    fn add(&mut self, key: String, value: String) -> Option<()> {
        self.bytes += key.len() + value.len();
        self.all.insert(key, value);
        (self.bytes <= MOST_BYTES).then_some(())
    }
}

fn read_slice(program: &Program, address: u64) -> Option<BTreeMap<String, String>> {
    let memory = program.memory();
    let (start, length) = (memory.u64(address)?, memory.u64(address.checked_add(8)?)?);
    if length > MOST {
        return None;
    }
    let mut labels = Collected::default();
    for i in 0..length {
        let at = start.checked_add(i * 2 * STRING)?;
        labels.add(memory.string(at, LONGEST)?, memory.string(at.checked_add(STRING)?, LONGEST)?)?;
    }
    Some(labels.all)
}

fn read_map(program: &Program, address: u64) -> Option<BTreeMap<String, String>> {
    let memory = program.memory();
    let map = memory.bytes(memory.u64(address)?, MAP_SIZE)?;
    let (count, bits) = (u64_at(&map, 0)?, *map.get(MAP_BITS)?);
    let buckets = u64_at(&map, MAP_BUCKETS)?;
    if count > MOST || bits > 10 {
        return None;
    }
    let mut labels = Collected::default();
    // Those that overflow, of all buckets: a list of them may lead back to itself.
    let mut overflowing = count;
    let mut lists = vec![(buckets, 1u64 << bits)];
    let old = u64_at(&map, MAP_OLD_BUCKETS)?;
    if old != 0 {
        // It is growing: what has not moved yet lies in half as many buckets.
        lists.push((old, (1u64 << bits) / 2));
    }
    for (start, buckets) in lists {
        for i in 0..buckets {
            let mut bucket = start.checked_add(i * BUCKET)?;
            loop {
                let states = memory.bytes(bucket, SLOTS as usize)?;
                for (slot, _) in (0..).zip(&states).filter(|(_, state)| **state >= FIRST_USED) {
                    let key = bucket.checked_add(SLOTS + slot * STRING)?;
                    let value = key.checked_add(SLOTS * STRING)?;
                    labels.add(memory.string(key, LONGEST)?, memory.string(value, LONGEST)?)?;
                }
                bucket = memory.u64(bucket.checked_add(BUCKET - 8)?)?;
                if bucket == 0 {
                    break;
                }
                overflowing = overflowing.checked_sub(1)?;
            }
        }
    }
    (labels.all.len() as u64 == count).then_some(labels.all)
}

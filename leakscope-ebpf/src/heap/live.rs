//! Live blocks: in a map, and in further ones that userspace adds before the ones before are full.
//!
//! A block goes into the newest map with room for it, and is looked for from the newest back to the first. None moves: so a map that was
//! added is in use from one instruction to the next, and no block is ever in between.

use aya_ebpf::bindings::{BPF_F_NO_PREALLOC, BPF_NOEXIST};
use aya_ebpf::btf_maps::{self, ArrayOfMaps};
use aya_ebpf::macros::{btf_map, map};
use aya_ebpf::maps::{HashMap, PerCpuArray};
use leakscope_common::config::{LATER_MAPS as LATER, state};
use leakscope_common::heap::LiveBlock;
use leakscope_common::pairing::{Inserted, Removed};

use crate::shared::Value;
use crate::state::slot;

const ENOENT: i32 = -2;
const E2BIG: i32 = -7;
const EEXIST: i32 = -17;

#[map]
static LIVE: HashMap<u64, LiveBlock> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);

type Later = btf_maps::HashMap<u64, LiveBlock, 1, { BPF_F_NO_PREALLOC as usize }>;

#[btf_map]
static LATER_LIVE: ArrayOfMaps<Later, { LATER as usize }> = ArrayOfMaps::new();

/// How many blocks are in each of the maps, less those that another CPU has taken out.
#[map]
static LIVE_FILL: PerCpuArray<u64> = PerCpuArray::with_max_entries(LATER + 1, 0);

/// The number of the newest map; 0 is the first.
#[inline(always)]
fn newest() -> u32 {
    slot(state::LIVE_NEWEST) as u32
}

#[inline(always)]
fn count(number: u32, n: u64) {
    if let Some(fill) = Value::of_cpu(&LIVE_FILL, number) {
        fill.word().add(n);
    }
}

/// The record of a block.
#[inline(always)]
pub(super) fn find(address: u64) -> Option<Value<LiveBlock>> {
    let mut number = newest();
    let mut round = 0;
    while round < LATER {
        if number == 0 {
            break;
        }
        if let Some(map) = LATER_LIVE.get(number - 1)
            && let Some(found) = Value::find(map, &address)
        {
            return Some(found);
        }
        number -= 1;
        round += 1;
    }
    Value::find(&LIVE, &address)
}

/// Takes a block out.
#[inline(always)]
pub(super) fn remove(address: u64) -> Removed {
    let mut number = newest();
    let mut round = 0;
    while round <= LATER {
        let removed = if number == 0 {
            LIVE.remove(&address)
        } else if let Some(map) = LATER_LIVE.get(number - 1) {
            map.remove(&address)
        } else {
            Err(ENOENT)
        };
        match removed {
            Ok(()) => {
                count(number, u64::MAX);
                return Removed::Done;
            }
            Err(ENOENT) => {}
            Err(_) => return Removed::Failed,
        }
        if number == 0 {
            break;
        }
        number -= 1;
        round += 1;
    }
    Removed::Gone
}

/// Adds a block at an address where there is none: to the newest map with room for it.
#[inline(always)]
pub(super) fn insert(address: u64, block: &LiveBlock) -> Inserted {
    let mut number = newest();
    if number != 0 && find(address).is_some() {
        return Inserted::Occupied;
    }
    let mut round = 0;
    while round <= LATER {
        let inserted = if number == 0 {
            LIVE.insert(&address, block, BPF_NOEXIST as u64)
        } else if let Some(map) = LATER_LIVE.get(number - 1) {
            map.insert(&address, block, BPF_NOEXIST as u64)
        } else {
            Err(E2BIG)
        };
        match inserted {
            Ok(()) => {
                count(number, 1);
                return Inserted::Done;
            }
            Err(E2BIG) => {}
            Err(EEXIST) => return Inserted::Occupied,
            Err(_) => return Inserted::NoMemory,
        }
        if number == 0 {
            break;
        }
        number -= 1;
        round += 1;
    }
    Inserted::Full
}

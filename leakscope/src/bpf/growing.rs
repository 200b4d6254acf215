//! A hash map of the kernel side that further maps are added to before it is full.
//!
//! A thread looks how full the newest map is. At 60 % it makes the next one, puts it into an array of maps, and then
//! tells the kernel side by a slot of its state. What is in the ones before stays there.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use aya::maps::{Array, ArrayOfMaps, Map, MapData, PerCpuArray};
use leakscope_common::config::LATER_MAPS;

use super::object::{Object, memlock};
use super::{BpfError, Pod, chain, sys};

/// Which map grows.
#[derive(Clone, Copy, Debug)]
pub struct Growth {
    /// The first map, which is loaded with the first of [`sizes`].
    pub first: &'static str,
    /// The array of those that are added.
    pub later: &'static str,
    /// How many entries each has, by its number and CPU.
    pub fill: &'static str,
    /// The slot of the state that holds the number of the newest.
    pub newest: u32,
}

/// Entries of the first map.
pub const FIRST: u32 = 1 << 20;
/// How much larger each map is than the one before.
const TIMES: u32 = 4;
/// Kernel memory of an entry: the slab that `struct htab_elem` (kernel/bpf/hashtab.c) with a block of 24 bytes fits in,
/// and its share of the buckets, which are at most twice as many as entries.
const BYTES_OF_ENTRY: u64 = 96 + 2 * 16;

/// Most blocks that are entered a second by one CPU: a hit of a probe takes longer than this allows.
const MOST_A_SECOND: u64 = 1_000_000;
const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_millis(500);

/// How many entries the maps have that hold `most` together.
pub fn sizes(most: u32) -> Vec<u32> {
    let (mut left, mut next) = (most.max(1), FIRST);
    let mut sizes = Vec::new();
    while left > 0 && sizes.len() < LATER_MAPS as usize {
        sizes.push(left.min(next));
        left -= left.min(next);
        next = next.saturating_mul(TIMES);
    }
    if left > 0 {
        sizes.push(left);
    }
    sizes
}

/// At how many entries the next map is made.
fn threshold(entries: u32) -> u64 {
    u64::from(entries) * 3 / 5
}

/// How many of the `entries` of a map the kernel can afford: all maps may take a quarter of what is available.
fn affordable(entries: u32, available_bytes: u64) -> u32 {
    u32::try_from(available_bytes / 4 / BYTES_OF_ENTRY).unwrap_or(u32::MAX).min(entries)
}

/// When to look again at a map that holds `filled` of its entries, so that it cannot be much beyond its threshold.
fn next_look(entries: u32, filled: u64, cpus: u64) -> Duration {
    let left = threshold(entries).saturating_sub(filled);
    let micros = left.saturating_mul(1_000_000) / (cpus.max(1) * MOST_A_SECOND);
    Duration::from_micros(micros).clamp(SHORTEST, LONGEST)
}

/// Memory that programs can still get, in bytes.
fn available_bytes() -> Option<u64> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kib = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    kib.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The maps that were added, and the thread that adds them.
pub(super) struct Growing {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Growing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Growing").field("maps", &self.shared.maps().len()).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Shared {
    maps: Mutex<Vec<MapData>>,
    ending: AtomicBool,
}

impl Shared {
    fn maps(&self) -> MutexGuard<'_, Vec<MapData>> {
        self.maps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the thread works on.
struct Grower {
    shared: Arc<Shared>,
    sizes: Vec<u32>,
    create: fn(u32) -> io::Result<OwnedFd>,
    fill: PerCpuArray<MapData, u64>,
    later: ArrayOfMaps<MapData, MapData>,
    state: Array<MapData, u64>,
    newest: u32,
}

impl Grower {
    fn run(mut self) {
        for number in 0..self.sizes.len() - 1 {
            if !self.until_filled(number) || self.add(number + 1).is_none() {
                return;
            }
        }
    }

    /// Waits until a map has reached its threshold; whether it has.
    fn until_filled(&self, number: usize) -> bool {
        let entries = self.sizes[number];
        while !self.shared.ending.load(Ordering::Relaxed) {
            let Ok(fill) = self.fill.get(&(number as u32), 0) else { return false };
            let cpus = fill.len() as u64;
            // Those of a CPU that takes out more than it has put in are below 0.
            let filled = fill.iter().fold(0u64, |sum, n| sum.wrapping_add(*n));
            let filled = if filled.cast_signed() < 0 { 0 } else { filled };
            if filled >= threshold(entries) {
                return true;
            }
            thread::park_timeout(next_look(entries, filled, cpus));
        }
        false
    }

    /// Makes the map of this number, unless there is too little memory. The kernel side then counts what it loses.
    fn add(&mut self, number: usize) -> Option<()> {
        let entries = affordable(self.sizes[number], available_bytes()?);
        if entries == 0 {
            return None;
        }
        self.sizes[number] = entries;
        let map = MapData::from_fd((self.create)(entries).ok()?).ok()?;
        self.later.set(number as u32 - 1, &map, 0).ok()?;
        self.shared.maps().push(map);
        self.state.set(self.newest, &(number as u64), 0).ok()
    }
}

impl Drop for Growing {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // Its panic was reported as it came.
            let _ = thread.join();
        }
    }
}

impl Object {
    /// Adds maps from `K` to `V` from now on, so that all hold `most` entries.
    pub fn grow<K: Pod, V: Pod>(&mut self, growth: Growth, most: u32) -> Result<(), BpfError> {
        let sizes = sizes(most);
        if sizes.len() < 2 {
            return Ok(());
        }
        let failed = |error| BpfError::Map { what: "follow a map that grows", error };
        let refused = |e: &dyn std::error::Error| failed(io::Error::other(chain(e)));
        let state = self.map_fd("STATE")?.try_clone_to_owned().map_err(failed)?;
        let state = MapData::from_fd(state).map_err(|e| refused(&e))?;
        let grower = Grower {
            shared: Arc::default(),
            sizes,
            create: sys::create_hash::<K, V>,
            fill: PerCpuArray::try_from(self.taken(growth.fill)?).map_err(|e| refused(&e))?,
            later: ArrayOfMaps::try_from(self.taken(growth.later)?).map_err(|e| refused(&e))?,
            state: Array::try_from(Map::Array(state)).map_err(|e| refused(&e))?,
            newest: growth.newest,
        };
        let shared = Arc::clone(&grower.shared);
        let thread = thread::Builder::new().name("growing".to_owned()).spawn(|| grower.run());
        self.growing = Some(Growing { shared, thread: Some(thread.map_err(failed)?) });
        Ok(())
    }

    fn taken(&mut self, name: &'static str) -> Result<Map, BpfError> {
        self.ebpf.take_map(name).ok_or(BpfError::Missing(name))
    }

    /// Reads a map that grows, with those that were added. While programs change them an entry may be seen twice or
    /// not at all.
    pub fn read_grown<K: Pod + Default, V: Pod + Default>(
        &self,
        growth: Growth,
    ) -> Result<Vec<(K, V)>, BpfError> {
        let mut all = self.read_map(growth.first)?;
        let added = self.growing.as_ref().map(|growing| growing.shared.maps());
        for map in added.iter().flat_map(|maps| maps.iter()) {
            let more = sys::read_all(map.fd().as_fd());
            all.extend(more.map_err(|error| BpfError::Map { what: "read the account", error })?);
        }
        Ok(all)
    }

    /// Kernel memory of the maps that were added, bytes.
    pub(super) fn added_bytes(&self) -> u64 {
        let Some(growing) = &self.growing else { return 0 };
        growing.shared.maps().iter().filter_map(|map| memlock(map.fd().as_fd())).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_grow_up_to_the_limit() {
        assert_eq!(sizes(0), [1]);
        assert_eq!(sizes(1000), [1000]);
        assert_eq!(sizes(FIRST), [FIRST]);
        assert_eq!(sizes(FIRST + 1), [FIRST, 1]);
        assert_eq!(sizes(20_000_000), [FIRST, 4 * FIRST, 20_000_000 - 5 * FIRST]);
        for most in [1, FIRST, 1 << 22, 1 << 30, u32::MAX] {
            let sizes = sizes(most);
            assert_eq!(sizes.iter().map(|n| u64::from(*n)).sum::<u64>(), u64::from(most));
            assert!(sizes.len() <= LATER_MAPS as usize + 1);
        }
    }

    #[test]
    fn not_more_than_a_quarter_of_the_memory() {
        assert_eq!(affordable(1000, 1 << 40), 1000);
        assert_eq!(affordable(u32::MAX, 4 * 128 * 5000), 5000);
        assert_eq!(affordable(1000, 0), 0);
        assert!(available_bytes().is_some_and(|bytes| bytes > 1 << 20));
    }

    #[test]
    fn a_filling_map_is_looked_at_more_often() {
        assert_eq!(next_look(FIRST, 0, 1), LONGEST);
        assert_eq!(next_look(FIRST, 0, 2), Duration::from_micros(314_572));
        assert_eq!(next_look(FIRST, threshold(FIRST) - 1, 2), SHORTEST);
        assert_eq!(next_look(FIRST, u64::MAX, 0), SHORTEST);
    }
}

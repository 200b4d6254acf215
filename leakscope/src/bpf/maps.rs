//! Typed access to the maps. Whose they are and what is in them, the caller knows.

use std::borrow::Borrow;

use aya::maps::{Array, HashMap, MapData, MapError, PerCpuArray, RingBuf, StackTraceMap};
use leakscope_common::counter::COUNTERS;

use super::events::Ring;
use super::object::Object;
use super::{BpfError, Pod, chain, sys};

/// `BPF_NOEXIST` (uapi/linux/bpf.h).
const BPF_NOEXIST: u64 = 1;

/// How many entries a map has room for; of a ring buffer, how many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapSize {
    /// The map.
    pub name: &'static str,
    /// Its entries. Of a ring buffer a power of two, a page at least.
    pub entries: u32,
}

impl Object {
    /// Reads a whole hash map, in batches. While programs change it an entry may be seen twice or not at all,
    /// but the reading ends.
    pub fn read_map<K: Pod + Default, V: Pod + Default>(
        &self,
        name: &'static str,
    ) -> Result<Vec<(K, V)>, BpfError> {
        sys::read_all(self.map_fd(name)?).map_err(|error| BpfError::Map { what: "read the account", error })
    }

    /// Inserts into a hash map; a key that is there already keeps its value.
    pub fn insert<K: Pod, V: Pod>(&mut self, map: &'static str, key: K, value: V) -> Result<(), BpfError> {
        let mut map: HashMap<_, K, V> =
            HashMap::try_from(self.map_mut(map)?).map_err(|_| BpfError::Missing(map))?;
        match map.insert(&key, &value, BPF_NOEXIST) {
            Ok(()) => Ok(()),
            Err(MapError::SyscallError(e)) if e.io_error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
            Err(e) => Err(not_written(&e)),
        }
    }

    /// Removes an entry of a hash map, if it is there.
    pub fn remove<K: Pod, V: Pod>(&mut self, map: &'static str, key: K) -> Result<(), BpfError> {
        let mut map: HashMap<_, K, V> =
            HashMap::try_from(self.map_mut(map)?).map_err(|_| BpfError::Missing(map))?;
        match map.remove(&key) {
            Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
            Err(MapError::SyscallError(e)) if e.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            Err(e) => Err(not_written(&e)),
        }
    }

    /// Writes an element of an array.
    pub fn set<V: Pod>(&mut self, map: &'static str, index: u32, value: &V) -> Result<(), BpfError> {
        let mut map: Array<_, V> = Array::try_from(self.map_mut(map)?).map_err(|_| BpfError::Missing(map))?;
        map.set(index, value, 0).map_err(|e| not_written(&e))
    }

    /// The counters by number, summed over CPUs.
    pub fn counters(&mut self) -> Result<Vec<u64>, BpfError> {
        let map: PerCpuArray<_, u64> =
            PerCpuArray::try_from(self.map_mut("COUNTERS")?).map_err(|_| BpfError::Missing("COUNTERS"))?;
        (0..COUNTERS)
            .map(|i| {
                map.get(&i, 0).map(|values| values.iter().sum()).map_err(|e| BpfError::Map {
                    what: "read the counters",
                    error: std::io::Error::other(chain(&e)),
                })
            })
            .collect()
    }

    /// Takes the consumer's end of a ring buffer; once.
    pub fn take_ring(&mut self, name: &'static str) -> Result<Ring, BpfError> {
        let map = self.ebpf.take_map(name).ok_or(BpfError::Missing(name))?;
        Ok(Ring(RingBuf::try_from(map).map_err(|_| BpfError::Missing(name))?))
    }

    /// The addresses of a stack that the kernel has walked by frame pointers, innermost first: the first one is
    /// of an instruction, the others are return addresses.
    pub fn stack_trace(&self, map: &'static str, number: u32) -> Option<Vec<u64>> {
        let stacks: StackTraceMap<_> = StackTraceMap::try_from(self.ebpf.map(map)?).ok()?;
        addresses(&stacks, number)
    }
}

/// The addresses of a stack in a map of stacks, as [`Object::stack_trace`] has them.
pub(super) fn addresses<T: Borrow<MapData>>(stacks: &StackTraceMap<T>, number: u32) -> Option<Vec<u64>> {
    let stack = stacks.get(&number, 0).ok()?;
    Some(stack.frames().iter().map(|frame| frame.ip).collect())
}

fn not_written(error: &dyn std::error::Error) -> BpfError {
    BpfError::Map { what: "write a map of the kernel side", error: std::io::Error::other(chain(error)) }
}

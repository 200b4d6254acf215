//! Map values, which other CPUs may touch at any time: never references, but words that are read, written and
//! added to one by one.

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::btf_maps;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray};

use crate::atomic;

/// A map from keys to values.
pub(crate) trait Table<K, V> {
    fn pointer(&self, key: &K) -> Option<*mut V>;

    /// Makes an entry, unless there is one or no room.
    fn make(&self, key: &K, new: &V);
}

macro_rules! tables {
    ($($map:ident),*) => { $(
        impl<K, V> Table<K, V> for $map<K, V> {
            #[inline(always)]
            fn pointer(&self, key: &K) -> Option<*mut V> {
                self.get_ptr_mut(key)
            }

            #[inline(always)]
            fn make(&self, key: &K, new: &V) {
                // Another CPU may have been faster, which is as good.
                let _ = self.insert(key, new, BPF_NOEXIST as u64);
            }
        }
    )* };
}
tables!(HashMap, LruHashMap);

impl<K, V, const MAX: usize, const FLAGS: usize> Table<K, V> for btf_maps::HashMap<K, V, MAX, FLAGS> {
    #[inline(always)]
    fn pointer(&self, key: &K) -> Option<*mut V> {
        self.get_ptr_mut(key)
    }

    #[inline(always)]
    fn make(&self, key: &K, new: &V) {
        // As above.
        let _ = self.insert(key, new, BPF_NOEXIST as u64);
    }
}

/// A value in a map.
///
/// It is valid for as long as the program runs: the kernel frees no memory of a map before. An entry that is
/// removed meanwhile may become one of another key; then what is written to it goes to a wrong one, but it is
/// still a `V`.
pub(crate) struct Value<V>(*mut V);

impl<V> Clone for Value<V> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for Value<V> {}

impl<V> Value<V> {
    /// The value at `key`.
    #[inline(always)]
    pub(crate) fn find<K>(map: &impl Table<K, V>, key: &K) -> Option<Self> {
        map.pointer(key).map(Self)
    }

    /// The value at `key`, made if it is missing; `None` where the map is full.
    #[inline(always)]
    pub(crate) fn entry<K>(map: &impl Table<K, V>, key: &K, new: &V) -> Option<Self> {
        if let Some(found) = Self::find(map, key) {
            return Some(found);
        }
        map.make(key, new);
        Self::find(map, key)
    }

    /// The value at an index of an array.
    #[inline(always)]
    pub(crate) fn at(map: &Array<V>, index: u32) -> Option<Self> {
        map.get_ptr_mut(index).map(Self)
    }

    /// The value of this CPU at an index.
    #[inline(always)]
    pub(crate) fn of_cpu(map: &PerCpuArray<V>, index: u32) -> Option<Self> {
        map.get_ptr_mut(index).map(Self)
    }

    /// Where it lies.
    #[inline(always)]
    pub(crate) fn pointer(self) -> *mut V {
        self.0
    }
}

/// A word of a map value.
#[derive(Clone, Copy)]
pub(crate) struct Word(*mut u64);

impl Word {
    /// The word at `p`.
    ///
    /// # Safety
    /// `p` points to an aligned u64 in a map value, and no reference to it is in use.
    #[inline(always)]
    pub(crate) unsafe fn new(p: *mut u64) -> Self {
        Self(p)
    }

    /// What it is now.
    #[inline(always)]
    pub(crate) fn load(self) -> u64 {
        // SAFETY: valid and aligned by the promise of `new`. Others may write it meanwhile, so it is a raw
        // and volatile read of one word, which the CPU does at once.
        unsafe { core::ptr::read_volatile(self.0) }
    }

    /// Writes it.
    #[inline(always)]
    pub(crate) fn store(self, value: u64) {
        // SAFETY: as in `load`, for a write.
        unsafe { core::ptr::write_volatile(self.0, value) };
    }

    #[inline(always)]
    pub(crate) fn add(self, value: u64) {
        // SAFETY: valid and aligned by the promise of `new`; the addition is atomic, whoever else adds.
        unsafe { atomic::add(self.0, value) };
    }

    /// Writes it; returns what was there.
    #[inline(always)]
    pub(crate) fn swap(self, value: u64) -> u64 {
        // SAFETY: as in `add`.
        unsafe { atomic::swap(self.0, value) }
    }

    /// Raises it to `value` if it is lower.
    #[inline(always)]
    pub(crate) fn raise(self, value: u64) {
        // SAFETY: as in `add`.
        unsafe { atomic::raise(self.0, value) };
    }
}

impl Value<u64> {
    /// The word that the value is.
    #[inline(always)]
    pub(crate) fn word(self) -> Word {
        // SAFETY: a value of a map is valid and aligned to 8 bytes; no reference to it is ever made.
        unsafe { Word::new(self.0) }
    }
}

/// A member of a [`Value`] as a [`Word`].
macro_rules! word {
    ($value:expr, $($member:tt)+) => {{
        let value = $value.pointer();
        // SAFETY: the address of a member of a value that is valid while the program runs; a value is never
        // referred to by a reference.
        unsafe { $crate::shared::Word::new(&raw mut (*value).$($member)+) }
    }};
}
pub(crate) use word;

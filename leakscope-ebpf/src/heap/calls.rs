//! The pending calls of each thread.

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::macros::map;
use aya_ebpf::maps::HashMap;
use leakscope_common::heap::Inflight;

use crate::shared::{Value, word};
use crate::task;

#[map]
static INFLIGHT: HashMap<u32, Inflight> = HashMap::with_max_entries(32768, BPF_F_NO_PREALLOC);

/// What a new thread starts with: too large for the BPF stack.
static NO_CALLS: Inflight = Inflight::ZERO;

/// The pending calls of the current thread.
pub(super) struct Calls(Value<Inflight>);

impl Calls {
    /// Those that were noted, if any ever were.
    #[inline(always)]
    pub(super) fn noted() -> Option<Self> {
        Value::find(&INFLIGHT, &task::current_tid()).map(Self)
    }

    /// The same, with room made on first use; `None` where the map is full.
    #[inline(always)]
    pub(super) fn room() -> Option<Self> {
        let none: &Inflight = &NO_CALLS;
        Value::entry(&INFLIGHT, &task::current_tid(), none).map(Self)
    }

    /// The record of them, which the current thread alone reads and writes.
    #[inline(always)]
    pub(super) fn get(&mut self) -> &mut Inflight {
        // SAFETY: a map value is valid while the program runs, and its entry is removed by `forget` alone, which
        // takes `self`. No other thread looks up this one's ID. This thread is in one program at a time that
        // does: the hit of a probe is over before the next begins and before the thread can end, and the
        // programs of the scheduler, which run on it in the middle of one, leave the map alone. Within a
        // program the reference borrows `self`, of which each makes one. Userspace gets copies, by system
        // calls.
        unsafe { &mut *self.0.pointer() }
    }

    /// How many they are.
    #[inline(always)]
    pub(super) fn depth(self) -> u64 {
        word!(self.0, depth).load()
    }

    /// The thread ends.
    #[inline(always)]
    pub(super) fn forget(self) {
        let _ = INFLIGHT.remove(&task::current_tid());
    }
}

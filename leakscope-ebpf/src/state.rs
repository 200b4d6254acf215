//! What to trace, and whether to: set by the loader or through the map `STATE`.

use aya_ebpf::Global;
use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;
use leakscope_common::config::{RunState, state};

use crate::shared::Value;

/// The target's process ID.
#[unsafe(no_mangle)]
pub(crate) static TARGET: Global<u32> = Global::new(0);
/// Waits of at least so many ns are sent one by one; 0: none.
#[unsafe(no_mangle)]
pub(crate) static MIN_WAIT: Global<u64> = Global::new(0);

#[map]
static STATE: Array<u64> = Array::with_max_entries(state::SLOTS, 0);

/// A slot of `STATE`; userspace may write it at any time.
#[inline(always)]
pub(crate) fn slot(index: u32) -> u64 {
    match Value::at(&STATE, index) {
        Some(slot) => slot.word().load(),
        None => 0,
    }
}

#[inline(always)]
fn set(index: u32, value: u64) {
    if let Some(slot) = Value::at(&STATE, index) {
        slot.word().store(value);
    }
}

/// Adds 1 to a slot of `STATE`.
#[inline(always)]
pub(crate) fn count(index: u32) {
    if let Some(slot) = Value::at(&STATE, index) {
        slot.word().add(1);
    }
}

/// Whether the account may change.
#[inline(always)]
pub(crate) fn recording() -> bool {
    slot(state::RUN) == RunState::Recording as u64
}

/// Stops the account; userspace looks at `EXECED` after it has written the slot itself.
#[inline(always)]
pub(crate) fn freeze() {
    set(state::RUN, RunState::Frozen as u64);
}

/// Notes that the target has replaced its program; nobody else writes this slot.
#[inline(always)]
pub(crate) fn note_exec() {
    set(state::EXECED, 1);
}

/// Calls `ask` unless userspace was asked already and has not allowed the next request. A lost race only means
/// a second request. If it could not ask, the next one may.
#[inline(always)]
pub(crate) fn ask_once(ask: impl FnOnce() -> bool) {
    let Some(slot) = Value::at(&STATE, state::REFRESH_ASKED) else { return };
    let asked = slot.word();
    if asked.load() != 0 {
        return;
    }
    asked.store(1);
    if !ask() {
        asked.store(0);
    }
}

//! Which program counts a hit while perf links take over from multi links; see
//! [`leakscope_common::config::Handover`].

use aya_ebpf::bindings::{BPF_ANY, BPF_F_NO_PREALLOC};
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::macros::map;
use aya_ebpf::maps::HashMap;
use leakscope_common::config::{Handover, state};
use leakscope_common::counter::Loss;

use crate::maps;

/// Marks of hits that a perf link's program has counted, by thread and program.
#[map]
static COUNTED: HashMap<u64, u64> = HashMap::with_max_entries(1 << 16, BPF_F_NO_PREALLOC);

/// The mark of the current thread for the program with this number. A thread has one hit at a time.
#[inline(always)]
fn mark(program: u64) -> u64 {
    bpf_get_current_pid_tgid() << 32 | program
}

/// Whether a perf link's program counts this hit.
#[inline(always)]
pub(crate) fn perf_counts(program: u64) -> bool {
    let phase = maps::slot(state::HANDOVER);
    if phase == Handover::Settled as u64 {
        return true;
    }
    if phase == Handover::Attaching as u64 {
        return false;
    }
    if COUNTED.insert(&mark(program), &1, BPF_ANY as u64).is_err() {
        // Without a mark both would count.
        maps::lose(Loss::InflightFull);
        return false;
    }
    true
}

/// Whether a multi link's program counts it.
#[inline(always)]
pub(crate) fn multi_counts(program: u64) -> bool {
    maps::slot(state::HANDOVER) != Handover::TakenOver as u64 || COUNTED.remove(&mark(program)).is_err()
}

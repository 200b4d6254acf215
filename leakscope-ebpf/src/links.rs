//! Probes by two kinds of links: which program counts a hit while perf links take over from multi links (see
//! [`leakscope_common::config::Handover`]), and on which stack the kernel runs them.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{BPF_ANY, BPF_F_NO_PREALLOC};
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{HashMap, ProgramArray};
use leakscope_common::config::{Handover, state};
use leakscope_common::counter::Loss;

use crate::counters::lose;
use crate::state::{TARGET, slot};

/// Empty for ever; see [`on_the_own_stack`]. One for each kind of link: the kernel lets no programs of two kinds
/// share such a map (`__bpf_prog_map_compatible`).
#[map]
pub(crate) static NOWHERE: ProgramArray = ProgramArray::with_max_entries(1, 0);
/// The one for programs of multi links.
#[map]
pub(crate) static NOWHERE_MULTI: ProgramArray = ProgramArray::with_max_entries(1, 0);
/// Marks of hits that a perf link's program has counted, by thread and program.
#[map]
static COUNTED: HashMap<u64, u64> = HashMap::with_max_entries(1 << 16, BPF_F_NO_PREALLOC);

/// Makes the kernel run a probe on the thread's kernel stack.
///
/// Since Linux 6.13 programs of kprobe type that need 64 bytes of stack or more get a stack of their own per
/// CPU (kernel/bpf/verifier.c, `bpf_enable_priv_stack`). A uprobe's program can be preempted, and another
/// thread may run it on the same CPU meanwhile: both would write to that one stack. A program that could
/// tail-call gets none (`check_max_stack_depth`). The call is never made: there is no target 0, which the
/// verifier knows and takes the branch away.
#[inline(always)]
pub(crate) fn on_the_own_stack(ctx: &impl EbpfContext, nowhere: &ProgramArray) {
    if TARGET.load() == 0 {
        // SAFETY: the context is the kernel's, valid while the program runs and only read by the helper, as
        // others may; where nothing is to be called the helper returns.
        unsafe { nowhere.tail_call(ctx, 0) };
    }
}

/// The mark of the current thread for the program with this number. A thread has one hit at a time.
#[inline(always)]
fn mark(program: u64) -> u64 {
    bpf_get_current_pid_tgid() << 32 | program
}

/// Whether a perf link's program counts this hit.
#[inline(always)]
pub(crate) fn perf_counts(program: u64) -> bool {
    let phase = slot(state::HANDOVER);
    if phase == Handover::Settled as u64 {
        return true;
    }
    if phase == Handover::Attaching as u64 {
        return false;
    }
    if COUNTED.insert(&mark(program), &1, BPF_ANY as u64).is_err() {
        // Without a mark both would count.
        lose(Loss::InflightFull);
        return false;
    }
    true
}

/// Whether a multi link's program counts it.
#[inline(always)]
pub(crate) fn multi_counts(program: u64) -> bool {
    slot(state::HANDOVER) != Handover::TakenOver as u64 || COUNTED.remove(&mark(program)).is_err()
}

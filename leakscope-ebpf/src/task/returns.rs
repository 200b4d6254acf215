//! Pending return probes of the current thread: the kernel replaces the return addresses of probed calls by
//! the address of a trampoline, and keeps the true ones in a list.

use aya_ebpf::helpers::generated::bpf_get_current_task;
use leakscope_common::unwind::StackEnd;

use super::{kernel_word, offset};

/// Return probes chained on one stack word or pending above it that are looked through.
const PENDING_RETURNS: u32 = 16;

/// The pending return probes.
#[derive(Clone, Copy)]
pub(crate) struct Returns {
    /// Address of their trampoline; 0: none is pending.
    pub(crate) trampoline: u64,
    /// The first of them (`struct return_instance`).
    pub(crate) instance: u64,
}

impl Returns {
    /// Those of the current thread.
    #[inline(always)]
    pub(crate) fn pending() -> Self {
        let none = Self { trampoline: 0, instance: 0 };
        if offset!(task_utask) == 0 {
            return none;
        }
        // SAFETY: takes no arguments, and what it returns is used as a number.
        let task = unsafe { bpf_get_current_task() };
        let utask = kernel_word(task.wrapping_add(offset!(task_utask) as u64));
        if utask == 0 {
            return none;
        }
        let instance = kernel_word(utask.wrapping_add(offset!(utask_return_instances) as u64));
        if instance == 0 {
            return none;
        }
        let mm = kernel_word(task.wrapping_add(offset!(task_mm) as u64));
        let area = kernel_word(mm.wrapping_add(offset!(mm_xol_area) as u64));
        Self { trampoline: kernel_word(area.wrapping_add(offset!(xol_vaddr) as u64)), instance }
    }

    /// The return address that the trampoline at stack address `at` stands for, and the first probe that is
    /// pending further out.
    #[inline(always)]
    pub(crate) fn original(self, at: u64) -> Result<(u64, u64), StackEnd> {
        let mut instance = self.instance;
        let mut round = 0;
        while round < PENDING_RETURNS {
            if instance == 0 {
                break;
            }
            let stack = kernel_word(instance.wrapping_add(offset!(ri_stack) as u64));
            let original = kernel_word(instance.wrapping_add(offset!(ri_orig_ret_vaddr) as u64));
            instance = kernel_word(instance.wrapping_add(offset!(ri_next) as u64));
            // Several probes of one call (a tail call, two tracers) chain: all but the outermost hold
            // the trampoline itself.
            if stack == at && original != self.trampoline {
                return Ok((original, instance));
            }
            round += 1;
        }
        Err(StackEnd::Trampoline)
    }
}

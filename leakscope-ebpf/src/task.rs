//! Tasks: their members, the current one's pending return probes, and the end of threads and process.

use aya_ebpf::helpers::{
    bpf_get_current_pid_tgid,
    generated::{bpf_get_current_task, bpf_probe_read_kernel},
};
use aya_ebpf::programs::BtfTracePointContext;
use aya_log_ebpf::debug;
use leakscope_common::config::{RunState, state};
use leakscope_common::event::Kind;
use leakscope_common::unwind::StackEnd;

use crate::maps::{STATE, TARGET};
use crate::stack::Scratch;
use crate::{emit, heap, thread};

/// A member of `KernelOffsets`. The verifier knows its value, because the globals are frozen.
macro_rules! offset {
    ($member:ident) => {
        // SAFETY: a `Global` is its value, and `OFFSETS` is initialised.
        unsafe {
            core::ptr::read_volatile(
                &raw const (*(&raw const $crate::maps::OFFSETS)
                    .cast::<leakscope_common::config::KernelOffsets>())
                .$member,
            )
        }
    };
}
pub(crate) use offset;

/// A member of a `task_struct` that the kernel gave us, by a load that the verifier checks.
#[inline(always)]
pub(crate) fn field<T: Copy>(task: *const u8, offset: u32) -> T {
    // SAFETY: the verifier checks that the offset lies in the structure; a task that is gone reads 0.
    unsafe { core::ptr::read_volatile(task.wrapping_add(offset as usize).cast()) }
}

/// Context switches of a task so far.
#[inline(always)]
pub(crate) fn switches(task: *const u8) -> u64 {
    let voluntary: u64 = field(task, offset!(task_nvcsw));
    voluntary.wrapping_add(field::<u64>(task, offset!(task_nivcsw)))
}

/// Reads 8 bytes of kernel memory; 0 where that fails.
#[inline(always)]
pub(crate) fn kernel_word(address: u64) -> u64 {
    let mut word = 0u64;
    // SAFETY: the helper checks the address, and fills the word with zeros where it cannot be read.
    unsafe { bpf_probe_read_kernel((&raw mut word).cast(), 8, address as *const _) };
    word
}

/// Address of the return probes' trampoline and the first `struct return_instance` of the current
/// thread; zeros where no return is pending.
#[inline(always)]
pub(crate) fn pending_returns() -> (u64, u64) {
    if offset!(task_utask) == 0 {
        return (0, 0);
    }
    // SAFETY: takes no arguments.
    let task = unsafe { bpf_get_current_task() };
    let utask = kernel_word(task.wrapping_add(offset!(task_utask) as u64));
    if utask == 0 {
        return (0, 0);
    }
    let instance = kernel_word(utask.wrapping_add(offset!(utask_return_instances) as u64));
    if instance == 0 {
        return (0, 0);
    }
    let mm = kernel_word(task.wrapping_add(offset!(task_mm) as u64));
    let area = kernel_word(mm.wrapping_add(offset!(mm_xol_area) as u64));
    (kernel_word(area.wrapping_add(offset!(xol_vaddr) as u64)), instance)
}

/// Return probes chained on one stack word or pending above it that are looked through.
const PENDING_RETURNS: u32 = 16;

/// The return address that the trampoline at stack address `at` stands for.
#[inline(always)]
pub(crate) fn original_return(s: &mut Scratch, at: u64) -> Result<u64, StackEnd> {
    let mut instance = s.return_instance;
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
        if stack == at && original != s.trampoline {
            s.return_instance = instance;
            return Ok(original);
        }
        round += 1;
    }
    Err(StackEnd::Trampoline)
}

/// Whether the current thread belongs to the target.
#[inline(always)]
pub(crate) fn in_target() -> bool {
    (bpf_get_current_pid_tgid() >> 32) as u32 == TARGET.load()
}

/// `sched_process_exit`: the current thread ends; its pending allocator calls with it.
#[inline(always)]
pub(crate) fn thread_exit() {
    let id = bpf_get_current_pid_tgid();
    // Whatever its process: a vfork child allocates in the target's memory under a process ID of its
    // own.
    heap::forget_thread(id as u32);
    if !in_target() {
        return;
    }
    emit::thread(Kind::ThreadExit);
    thread::end(id as u32);
    if id as u32 == (id >> 32) as u32 {
        // The kernel finds the probes' address space through the main thread: without it they stop.
        freeze();
        emit::thread(Kind::LeaderExit);
    }
}

/// Stops the account.
#[inline(always)]
fn freeze() {
    if let Some(run) = STATE.get_ptr_mut(state::RUN) {
        // SAFETY: a map value; userspace looks at `EXECED` after it has written here itself.
        unsafe { core::ptr::write_volatile(run, RunState::Frozen as u64) };
    }
}

/// `sched_process_exec`: if the target runs another program from now on, the account stands still
/// before that program's first instruction.
#[inline(always)]
pub(crate) fn exec(ctx: &BtfTracePointContext) {
    if !in_target() {
        return;
    }
    freeze();
    if let Some(execed) = STATE.get_ptr_mut(state::EXECED) {
        // SAFETY: a map value that nobody else writes.
        unsafe { core::ptr::write_volatile(execed, 1) };
    }
    debug!(ctx, "the target replaced its program");
    emit::thread(Kind::Exec);
}

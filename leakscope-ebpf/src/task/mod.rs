//! Reads tasks through BTF offsets: their members, the registers they have in user space, their pending
//! return probes and what their descriptors are.

mod descriptor;
mod returns;

use aya_ebpf::Global;
use aya_ebpf::bindings::pt_regs;
use aya_ebpf::helpers::{
    bpf_get_current_pid_tgid,
    generated::{bpf_get_current_task_btf, bpf_probe_read_kernel, bpf_probe_read_user, bpf_task_pt_regs},
};
use leakscope_common::config::KernelOffsets;

use crate::state::TARGET;

pub(crate) use descriptor::Object;
pub(crate) use returns::Returns;

/// Offsets of kernel structures.
#[unsafe(no_mangle)]
pub(crate) static OFFSETS: Global<KernelOffsets> = Global::new(KernelOffsets::ZERO);

/// A member of `KernelOffsets`. The verifier knows its value, because the globals are frozen.
macro_rules! offset {
    ($member:ident) => {
        // SAFETY: a `Global` is its value, and `OFFSETS` is initialised and lives as long as the program.
        // The loader alone writes it, before anything runs.
        unsafe {
            core::ptr::read_volatile(
                &raw const (*(&raw const $crate::task::OFFSETS)
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
    // SAFETY: the verifier checks that the offset lies in the structure; a task that is gone reads 0. The
    // kernel may write it meanwhile, so it is a raw and volatile read.
    unsafe { core::ptr::read_volatile(task.wrapping_add(offset as usize).cast()) }
}

/// The task that runs.
#[inline(always)]
pub(crate) fn current() -> *const u8 {
    // SAFETY: takes no arguments.
    unsafe { bpf_get_current_task_btf() as *const u8 }
}

/// The thread ID of the current thread.
#[inline(always)]
pub(crate) fn current_tid() -> u32 {
    bpf_get_current_pid_tgid() as u32
}

/// The user registers of the current thread.
#[inline(always)]
pub(crate) fn user_regs() -> &'static pt_regs {
    // SAFETY: they lie on the kernel stack of the current thread, which is there while it runs this program;
    // nothing outlives that. The kernel writes them as the thread enters it from user space, a tracer only
    // while it stands still: not now, so that they may be shared.
    unsafe { &*(bpf_task_pt_regs(bpf_get_current_task_btf()) as *const pt_regs) }
}

/// The general registers by the numbers that x86-64 encodes them with. rsp is 0: it holds no argument, and
/// a walk has it elsewhere.
#[inline(always)]
pub(crate) fn registers(regs: &pt_regs) -> [u64; 16] {
    [
        regs.rax, regs.rcx, regs.rdx, regs.rbx, 0, regs.rbp, regs.rsi, regs.rdi, regs.r8, regs.r9, regs.r10,
        regs.r11, regs.r12, regs.r13, regs.r14, regs.r15,
    ]
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
    // SAFETY: the helper checks the address, and writes 8 bytes to a variable that only we know: zeros where
    // it cannot read.
    unsafe { bpf_probe_read_kernel((&raw mut word).cast(), 8, address as *const _) };
    word
}

/// Reads a word of the current thread's memory.
#[inline(always)]
pub(crate) fn user_word(address: u64) -> Option<u64> {
    let mut word = 0u64;
    // SAFETY: the helper checks the user's address, and writes 8 bytes to a variable that only we know.
    let read = unsafe { bpf_probe_read_user((&raw mut word).cast(), 8, address as *const _) };
    (read == 0).then_some(word)
}

/// Whether the current thread belongs to the target.
#[inline(always)]
pub(crate) fn in_target() -> bool {
    (bpf_get_current_pid_tgid() >> 32) as u32 == TARGET.load()
}

//! The thread snapshot, by the task iterator: one record for each thread of the target, without stopping anything.

use aya_ebpf::bindings::{pt_regs, seq_file, task_struct};
use aya_ebpf::helpers::generated::{
    bpf_get_current_task_btf, bpf_ktime_get_ns, bpf_seq_write, bpf_task_pt_regs,
};
use core::ffi::c_void;
use leakscope_common::unwind::Regs;
use leakscope_common::wait::{TASK_RETURNS, TaskRecord, task_record};

use crate::state::TARGET;
use crate::task::{self, Object, offset};

/// `struct bpf_iter__task` (kernel/bpf/task_iter.c), Linux 5.8 to 6.18.
#[repr(C)]
pub(crate) struct Context {
    meta: *const Meta,
    task: *mut task_struct,
}

/// `struct bpf_iter_meta` (include/linux/bpf.h).
#[repr(C)]
struct Meta {
    seq: *mut seq_file,
    session: u64,
    number: u64,
}

/// One step of the iterator.
///
/// # Safety
/// `ctx` is the iterator's context.
#[inline(always)]
pub(crate) unsafe fn record(ctx: *const Context) {
    // SAFETY: the kernel's context by the caller's promise, valid for the whole step, in which nobody writes it;
    // both pointers are as the verifier knows them.
    let (meta, task) = unsafe { ((*ctx).meta, (*ctx).task) };
    if task.is_null() {
        return;
    }
    // SAFETY: as above, of what it points to.
    let (seq, number) = unsafe { ((*meta).seq, (*meta).number) };
    if number == 0 {
        // SAFETY: takes no arguments.
        write(seq, unsafe { bpf_get_current_task_btf() }, task_record::READER);
    }
    if task::field::<u32>(task.cast_const().cast(), offset!(task_tgid)) == TARGET.load() {
        write(seq, task, task_record::TASK);
    }
}

#[inline(always)]
fn write(seq: *mut seq_file, of: *mut task_struct, kind: u32) {
    let task: *const u8 = of.cast_const().cast();
    let mut record = TaskRecord::ZERO;
    record.kind = kind;
    record.tid = task::field(task, offset!(task_pid));
    record.ns_tid = own_number(task);
    record.state = task::field(task, offset!(task_state));
    record.flags = task::field(task, offset!(task_flags));
    record.cpu = task::field(task, offset!(task_cpu));
    record.on_cpu = task::field(task, offset!(task_on_cpu));
    record.switches = task::switches(task);
    record.exec_start_ns = task::field(task, offset!(task_exec_start));
    if offset!(task_last_arrival) != 0 {
        record.arrival_ns = task::field(task, offset!(task_last_arrival));
    }
    let ran: u64 = task::field(task, offset!(task_sum_exec));
    record.cpu_ns = ran;
    record.ran_ns = ran.wrapping_sub(task::field(task, offset!(task_prev_sum_exec)));
    record.start_ns = task::field(task, offset!(task_start_time));
    let name = offset!(task_comm);
    let halves: [u64; 2] = [task::field(task, name), task::field(task, name.wrapping_add(8))];
    // SAFETY: 16 bytes either way, by value.
    record.comm = unsafe { core::mem::transmute::<[u64; 2], [u8; 16]>(halves) };
    // SAFETY: takes no arguments.
    record.at_ns = unsafe { bpf_ktime_get_ns() };
    read_registers(of, &mut record);
    let call = record.orig_rax;
    let syscall = if (call as i64) < 0 { 0 } else { call.wrapping_add(1) };
    Object::of(task, syscall, record.args[0]).describe(&mut record.descriptor);
    pending_returns(task, &mut record);
    // SAFETY: the record lies on the stack, is ours alone and has that size; the helper copies it. Where it does
    // not fit, the kernel makes room and calls again.
    unsafe {
        bpf_seq_write(seq, (&raw const record).cast::<c_void>(), size_of::<TaskRecord>() as u32);
    }
}

/// The registers that a task has in user space, or had as it left it.
#[inline(always)]
fn read_registers(of: *mut task_struct, record: &mut TaskRecord) {
    // SAFETY: the task is valid for the whole step; the helper only looks at it.
    let regs = unsafe { bpf_task_pt_regs(of) } as *const pt_regs;
    macro_rules! register {
        ($name:ident) => {
            // SAFETY: the registers lie on the task's kernel stack, which is as valid as the task. It may run
            // on another CPU and write them meanwhile: a raw and volatile read, and no reference.
            unsafe { core::ptr::read_volatile(&raw const (*regs).$name) }
        };
    }
    record.regs = Regs { ip: register!(rip), sp: register!(rsp), bp: register!(rbp), exact: 1 };
    record.orig_rax = register!(orig_rax);
    record.args =
        [register!(rdi), register!(rsi), register!(rdx), register!(r10), register!(r8), register!(r9)];
    record.others = [
        register!(rax),
        register!(rcx),
        register!(rbx),
        register!(r11),
        register!(r12),
        register!(r13),
        register!(r14),
        register!(r15),
    ];
}

/// The thread's ID in the innermost PID namespace that it is in.
#[inline(always)]
fn own_number(task: *const u8) -> u32 {
    let pid = task::kernel_word((task as u64).wrapping_add(offset!(task_thread_pid) as u64));
    let level = task::kernel_word(pid.wrapping_add(offset!(pid_level) as u64)) as u32;
    let at = pid
        .wrapping_add(offset!(pid_numbers) as u64)
        .wrapping_add((level & 63) as u64 * offset!(upid_size) as u64);
    task::kernel_word(at) as u32
}

/// The innermost pending return probes of a task that does not run.
#[inline(always)]
fn pending_returns(task: *const u8, record: &mut TaskRecord) {
    if offset!(task_utask) == 0 {
        return;
    }
    let utask = task::kernel_word((task as u64).wrapping_add(offset!(task_utask) as u64));
    if utask == 0 {
        return;
    }
    let mut instance = task::kernel_word(utask.wrapping_add(offset!(utask_return_instances) as u64));
    let mut i = 0;
    while i < TASK_RETURNS {
        if instance == 0 {
            break;
        }
        record.returns[i] = [
            task::kernel_word(instance.wrapping_add(offset!(ri_stack) as u64)),
            task::kernel_word(instance.wrapping_add(offset!(ri_orig_ret_vaddr) as u64)),
        ];
        instance = task::kernel_word(instance.wrapping_add(offset!(ri_next) as u64));
        i += 1;
    }
    record.return_count = i as u32;
}

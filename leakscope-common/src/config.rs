//! Load-time globals and the run state.

/// What the programs do right now; slot 0 of the map `STATE`.
#[repr(u64)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunState {
    /// Probes are being attached; nothing is recorded.
    Arming = 0,
    /// Events change the account.
    Recording = 1,
    /// The account stands still so that it can be read.
    Frozen = 2,
}

/// Which programs count a hit while one kind of link takes over from the other; slot `HANDOVER` of the
/// map `STATE`.
///
/// The kernel runs the newest consumer of a uprobe first (`consumer_add` in kernel/events/uprobes.c). The
/// perf links are the newer ones, so their program sees each hit before the multi link's does, and alone
/// decides: where it counts it leaves a mark, and the other program takes the mark away and does not count.
/// A hit that is under way as a phase begins is therefore counted once, too.
#[repr(u64)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handover {
    /// Only one kind is attached, and it counts.
    Settled = 0,
    /// The perf links are being attached; the multi links count.
    Attaching = 1,
    /// The perf links count and leave marks; the multi links are on their way out.
    TakenOver = 2,
}

/// Slots of the map `STATE`.
pub mod state {
    /// A number of `RunState`.
    pub const RUN: u32 = 0;
    /// The mapping table in use: generation in the high 32 bits, its number of entries in the low
    /// ones. The generation's lowest bit selects the half of the table, and the generation
    /// validates the per-CPU cache of rows.
    pub const TABLE: u32 = 1;
    /// Not 0 once the kernel side has asked for a fresh look at the mappings; cleared by userspace.
    pub const REFRESH_ASKED: u32 = 2;
    /// Not 0 once the target has replaced its program: what is traced from then on is another one's.
    pub const EXECED: u32 = 3;
    /// Where the dynamic linker's code begins; 0 where there is none.
    pub const LINKER_START: u32 = 4;
    /// Where it ends.
    pub const LINKER_END: u32 = 5;
    /// A number of `Handover`.
    pub const HANDOVER: u32 = 6;
    /// Processes that the target has made with a copy of its memory (`fork`).
    pub const FORKED: u32 = 7;
    /// Processes that the target has made and that share its memory (`vfork`, `posix_spawn`).
    pub const SHARED: u32 = 8;
    /// Which of the maps of live blocks is the newest: 0 is the first, the others were added as it filled.
    pub const LIVE_NEWEST: u32 = 9;
    pub const SLOTS: u32 = 10;
}

/// Most maps that are added to the first one of a map that grows.
pub const LATER_MAPS: u32 = 2;

/// Most executable mappings a generation of the table holds. The table has two halves of this size.
pub const MAX_MAPPINGS: u32 = 8192;

/// Most parts of files that are known wherever they are mapped.
pub const MAX_FILE_PARTS: u32 = 8192;

/// Offsets of kernel structure members, read from BTF and passed as the global `OFFSETS`.
/// All zero: return probes' trampolines cannot be seen through.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct KernelOffsets {
    /// `task_struct.mm`
    pub task_mm: u32,
    /// `task_struct.utask`
    pub task_utask: u32,
    /// `task_struct.tgid`
    pub task_tgid: u32,
    /// `mm_struct.uprobes_state.xol_area`
    pub mm_xol_area: u32,
    /// `xol_area.vaddr`
    pub xol_vaddr: u32,
    /// `uprobe_task.return_instances`
    pub utask_return_instances: u32,
    /// `return_instance.stack`
    pub ri_stack: u32,
    /// `return_instance.orig_ret_vaddr`
    pub ri_orig_ret_vaddr: u32,
    /// `return_instance.next`
    pub ri_next: u32,
    /// `task_struct.pid`
    pub task_pid: u32,
    /// `task_struct.__state`
    pub task_state: u32,
    /// `task_struct.flags`
    pub task_flags: u32,
    /// `task_struct.nvcsw`
    pub task_nvcsw: u32,
    /// `task_struct.nivcsw`
    pub task_nivcsw: u32,
    /// `task_struct.se.exec_start`
    pub task_exec_start: u32,
    /// `task_struct.start_time`
    pub task_start_time: u32,
    /// `task_struct.comm`
    pub task_comm: u32,
    /// `task_struct.on_cpu`
    pub task_on_cpu: u32,
    /// `task_struct.thread_info.cpu`
    pub task_cpu: u32,
    /// `task_struct.thread_pid`
    pub task_thread_pid: u32,
    /// `pid.level`
    pub pid_level: u32,
    /// `pid.numbers`, an array of `upid`, which begins with the number
    pub pid_numbers: u32,
    /// Size of `upid`
    pub upid_size: u32,
    /// `task_struct.thread_info.status`; 0: not there
    pub task_status: u32,
    /// `task_struct.real_parent`
    pub task_real_parent: u32,
    /// `task_struct.sched_info.last_arrival`; 0: not there (`CONFIG_SCHED_INFO` is off)
    pub task_last_arrival: u32,
    /// `task_struct.se.sum_exec_runtime`
    pub task_sum_exec: u32,
    /// `task_struct.se.prev_sum_exec_runtime`
    pub task_prev_sum_exec: u32,
    /// `task_struct.files`; 0: descriptors cannot be looked up
    pub task_files: u32,
    /// `files_struct.fdt`
    pub files_fdt: u32,
    /// `fdtable.max_fds`
    pub fdt_max_fds: u32,
    /// `fdtable.fd`
    pub fdt_fd: u32,
    /// `file.f_op`
    pub file_op: u32,
    /// `file.f_inode`
    pub file_inode: u32,
    /// `file.f_path.dentry`
    pub file_dentry: u32,
    /// `dentry.d_name.name`
    pub dentry_name: u32,
    /// `inode.i_mode`
    pub inode_mode: u32,
    /// `inode.i_rdev`
    pub inode_rdev: u32,
    /// `inode.i_sb`
    pub inode_sb: u32,
    /// `super_block.s_magic`
    pub sb_magic: u32,
    /// `vm_area_struct.vm_file`; 0: what is mapped cannot be looked up
    pub vma_file: u32,
    /// `vm_area_struct.vm_start`
    pub vma_start: u32,
    /// `vm_area_struct.vm_end`
    pub vma_end: u32,
    /// `vm_area_struct.vm_pgoff`
    pub vma_page: u32,
    /// `inode.i_ino`
    pub inode_number: u32,
    /// `inode.i_size`
    pub inode_size: u32,
    /// Seconds of `inode.i_ctime`
    pub inode_changed: u32,
    /// `super_block.s_dev`
    pub sb_device: u32,
}
const _: () = assert!(size_of::<KernelOffsets>() == 192);

impl KernelOffsets {
    /// Nothing known.
    pub const ZERO: Self = Self {
        task_mm: 0,
        task_utask: 0,
        task_tgid: 0,
        mm_xol_area: 0,
        xol_vaddr: 0,
        utask_return_instances: 0,
        ri_stack: 0,
        ri_orig_ret_vaddr: 0,
        ri_next: 0,
        task_pid: 0,
        task_state: 0,
        task_flags: 0,
        task_nvcsw: 0,
        task_nivcsw: 0,
        task_exec_start: 0,
        task_start_time: 0,
        task_comm: 0,
        task_on_cpu: 0,
        task_cpu: 0,
        task_thread_pid: 0,
        pid_level: 0,
        pid_numbers: 0,
        upid_size: 0,
        task_status: 0,
        task_real_parent: 0,
        task_last_arrival: 0,
        task_sum_exec: 0,
        task_prev_sum_exec: 0,
        task_files: 0,
        files_fdt: 0,
        fdt_max_fds: 0,
        fdt_fd: 0,
        file_op: 0,
        file_inode: 0,
        file_dentry: 0,
        dentry_name: 0,
        inode_mode: 0,
        inode_rdev: 0,
        inode_sb: 0,
        sb_magic: 0,
        vma_file: 0,
        vma_start: 0,
        vma_end: 0,
        vma_page: 0,
        inode_number: 0,
        inode_size: 0,
        inode_changed: 0,
        sb_device: 0,
    };
}

#[cfg(feature = "user")]
mod pod {
    // SAFETY: `repr(C)` of integers without padding (size asserted above); every bit pattern is valid.
    unsafe impl aya::Pod for super::KernelOffsets {}
}

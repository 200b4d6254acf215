//! What a blocked thread waits on: a futex, or the file behind a descriptor.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use leakscope_common::descriptor::{DESCRIPTOR_DECIDES, Descriptor};
use leakscope_common::wait::FUTEX;

use super::{kernel_word, offset};

/// What tells waits of one stack in one system call apart.
pub(crate) struct Object {
    /// As `WaitTotals::object`.
    pub(crate) number: u64,
    /// Address of the `struct file`, if a descriptor decides; else 0.
    file: u64,
}

impl Object {
    /// What `task` waits on in `syscall` (1 + its number; 0: none), whose first argument is `first`.
    #[inline(always)]
    pub(crate) fn of(task: *const u8, syscall: u64, first: u64) -> Self {
        if syscall == FUTEX + 1 {
            return Self { number: first, file: 0 };
        }
        let call = syscall.wrapping_sub(1);
        let bits = DESCRIPTOR_DECIDES;
        if call >= 512 || bits[(call >> 6) as usize & 7] >> (call & 63) & 1 == 0 {
            return Self { number: 0, file: 0 };
        }
        let file = file(task, first as u32);
        let operations = if file == 0 { 0 } else { kernel_word(file.wrapping_add(offset!(file_op) as u64)) };
        Self { number: operations, file }
    }

    /// Describes the file, if there is one.
    #[inline(always)]
    pub(crate) fn describe(&self, descriptor: &mut Descriptor) {
        if self.file == 0 {
            return;
        }
        let inode = kernel_word(self.file.wrapping_add(offset!(file_inode) as u64));
        let superblock = kernel_word(inode.wrapping_add(offset!(inode_sb) as u64));
        descriptor.operations = self.number;
        descriptor.magic = kernel_word(superblock.wrapping_add(offset!(sb_magic) as u64));
        // `umode_t` has 16 bits, `dev_t` 32.
        descriptor.mode = kernel_word(inode.wrapping_add(offset!(inode_mode) as u64)) as u32 & 0xffff;
        descriptor.device = kernel_word(inode.wrapping_add(offset!(inode_rdev) as u64)) as u32;
        let dentry = kernel_word(self.file.wrapping_add(offset!(file_dentry) as u64));
        let name = kernel_word(dentry.wrapping_add(offset!(dentry_name) as u64));
        // SAFETY: the helper checks the address, and writes to a field of that size, which the caller has to
        // itself. Short names lie in the `dentry`, which is longer, so 16 bytes can be read of any.
        unsafe { bpf_probe_read_kernel((&raw mut descriptor.name).cast(), 16, name as *const _) };
    }
}

/// Address of the `struct file` of a descriptor of `task`; 0 if there is none. The table may change meanwhile:
/// whatever is read then, it is only read.
#[inline(always)]
fn file(task: *const u8, number: u32) -> u64 {
    if offset!(task_files) == 0 {
        return 0;
    }
    let files = kernel_word((task as u64).wrapping_add(offset!(task_files) as u64));
    let table = kernel_word(files.wrapping_add(offset!(files_fdt) as u64));
    let size = kernel_word(table.wrapping_add(offset!(fdt_max_fds) as u64)) as u32;
    if number >= size {
        return 0;
    }
    let array = kernel_word(table.wrapping_add(offset!(fdt_fd) as u64));
    kernel_word(array.wrapping_add(number as u64 * 8))
}

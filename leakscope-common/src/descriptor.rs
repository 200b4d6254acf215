//! What the descriptor of a blocked thread's system call is, read from the kernel's `struct file`.

use crate::wait::bitmap;

/// A bitmap of the system calls whose descriptor, the first argument, decides what they wait for
/// (arch/x86/entry/syscalls/syscall_64.tbl): read, write, readv, writev, preadv2, pwritev2, sendfile, splice,
/// ioctl, close.
pub const DESCRIPTOR_DECIDES: [u64; 8] = bitmap(&[0, 1, 19, 20, 327, 328, 40, 275, 16, 3]);

/// A descriptor's file, as far as it tells its type.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Descriptor {
    /// `file.f_op`: one address for all files of a type; 0: there is no file. An address of the kernel,
    /// which goes into no report.
    pub operations: u64,
    /// `super_block.s_magic` of the file system.
    pub magic: u64,
    /// `inode.i_mode`
    pub mode: u32,
    /// `inode.i_rdev`: major number above 20 bits of the minor one.
    pub device: u32,
    /// Begin of the name in the directory (`dentry.d_name`); of anonymous inodes such as `[eventfd]`.
    pub name: [u8; 16],
}
const _: () = assert!(size_of::<Descriptor>() == 40);

impl Descriptor {
    /// No file.
    pub const ZERO: Self = Self { operations: 0, magic: 0, mode: 0, device: 0, name: [0; 16] };
}

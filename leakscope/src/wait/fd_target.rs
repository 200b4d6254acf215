//! What a descriptor is.

use leakscope_common::descriptor::Descriptor;

use super::WaitKind;

/// What the descriptor of a system call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FdTarget {
    /// A pipe or FIFO.
    Pipe,
    Socket,
    Terminal,
    IoUring,
    /// What the kernel makes for events: eventfd, timerfd, signalfd, epoll, inotify, pidfd.
    Events,
    /// Something with a name in a file system: file, directory, device.
    File,
}

/// `inode.i_mode`: S_IFMT and the types that are told apart (include/uapi/linux/stat.h).
const TYPE: u32 = 0o170_000;
const FIFO: u32 = 0o010_000;
const CHARACTER_DEVICE: u32 = 0o020_000;
const SOCKET: u32 = 0o140_000;
/// `super_block.s_magic` (include/uapi/linux/magic.h of Linux 6.18): ANON_INODE_FS_MAGIC, PID_FS_MAGIC.
const EVENT_FILE_SYSTEMS: [u64; 2] = [0x0904_1934, 0x5049_4446];
/// Major numbers of terminals (Documentation/admin-guide/devices.txt): virtual and serial ones, `/dev/tty` and
/// the console, pseudo-terminals.
const TERMINALS: [std::ops::RangeInclusive<u32>; 2] = [4..=5, 136..=143];
/// Bits of the minor number in a `dev_t` of the kernel (include/linux/kdev_t.h).
const MINOR_BITS: u32 = 20;

impl FdTarget {
    /// What a descriptor is, by what the kernel knows of its file; `None` if it had none.
    pub fn of(descriptor: &Descriptor) -> Option<Self> {
        if descriptor.operations == 0 {
            return None;
        }
        if EVENT_FILE_SYSTEMS.contains(&descriptor.magic) {
            let ring = descriptor.name.starts_with(b"[io_uring]");
            return Some(if ring { Self::IoUring } else { Self::Events });
        }
        Some(match descriptor.mode & TYPE {
            FIFO => Self::Pipe,
            SOCKET => Self::Socket,
            CHARACTER_DEVICE => {
                let major = descriptor.device >> MINOR_BITS;
                let terminal = TERMINALS.iter().any(|majors| majors.contains(&major));
                if terminal { Self::Terminal } else { Self::File }
            }
            _ => Self::File,
        })
    }

    /// The kind of a wait for it.
    pub fn kind(self) -> WaitKind {
        match self {
            Self::Pipe => WaitKind::Pipe,
            Self::Socket => WaitKind::Socket,
            Self::IoUring => WaitKind::IoUring,
            Self::Events => WaitKind::Poll,
            Self::Terminal | Self::File => WaitKind::File,
        }
    }
}

/// A descriptor on a recording's tape, for serde's `with`: without the address of the kernel that it has.
pub(super) mod recorded {
    use leakscope_common::descriptor::Descriptor;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Recorded {
        is_open: bool,
        magic: u64,
        mode: u32,
        device: u32,
        #[serde(with = "crate::recording::hex")]
        name: [u8; 16],
    }

    pub(in super::super) fn serialize<S: Serializer>(
        of: &Descriptor,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let Descriptor { operations, magic, mode, device, name } = *of;
        Recorded { is_open: operations != 0, magic, mode, device, name }.serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Descriptor, D::Error> {
        let Recorded { is_open, magic, mode, device, name } = Recorded::deserialize(deserializer)?;
        Ok(Descriptor { operations: is_open.into(), magic, mode, device, name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types() {
        let of = |mode, magic, device, name: &[u8]| {
            let mut descriptor = Descriptor { operations: 1, magic, mode, device, name: [0; 16] };
            descriptor.name[..name.len()].copy_from_slice(name);
            FdTarget::of(&descriptor)
        };
        assert_eq!(FdTarget::of(&Descriptor::ZERO), None);
        assert_eq!(of(0o010_600, 0x5049_5045, 0, b""), Some(FdTarget::Pipe));
        assert_eq!(of(0o140_777, 0x534f_434b, 0, b"TCP"), Some(FdTarget::Socket));
        assert_eq!(of(0o000_600, 0x0904_1934, 0, b"[eventfd]"), Some(FdTarget::Events));
        assert_eq!(of(0o100_600, 0x0904_1934, 0, b"[io_uring]"), Some(FdTarget::IoUring));
        assert_eq!(of(0o020_620, 0x1cd1, 136 << 20 | 3, b"3"), Some(FdTarget::Terminal));
        assert_eq!(of(0o020_666, 0x0102_1994, 1 << 20 | 3, b"null"), Some(FdTarget::File));
        assert_eq!(of(0o100_644, 0xef53, 0, b"[eventfd]"), Some(FdTarget::File), "a name says nothing");
    }
}

//! Offsets of kernel structure members, from BTF.
//!
//! aya 0.14 parses BTF but exposes no members, and the crates that do are LGPL; this reads just
//! what is asked for. Layout: Documentation/bpf/btf.rst and uapi/linux/btf.h of Linux 6.18. The
//! data is the kernel's own, but it is bounds-checked all the same.

use std::collections::HashMap;

use leakscope_common::config::KernelOffsets;

const MAGIC: u16 = 0xeb9f;

const KIND_INT: u32 = 1;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_TYPEDEF: u32 = 8;
const KIND_VOLATILE: u32 = 9;
const KIND_CONST: u32 = 10;
const KIND_RESTRICT: u32 = 11;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_DECL_TAG: u32 = 17;
const KIND_TYPE_TAG: u32 = 18;
const KIND_ENUM64: u32 = 19;

/// Why BTF could not be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BtfError {
    /// Not BTF, or cut short.
    #[error("malformed BTF: {0}")]
    Malformed(&'static str),
    /// A structure or member is not there.
    #[error("this kernel's BTF has no {0}")]
    NoMember(String),
}

/// The structures and unions of a BTF blob.
#[derive(Debug)]
pub struct Structures<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Offset of each type in `types`, by ID minus 1.
    starts: Vec<u32>,
    by_name: HashMap<&'a [u8], u32>,
}

#[derive(Clone, Copy)]
struct Type {
    info: u32,
    members_at: usize,
    kind: u32,
    len: u32,
}

impl<'a> Structures<'a> {
    /// Indexes `blob`.
    pub fn parse(blob: &'a [u8]) -> Result<Self, BtfError> {
        let word = |at: usize| read_u32(blob, at);
        if blob.get(..2).map(|m| u16::from_le_bytes([m[0], m[1]])) != Some(MAGIC) {
            return Err(BtfError::Malformed("magic"));
        }
        let header = word(4)? as usize;
        let section = |at: usize| -> Result<&'a [u8], BtfError> {
            let (start, len) = (header.saturating_add(word(at)? as usize), word(at + 4)? as usize);
            blob.get(start..start.saturating_add(len)).ok_or(BtfError::Malformed("section"))
        };
        let mut parsed =
            Self { types: section(8)?, strings: section(16)?, starts: Vec::new(), by_name: HashMap::new() };
        let mut at = 0;
        while at < parsed.types.len() {
            let name = read_u32(parsed.types, at)?;
            let t = parsed.type_at(at)?;
            parsed.starts.push(at as u32);
            if matches!(t.kind, KIND_STRUCT | KIND_UNION) && name != 0 {
                let id = parsed.starts.len() as u32;
                parsed.by_name.entry(string(parsed.strings, name)).or_insert(id);
            }
            at = t.members_at + t.extra_bytes();
        }
        Ok(parsed)
    }

    fn type_at(&self, at: usize) -> Result<Type, BtfError> {
        let info = read_u32(self.types, at + 4)?;
        Ok(Type { info, members_at: at + 12, kind: info >> 24 & 0x1f, len: info & 0xffff })
    }

    /// Byte offset of `path` (members separated by dots) in `structure`; anonymous members are
    /// looked through.
    pub fn offset(&self, structure: &str, path: &str) -> Result<u32, BtfError> {
        let missing = || BtfError::NoMember(format!("{structure}.{path}"));
        let mut id = *self.by_name.get(structure.as_bytes()).ok_or_else(missing)?;
        let mut total = 0;
        for part in path.split('.') {
            let (offset, next) = self.member(id, part.as_bytes(), 0)?.ok_or_else(missing)?;
            total += offset;
            id = next;
        }
        Ok(total)
    }

    /// Size of a structure in bytes.
    pub fn size(&self, structure: &str) -> Result<u32, BtfError> {
        let id = self.by_name.get(structure.as_bytes());
        let at = id.and_then(|id| self.starts.get((*id as usize).checked_sub(1)?));
        let at = at.ok_or_else(|| BtfError::NoMember(structure.to_owned()))?;
        // `btf_type`: name, info, size.
        read_u32(self.types, *at as usize + 8)
    }

    /// Offset and type of a member of the structure `id`.
    fn member(&self, id: u32, name: &[u8], depth: u32) -> Result<Option<(u32, u32)>, BtfError> {
        let Some(&at) = (id as usize).checked_sub(1).and_then(|i| self.starts.get(i)) else {
            return Ok(None);
        };
        let t = self.type_at(at as usize)?;
        if depth > 8 {
            return Ok(None);
        }
        if matches!(t.kind, KIND_TYPEDEF | KIND_VOLATILE | KIND_CONST | KIND_RESTRICT | KIND_TYPE_TAG) {
            // `btf_type`: name, info, the type that is meant.
            return self.member(read_u32(self.types, at as usize + 8)?, name, depth + 1);
        }
        if !matches!(t.kind, KIND_STRUCT | KIND_UNION) {
            return Ok(None);
        }
        for i in 0..t.len as usize {
            let member = t.members_at + i * 12;
            let (name_at, member_type, bits) = (
                read_u32(self.types, member)?,
                read_u32(self.types, member + 4)?,
                read_u32(self.types, member + 8)?,
            );
            let bits = if t.info >> 31 != 0 { bits & 0xff_ffff } else { bits };
            let own = string(self.strings, name_at);
            if own == name {
                return Ok(Some((bits / 8, member_type)));
            }
            if own.is_empty()
                && let Some((offset, found)) = self.member(member_type, name, depth + 1)?
            {
                return Ok(Some((bits / 8 + offset, found)));
            }
        }
        Ok(None)
    }
}

impl Type {
    /// Bytes that follow the 12 of the type itself.
    fn extra_bytes(self) -> usize {
        let len = self.len as usize;
        match self.kind {
            KIND_INT | KIND_VAR | KIND_DECL_TAG => 4,
            KIND_ARRAY => 12,
            KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => len * 12,
            KIND_ENUM | KIND_FUNC_PROTO => len * 8,
            _ => 0,
        }
    }
}

fn read_u32(bytes: &[u8], at: usize) -> Result<u32, BtfError> {
    let word = bytes.get(at..at.saturating_add(4)).ok_or(BtfError::Malformed("cut short"))?;
    Ok(u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
}

fn string(strings: &[u8], at: u32) -> &[u8] {
    let rest = strings.get(at as usize..).unwrap_or_default();
    &rest[..rest.iter().position(|&b| b == 0).unwrap_or(rest.len())]
}

/// The offsets that the kernel side needs, and why pending return probes cannot be seen through, if so.
pub fn kernel_offsets(blob: &[u8]) -> Result<(KernelOffsets, Option<BtfError>), BtfError> {
    let structures = Structures::parse(blob)?;
    let at = |structure, path| structures.offset(structure, path);
    let offsets = KernelOffsets {
        task_mm: at("task_struct", "mm")?,
        task_tgid: at("task_struct", "tgid")?,
        task_pid: at("task_struct", "pid")?,
        task_state: at("task_struct", "__state")?,
        task_flags: at("task_struct", "flags")?,
        task_nvcsw: at("task_struct", "nvcsw")?,
        task_nivcsw: at("task_struct", "nivcsw")?,
        task_exec_start: at("task_struct", "se.exec_start")?,
        task_start_time: at("task_struct", "start_time")?,
        task_comm: at("task_struct", "comm")?,
        task_on_cpu: at("task_struct", "on_cpu")?,
        // Until Linux 5.16 the number was a member of the task itself.
        task_cpu: at("task_struct", "thread_info.cpu").or_else(|_| at("task_struct", "cpu"))?,
        task_thread_pid: at("task_struct", "thread_pid")?,
        pid_level: at("pid", "level")?,
        pid_numbers: at("pid", "numbers")?,
        upid_size: structures.size("upid")?,
        task_real_parent: at("task_struct", "real_parent")?,
        task_last_arrival: at("task_struct", "sched_info.last_arrival").unwrap_or(0),
        task_sum_exec: at("task_struct", "se.sum_exec_runtime")?,
        task_prev_sum_exec: at("task_struct", "se.prev_sum_exec_runtime")?,
        // Only tells 32-bit system calls apart.
        task_status: at("task_struct", "thread_info.status").unwrap_or(0),
        ..KernelOffsets::ZERO
    };
    // Without them, what a descriptor is stays unknown.
    let offsets = of_files(&structures, offsets).unwrap_or(offsets);
    // Without them, code that was mapped a moment ago has no rows.
    let offsets = of_areas(&structures, offsets).unwrap_or(offsets);
    Ok(match of_returns(&structures, offsets) {
        Ok(all) => (all, None),
        Err(why) => (offsets, Some(why)),
    })
}

/// With what descriptors are found by.
fn of_files(structures: &Structures<'_>, offsets: KernelOffsets) -> Result<KernelOffsets, BtfError> {
    let at = |structure, path| structures.offset(structure, path);
    Ok(KernelOffsets {
        task_files: at("task_struct", "files")?,
        files_fdt: at("files_struct", "fdt")?,
        fdt_max_fds: at("fdtable", "max_fds")?,
        fdt_fd: at("fdtable", "fd")?,
        file_op: at("file", "f_op")?,
        file_inode: at("file", "f_inode")?,
        file_dentry: at("file", "f_path.dentry")?,
        dentry_name: at("dentry", "d_name.name")?,
        inode_mode: at("inode", "i_mode")?,
        inode_rdev: at("inode", "i_rdev")?,
        inode_sb: at("inode", "i_sb")?,
        sb_magic: at("super_block", "s_magic")?,
        ..offsets
    })
}

/// With what the file that is mapped somewhere is found by.
fn of_areas(structures: &Structures<'_>, offsets: KernelOffsets) -> Result<KernelOffsets, BtfError> {
    let at = |structure, path| structures.offset(structure, path);
    Ok(KernelOffsets {
        vma_file: at("vm_area_struct", "vm_file")?,
        vma_start: at("vm_area_struct", "vm_start")?,
        vma_end: at("vm_area_struct", "vm_end")?,
        vma_page: at("vm_area_struct", "vm_pgoff")?,
        file_inode: at("file", "f_inode")?,
        inode_number: at("inode", "i_ino")?,
        inode_size: at("inode", "i_size")?,
        // A `timespec64`, whose seconds come first, until Linux 6.5 and, under the other name, 6.10.
        inode_changed: at("inode", "i_ctime_sec")
            .or_else(|_| at("inode", "__i_ctime"))
            .or_else(|_| at("inode", "i_ctime"))?,
        inode_sb: at("inode", "i_sb")?,
        sb_device: at("super_block", "s_dev")?,
        ..offsets
    })
}

/// With what pending return probes are seen through by.
fn of_returns(structures: &Structures<'_>, offsets: KernelOffsets) -> Result<KernelOffsets, BtfError> {
    let at = |structure, path| structures.offset(structure, path);
    Ok(KernelOffsets {
        task_utask: at("task_struct", "utask")?,
        mm_xol_area: at("mm_struct", "uprobes_state.xol_area")?,
        xol_vaddr: at("xol_area", "vaddr")?,
        utask_return_instances: at("uprobe_task", "return_instances")?,
        ri_stack: at("return_instance", "stack")?,
        ri_orig_ret_vaddr: at("return_instance", "orig_ret_vaddr")?,
        ri_next: at("return_instance", "next")?,
        ..offsets
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_of_this_kernel() {
        let blob = std::fs::read("/sys/kernel/btf/vmlinux").expect("BTF of the running kernel");
        let (offsets, no_returns) = kernel_offsets(&blob).expect("members");
        assert_eq!(no_returns, None);
        assert_ne!(offsets.task_mm, 0);
        assert_ne!(offsets.task_tgid, 0);
        assert_ne!(offsets.task_status, 0);
        assert_ne!(offsets.vma_file, 0);
        assert_ne!(offsets.inode_changed, 0);
        assert_eq!(
            Structures::parse(&blob).expect("parse").offset("task_struct", "no_such_member"),
            Err(BtfError::NoMember("task_struct.no_such_member".into()))
        );
    }

    #[test]
    fn garbage_is_refused() {
        assert!(Structures::parse(b"").is_err());
        assert!(
            Structures::parse(&[0x9f, 0xeb, 1, 0, 24, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 1, 1, 1, 1]).is_err()
        );
    }
}

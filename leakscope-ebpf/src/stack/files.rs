//! Code that the mapping table does not have yet, or no longer: the kernel tells which file is mapped there, and its
//! rows may be known from before.

use core::ffi::{c_long, c_void};

use aya_ebpf::bindings::{BPF_F_NO_PREALLOC, task_struct};
use aya_ebpf::helpers::generated::{bpf_find_vma, bpf_get_current_task_btf};
use aya_ebpf::macros::map;
use aya_ebpf::maps::HashMap;
use leakscope_common::config::MAX_FILE_PARTS;
use leakscope_common::unwind::{FilePart, MappingEntry, PartRows, hash_frame};

use crate::shared::{Value, word};
use crate::task::{field, kernel_word, offset};

#[map]
static FILE_PARTS: HashMap<FilePart, PartRows> = HashMap::with_max_entries(MAX_FILE_PARTS, BPF_F_NO_PREALLOC);

/// Members of a `vm_area_struct`.
#[repr(C)]
struct Area {
    start: u64,
    end: u64,
    page: u64,
    file: u64,
}

/// Copies the area. Static and not inlined, as `bpf_find_vma` needs it.
#[inline(never)]
unsafe extern "C" fn copy(_: *mut task_struct, area: *const u8, to: *mut c_void) -> c_long {
    let found = Area {
        start: field(area, offset!(vma_start)),
        end: field(area, offset!(vma_end)),
        page: field(area, offset!(vma_page)),
        file: field(area, offset!(vma_file)),
    };
    // SAFETY: `mapped` passes a pointer to an area of its own, which lives until the call is over.
    unsafe { to.cast::<Area>().write(found) };
    0
}

/// What is mapped at `ip` in the current process, where that is a file with known rows. Otherwise a number that tells
/// the file from others that may come there; 0 where there is none, or where the kernel is busy with the mappings and
/// tells nothing.
#[inline(always)]
pub(super) fn mapped(ip: u64) -> Result<MappingEntry, u64> {
    if offset!(vma_file) == 0 {
        return Err(0);
    }
    let mut area = Area { start: 0, end: 0, page: 0, file: 0 };
    // SAFETY: the task is the current one, `copy` matches the callback's signature, and `area` outlives the call.
    let told = unsafe {
        bpf_find_vma(
            bpf_get_current_task_btf(),
            ip,
            copy as *const () as *mut c_void,
            (&raw mut area).cast(),
            0,
        )
    };
    if told != 0 || area.file == 0 {
        return Err(0);
    }
    let inode = kernel_word(area.file.wrapping_add(offset!(file_inode) as u64));
    let of_inode = |offset: u32| kernel_word(inode.wrapping_add(offset as u64));
    let device = kernel_word(of_inode(offset!(inode_sb)).wrapping_add(offset!(sb_device) as u64));
    let part = FilePart {
        inode: of_inode(offset!(inode_number)),
        device: device & 0xffff_ffff,
        size: of_inode(offset!(inode_size)),
        changed_s: of_inode(offset!(inode_changed)),
        offset: area.page << 12,
    };
    let number = hash_frame(part.inode, part.device);
    let rows = Value::find(&FILE_PARTS, &part).ok_or(number)?;
    let address = word!(rows, address).load();
    let at = rows.pointer();
    // SAFETY: members of a value of the map, which stay as they are once it is there.
    let (bucket_base, buckets) = unsafe {
        (
            core::ptr::read_volatile(&raw const (*at).bucket_base),
            core::ptr::read_volatile(&raw const (*at).buckets),
        )
    };
    let bias = area.start.wrapping_sub(address);
    Ok(MappingEntry { start: area.start, end: area.end, bias, bucket_base, buckets })
}

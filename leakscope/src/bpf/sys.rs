//! Raw system calls that aya does not offer: batched map reads, mapped arrays, a barrier.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// `BPF_MAP_LOOKUP_BATCH` (uapi/linux/bpf.h, `enum bpf_cmd`).
const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;
/// `BPF_MAP_CREATE`.
const BPF_MAP_CREATE: libc::c_long = 0;
/// `BPF_MAP_UPDATE_ELEM`.
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
/// `BPF_MAP_TYPE_HASH`.
const BPF_MAP_TYPE_HASH: u32 = 1;
/// `BPF_F_NO_PREALLOC`.
const BPF_F_NO_PREALLOC: u32 = 1;
/// `BPF_MAP_TYPE_ARRAY`.
const BPF_MAP_TYPE_ARRAY: u32 = 2;
/// `BPF_MAP_TYPE_ARRAY_OF_MAPS`.
const BPF_MAP_TYPE_ARRAY_OF_MAPS: u32 = 12;

/// `BPF_LINK_CREATE`.
const BPF_LINK_CREATE: libc::c_long = 28;
/// `BPF_TRACE_UPROBE_MULTI` (`enum bpf_attach_type`).
const BPF_TRACE_UPROBE_MULTI: u32 = 48;

/// `union bpf_attr`, member `link_create`, with `uprobe_multi`.
#[repr(C)]
#[derive(Default)]
struct LinkAttr {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    path: u64,
    offsets: u64,
    reference_offsets: u64,
    cookies: u64,
    count: u32,
    multi_flags: u32,
    pid: u32,
    padding: u32,
}
const _: () = assert!(size_of::<LinkAttr>() == 64);

/// Places probes at offsets of a file in the process `pid`, each with its cookie; they go as the link is closed.
pub(super) fn link_uprobes(
    program: BorrowedFd<'_>,
    path: &CStr,
    offsets: &[u64],
    cookies: &[u64],
    pid: u32,
) -> io::Result<OwnedFd> {
    let attr = LinkAttr {
        program: program.as_raw_fd().cast_unsigned(),
        attach_type: BPF_TRACE_UPROBE_MULTI,
        path: path.as_ptr() as u64,
        offsets: offsets.as_ptr() as u64,
        cookies: cookies.as_ptr() as u64,
        count: offsets.len().min(cookies.len()) as u32,
        pid,
        ..LinkAttr::default()
    };
    // SAFETY: the path ends in a 0, and both arrays have `count` elements at least; all outlive the call.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, BPF_LINK_CREATE, &raw const attr, size_of::<LinkAttr>()) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a fresh descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// `union bpf_attr`, member `batch`.
#[repr(C)]
#[derive(Default)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}
const _: () = assert!(size_of::<BatchAttr>() == 56);

/// The bytes as a value, if they are as many as it has.
pub(super) fn value_of<T: aya::Pod>(bytes: &[u8]) -> Option<T> {
    // SAFETY: so many bytes are there, and every bit pattern of a `Pod` is valid.
    (bytes.len() == size_of::<T>()).then(|| unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// The bytes of a value.
pub(super) fn bytes_of<T: aya::Pod>(value: &T) -> &[u8] {
    // SAFETY: a `Pod` has no padding, so each of its bytes is initialized; they live as long as it does.
    unsafe { std::slice::from_raw_parts((&raw const *value).cast::<u8>(), size_of::<T>()) }
}

/// Reads a whole hash map in batches. `K` and `V` are its key and value types.
///
/// The map should stand still; under churn an element may be seen twice or not at all, but the
/// walk ends.
pub(super) fn read_all<K: aya::Pod + Default, V: aya::Pod + Default>(
    map: BorrowedFd<'_>,
) -> io::Result<Vec<(K, V)>> {
    let mut entries = Vec::new();
    let mut position = [0u64; 2];
    let mut first = true;
    let mut room = 4096usize;
    loop {
        let mut keys = vec![K::default(); room];
        let mut values = vec![V::default(); room];
        let mut next = [0u64; 2];
        let mut attr = BatchAttr {
            in_batch: if first { 0 } else { position.as_ptr() as u64 },
            out_batch: next.as_mut_ptr() as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: room as u32,
            map_fd: map.as_raw_fd() as u32,
            ..BatchAttr::default()
        };
        // SAFETY: the pointers in `attr` reach `room` keys and values of the map's own sizes, and
        // the position buffers are larger than the kernel's u32.
        let result = unsafe {
            libc::syscall(libc::SYS_bpf, BPF_MAP_LOOKUP_BATCH, &raw mut attr, size_of::<BatchAttr>())
        };
        let error = (result != 0).then(io::Error::last_os_error);
        match error.as_ref().and_then(io::Error::raw_os_error) {
            // A bucket holds more entries than there was room for: nothing was read, try again.
            Some(libc::ENOSPC) if room < 1 << 24 => {
                room *= 2;
                continue;
            }
            None | Some(libc::ENOENT) => {}
            Some(_) => return Err(error.unwrap_or_else(io::Error::last_os_error)),
        }
        let count = (attr.count as usize).min(room);
        entries.extend(keys.into_iter().zip(values).take(count));
        if error.is_some() {
            return Ok(entries);
        }
        position = next;
        first = false;
    }
}

/// First members of `union bpf_attr` for `BPF_MAP_CREATE`.
#[repr(C)]
struct CreateAttr {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
}
const _: () = assert!(size_of::<CreateAttr>() == 24);

/// `union bpf_attr` for `BPF_MAP_UPDATE_ELEM`.
#[repr(C)]
struct UpdateAttr {
    map_fd: u32,
    reserved: u32,
    key: u64,
    value: u64,
    flags: u64,
}
const _: () = assert!(size_of::<UpdateAttr>() == 32);

/// Waits for BPF programs to end.
///
/// An update of a map of maps returns only after a grace period, so that the programs that may use
/// the old inner map have ended (`maybe_wait_bpf_programs` in kernel/bpf/syscall.c). No program uses
/// this map; its updates are the wait. `membarrier` would not do: on one CPU it does not wait, and
/// with nohz_full it fails.
#[derive(Debug)]
pub(super) struct Barrier {
    outer: OwnedFd,
    inner: OwnedFd,
}

impl Barrier {
    pub(super) fn new() -> io::Result<Self> {
        let inner = create(&CreateAttr { map_type: BPF_MAP_TYPE_ARRAY, ..CreateAttr::ONE_NUMBER })?;
        let outer = create(&CreateAttr {
            map_type: BPF_MAP_TYPE_ARRAY_OF_MAPS,
            inner_map_fd: inner.as_raw_fd().cast_unsigned(),
            ..CreateAttr::ONE_NUMBER
        })?;
        Ok(Self { outer, inner })
    }

    /// Returns once every program that runs now has ended.
    pub(super) fn wait(&self) -> io::Result<()> {
        let key = 0u32;
        let value = self.inner.as_raw_fd();
        let attr = UpdateAttr {
            map_fd: self.outer.as_raw_fd().cast_unsigned(),
            reserved: 0,
            key: (&raw const key) as u64,
            value: (&raw const value) as u64,
            flags: 0,
        };
        // SAFETY: key and value are of the map's sizes and outlive the call.
        let result = unsafe {
            libc::syscall(libc::SYS_bpf, BPF_MAP_UPDATE_ELEM, &raw const attr, size_of::<UpdateAttr>())
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl CreateAttr {
    /// A map of one element of 4 bytes.
    const ONE_NUMBER: Self =
        Self { map_type: 0, key_size: 4, value_size: 4, max_entries: 1, map_flags: 0, inner_map_fd: 0 };
}

/// Creates a hash map from `K` to `V` whose entries take memory only once they are made.
pub(super) fn create_hash<K: aya::Pod, V: aya::Pod>(entries: u32) -> io::Result<OwnedFd> {
    create(&CreateAttr {
        map_type: BPF_MAP_TYPE_HASH,
        key_size: size_of::<K>() as u32,
        value_size: size_of::<V>() as u32,
        max_entries: entries,
        map_flags: BPF_F_NO_PREALLOC,
        inner_map_fd: 0,
    })
}

fn create(attr: &CreateAttr) -> io::Result<OwnedFd> {
    // SAFETY: the attributes outlive the call; the result is checked.
    let fd = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_MAP_CREATE, std::ptr::from_ref(attr), size_of::<CreateAttr>())
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a fresh descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// A mappable array of `T`, mapped shared and writable.
#[derive(Debug)]
pub(super) struct MappedArray<T> {
    start: *mut T,
    len: usize,
}

// SAFETY: the mapping belongs to this value alone and is not tied to a thread.
unsafe impl<T: Send> Send for MappedArray<T> {}

impl<T: aya::Pod> MappedArray<T> {
    /// Maps the first `len` elements of an array map made with `BPF_F_MMAPABLE`.
    ///
    /// Such arrays round every element up to 8 bytes only in size of the whole, not per element, for
    /// values of 4 and of multiples of 8 bytes (kernel/bpf/arraymap.c rounds `elem_size` to 8): so
    /// `stride` is the kernel's element size.
    pub(super) fn map(fd: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        let bytes = len * Self::stride();
        // SAFETY: a fresh shared mapping of the map's memory.
        let start = unsafe {
            let access = ProtFlags::READ | ProtFlags::WRITE;
            mmap(std::ptr::null_mut(), bytes, access, MapFlags::SHARED, fd, 0)?
        };
        Ok(Self { start: start.cast(), len })
    }

    const fn stride() -> usize {
        size_of::<T>().next_multiple_of(8)
    }

    /// Writes `values` from `at` on. Panics never: what does not fit is refused.
    pub(super) fn write(&mut self, at: usize, values: &[T]) -> io::Result<()> {
        if at.checked_add(values.len()).is_none_or(|end| end > self.len) {
            return Err(io::Error::from(io::ErrorKind::OutOfMemory));
        }
        if Self::stride() == size_of::<T>() {
            // SAFETY: the range was checked against the mapping's length.
            unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), self.start.add(at), values.len()) };
        } else {
            for (i, value) in values.iter().enumerate() {
                // SAFETY: as above; elements lie `stride` bytes apart.
                unsafe {
                    let element = self.start.cast::<u8>().add((at + i) * Self::stride());
                    element.cast::<T>().write(*value);
                }
            }
        }
        Ok(())
    }
}

impl<T> Drop for MappedArray<T> {
    fn drop(&mut self) {
        let bytes = self.len * size_of::<T>().next_multiple_of(8);
        // SAFETY: the mapping was made with this length and nobody borrows from it.
        let _ = unsafe { munmap(self.start.cast(), bytes) };
    }
}

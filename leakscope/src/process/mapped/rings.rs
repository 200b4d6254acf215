//! The kernel's records of mappings, in a ring for each CPU.
//!
//! An event that threads inherit can't have a ring on all CPUs, and one for each thread and CPU would be too many. So
//! there is one for each CPU and all processes, and what is of others is dropped as it is read.

use std::fs::File;
use std::io;
use std::os::fd::FromRawFd as _;
use std::ptr::NonNull;
use std::sync::atomic::{Ordering, fence};

use perf_event_open_sys::bindings::{
    PERF_COUNT_SW_DUMMY, PERF_FLAG_FD_CLOEXEC, PERF_SAMPLE_TIME, PERF_TYPE_SOFTWARE, perf_event_attr,
    perf_event_mmap_page,
};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::record::{self, MappedCode, Told};

const PAGE: usize = 4096;
/// Pages of a ring, a power of two: some 1,000 records.
const RING_PAGES: usize = 32;
const RING: usize = RING_PAGES * PAGE;

/// The rings of all CPUs that are online.
#[derive(Debug)]
pub(super) struct Rings {
    pid: u32,
    rings: Vec<Ring>,
}

impl Rings {
    /// Records what all processes map; what is of `pid` is kept.
    pub(super) fn open(pid: u32) -> io::Result<Self> {
        let online = std::fs::read_to_string("/sys/devices/system/cpu/online")?;
        Ok(Self { pid, rings: cpus(&online).map(Ring::open).collect::<io::Result<_>>()? })
    }

    /// Hands all that the process has mapped to `take`. Returns how many records were lost, of whatever process.
    pub(super) fn drain(&mut self, mut take: impl FnMut(MappedCode)) -> u64 {
        let mut lost = 0;
        for ring in &mut self.rings {
            record::each(&ring.read(), |told| match told {
                Told::Mapped(pid, code) if pid == self.pid => take(code),
                Told::Mapped(..) => {}
                Told::Lost(records) => lost += records,
            });
        }
        lost
    }
}

/// The numbers in a list such as `0-3,6`.
fn cpus(list: &str) -> impl Iterator<Item = i32> {
    /// More than Linux supports (`NR_CPUS` of arch/x86/Kconfig).
    const MOST: i32 = 8192;
    list.trim()
        .split(',')
        .filter_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            Some(first.parse::<i32>().ok()?..=last.parse::<i32>().ok()?.min(MOST))
        })
        .flatten()
}

/// A perf event that counts nothing, for its records.
#[derive(Debug)]
struct Ring {
    _event: File,
    start: NonNull<u8>,
}

// SAFETY: the mapping belongs to this value alone and is not tied to a thread.
unsafe impl Send for Ring {}

impl Ring {
    fn open(cpu: i32) -> io::Result<Self> {
        let mut attr = perf_event_attr::default();
        attr.type_ = PERF_TYPE_SOFTWARE;
        attr.size = size_of::<perf_event_attr>() as u32;
        attr.config = PERF_COUNT_SW_DUMMY.into();
        attr.sample_type = PERF_SAMPLE_TIME.into();
        attr.clockid = libc::CLOCK_MONOTONIC;
        attr.set_use_clockid(1);
        attr.set_sample_id_all(1);
        attr.set_mmap(1);
        attr.set_mmap2(1);
        attr.set_build_id(1);
        let flags = PERF_FLAG_FD_CLOEXEC.into();
        // SAFETY: the attributes outlive the call; the result is checked.
        let fd = unsafe { perf_event_open_sys::perf_event_open(&raw mut attr, -1, cpu, -1, flags) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a fresh descriptor that nobody else owns.
        let event = unsafe { File::from_raw_fd(fd) };
        // Writable: so the kernel overwrites nothing that was not read.
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh mapping, which nothing else refers to; it is unmapped as this is dropped.
        let start = unsafe { mmap(std::ptr::null_mut(), PAGE + RING, access, MapFlags::SHARED, &event, 0)? };
        Ok(Self { start: NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?, _event: event })
    }

    /// Takes out what is there.
    fn read(&mut self) -> Vec<u8> {
        let page = self.start.cast::<perf_event_mmap_page>().as_ptr();
        // SAFETY: the first page of the mapping has that layout; the kernel writes the head meanwhile, and we alone
        // the tail.
        let (head, tail) =
            unsafe { (std::ptr::read_volatile(&raw const (*page).data_head), (*page).data_tail) };
        // Pairs with the kernel's barrier before it moves the head (include/uapi/linux/perf_event.h).
        fence(Ordering::Acquire);
        let size = (head.wrapping_sub(tail) as usize).min(RING);
        let begin = tail as usize % RING;
        let first = size.min(RING - begin);
        let mut bytes = vec![0; size];
        // SAFETY: the data lies behind the first page; both parts of it are within the ring, and the kernel writes
        // there only once the tail has moved.
        unsafe {
            let data = self.start.as_ptr().add(PAGE);
            std::ptr::copy_nonoverlapping(data.add(begin), bytes.as_mut_ptr(), first);
            std::ptr::copy_nonoverlapping(data, bytes.as_mut_ptr().add(first), size - first);
        }
        fence(Ordering::Release);
        // SAFETY: as above.
        unsafe { std::ptr::write_volatile(&raw mut (*page).data_tail, head) };
        bytes
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: the mapping that was made for this event, which nothing refers to any more. That it can't fail for
        // a mapping that is there makes the result worthless.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), PAGE + RING) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus() {
        assert_eq!(cpus("0-3,6\n").collect::<Vec<_>>(), [0, 1, 2, 3, 6]);
        assert_eq!(cpus("5").collect::<Vec<_>>(), [5]);
        assert_eq!(cpus("").count() + cpus("x-y").count() + cpus("3-1").count(), 0);
    }

    /// More than a ring holds, so that its end is passed.
    #[test]
    fn own_mappings_are_told() {
        let Ok(mut rings) = Rings::open(std::process::id()) else { return };
        let exe = File::open("/proc/self/exe").expect("own program");
        let map = || {
            // SAFETY: a fresh mapping, which is gone before anything refers to it.
            unsafe {
                let access = ProtFlags::READ | ProtFlags::EXEC;
                let start =
                    mmap(std::ptr::null_mut(), PAGE, access, MapFlags::PRIVATE, &exe, 0).expect("mapped");
                munmap(start, PAGE).expect("unmapped");
                start as u64
            }
        };
        for _ in 0..30 {
            let mapped: Vec<u64> = (0..100).map(|_| map()).collect();
            let mut told = Vec::new();
            if rings.drain(|code| told.push(code)) > 0 {
                continue;
            }
            told.sort_by_key(|code: &MappedCode| code.at_ns);
            let mut at = told.iter();
            for start in mapped {
                let code = at.find(|code| code.start == start && code.end == start + PAGE as u64);
                assert!(code.is_some_and(|code| code.file.is_some()), "{start:#x} in {told:?}");
            }
        }
    }
}

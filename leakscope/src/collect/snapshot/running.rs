//! Stacks of running threads, by sampling.
//!
//! A perf event on the thread's own clock interrupts it after half a millisecond of CPU time, and the kernel copies its
//! registers and the innermost part of its stack (`PERF_SAMPLE_REGS_USER`, `PERF_SAMPLE_STACK_USER`; layout of the
//! record: perf_event_open(2)). The event is for that thread alone, and for the moment: nothing else is slowed down.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::FromRawFd as _;
use std::ptr::NonNull;
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use leakscope_common::unwind::Regs;
use perf_event_open_sys::bindings::{
    PERF_COUNT_SW_TASK_CLOCK, PERF_FLAG_FD_CLOEXEC, PERF_RECORD_SAMPLE, PERF_SAMPLE_REGS_ABI_64,
    PERF_SAMPLE_REGS_USER, PERF_SAMPLE_STACK_USER, PERF_TYPE_SOFTWARE, perf_event_attr, perf_event_header,
    perf_event_mmap_page,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::mm::{MapFlags, ProtFlags};

/// A running thread at one moment.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) regs: Regs,
    /// All general registers, by the numbers that x86-64 encodes them with.
    pub(super) registers: [u64; 16],
    /// Its stack, from the stack pointer on.
    pub(super) stack: Vec<u8>,
}

/// CPU time until the sample, in ns.
const PERIOD_NS: u64 = 500_000;
/// Bytes of the stack that are copied; below 64 KiB.
const STACK_BYTES: u32 = 32 << 10;
const PAGE: usize = 4096;
/// Pages of a ring: one record fits.
const RING_PAGES: usize = 16;
/// Registers that are asked for, in the order in which they come: arch/x86/include/uapi/asm/perf_regs.h.
const WANTED: [Wanted; 17] = {
    use Wanted::{General, Ip};
    // ax, bx, cx, dx, si, di, bp, sp, ip, r8 to r15; numbers as x86-64 encodes them.
    [
        General(0),
        General(3),
        General(1),
        General(2),
        General(6),
        General(7),
        General(5),
        General(4),
        Ip,
        General(8),
        General(9),
        General(10),
        General(11),
        General(12),
        General(13),
        General(14),
        General(15),
    ]
};
/// Bits 0 to 8 and 16 to 23 of that header.
const WANTED_MASK: u64 = 0x1ff | 0xff << 16;

#[derive(Clone, Copy)]
enum Wanted {
    General(usize),
    Ip,
}

/// Samples threads, each once. Those that do not run within `patience` are missing.
pub(super) fn sample(tids: &[u32], patience: Duration) -> HashMap<u32, Sample> {
    let mut open: Vec<(u32, Event)> =
        tids.iter().filter_map(|&tid| Some((tid, Event::open(tid).ok()?))).collect();
    let mut samples = HashMap::new();
    let deadline = Instant::now() + patience;
    while !open.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut polled: Vec<PollFd<'_>> =
            open.iter().map(|(_, event)| PollFd::new(&event.file, PollFlags::IN)).collect();
        let wait = Timespec { tv_sec: 0, tv_nsec: left.subsec_nanos().into() };
        if poll(&mut polled, Some(&wait)).is_err() {
            break;
        }
        open.retain(|(tid, event)| match event.sample() {
            Some(sample) => {
                samples.insert(*tid, sample);
                false
            }
            None => true,
        });
        if left.is_zero() {
            break;
        }
    }
    samples
}

/// A perf event of one thread, with its ring.
#[derive(Debug)]
struct Event {
    file: File,
    ring: NonNull<u8>,
}

impl Event {
    fn open(tid: u32) -> io::Result<Self> {
        let mut attr = perf_event_attr::default();
        attr.type_ = PERF_TYPE_SOFTWARE;
        attr.size = size_of::<perf_event_attr>() as u32;
        attr.config = PERF_COUNT_SW_TASK_CLOCK.into();
        attr.sample_type = (PERF_SAMPLE_REGS_USER | PERF_SAMPLE_STACK_USER).into();
        attr.sample_regs_user = WANTED_MASK;
        attr.sample_stack_user = STACK_BYTES;
        attr.__bindgen_anon_1.sample_period = PERIOD_NS;
        attr.__bindgen_anon_2.wakeup_events = 1;
        let flags = PERF_FLAG_FD_CLOEXEC.into();
        // SAFETY: the attributes outlive the call; the result is checked.
        let fd =
            unsafe { perf_event_open_sys::perf_event_open(&raw mut attr, tid.cast_signed(), -1, -1, flags) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a fresh descriptor that nobody else owns.
        let file = unsafe { File::from_raw_fd(fd) };
        let length = (1 + RING_PAGES) * PAGE;
        // SAFETY: a fresh mapping, which nothing else refers to; it is unmapped as this is dropped.
        let ring = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                &file,
                0,
            )?
        };
        let ring = NonNull::new(ring.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { file, ring })
    }

    /// The sample, once it is there.
    fn sample(&self) -> Option<Sample> {
        let page = self.ring.cast::<perf_event_mmap_page>().as_ptr();
        // SAFETY: the first page of the mapping has that layout; the kernel writes it meanwhile.
        let head = unsafe { std::ptr::read_volatile(&raw const (*page).data_head) };
        // Pairs with the kernel's barrier before it moves the head (include/uapi/linux/perf_event.h).
        fence(Ordering::Acquire);
        let written = usize::try_from(head).ok()?.min(RING_PAGES * PAGE);
        // SAFETY: the kernel has written so many bytes behind the first page, and writes these only again once the
        // tail has moved, which it never does.
        let bytes = unsafe { std::slice::from_raw_parts(self.ring.as_ptr().add(PAGE), written) };
        first_sample(bytes)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: the mapping that was made for this event, which nothing refers to any more. That it can't fail for
        // a mapping that is there makes the result worthless.
        let _ = unsafe { rustix::mm::munmap(self.ring.as_ptr().cast(), (1 + RING_PAGES) * PAGE) };
    }
}

/// The first sample among records.
fn first_sample(mut bytes: &[u8]) -> Option<Sample> {
    const HEADER: usize = size_of::<perf_event_header>();
    loop {
        let header = bytes.get(..HEADER)?;
        let kind = u32::from_le_bytes(header[..4].try_into().ok()?);
        let size = usize::from(u16::from_le_bytes(header[6..8].try_into().ok()?));
        let record = bytes.get(HEADER..size)?;
        if kind == PERF_RECORD_SAMPLE {
            return parse(record);
        }
        bytes = bytes.get(size..)?;
    }
}

/// abi, registers, bytes of stack, and how many of them are real.
fn parse(record: &[u8]) -> Option<Sample> {
    let word = |at: usize| Some(u64::from_le_bytes(record.get(at * 8..at * 8 + 8)?.try_into().ok()?));
    if word(0)? != u64::from(PERF_SAMPLE_REGS_ABI_64) {
        return None;
    }
    let mut registers = [0; 16];
    let mut ip = 0;
    for (wanted, at) in WANTED.iter().zip(1..) {
        match *wanted {
            Wanted::General(number) => registers[number] = word(at)?,
            Wanted::Ip => ip = word(at)?,
        }
    }
    let begin = (WANTED.len() + 2) * 8;
    let size = usize::try_from(word(WANTED.len() + 1)?).ok()?;
    let stack = record.get(begin..begin.checked_add(size)?)?;
    let real = if size == 0 { 0 } else { usize::try_from(word((begin + size) / 8)?).ok()? };
    Some(Sample {
        regs: Regs { ip, sp: registers[4], bp: registers[5], exact: 1 },
        registers,
        stack: stack[..real.min(size)].to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn words() -> Vec<u64> {
        let mut words = vec![2];
        words.extend(100..117);
        words.extend([16, 1, 2, 8]);
        words
    }

    #[test]
    fn a_record() {
        let sample = parse(&record(&words())).expect("a sample");
        assert_eq!((sample.regs.ip, sample.regs.sp, sample.regs.bp), (108, 107, 106));
        assert_eq!((sample.registers[0], sample.registers[3], sample.registers[15]), (100, 101, 116));
        assert_eq!(sample.stack, 1u64.to_le_bytes(), "no more is real");
    }

    #[test]
    fn records_that_are_cut() {
        let whole = record(&words());
        for length in 0..whole.len() {
            assert!(parse(&whole[..length]).is_none(), "{length} bytes");
        }
        let mut other = words();
        other[0] = 1;
        assert!(parse(&record(&other)).is_none(), "32-bit code");
        let mut huge = words();
        huge[18] = u64::MAX;
        assert!(parse(&record(&huge)).is_none());
        assert!(first_sample(&[0; 64]).is_none());
    }

    #[test]
    fn a_thread_that_runs_and_one_that_sleeps() {
        use std::sync::atomic::{AtomicBool, AtomicU32};
        let (tid, stop) = (AtomicU32::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                tid.store(rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned(), Ordering::Release);
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
            let spins = loop {
                let tid = tid.load(Ordering::Acquire);
                if tid != 0 {
                    break tid;
                }
            };
            let own = rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned();
            let samples = sample(&[spins, u32::MAX >> 1], Duration::from_secs(20));
            stop.store(true, Ordering::Relaxed);
            match samples.get(&spins) {
                Some(sample) => assert!(sample.stack.len() >= 64 && sample.regs.ip != 0, "{sample:?}"),
                // As who may open no event.
                None => assert!(Event::open(own).is_err()),
            }
            assert!(!samples.contains_key(&(u32::MAX >> 1)), "there is no such thread");
        });
    }
}

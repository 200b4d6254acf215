//! Reads the target's memory, without stopping it and without writing to it.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use leakscope_common::unwind::{ReadWord, wide};

/// Memory of a process.
///
/// Only pages that are there are read, in memory or in swap space. Reading another page would have the
/// kernel make it, and where userfaultfd serves the memory that may take forever.
#[derive(Debug)]
pub struct Memory {
    pid: u32,
    pages: Option<File>,
}

/// Bytes of a page.
const PAGE: u64 = 4096;
/// Bits of an entry of `/proc/PID/pagemap` that say that the page is there: in memory (63), in swap
/// space (62). Documentation/admin-guide/mm/pagemap.rst.
const THERE: u64 = 0b11 << 62;
/// Most pages that are read at once.
const MOST_PAGES: usize = 4;

impl Memory {
    /// The memory of `pid`.
    pub fn of(pid: u32) -> Self {
        // A kernel without it (CONFIG_PROC_PAGE_MONITOR) leaves the risk.
        Self { pid, pages: File::open(format!("/proc/{pid}/pagemap")).ok() }
    }

    /// Reads from `address` on; the number of bytes that could be read.
    pub fn read(&self, address: u64, buffer: &mut [u8]) -> usize {
        let length = buffer.len().min(self.there(address));
        let local = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: length };
        let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: length };
        // SAFETY: the local vector lies in our buffer; the kernel checks the remote one.
        let read = unsafe {
            libc::process_vm_readv(self.pid.cast_signed(), &raw const local, 1, &raw const remote, 1, 0)
        };
        usize::try_from(read).unwrap_or(0).min(length)
    }

    /// Bytes from `address` on whose pages are there, as far as one look tells.
    fn there(&self, address: u64) -> usize {
        let Some(pages) = &self.pages else { return usize::MAX };
        let mut entries = [0; 8 * MOST_PAGES];
        let Ok(read) = pages.read_at(&mut entries, address / PAGE * 8) else { return 0 };
        let there = |entry: &&[u8; 8]| u64::from_le_bytes(**entry) & THERE != 0;
        let count = entries[..read].as_chunks().0.iter().take_while(there).count() as u64;
        (count * PAGE).saturating_sub(address % PAGE) as usize
    }
}

/// Most bytes of a stack that are kept.
const MOST: u64 = 1 << 20;

/// A stack that is read upwards as the walk needs it.
#[derive(Debug)]
pub struct StackMemory<'a> {
    memory: &'a Memory,
    registers: [u64; 16],
    start: u64,
    bytes: Vec<u8>,
    exhausted: bool,
}

impl<'a> StackMemory<'a> {
    /// The stack of a thread with these registers, by the numbers that x86-64 encodes them with. `buffer` is
    /// used again from stack to stack.
    pub fn new(memory: &'a Memory, registers: [u64; 16], mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        Self {
            memory,
            registers,
            start: registers[usize::from(wide::RSP)] & !7,
            bytes: buffer,
            exhausted: false,
        }
    }

    /// A stack of which the innermost part was copied at one moment; the rest is read as it is now.
    pub fn of_copy(memory: &'a Memory, registers: [u64; 16], mut copy: Vec<u8>) -> Self {
        let sp = registers[usize::from(wide::RSP)];
        if sp & 7 != 0 {
            copy.clear();
        }
        copy.truncate(copy.len() & !7);
        Self { memory, registers, start: sp & !7, bytes: copy, exhausted: false }
    }

    /// The words from the stack pointer up to `end`, as far as they were read, with their addresses.
    pub fn words_below(&self, end: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let length = usize::try_from(end.saturating_sub(self.start)).unwrap_or(usize::MAX);
        let read = &self.bytes[..length.min(self.bytes.len())];
        let words = read.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word));
        (self.start..).step_by(8).zip(words)
    }

    /// Gives the buffer back.
    pub fn into_buffer(self) -> Vec<u8> {
        self.bytes
    }

    /// Reads on until the byte at `distance` from the start is there; whether it is.
    fn reach(&mut self, distance: u64) -> bool {
        while !self.exhausted && self.bytes.len() as u64 <= distance && distance < MOST {
            let held = self.bytes.len();
            let at = self.start.wrapping_add(held as u64);
            // Up to the end of a page, so that what follows may be unmapped.
            let size = PAGE + (PAGE - at % PAGE) % PAGE;
            self.bytes.resize(held + size as usize, 0);
            let read = self.memory.read(at, &mut self.bytes[held..]) & !7;
            self.bytes.truncate(held + read);
            self.exhausted = (read as u64) < size;
        }
        distance < self.bytes.len() as u64
    }
}

impl ReadWord for StackMemory<'_> {
    fn word(&mut self, addr: u64) -> Option<u64> {
        let distance = addr.wrapping_sub(self.start);
        if addr & 7 == 0 && self.reach(distance) {
            let at = distance as usize;
            return Some(u64::from_le_bytes(self.bytes[at..at + 8].try_into().ok()?));
        }
        let mut word = [0; 8];
        (self.memory.read(addr, &mut word) == 8).then(|| u64::from_le_bytes(word))
    }

    fn register(&mut self, number: u8) -> Option<u64> {
        self.registers.get(usize::from(number)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack_at(memory: &Memory, pointer: u64) -> StackMemory<'_> {
        StackMemory::new(memory, std::array::from_fn(|n| if n == 4 { pointer } else { n as u64 }), Vec::new())
    }

    #[test]
    fn reads_own_memory_and_stops_where_it_ends() {
        let own = Memory::of(std::process::id());
        let words: Vec<u64> = (0..2000).collect();
        let start = words.as_ptr() as u64;
        let mut stack = stack_at(&own, start);
        assert_eq!(stack.word(start + 8 * 1500), Some(1500));
        assert_eq!(stack.word(start), Some(0));
        assert_eq!(
            stack.words_below(start + 24).collect::<Vec<_>>(),
            [(start, 0), (start + 8, 1), (start + 16, 2)]
        );
        assert_eq!(stack.word(start + 4), Some(1 << 32), "not aligned");
        assert_eq!(stack.word(8), None);
        assert_eq!((stack.register(10), stack.register(16)), (Some(10), None));
        assert_eq!(stack_at(&own, 8).word(8), None);
        assert_eq!(stack_at(&own, u64::MAX - 7).word(u64::MAX - 7), None);
        assert_eq!(stack_at(&Memory::of(u32::MAX), start).word(start), None);
    }

    #[test]
    fn the_page_before_unmapped_memory_is_read_to_its_end() {
        // SAFETY: a fresh mapping of our own, half of which is taken away again.
        let start = unsafe {
            let two = libc::mmap(
                std::ptr::null_mut(),
                8192,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            assert_ne!(two, libc::MAP_FAILED);
            libc::munmap(two.byte_add(4096), 4096);
            two as u64
        };
        let own = Memory::of(std::process::id());
        assert_eq!(stack_at(&own, start).word(start), None, "never touched");
        // SAFETY: the last word of the page that is left.
        unsafe { (start as *mut u64).add(511).write_volatile(7) };
        let mut stack = stack_at(&own, start + 8);
        assert_eq!(stack.word(start + 4088), Some(7));
        assert_eq!(stack.word(start + 4096), None);
        // SAFETY: the mapping from above.
        unsafe { libc::munmap(start as *mut libc::c_void, 4096) };
    }
}

//! Reads the target's memory, without stopping it and without writing to it.

use leakscope_common::unwind::ReadWord;

/// Memory of a process.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    pid: u32,
}

impl Memory {
    /// The memory of `pid`.
    pub fn of(pid: u32) -> Self {
        Self { pid }
    }

    /// Reads from `address` on; the number of bytes that could be read.
    pub fn read(self, address: u64, buffer: &mut [u8]) -> usize {
        let local = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: buffer.len() };
        // SAFETY: the local vector is our buffer; the kernel checks the remote one.
        let read = unsafe {
            libc::process_vm_readv(self.pid.cast_signed(), &raw const local, 1, &raw const remote, 1, 0)
        };
        usize::try_from(read).unwrap_or(0).min(buffer.len())
    }
}

/// Bytes that are read at once; a power of two.
const CHUNK: u64 = 4096;
/// Most bytes of a stack that are kept.
const MOST: u64 = 1 << 20;

/// A stack that is read upwards as the walk needs it.
#[derive(Debug)]
pub struct StackMemory {
    memory: Memory,
    start: u64,
    bytes: Vec<u8>,
    exhausted: bool,
}

impl StackMemory {
    /// The stack from `pointer` on. `buffer` is used again from stack to stack.
    pub fn new(memory: Memory, pointer: u64, mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        Self { memory, start: pointer & !7, bytes: buffer, exhausted: false }
    }

    /// The words from the stack pointer up to `end`, as far as they were read.
    pub fn words_below(&self, end: u64) -> impl Iterator<Item = u64> + '_ {
        let length = usize::try_from(end.saturating_sub(self.start)).unwrap_or(usize::MAX);
        let read = &self.bytes[..length.min(self.bytes.len())];
        read.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default()))
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
            let size = CHUNK + (CHUNK - at % CHUNK) % CHUNK;
            self.bytes.resize(held + size as usize, 0);
            let read = self.memory.read(at, &mut self.bytes[held..]) & !7;
            self.bytes.truncate(held + read);
            self.exhausted = (read as u64) < size;
        }
        distance < self.bytes.len() as u64
    }
}

impl ReadWord for StackMemory {
    fn word(&mut self, addr: u64) -> Option<u64> {
        let distance = addr.wrapping_sub(self.start);
        if addr & 7 == 0 && self.reach(distance) {
            let at = distance as usize;
            return Some(u64::from_le_bytes(self.bytes[at..at + 8].try_into().ok()?));
        }
        let mut word = [0; 8];
        (self.memory.read(addr, &mut word) == 8).then(|| u64::from_le_bytes(word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_own_memory_and_stops_where_it_ends() {
        let own = Memory::of(std::process::id());
        let words: Vec<u64> = (0..2000).collect();
        let start = words.as_ptr() as u64;
        let mut stack = StackMemory::new(own, start, Vec::new());
        assert_eq!(stack.word(start + 8 * 1500), Some(1500));
        assert_eq!(stack.word(start), Some(0));
        assert_eq!(stack.words_below(start + 24).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(stack.word(start + 4), Some(1 << 32), "not aligned");
        assert_eq!(stack.word(8), None);
        assert_eq!(StackMemory::new(own, 8, Vec::new()).word(8), None);
        assert_eq!(StackMemory::new(own, u64::MAX - 7, Vec::new()).word(u64::MAX - 7), None);
        assert_eq!(StackMemory::new(Memory::of(u32::MAX), start, Vec::new()).word(start), None);
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
        let mut stack = StackMemory::new(Memory::of(std::process::id()), start + 8, Vec::new());
        assert_eq!(stack.word(start + 4088), Some(0));
        assert_eq!(stack.word(start + 4096), None);
        // SAFETY: the mapping from above.
        unsafe { libc::munmap(start as *mut libc::c_void, 4096) };
    }
}

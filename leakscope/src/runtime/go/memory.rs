//! The target's memory, read in many pieces at once.

/// Bytes that are read at once.
const AT_ONCE: usize = 16 << 20;

/// Memory that can be read without stopping who owns it.
pub trait Memory {
    /// Fills `buffer` from `address` on; whether all of it could be read.
    fn read(&self, address: u64, buffer: &mut [u8]) -> bool;

    /// Reads many pieces. A piece that cannot be read fails alone.
    fn read_many(&self, pieces: &[Piece]) -> Batch;

    /// `length` bytes, if all can be read.
    fn bytes(&self, address: u64, length: usize) -> Option<Vec<u8>> {
        let mut buffer = Vec::new();
        // A length may be a lie: room is made as far as there is memory to read.
        while buffer.len() < length {
            let at = buffer.len();
            buffer.resize(length.min(at + AT_ONCE), 0);
            if !self.read(address.checked_add(at as u64)?, &mut buffer[at..]) {
                return None;
            }
        }
        Some(buffer)
    }

    /// The 64-bit number at an address; `None` if it cannot be read.
    fn u64(&self, address: u64) -> Option<u64> {
        let mut buffer = [0; 8];
        self.read(address, &mut buffer).then(|| u64::from_le_bytes(buffer))
    }

    /// The 32-bit number at an address; `None` if it cannot be read.
    fn u32(&self, address: u64) -> Option<u32> {
        let mut buffer = [0; 4];
        self.read(address, &mut buffer).then(|| u32::from_le_bytes(buffer))
    }

    /// A Go string of at most `longest` bytes whose header lies at `address` (`runtime/string.go`:
    /// pointer and length).
    fn string(&self, address: u64, longest: u64) -> Option<String> {
        let start = self.u64(address)?;
        let length = self.u64(address.checked_add(8)?)?;
        if length > longest {
            return None;
        }
        let bytes = self.bytes(start, usize::try_from(length).ok()?)?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// A piece of memory: where and how many bytes.
pub type Piece = (u64, usize);

/// Pieces that were read.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    /// Where each piece lies in `bytes`, and whether it was read.
    parts: Vec<(usize, usize, bool)>,
}

impl Batch {
    /// Room for `pieces`, nothing read yet.
    pub fn new(pieces: &[Piece]) -> Self {
        let mut at = 0;
        let place = |piece: &Piece| {
            let start = at;
            at += piece.1;
            (start, piece.1, false)
        };
        let parts = pieces.iter().map(place).collect();
        Self { bytes: vec![0; at], parts }
    }

    /// The bytes of a piece, if it was read.
    pub fn get(&self, piece: usize) -> Option<&[u8]> {
        let &(start, length, read) = self.parts.get(piece)?;
        if read { self.bytes.get(start..start + length) } else { None }
    }

    /// The room of a piece; it counts as read.
    pub fn fill(&mut self, piece: usize) -> Option<&mut [u8]> {
        let (start, length, read) = self.parts.get_mut(piece)?;
        *read = true;
        self.bytes.get_mut(*start..*start + *length)
    }
}

/// The memory of another process, by `process_vm_readv`.
///
/// A page that was never touched is made by the kernel as it is read (a zero page): only what the Go
/// runtime has written before is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Remote {
    pid: u32,
}

/// Most pieces of one system call (UIO_MAXIOV, `include/uapi/linux/uio.h`).
const MOST_PIECES: usize = 1024;

impl Remote {
    /// The memory of `pid`.
    pub const fn of(pid: u32) -> Self {
        Self { pid }
    }

    /// Bytes read into `local`; the kernel stops at the first piece that faults.
    fn read_vector(&self, local: &mut [u8], remote: &[libc::iovec]) -> usize {
        let local = libc::iovec { iov_base: local.as_mut_ptr().cast(), iov_len: local.len() };
        // SAFETY: the local vector lies in our buffer; the kernel checks the remote ones.
        let read = unsafe {
            libc::process_vm_readv(
                self.pid.cast_signed(),
                &raw const local,
                1,
                remote.as_ptr(),
                remote.len() as libc::c_ulong,
                0,
            )
        };
        usize::try_from(read).unwrap_or(0)
    }
}

impl Memory for Remote {
    fn read(&self, address: u64, buffer: &mut [u8]) -> bool {
        let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: buffer.len() };
        buffer.is_empty() || self.read_vector(buffer, &[remote]) == buffer.len()
    }

    fn read_many(&self, pieces: &[Piece]) -> Batch {
        let mut batch = Batch::new(pieces);
        let mut next = 0;
        while next < pieces.len() {
            let end = pieces.len().min(next + MOST_PIECES);
            let vector: Vec<libc::iovec> = pieces[next..end]
                .iter()
                .map(|p| libc::iovec { iov_base: p.0 as *mut libc::c_void, iov_len: p.1 })
                .collect();
            let from = batch.parts[next].0;
            let to = batch.parts[end - 1].0 + batch.parts[end - 1].1;
            let mut left = self.read_vector(&mut batch.bytes[from..to], &vector);
            while next < end && left >= pieces[next].1 {
                left -= pieces[next].1;
                batch.parts[next].2 = true;
                next += 1;
            }
            if next < end {
                // This one failed; those after it were not tried.
                next += 1;
            }
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_that_fails_fails_alone() {
        let own = Remote::of(std::process::id());
        let words: Vec<u64> = (0..3000).collect();
        let mut pieces: Vec<Piece> = words.iter().map(|w| (std::ptr::from_ref(w) as u64, 8)).collect();
        pieces[7].0 = 8;
        pieces[1024].0 = u64::MAX - 3;
        pieces[2999].0 = 1;
        let batch = own.read_many(&pieces);
        for (i, word) in words.iter().enumerate() {
            let expected = if [7, 1024, 2999].contains(&i) { None } else { Some(word.to_le_bytes()) };
            assert_eq!(batch.get(i), expected.as_ref().map(<[u8; 8]>::as_slice), "{i}");
        }
        assert_eq!(batch.get(3000), None);
        assert_eq!(own.u64(8), None);
        assert!(own.read(8, &mut []), "nothing can always be read");
    }

    #[test]
    fn strings_have_an_end() {
        let own = Remote::of(std::process::id());
        let text = "chan receive";
        let header = [text.as_ptr() as u64, text.len() as u64];
        let at = header.as_ptr() as u64;
        assert_eq!(own.string(at, 100).as_deref(), Some(text));
        assert_eq!(own.string(at, 5), None, "longer than is plausible");
        assert_eq!(own.string(8, 5), None);
    }
}

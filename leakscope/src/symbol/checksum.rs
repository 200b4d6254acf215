//! The checksum of a debug link: CRC-32 of a whole file, of which little may be there.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use crc32fast::Hasher;
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use crate::interrupt::Mark;

/// Most bytes that are read for checksums, all files of a target together; no more is used of them either.
const MOST_BYTES: u64 = 2 << 30;
/// Most pieces of data that a file may lie in.
const MOST_PIECES: u32 = 1 << 14;
/// Most time that goes into checksums, all files of a target together.
const MOST_TIME: Duration = Duration::from_secs(20);

/// Why there is no checksum.
#[derive(Debug, thiserror::Error)]
pub enum NoChecksum {
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// There is more of it than is read of a target's files.
    #[error("too much to read for its checksum")]
    TooMuch,
    /// Others have taken too long.
    #[error("its checksum would take too long")]
    TooLong,
}

/// What may be read for checksums of one target's files.
#[derive(Debug)]
pub(super) struct Allowance {
    bytes: Cell<u64>,
    time: Cell<Duration>,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { bytes: Cell::new(MOST_BYTES), time: Cell::new(MOST_TIME) }
    }
}

impl Allowance {
    /// The CRC-32 of a file. Holes are zeros that are not read.
    pub(super) fn crc32(&self, file: &File) -> Result<u32, NoChecksum> {
        let begun = Instant::now();
        let result = self.sum(file, begun);
        self.time.set(self.time.get().saturating_sub(begun.elapsed()));
        result
    }

    fn sum(&self, file: &File, begun: Instant) -> Result<u32, NoChecksum> {
        let mark = Mark::now();
        let mut sum = Hasher::new();
        let mut zeros = Zeros::default();
        let mut buffer = vec![0; 1 << 18];
        let (mut at, end) = (0, file.metadata()?.len());
        for _ in 0..MOST_PIECES {
            let (data, hole) = next_piece(file, at, end)?;
            sum.combine(&zeros.of(data - at));
            at = data;
            if hole - at > self.bytes.get() {
                return Err(NoChecksum::TooMuch);
            }
            while at < hole {
                mark.check()?;
                if begun.elapsed() > self.time.get() {
                    return Err(NoChecksum::TooLong);
                }
                let most = buffer.len().min(usize::try_from(hole - at).unwrap_or(usize::MAX));
                let count = file.read_at(&mut buffer[..most], at)?;
                if count == 0 {
                    // It has been cut short.
                    return Ok(sum.finalize());
                }
                sum.update(&buffer[..count]);
                at += count as u64;
                self.bytes.set(self.bytes.get().saturating_sub(count as u64));
            }
            if at >= end {
                return Ok(sum.finalize());
            }
        }
        Err(NoChecksum::TooMuch)
    }
}

/// The first piece of data from `at` on, and where the hole after it begins; both `end` if there is none.
fn next_piece(file: &File, at: u64, end: u64) -> io::Result<(u64, u64)> {
    let data = match seek(file, SeekFrom::Data(at)) {
        Ok(data) => data.clamp(at, end),
        Err(Errno::NXIO) => return Ok((end, end)),
        Err(error) => return Err(error.into()),
    };
    let hole = match seek(file, SeekFrom::Hole(data)) {
        Ok(hole) => hole.clamp(data, end),
        Err(Errno::NXIO) => end,
        Err(error) => return Err(error.into()),
    };
    Ok((data, hole))
}

/// Checksums of zeros: those of powers of two are made of each other.
#[derive(Default)]
struct Zeros {
    /// The n-th is of 2^n zeros.
    powers: Vec<Hasher>,
}

impl Zeros {
    fn of(&mut self, count: u64) -> Hasher {
        let mut sum = Hasher::new();
        for bit in 0..u64::BITS - count.leading_zeros() {
            if self.powers.len() <= bit as usize {
                let next = match self.powers.last() {
                    None => {
                        let mut one = Hasher::new();
                        one.update(&[0]);
                        one
                    }
                    Some(half) => {
                        let mut whole = half.clone();
                        whole.combine(half);
                        whole
                    }
                };
                self.powers.push(next);
            }
            if count >> bit & 1 != 0 {
                sum.combine(&self.powers[bit as usize]);
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn file(build: impl FnOnce(&mut File)) -> File {
        let mut file = tempfile::tempfile().expect("a file");
        build(&mut file);
        file
    }

    #[test]
    fn as_of_the_bytes() {
        let text = file(|file| file.write_all(b"123456789").expect("written"));
        assert_eq!(
            Allowance::default().crc32(&text).expect("a checksum"),
            0xcbf4_3926,
            "the check value of CRC-32"
        );
        assert_eq!(Allowance::default().crc32(&file(|_| {})).expect("a checksum"), 0);
    }

    #[test]
    fn holes_are_zeros() {
        let sparse = file(|file| {
            file.set_len(3 << 20).expect("a size");
            file.write_all_at(b"begin", 0).expect("written");
            file.write_all_at(b"middle", (1 << 20) + 77).expect("written");
        });
        let mut whole = vec![0; 3 << 20];
        whole[..5].copy_from_slice(b"begin");
        whole[(1 << 20) + 77..][..6].copy_from_slice(b"middle");
        assert_eq!(Allowance::default().crc32(&sparse).expect("a checksum"), crc32fast::hash(&whole));
    }

    /// gzip's trailer of 8 GiB of zeros says so too: `head -c 8G /dev/zero | gzip | tail -c 8 | xxd`.
    #[test]
    fn a_large_hole_costs_nothing() {
        let begun = Instant::now();
        let allowance = Allowance::default();
        let sum = allowance.crc32(&file(|file| file.set_len(8 << 30).expect("a size"))).expect("a checksum");
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        assert_eq!(allowance.bytes.get(), MOST_BYTES, "nothing was read");
        let mut chunk = Hasher::new();
        chunk.update(&vec![0; 1 << 20]);
        let whole = (0..13).fold(chunk, |half, _| {
            let mut whole = half.clone();
            whole.combine(&half);
            whole
        });
        assert_eq!(sum, whole.finalize());
    }

    #[test]
    fn what_is_read_is_bounded() {
        let text = file(|file| file.write_all(&[1; 100]).expect("written"));
        let allowance = Allowance { bytes: Cell::new(150), ..Allowance::default() };
        allowance.crc32(&text).expect("a checksum");
        assert!(matches!(allowance.crc32(&text), Err(NoChecksum::TooMuch)));
        let allowance = Allowance { time: Cell::new(Duration::ZERO), ..Allowance::default() };
        assert!(matches!(allowance.crc32(&text), Err(NoChecksum::TooLong)));
    }
}

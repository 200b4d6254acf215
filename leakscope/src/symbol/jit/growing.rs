//! A file that its writer adds to, read a part at a time.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

/// The most that is read of one file.
const MOST: u64 = 512 << 20;
/// The most that is read of it in all, and how often it may be written anew.
const MOST_IN_ALL: u64 = 4 * MOST;
const MOST_RESTARTS: u32 = 64;
/// What is read at once.
const PART: usize = 1 << 20;
/// Bytes before the end of what was read, by which a file is known that was written anew.
const TAIL: usize = 64;

/// What a reader made of a part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// So many bytes; the rest waits for what follows it.
    Bytes(usize),
    /// So many bytes are of no interest; they may be more than were given.
    Skip(u64),
    /// It is not what it should be: nothing more is read.
    Nonsense,
}

/// Forgets what was read, or takes the next part.
#[derive(Debug)]
pub(super) enum Step<'a> {
    /// The file was written anew.
    Again,
    /// Bytes behind those that were taken; at least a part, unless the file ends.
    More(&'a [u8]),
}

/// How far a file was read.
#[derive(Debug, Default)]
pub(super) struct Growing {
    file: Option<File>,
    taken: u64,
    tail: Vec<u8>,
    nonsense: bool,
    /// Its size as nothing could be taken of what is left.
    waits_at: Option<u64>,
    /// Bytes read of this file and those before, and how often there was another.
    read_in_all: u64,
    restarts: u32,
}

impl Growing {
    /// Reads what is new. A file that cannot be opened (yet) is as good as an empty one.
    pub(super) fn read(
        &mut self,
        open: impl FnOnce() -> io::Result<File>,
        take: &mut dyn FnMut(Step<'_>) -> Taken,
    ) {
        // A name that leads elsewhere now is of a file that was removed.
        let gone = |file: &File| file.metadata().is_ok_and(|now| now.nlink() == 0);
        if self.file.as_ref().is_none_or(gone) {
            match open() {
                Ok(file) => {
                    let (read_in_all, restarts) = (self.read_in_all, self.restarts + 1);
                    *self = Self { file: Some(file), read_in_all, restarts, ..Self::default() };
                }
                // What was removed is read to its end.
                Err(_) if self.file.is_some() => (),
                Err(_) => return,
            }
            if self.taken == 0 {
                take(Step::Again);
            }
        }
        // An error ends the reading for now.
        let _ = self.more(take);
    }

    fn more(&mut self, take: &mut dyn FnMut(Step<'_>) -> Taken) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let size = file.metadata()?.len().min(MOST);
        let mut tail = vec![0; self.tail.len()];
        if self.restarts > MOST_RESTARTS || self.read_in_all > MOST_IN_ALL || self.waits_at == Some(size) {
            return Ok(());
        }
        let rewritten = size < self.taken
            || file.read_exact_at(&mut tail, self.taken - self.tail.len() as u64).is_err()
            || tail != self.tail;
        if rewritten {
            (self.taken, self.nonsense, self.waits_at) = (0, false, None);
            self.restarts += 1;
            self.tail.clear();
            take(Step::Again);
        }
        let mut part = Vec::new();
        while self.taken < size && !self.nonsense {
            let wanted = usize::try_from(size - self.taken).unwrap_or(PART).min(PART);
            part.resize(wanted, 0);
            let n = file.read_at(&mut part, self.taken)?;
            part.truncate(n);
            self.read_in_all += n as u64;
            match take(Step::More(&part)) {
                Taken::Bytes(0) => {
                    self.waits_at = Some(size);
                    return Ok(());
                }
                Taken::Skip(bytes) if bytes > size - self.taken => {
                    self.waits_at = Some(size);
                    return Ok(());
                }
                Taken::Skip(bytes) => {
                    self.taken += bytes;
                    let length = self.taken.min(TAIL as u64);
                    self.tail = vec![0; length as usize];
                    file.read_exact_at(&mut self.tail, self.taken - length)?;
                }
                Taken::Bytes(used) => {
                    let used = used.min(n);
                    self.taken += used as u64;
                    self.tail.extend_from_slice(&part[..used]);
                    self.tail.drain(..self.tail.len().saturating_sub(TAIL));
                }
                Taken::Nonsense => self.nonsense = true,
            }
        }
        Ok(())
    }

    /// What may be taken at once.
    pub(super) const PART: usize = PART;
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// Whole lines of a file, joined.
    fn lines(growing: &mut Growing, path: &std::path::Path, all: &mut String) {
        growing.read(|| File::open(path), &mut |step| match step {
            Step::Again => {
                all.clear();
                Taken::Bytes(0)
            }
            Step::More(part) => {
                let end = part.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
                all.push_str(&String::from_utf8_lossy(&part[..end]));
                Taken::Bytes(end)
            }
        });
    }

    #[test]
    fn each_byte_is_read_once() -> io::Result<()> {
        let place = tempfile::tempdir()?;
        let path = place.path().join("map");
        let (mut growing, mut all) = (Growing::default(), String::new());
        lines(&mut growing, &path, &mut all);
        assert_eq!(all, "", "it is not there yet");
        let mut file = File::create(&path)?;
        file.write_all(b"one\ntw")?;
        lines(&mut growing, &path, &mut all);
        assert_eq!(all, "one\n");
        file.write_all(b"o\n")?;
        lines(&mut growing, &path, &mut all);
        lines(&mut growing, &path, &mut all);
        assert_eq!(all, "one\ntwo\n");
        // Written anew in place, longer than before.
        std::fs::write(&path, "three\nfour\nfive\n")?;
        lines(&mut growing, &path, &mut all);
        assert_eq!(all, "three\nfour\nfive\n");
        // Another file under its name.
        std::fs::remove_file(&path)?;
        lines(&mut growing, &path, &mut all);
        assert_eq!(all, "three\nfour\nfive\n");
        std::fs::write(&path, "six\n")?;
        lines(&mut growing, &path, &mut all);
        assert_eq!(all, "six\n");
        Ok(())
    }
}

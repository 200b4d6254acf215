//! The text of a saved report: decompressed, read as often as is asked for, and no more of it than there is memory for.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt as _;
use std::rc::Rc;

use super::{ReadError, Reading};
use crate::report::own_cost::rss_bytes;
use crate::zstandard::{Decoder, MAGIC};

/// Bytes that are read at once.
const BUFFER: usize = 1 << 16;
/// How often memory is looked at, in bytes of text. A report takes a few times its text.
const CHECK: u64 = 8 << 20;
/// Text that may come of however few bytes.
const ANY_EXPANSION: u64 = 64 << 20;
/// Zeros that a file system leaves of what was not written; what has more of them ends there.
const MOST_ZEROS: u64 = 64 << 20;

/// Where the text is stored.
enum Bytes<'a> {
    Here(Cow<'a, [u8]>),
    File(File, u64),
}

/// Why reading stopped before the end.
enum Stop {
    Unreadable(io::Error),
    /// It is no Zstandard.
    Damaged(String),
    /// It takes more memory than it may.
    Memory,
    /// It becomes much longer than reports do.
    Expands,
}

/// The text of a file.
pub(super) struct Text<'a> {
    name: &'a str,
    reading: &'a Reading<'a>,
    bytes: Bytes<'a>,
    packed: bool,
    stop: RefCell<Option<Stop>>,
    zeros: Cell<bool>,
    length: Cell<u64>,
    /// Stored bytes that were read, by all who read.
    passed: Cell<u64>,
    /// How often they will be read.
    times: Cell<u64>,
}

impl<'a> Text<'a> {
    fn new(name: &'a str, reading: &'a Reading<'a>, bytes: Bytes<'a>) -> Result<Self, ReadError> {
        let mut text = Self {
            name,
            reading,
            bytes,
            packed: false,
            stop: RefCell::default(),
            zeros: Cell::default(),
            length: Cell::default(),
            passed: Cell::default(),
            times: Cell::new(1),
        };
        let mut start = Vec::new();
        let begin = text.stored().0.take(MAGIC.len() as u64).read_to_end(&mut start);
        begin.map_err(|error| text.failed().unwrap_or_else(|| unreadable(name, error)))?;
        if start.starts_with(&[0x1f, 0x8b]) {
            return Err(ReadError::Gzipped(name.to_owned()));
        }
        text.packed = start == MAGIC;
        Ok(text)
    }

    /// A text in memory.
    pub(super) fn here(name: &'a str, reading: &'a Reading<'a>, bytes: &'a [u8]) -> Result<Self, ReadError> {
        Self::new(name, reading, Bytes::Here(bytes.into()))
    }

    /// The text of an open file.
    pub(super) fn of_file(name: &'a str, reading: &'a Reading<'a>, file: File) -> Result<Self, ReadError> {
        let metadata = file.metadata().map_err(|error| unreadable(name, error))?;
        if !metadata.is_file() {
            return Self::of_stream(name, reading, file);
        }
        Self::new(name, reading, Bytes::File(file, metadata.len()))
    }

    /// The text of what can be read once only, so it is held as it comes.
    pub(super) fn of_stream(
        name: &'a str,
        reading: &'a Reading<'a>,
        stream: impl Read,
    ) -> Result<Self, ReadError> {
        let mut stream = stream;
        let mut bytes = Vec::new();
        loop {
            let read = stream.by_ref().take(CHECK).read_to_end(&mut bytes);
            if read.map_err(|error| unreadable(name, error))? == 0 {
                return Self::new(name, reading, Bytes::Here(bytes.into()));
            }
            if !reading.has_room() {
                return Err(reading.too_large(name));
            }
        }
    }

    /// The whole of it, if that is not long. `None` of what is to be read by [`Self::pass`].
    pub(super) fn whole(&self) -> Result<Option<Cow<'_, [u8]>>, ReadError> {
        if let (Bytes::Here(bytes), false) = (&self.bytes, self.packed) {
            let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            self.zeros.set(end < bytes.len());
            self.length.set(end as u64);
            return Ok(Some(Cow::Borrowed(&bytes[..end])));
        }
        let held = self.reading.held_bytes;
        let mut text = Vec::new();
        if !self.packed && self.stored_bytes() <= held {
            text.reserve_exact(usize::try_from(self.stored_bytes()).unwrap_or(0) + 1);
        }
        if self.packed || self.stored_bytes() <= held {
            let read = Pass::new(self).take(held + 1).read_to_end(&mut text);
            read.map_err(|error| self.failed().unwrap_or_else(|| unreadable(self.name, error)))?;
            if text.len() as u64 <= held {
                return Ok(Some(Cow::Owned(text)));
            }
        }
        self.passed.set(0);
        self.times.set(2);
        Ok(None)
    }

    /// Reads it from its start.
    pub(super) fn pass(&self) -> BufReader<Pass<'_, 'a>> {
        BufReader::with_capacity(BUFFER, Pass::new(self))
    }

    pub(super) fn name(&self) -> String {
        self.name.to_owned()
    }

    /// How long it is, as far as it was read.
    pub(super) fn length(&self) -> u64 {
        self.length.get()
    }

    /// Whether it ends in zeros, as far as it was read.
    pub(super) fn ends_in_zeros(&self) -> bool {
        self.zeros.get()
    }

    /// Why it could not be read to its end, if that was so.
    pub(super) fn failed(&self) -> Option<ReadError> {
        let file = self.name.to_owned();
        Some(match self.stop.take()? {
            Stop::Unreadable(error) => ReadError::Unreadable { file, error },
            Stop::Damaged(why) => ReadError::Damaged { file, why },
            Stop::Memory => self.reading.too_large(self.name),
            Stop::Expands => ReadError::Expands { file, expansion: self.reading.expansion },
        })
    }

    fn stop(&self, why: Stop) -> io::Error {
        self.stop.replace(Some(why));
        io::Error::other("stopped")
    }

    fn stored_bytes(&self) -> u64 {
        match &self.bytes {
            Bytes::Here(bytes) => bytes.len() as u64,
            Bytes::File(_, bytes) => *bytes,
        }
    }

    fn stored(&self) -> (Stored<'_, 'a>, Rc<At>) {
        let at = Rc::<At>::default();
        (Stored { text: self, at: Rc::clone(&at) }, at)
    }
}

fn unreadable(name: &str, error: io::Error) -> ReadError {
    ReadError::Unreadable { file: name.to_owned(), error }
}

impl Reading<'_> {
    fn has_room(&self) -> bool {
        rss_bytes().is_none_or(|now| now < self.memory_bytes)
    }

    fn too_large(&self, name: &str) -> ReadError {
        ReadError::TooLarge { file: name.to_owned(), most: self.memory_bytes }
    }
}

/// How far stored bytes were read.
#[derive(Default)]
struct At {
    offset: Cell<u64>,
    ended: Cell<bool>,
}

/// The bytes as they are stored.
struct Stored<'t, 'a> {
    text: &'t Text<'a>,
    at: Rc<At>,
}

impl Read for Stored<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let offset = self.at.offset.get();
        let read = match &self.text.bytes {
            Bytes::Here(bytes) => {
                let rest = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..));
                rest.unwrap_or_default().read(buffer)
            }
            Bytes::File(file, _) => file.read_at(buffer, offset),
        };
        let count = match read {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            read => read.map_err(|error| self.text.stop(Stop::Unreadable(error)))?,
        };
        self.at.offset.set(offset + count as u64);
        self.at.ended.set(count == 0 && !buffer.is_empty());
        let passed = self.text.passed.get() + count as u64;
        self.text.passed.set(passed);
        (self.text.reading.progress)(
            self.text.name,
            passed,
            self.text.stored_bytes().saturating_mul(self.text.times.get()),
        );
        Ok(count)
    }
}

enum Source<'t, 'a> {
    Ended,
    Plain(Stored<'t, 'a>),
    Packed(Box<Decoder<BufReader<Stored<'t, 'a>>>>),
}

/// One time of reading.
pub(super) struct Pass<'t, 'a> {
    text: &'t Text<'a>,
    source: Source<'t, 'a>,
    at: Rc<At>,
    /// Bytes of text given.
    given: u64,
    /// How many of them were given when memory was looked at.
    checked: u64,
}

impl<'t, 'a> Pass<'t, 'a> {
    fn new(text: &'t Text<'a>) -> Self {
        let (stored, at) = text.stored();
        let source = if text.packed {
            Source::Packed(Box::new(Decoder::new(BufReader::with_capacity(BUFFER, stored))))
        } else {
            Source::Plain(stored)
        };
        Self { text, source, at, given: 0, checked: 0 }
    }

    /// The next bytes of the text. What is cut ends there, as a text that is not packed does.
    fn next(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let decoder = match &mut self.source {
            Source::Ended => return Ok(0),
            Source::Plain(stored) => return stored.read(buffer),
            Source::Packed(decoder) => decoder,
        };
        match decoder.read(buffer) {
            Err(error) if self.text.stop.borrow().is_some() => Err(error),
            Err(_) if self.at.ended.get() => Ok(0),
            Err(error) => Err(self.text.stop(Stop::Damaged(error.to_string()))),
            Ok(count) => Ok(count),
        }
    }

    fn check(&mut self) -> io::Result<()> {
        let most = self.at.offset.get().saturating_mul(self.text.reading.expansion).max(ANY_EXPANSION);
        if self.text.packed && self.given > most {
            return Err(self.text.stop(Stop::Expands));
        }
        if self.given - self.checked >= CHECK {
            self.checked = self.given;
            if !self.text.reading.has_room() {
                return Err(self.text.stop(Stop::Memory));
            }
        }
        Ok(())
    }

    /// Whether there are nothing but zeros up to the end. JSON has none, so it ends there or is none.
    fn is_zero(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        let mut zeros = 0;
        while zeros < MOST_ZEROS {
            let count = self.next(buffer)?;
            if count == 0 {
                break;
            }
            if buffer[..count].iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            zeros += count as u64;
        }
        Ok(true)
    }
}

impl Read for Pass<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut count = self.next(buffer)?;
        if let Some(zero) = buffer[..count].iter().position(|byte| *byte == 0) {
            let ends = buffer[zero..count].iter().all(|byte| *byte == 0);
            count = zero;
            let mut ahead = [0; BUFFER];
            if ends && self.is_zero(&mut ahead)? {
                self.text.zeros.set(true);
            } else {
                // The zero itself is for the parser, which refuses it.
                count += 1;
            }
            self.source = Source::Ended;
        }
        self.given += count as u64;
        self.text.length.set(self.text.length.get().max(self.given));
        self.check()?;
        Ok(count)
    }
}

//! Writes a recording.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

use super::{ABOUT, About, MOST_BYTES, RecordingError, SCHEMA, TAPE, VERSION};
use crate::files::Directory;

/// A recording that is being written.
#[derive(Debug)]
pub struct Recorder {
    tape: GzEncoder<BufWriter<File>>,
    /// Bytes so far, before they are compressed.
    written: u64,
}

impl Recorder {
    /// Begins one in a directory that is new or empty, and that nobody else may look into.
    pub fn create(path: &Path) -> Result<Self, RecordingError> {
        let failed = |what, error: io::Error| RecordingError::File { what, path: path.to_owned(), error };
        let directory = Directory::empty(path).map_err(|error| match error.kind() {
            io::ErrorKind::DirectoryNotEmpty => RecordingError::NotEmpty(path.to_owned()),
            _ => failed("record into", error),
        })?;
        let about = About {
            schema: SCHEMA.to_owned(),
            version: VERSION,
            leakscope_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let about = serde_json::to_vec(&about).map_err(|error| failed("record into", error.into()))?;
        let begin = || {
            directory.report(OsStr::new(ABOUT))?.write(&about)?;
            directory.report(OsStr::new(TAPE))?.begin()
        };
        let tape = begin().map_err(|error| failed("record into", error))?;
        Ok(Self { tape: GzEncoder::new(BufWriter::new(tape), Compression::fast()), written: 0 })
    }

    /// Writes an answer down.
    pub fn put<T: Serialize>(&mut self, what: &'static str, value: &T) -> Result<(), RecordingError> {
        let mut line = what.replace(' ', "-").into_bytes();
        line.push(b' ');
        serde_json::to_writer(&mut line, value).map_err(|error| RecordingError::Write(error.into()))?;
        line.push(b'\n');
        let written = self.written + line.len() as u64;
        if written > MOST_BYTES {
            return Err(RecordingError::Full);
        }
        self.written = written;
        self.tape.write_all(&line).map_err(RecordingError::Write)
    }

    /// Has all that was written reach the file, so that it is there should we be killed.
    pub fn flush(&mut self) -> Result<(), RecordingError> {
        self.tape.flush().map_err(RecordingError::Write)
    }

    /// Ends it.
    pub fn finish(self) -> Result<(), RecordingError> {
        let mut file = self.tape.finish().map_err(RecordingError::Write)?;
        file.flush().map_err(RecordingError::Write)
    }
}

//! Reads a recording.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Take};
use std::path::Path;

use flate2::read::GzDecoder;
use serde::de::DeserializeOwned;

use super::{ABOUT, About, MOST_ABOUT, MOST_BYTES, RecordingError, SCHEMA, TAPE, VERSION};
use crate::files::Directory;

/// A recording that is being replayed.
#[derive(Debug)]
pub struct Player {
    tape: BufReader<Take<GzDecoder<BufReader<File>>>>,
    /// Lines that were read.
    line: u64,
    /// The next line, where it was looked at and not taken.
    ahead: Option<Vec<u8>>,
}

impl Player {
    /// Opens the recording in a directory.
    pub fn open(path: &Path) -> Result<Self, RecordingError> {
        let failed =
            |error| RecordingError::File { what: "read the recording", path: path.to_owned(), error };
        let none = |why: String| RecordingError::None { path: path.to_owned(), why };
        let directory = Directory::open(path).map_err(failed)?;
        let about = match directory.read(OsStr::new(ABOUT)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(none(format!("there is no {ABOUT}")));
            }
            Err(error) => return Err(failed(error)),
        };
        let mut text = Vec::new();
        about.take(MOST_ABOUT).read_to_end(&mut text).map_err(failed)?;
        let about: About =
            serde_json::from_slice(&text).map_err(|error| none(format!("{ABOUT}: {error}")))?;
        if about.schema != SCHEMA {
            return Err(none(format!("{ABOUT} is of something else")));
        }
        if about.version != VERSION {
            return Err(RecordingError::Version { found: about.version, by: about.leakscope_version });
        }
        Ok(Self::of(directory.read(OsStr::new(TAPE)).map_err(failed)?))
    }

    /// The tape in a file.
    fn of(file: File) -> Self {
        let tape = GzDecoder::new(BufReader::new(file)).take(MOST_BYTES);
        Self { tape: BufReader::new(tape), line: 0, ahead: None }
    }

    /// The next answer, if it is the one to `what`; else that stays the next one.
    pub fn next_if_any<T: DeserializeOwned>(
        &mut self,
        what: &'static str,
    ) -> Result<Option<T>, RecordingError> {
        let text = match self.text(what) {
            Ok(text) => text,
            // Whoever needs the next answer says so.
            Err(RecordingError::Ended { .. }) => {
                self.line -= 1;
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if name(&text) == what.replace(' ', "-").as_bytes() {
            return self.answer(&text, what).map(Some);
        }
        self.ahead = Some(text);
        self.line -= 1;
        Ok(None)
    }

    /// The next answer, which must be the one to `what`.
    pub fn next<T: DeserializeOwned>(&mut self, what: &'static str) -> Result<T, RecordingError> {
        let text = self.text(what)?;
        self.answer(&text, what)
    }

    /// The next line.
    fn text(&mut self, what: &'static str) -> Result<Vec<u8>, RecordingError> {
        self.line += 1;
        if let Some(text) = self.ahead.take() {
            return Ok(text);
        }
        let line = self.line;
        let damaged = |why: String| RecordingError::Damaged { line, what, why };
        let mut text = Vec::new();
        match self.tape.read_until(b'\n', &mut text) {
            Ok(_) if text.ends_with(b"\n") => {}
            Ok(_) => return Err(RecordingError::Ended { line }),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(RecordingError::Ended { line });
            }
            Err(error) => return Err(damaged(error.to_string())),
        }
        Ok(text)
    }

    /// What a line says, which must answer `what`.
    fn answer<T: DeserializeOwned>(&self, text: &[u8], what: &'static str) -> Result<T, RecordingError> {
        let damaged = |why: String| RecordingError::Damaged { line: self.line, what, why };
        let name = name(text);
        let value = &text[name.len()..];
        if name != what.replace(' ', "-").as_bytes() {
            return Err(damaged(format!("`{}` stands there", String::from_utf8_lossy(name).escape_debug())));
        }
        serde_json::from_slice(value).map_err(|error| damaged(error.to_string()))
    }
}

/// What a line answers.
fn name(text: &[u8]) -> &[u8] {
    text.split(|&byte| byte == b' ').next().unwrap_or_default()
}

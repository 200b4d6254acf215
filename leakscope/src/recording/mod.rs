//! What a session has read of kernel and target, kept in a directory, so that the same report can be made again:
//! without root, without the target, on another machine.
//!
//! A recording is a *tape*: the answers that a session got, in the order in which it asked. Each has the name of
//! what was asked for. A replay runs the same session code, which asks the same questions in the same order, and
//! gets the answers from the tape ([`Source`](crate::collect::Source)). So it goes through the collectors'
//! accounts, the building of the report and its export; only the reading itself is left out.
//!
//! # The directory
//!
//! - `recording.json`: the version of the format and of leakscope.
//! - `tape.gz`: lines of text, compressed. Each is a name, a space and the answer as JSON.
//!
//! Rows of maps and records of the ring buffer are bytes as the kernel side wrote them, in hexadecimal digits. Their
//! layout is part of the format: when one of them changes, or what is asked for, [`VERSION`] does.
//!
//! # Who may write one
//!
//! Anybody may: a recording comes with a bug report. What is read is bounded in bytes, and what is wrong in it is an
//! error with the line that it stands in.

pub mod hex;
mod read;
mod rows;
#[cfg(test)]
mod tests;
mod write;

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use read::Player;
pub use rows::Rows;
pub use write::Recorder;

/// The version of the format that is written and read.
pub const VERSION: u32 = 5;
/// Most bytes of a tape, before they are compressed.
const MOST_BYTES: u64 = 1 << 30;
/// Most bytes of the file that tells the version.
const MOST_ABOUT: u64 = 1 << 16;
/// The file that tells the version.
const ABOUT: &str = "recording.json";
/// The file with the answers.
const TAPE: &str = "tape.gz";

/// What kind of recording it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct About {
    /// Always the same: what the file is.
    schema: String,
    /// The version of the format.
    version: u32,
    /// The leakscope that wrote it.
    leakscope_version: String,
}

/// [`About::schema`].
const SCHEMA: &str = "leakscope.recording";

/// Why a recording cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// There is something in the directory.
    #[error("cannot record into {}: it is not empty; name a directory that is new", .0.display())]
    NotEmpty(PathBuf),
    /// The directory or a file cannot be opened or made.
    #[error("cannot {what} {}: {error}", path.display())]
    File {
        /// What was to be done.
        what: &'static str,
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// It is of another format.
    #[error(
        "the recording is of version {found} (leakscope {by}), and this leakscope reads version {VERSION}: replay it with that one"
    )]
    Version {
        /// Its version.
        found: u32,
        /// Who wrote it.
        by: String,
    },
    /// There is no recording in the directory.
    #[error("{} holds no recording: {why}", path.display())]
    None {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The tape has no more room.
    #[error("it has reached {} MiB, the most that a recording may have", MOST_BYTES >> 20)]
    Full,
    /// The tape cannot be written.
    #[error("it cannot be written: {0}")]
    Write(io::Error),
    /// The tape ends before the session does.
    #[error(
        "the recording ends at line {line}, before the last report: whoever recorded it was killed, or had no more room"
    )]
    Ended {
        /// The line that is missing.
        line: u64,
    },
    /// A line makes no sense.
    #[error("the recording is damaged at line {line}, where `{what}` is expected: {why}")]
    Damaged {
        /// Its number.
        line: u64,
        /// What was asked for.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
}

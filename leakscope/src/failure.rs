//! What an error means for the exit code (design: 1 failed, 2 usage, 4 no permission or kernel
//! support, 5 no such process).

use std::io;

use crate::bpf::BpfError;
use crate::collect::SourceError;
use crate::process::ProcessError;

/// An error with its exit code. The message says what failed, why, and what to do next.
#[derive(Debug, thiserror::Error)]
#[error("{error:#}")]
pub struct Failure {
    /// Exit code.
    pub code: u8,
    /// What to print.
    pub error: anyhow::Error,
    /// Whether the reader of our output went away: that is success, and says nothing.
    pub broken_pipe: bool,
    /// Lines below the message, such as a list to choose from.
    pub lines: Vec<String>,
}

impl Failure {
    /// The exit code where permission or kernel support is missing.
    pub const UNSUPPORTED: u8 = 4;

    /// The work failed (exit code 1).
    pub fn failed(error: impl Into<anyhow::Error>) -> Self {
        Self { code: 1, error: error.into(), broken_pipe: false, lines: Vec::new() }
    }

    /// Wrong usage (exit code 2).
    pub fn usage(message: impl std::fmt::Display) -> Self {
        Self { code: 2, error: anyhow::anyhow!("{message}"), broken_pipe: false, lines: Vec::new() }
    }

    /// Permission or kernel support is missing (exit code 4).
    pub fn unsupported(message: impl std::fmt::Display) -> Self {
        Self {
            code: Self::UNSUPPORTED,
            error: anyhow::anyhow!("{message}"),
            broken_pipe: false,
            lines: Vec::new(),
        }
    }

    /// The same with lines below the message.
    pub fn listing(self, lines: Vec<String>) -> Self {
        Self { lines, ..self }
    }

    /// There is no such process (exit code 5).
    pub fn no_process(message: impl std::fmt::Display) -> Self {
        Self { code: 5, ..Self::usage(message) }
    }

    /// Output to `to` failed.
    pub fn output(to: &str, error: io::Error) -> Self {
        let broken_pipe = error.kind() == io::ErrorKind::BrokenPipe;
        Self {
            code: 1,
            error: anyhow::anyhow!("cannot write to {to}: {error}"),
            broken_pipe,
            lines: Vec::new(),
        }
    }

    /// Exit code 0 if the reader went away, else the failure.
    pub fn broken_pipe_is_success(self) -> Result<u8, Self> {
        if self.broken_pipe { Ok(0) } else { Err(self) }
    }
}

impl From<ProcessError> for Failure {
    fn from(error: ProcessError) -> Self {
        let code = match error {
            ProcessError::NoSuchProcess(_) | ProcessError::Zombie(..) => 5,
            ProcessError::Denied { .. } => Self::UNSUPPORTED,
            ProcessError::ThreadId { .. } => 2,
            ProcessError::KernelThread(..)
            | ProcessError::LeaderGone(..)
            | ProcessError::Myself(_)
            | ProcessError::ThirtyTwoBit(..) => 1,
        };
        Self { code, error: error.into(), broken_pipe: false, lines: Vec::new() }
    }
}

impl From<BpfError> for Failure {
    fn from(error: BpfError) -> Self {
        let code = match error {
            BpfError::TargetGone => 5,
            BpfError::Load(_) => Self::UNSUPPORTED,
            BpfError::Missing(_) | BpfError::Attach { .. } | BpfError::Map { .. } => 1,
        };
        Self { code, error: error.into(), broken_pipe: false, lines: Vec::new() }
    }
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Bpf(error) => error.into(),
            SourceError::Recording(error) => Self::failed(error),
        }
    }
}

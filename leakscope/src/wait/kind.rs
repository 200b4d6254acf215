//! The kinds of waits.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a wait is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WaitKind {
    /// A mutex.
    Mutex,
    /// A readers-writer lock.
    Rwlock,
    /// A condition variable.
    Condvar,
    /// A semaphore.
    Semaphore,
    /// A barrier.
    Barrier,
    /// The end of a thread.
    Join,
    /// A futex that nothing better is known of.
    Futex,
    /// A time span, or a signal.
    Sleep,
    /// Events of several descriptors (poll, epoll, select), or of one that stands for events.
    Poll,
    /// A pipe or message queue.
    Pipe,
    /// A socket.
    Socket,
    /// A file, a file lock or a terminal.
    File,
    /// A child process.
    Child,
    /// An io_uring.
    IoUring,
    /// A page of memory.
    PageFault,
    /// It is stopped, by a signal or a debugger.
    Stopped,
    /// Unknown.
    Unknown,
}

impl WaitKind {
    /// Its name, as in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mutex => "mutex",
            Self::Rwlock => "rwlock",
            Self::Condvar => "condvar",
            Self::Semaphore => "semaphore",
            Self::Barrier => "barrier",
            Self::Join => "join",
            Self::Futex => "futex",
            Self::Sleep => "sleep",
            Self::Poll => "poll",
            Self::Pipe => "pipe",
            Self::Socket => "socket",
            Self::File => "file",
            Self::Child => "child",
            Self::IoUring => "io_uring",
            Self::PageFault => "page_fault",
            Self::Stopped => "stopped",
            Self::Unknown => "unknown",
        }
    }

    /// Whether it is a lock that one thread holds against others.
    pub const fn is_lock(self) -> bool {
        matches!(self, Self::Mutex | Self::Rwlock)
    }
}

impl fmt::Display for WaitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

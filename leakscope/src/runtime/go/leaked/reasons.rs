//! What goroutines wait for, by the words of the runtime (`runtime/runtime2.go`, `waitReasonStrings`).

use std::sync::Arc;

/// What can make a waiting goroutine go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waits {
    /// Nothing.
    Never,
    /// Somebody at the other end of a channel.
    Channel,
    /// The same of any of several channels.
    Select,
    /// Whoever has the condition.
    Condition,
    /// Whoever has the lock or the group.
    Semaphore,
    /// Whoever has the other side of an iterator.
    Coroutine,
    /// Something else, which is not looked for.
    Other,
}

impl Waits {
    fn of(reason: &str) -> Self {
        match reason {
            "select (no cases)" | "chan receive (nil chan)" | "chan send (nil chan)" => Self::Never,
            "chan receive" | "chan send" => Self::Channel,
            "select" => Self::Select,
            "sync.Cond.Wait" => Self::Condition,
            "semacquire"
            | "sync.Mutex.Lock"
            | "sync.RWMutex.Lock"
            | "sync.RWMutex.RLock"
            | "sync.WaitGroup.Wait" => Self::Semaphore,
            "coroutine" => Self::Coroutine,
            _ => Self::Other,
        }
    }
}

/// By the number of the reason.
pub(super) fn by_number(words: &[Arc<str>]) -> Vec<Waits> {
    words.iter().map(|reason| Waits::of(reason)).collect()
}

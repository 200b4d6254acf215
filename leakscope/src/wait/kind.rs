//! The kinds of waits: a row each.
//!
//! A row has all that others ask of a kind. What leads to a kind is told elsewhere: by system calls
//! ([`super::syscalls`]), by functions ([`super::primitives`]) and by descriptors ([`super::fd_target`]).

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::idle::{self, IdleRule, Site};

/// What is known of a kind of wait.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its name in JSON, in labels and for `--fail-on`.
    pub name: &'static str,
    /// What tables call it.
    pub shown: &'static str,
    /// What a sentence calls a wait of this kind if no function of a library tells it better: `a wait for a mutex`.
    /// `None` where the system call's name does.
    pub phrase: Option<&'static str>,
    /// Whether one thread holds it against others.
    pub lock: bool,
    /// When it looks like waiting for work.
    pub idle: Idle,
    /// When it looks stuck, if it is not idle.
    pub stuck: Stuck,
}

/// When a wait looks like waiting for work, not like being stuck.
#[derive(Clone, Copy, Debug)]
pub enum Idle {
    /// Never: somebody has to let the thread go on.
    Never,
    /// Always, by this rule.
    Always(&'static str),
    /// By the rule that this finds, if it finds one.
    If(fn(&Site<'_>, &[IdleRule]) -> Option<&'static str>),
}

/// When threads that wait, and are not idle, look stuck, so that a headline speaks of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stuck {
    /// Never by its length: nobody can tell how long is too long.
    Never,
    /// Soon, and sooner if several wait: what is waited for is usually had at once.
    Soon,
    /// Only after long: a slow disk may take seconds.
    Late,
    /// At once.
    Always,
}

/// Makes the kinds from their rows: the name in JSON, and what is not as in a row without fields.
macro_rules! wait_kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal { $($field:ident: $value:expr),* };)*) => {
        /// What a wait is for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        pub enum WaitKind {
            $($(#[$doc])* #[serde(rename = $name)] $kind,)*
        }

        impl WaitKind {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// What is known of it.
            pub const fn row(self) -> &'static Row {
                match self {
                    $(Self::$kind => const { &Row { $($field: $value,)* ..Row::plain($name) } },)*
                }
            }
        }
    };
}

wait_kinds! {
    /// A mutex.
    Mutex = "mutex" { lock: true, phrase: Some("a wait for a mutex"), stuck: Stuck::Soon };
    /// A readers-writer lock.
    Rwlock = "rwlock" { lock: true, phrase: Some("a wait for a readers-writer lock"), stuck: Stuck::Soon };
    /// A condition variable.
    Condvar = "condvar" { idle: Idle::If(idle::pooled) };
    /// A semaphore.
    Semaphore = "semaphore" { idle: Idle::If(idle::pooled) };
    /// A barrier.
    Barrier = "barrier" { idle: Idle::If(idle::library) };
    /// The end of a thread.
    Join = "join" { idle: Idle::If(idle::join) };
    /// A futex that nothing better is known of.
    Futex = "futex" { idle: Idle::If(idle::library) };
    /// A time span, or a signal.
    Sleep = "sleep" { idle: Idle::Always("sleeps, or waits for a signal") };
    /// Events of several descriptors (poll, epoll, select), or of one that stands for events.
    Poll = "poll" { idle: Idle::If(idle::event_loop) };
    /// A pipe or message queue.
    Pipe = "pipe" {};
    /// A socket.
    Socket = "socket" { idle: Idle::If(idle::accept) };
    /// A file, a file lock or a terminal.
    File = "file" { idle: Idle::If(idle::terminal) };
    /// A child process.
    Child = "child" {};
    /// An io_uring.
    IoUring = "io_uring" { idle: Idle::Always("waits for completions of an io_uring, as an event loop does") };
    /// A page of memory.
    PageFault = "page_fault" {
        shown: "page fault", phrase: Some("a wait for a page of memory"), stuck: Stuck::Late
    };
    /// It is stopped, by a signal or a debugger.
    Stopped = "stopped" { stuck: Stuck::Always };
    /// Unknown.
    Unknown = "unknown" {};
}

impl Row {
    const fn plain(name: &'static str) -> Self {
        Self { name, shown: name, phrase: None, lock: false, idle: Idle::Never, stuck: Stuck::Never }
    }
}

impl WaitKind {
    /// Its name, as in JSON.
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// Whether it is a lock that one thread holds against others.
    pub const fn is_lock(self) -> bool {
        self.row().lock
    }
}

impl fmt::Display for WaitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_json() {
        let mut known = std::collections::BTreeSet::new();
        for kind in WaitKind::ALL {
            let json = serde_json::to_value(kind).expect("a value");
            assert_eq!(json, kind.name());
            assert_eq!(serde_json::from_value::<WaitKind>(json).expect("a kind"), *kind);
            assert!(
                known.insert(kind.name()) && known.len() == *kind as usize + 1,
                "{kind} stands for two kinds"
            );
        }
    }

    #[test]
    fn locks_are_never_idle_by_their_kind() {
        let mut locks = WaitKind::ALL.iter().filter(|kind| kind.is_lock());
        assert!(locks.all(|kind| matches!(kind.row().idle, Idle::Never)));
    }
}

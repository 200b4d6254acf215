//! Goroutines as they were found at one moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A logical frame of a Go stack, named by the target's own tables.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GoFrame {
    /// Address in the target: of the innermost frame of a running goroutine the instruction itself,
    /// otherwise the return address. What was inlined has the address of what it was inlined into.
    pub address: u64,
    /// Function, as Go prints it: `main.(*Hub).run`.
    pub function: Arc<str>,
    /// Bytes from the start of the function that holds the code; `None` where it was inlined.
    pub function_offset: Option<u64>,
    /// Source file.
    pub file: Arc<str>,
    /// Line in it; 0 if the tables have none.
    pub line: u32,
    /// Line that the function begins at; 0 if the tables have none, as those before Go 1.20.
    pub start_line: u32,
    /// Whether it was inlined into the next frame.
    pub inlined: bool,
}

/// Why a Go stack has no more frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum GoStackEnd {
    /// It reached the goroutine's first function.
    Root,
    /// It has more frames than are kept.
    TooDeep,
    /// A return address lies in no Go function.
    UnknownCode,
    /// The stack could not be read, or kept changing while it was read.
    Unreadable,
    /// The goroutine was running: its stack cannot be known without stopping it.
    Running,
}

impl GoStackEnd {
    /// In words; `root` for a whole stack.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::TooDeep => "more frames than are kept",
            Self::UnknownCode => "an address in no Go function",
            Self::Unreadable => "the stack could not be read, or kept changing",
            Self::Running => "the goroutine was running",
        }
    }
}

/// A distinct stack of goroutines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoStack {
    /// Frames, innermost first, as Go's own profiles have them: wrappers that the compiler made are
    /// left out.
    pub frames: Vec<GoFrame>,
    /// Why there are no more.
    pub end: GoStackEnd,
}

/// What a goroutine does; `runtime/runtime2.go`, the `_G…` constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum GoState {
    /// In a queue to run.
    Runnable,
    /// On a thread now.
    Running,
    /// In a system call or in C code.
    Syscall,
    /// Blocked; the wait reason says in what.
    Waiting,
    /// Preempted, to be made runnable again.
    Preempted,
    /// Blocked for ever, as the garbage collector has found (Go 1.26).
    Leaked,
}

impl GoState {
    /// All of them.
    const ALL: [Self; 6] =
        [Self::Runnable, Self::Running, Self::Syscall, Self::Waiting, Self::Preempted, Self::Leaked];

    /// The state of this [`name`](Self::name).
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// As Go's stack dumps say it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Runnable => "runnable",
            Self::Running => "running",
            Self::Syscall => "syscall",
            Self::Waiting => "waiting",
            Self::Preempted => "preempted",
            Self::Leaked => "leaked",
        }
    }
}

/// How long a goroutine has been blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// For at least so long, in ns: a garbage collection noted it then, so it had blocked before.
    AtLeast(u64),
    /// Since the last garbage collection: none has noted it. Go notes no other times.
    SinceLastGc,
    /// It is not known: there was no collection that would have noted it.
    Unknown,
    /// It does not wait.
    No,
}

/// What can wake a parked goroutine, as far as the runtime's memory tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Wakes {
    /// It is not known.
    #[default]
    Unknown,
    /// Nothing: it selects among channels that are all nil.
    Nothing,
    /// A timer that is set, once.
    Timer,
    /// A ticker that runs.
    Ticker,
}

impl Wakes {
    /// In a word; `None` where it is not known.
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Self::Unknown => None,
            Self::Nothing => Some("nothing"),
            Self::Timer => Some("timer"),
            Self::Ticker => Some("ticker"),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Goroutine {
    /// Its number.
    pub id: u64,
    /// The one that created it; `None` where the version does not keep it (before Go 1.21) or nobody did.
    pub parent: Option<u64>,
    /// What it does.
    pub state: GoState,
    /// Why it waits, in the target's own words: `chan receive`.
    pub wait_reason: Option<Arc<str>>,
    /// How long.
    pub blocked: Blocked,
    /// What can wake it.
    pub wakes: Wakes,
    /// Whether it waits in a circle of locks, or behind one.
    pub deadlocked: bool,
    /// Whether it can never run again, as several looks at all that others reach have shown.
    pub leaked: bool,
    /// Index into [`GoroutineSnapshot::stacks`].
    pub stack: usize,
    /// Where it was created: the `go` statement; `None` for the first ones.
    pub created_by: Option<GoFrame>,
    /// Its first function.
    pub start_function: Option<Arc<str>>,
    /// Labels (`runtime/pprof.Do`), an index into [`GoroutineSnapshot::labels`].
    pub labels: Option<usize>,
    /// Whether it is one of the runtime's own, which Go's profiles leave out.
    pub system: bool,
    /// Whether it is bound to its thread (`runtime.LockOSThread`).
    pub locked_to_thread: bool,
    /// The thread that it runs on or makes a system call on.
    pub tid: Option<u32>,
}

/// What is known to hold a lock: a goroutine that has deferred the call that unlocks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Index into [`GoroutineSnapshot::goroutines`].
    pub goroutine: usize,
    /// The function whose return unlocks it.
    pub function: Arc<str>,
}

/// A lock that goroutines wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedLock {
    /// Where it lies.
    pub address: u64,
    /// Whether it is a `sync.RWMutex`.
    pub read_write: bool,
    /// Who waits: indices into [`GoroutineSnapshot::goroutines`].
    pub waiters: Vec<usize>,
    /// Who holds it, where that shows.
    pub holders: Vec<Holder>,
}

/// A goroutine of a circle: it waits for what the next one holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Index into [`GoroutineSnapshot::goroutines`].
    pub goroutine: usize,
    /// Index into [`GoroutineSnapshot::locks`] of what it waits for.
    pub lock: usize,
    /// The function of the next one that holds it; `None` where that one only waits to write.
    pub held_by: Option<Arc<str>>,
}

/// All goroutines of a program, as they were read while it ran. [`super::aggregate`] adds them up by site.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GoroutineSnapshot {
    /// When they were read: CLOCK_MONOTONIC, in ns.
    pub at_ns: u64,
    /// The goroutines, those of the runtime's own included.
    pub goroutines: Vec<Goroutine>,
    /// Distinct stacks.
    pub stacks: Vec<GoStack>,
    /// Distinct sets of labels.
    pub labels: Vec<BTreeMap<String, String>>,
    /// Locks that goroutines wait for.
    pub locks: Vec<WantedLock>,
    /// Circles of goroutines that wait for each other's locks.
    pub circles: Vec<Vec<Link>>,
    /// How many had to be read again because they changed.
    pub retried: u64,
    /// Losses by name (see `aggregate::losses`).
    pub losses: Vec<(&'static str, u64)>,
}

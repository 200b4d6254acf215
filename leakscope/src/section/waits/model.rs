//! What a report says of blocked threads: who they are, and who ended waits.

use std::fmt;

use schemars::JsonSchema;
use serde::de::IntoDeserializer as _;
use serde::de::value::{Error as ValueError, StrDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::peers::Peer;
use crate::section::json::with_stack;
use crate::section::model::{Address, Stack, StackEnd};
use crate::section::shared::SharedFrames;
use crate::wait::WaitKind;
use crate::wait::verdict::Verdict;

/// Blocked threads: those that are, and what has blocked during the window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Waits {
    /// Whether every wait of the window was counted, and every thread of the snapshot has its stack.
    pub exact: bool,
    /// How the numbers were had.
    pub method: String,
    /// Threads of the process at the end of the window.
    pub threads: u64,
    /// Of these, blocked ones.
    pub blocked_now: u64,
    /// Of the blocked ones, those of which there is evidence that they are stuck: `verdict` of their sites.
    #[serde(default)]
    pub stuck_now: u64,
    /// How long the one of these that waits longest has been blocked; null if there are none.
    #[serde(default)]
    pub longest_stuck_ns: Option<u64>,
    /// Of the blocked ones, those of which nobody can tell whether they should wait.
    #[serde(default)]
    pub unknown_now: u64,
    /// How long the one of these that waits longest has been blocked; null if there are none.
    #[serde(default)]
    pub longest_unknown_ns: Option<u64>,
    /// Of the blocked ones, those that kept changing while they were looked at and have no stack.
    pub unsettled: u64,
    /// Threads that began or ended while the process was looked at, as far as that was seen.
    pub vanished: u64,
    /// Sites, ranked: deadlocks first, idle ones last.
    pub sites: Vec<WaitSite>,
    /// Cycles of threads that wait for each other, and go on for ever.
    pub deadlocks: Vec<Deadlock>,
    /// The same where at least one of them waits until a time limit at most.
    #[serde(default)]
    pub mutual_waits: Vec<Deadlock>,
    /// Threads that ran at the end of the window.
    #[serde(default)]
    pub running: Vec<RunningThread>,
    /// Stacks that ended waits, by the wait time that they ended; empty for `dump`.
    pub wakers: Vec<Waker>,
    /// Stacks that held locks while others waited, by the time that these waited in the window; empty for `dump`.
    #[serde(default)]
    pub lock_holders: Vec<LockHolder>,
    /// The longest single waits that ended in the window, at least `--min-wait` long; empty without it.
    pub long_waits: Vec<LongWait>,
}

impl Waits {
    /// Adds up who is stuck, and of whom that is unknown, from the sites.
    pub fn count_stuck(&mut self) {
        (self.stuck_now, self.longest_stuck_ns) = self.sum(Verdict::Stuck);
        (self.unknown_now, self.longest_unknown_ns) = self.sum(Verdict::Unknown);
    }

    fn sum(&self, verdict: Verdict) -> (u64, Option<u64>) {
        let sites = self.blocked(verdict);
        let threads = sites.clone().map(|site| site.blocked_now).fold(0, u64::saturating_add);
        (threads, sites.filter_map(|site| site.longest_blocked_ns).max())
    }

    /// The sites where threads are blocked now, with this verdict.
    pub fn blocked(&self, verdict: Verdict) -> impl Iterator<Item = &WaitSite> + Clone {
        self.sites.iter().filter(move |site| site.blocked_now > 0 && site.verdict() == verdict)
    }
}

with_stack! {
    /// What blocked at one stack, in one system call, for one kind of thing.
    pub struct WaitSite {
        /// Identifies the site within this run.
        pub site_id: String,
        /// Identifies the stack: one can wait in several system calls and for several kinds of things, which are
        /// sites of their own.
        #[serde(default)]
        pub stack_id: String,
        /// Place, from 1.
        pub rank: u64,
        /// What is waited for.
        pub kind: WaitKind,
        /// The system call; null where the thread was in none (a page fault).
        pub operation: Option<String>,
        /// The function of a library or runtime that tells the kind, such as `pthread_mutex_lock`.
        pub primitive: Option<String>,
        /// What to think of it: `stuck` by evidence, `idle` by a rule, or `unknown`; null in reports of versions that
        /// knew but `idle`.
        #[serde(default)]
        pub verdict: Option<Verdict>,
        /// The evidence, or why nobody can tell; null if it is idle.
        #[serde(default)]
        pub verdict_reason: Option<String>,
        /// Whether this looks like waiting for work, not like being stuck: `verdict` is `idle`.
        pub idle: bool,
        /// The rule that says so.
        pub idle_rule: Option<String>,
        /// Threads blocked here at the end of the window.
        pub blocked_now: u64,
        /// How long the one that waits longest has been blocked.
        pub longest_blocked_ns: Option<u64>,
        /// Waits that ended in the window; null for `dump`.
        pub waits: Option<u64>,
        /// Their time.
        pub wait_ns: Option<u64>,
        /// The longest of them.
        pub max_wait_ns: Option<u64>,
        /// How many took at most so long: pairs of upper bound in ns and count, without empty ones. What lies
        /// above 2^47 ns (39 h) is one class; its bound is the longest of these waits.
        pub histogram: Vec<(u64, u64)>,
        @
        /// The stack.
        pub stack: Stack {
            /// Index into `frames` of the first frame that is the user's own; null if there is none.
            blame: Option<u64>,
            /// Frames, innermost first.
            #[serde(alias = "stack")]
            frames: SharedFrames,
            /// Why the stack ended: `root`, or what cut it short; null if its frames never arrived.
            stack_end: Option<StackEnd>,
        },
        /// The threads blocked here, longest first.
        pub threads: Vec<WaitThread>,
        /// The locks that they wait for.
        pub locks: Vec<WaitLock>,
    }
}

impl WaitSite {
    /// What to think of it. Of reports of older versions: evidence was a lock.
    pub fn verdict(&self) -> Verdict {
        match self.verdict {
            Some(verdict) => verdict,
            None if self.idle => Verdict::Idle,
            None if self.kind.is_lock() || self.kind == WaitKind::Stopped => Verdict::Stuck,
            None => Verdict::Unknown,
        }
    }

    /// Whether the longest time is only a lower bound.
    pub fn is_at_least(&self) -> bool {
        let of_longest = |thread: &&WaitThread| thread.blocked_ns == self.longest_blocked_ns;
        self.threads.iter().find(of_longest).is_some_and(|thread| thread.at_least)
    }

    /// Whether another site has the very same stack, and waits for something else there. Reports of older
    /// versions do not tell.
    pub fn shares_stack_with(&self, other: &Self) -> bool {
        !self.stack_id.is_empty() && self.stack_id == other.stack_id && self.site_id != other.site_id
    }
}

/// A blocked thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WaitThread {
    /// Thread ID.
    pub tid: u32,
    /// Its name.
    pub name: String,
    /// How long it has been blocked.
    pub blocked_ns: Option<u64>,
    /// Whether `blocked_ns` is only a lower bound.
    pub at_least: bool,
    /// Where `blocked_ns` comes from.
    pub since: Since,
    /// If it comes back to the same wait again and again: how long each takes at most. `blocked_ns` is since it was
    /// first seen there.
    #[serde(default)]
    pub again_ns: Option<u64>,
    /// Address of the lock that it waits for, if it waits for one.
    pub lock: Option<Address>,
    /// Address of the futex that it waits on, whatever that stands for.
    #[serde(default)]
    pub futex: Option<Address>,
    /// What its system call waits for outside of the process's memory, and who is at the other end: of a pipe or
    /// socket, a file lock, a child, or of the one descriptor that is polled. Null if there is no such thing, or if it
    /// was not looked up: a snapshot asks for 200 of them.
    #[serde(default)]
    pub peer: Option<Peer>,
}

/// Where a time of blocking comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Since {
    /// It blocked before the attach: the kernel's note of when the thread last ran.
    BeforeAttach,
    /// Its start was traced.
    Traced,
}

with_stack! {
    /// A lock that threads wait for.
    pub struct WaitLock {
        /// Its address in the target.
        pub address: Address,
        /// Threads of this site that wait for it.
        pub waiters: u64,
        /// The thread that holds it.
        pub owner_tid: Option<u32>,
        /// Its name.
        pub owner_name: Option<String>,
        /// If it is a thread of another process: which.
        #[serde(default)]
        pub owner_process: Option<OwnerProcess>,
        /// What the owner does: its kind of wait, or `running`.
        pub owner_state: Option<OwnerState>,
        @
        /// Where the owner is, if it is blocked itself and that is told.
        pub owner_stack: Option<Stack> {
            /// Where the owner is, if it is blocked itself, innermost frame first. Of a site with very many
            /// locks only the most wanted ones have this: the others' owners are in the sites' lists of threads.
            #[serde(alias = "owner_stack")]
            owner_frames: Option<SharedFrames>,
            /// Index into `owner_frames` of the first frame that is the user's own.
            owner_blame: Option<u64>,
            /// Why the owner's stack ended: `root`, or what cut it short; null without `owner_frames`.
            #[serde(default)]
            owner_stack_end: Option<StackEnd>,
        },
        /// True if the owner was inferred, not read from the lock: see `owner_method`.
        pub owner_inferred: bool,
        /// How the owner was found.
        pub owner_method: Option<String>,
        /// Why the owner is not known.
        pub owner_unknown: Option<String>,
    }
}

/// The process of a lock's owner, where that is another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OwnerProcess {
    /// Its PID.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// Whether a fork has copied the lock while that process held it: its release does not reach the copy.
    pub copied: bool,
}

impl fmt::Display for OwnerProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "of process {} ({})", self.pid, self.name)?;
        if self.copied {
            f.write_str(", from which a fork has copied the lock: its release does not reach the copy")?;
        }
        Ok(())
    }
}

/// What the owner of a lock does. In JSON a text: `running`, or a kind of wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnerState {
    /// It is not blocked.
    Running,
    /// It is blocked itself.
    Waits(WaitKind),
    /// What another version of leakscope says.
    Other(String),
}

const RUNNING: &str = "running";

impl fmt::Display for OwnerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Running => RUNNING,
            Self::Waits(kind) => kind.name(),
            Self::Other(text) => text,
        })
    }
}

impl Serialize for OwnerState {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for OwnerState {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        if text == RUNNING {
            return Ok(Self::Running);
        }
        let kind: StrDeserializer<'_, ValueError> = text.as_str().into_deserializer();
        Ok(WaitKind::deserialize(kind).map_or(Self::Other(text), Self::Waits))
    }
}

impl JsonSchema for OwnerState {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "OwnerState".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        String::json_schema(generator)
    }
}

with_stack! {
    /// A thread that was not blocked: it ran, or was ready to.
    pub struct RunningThread {
        /// Thread ID.
        pub tid: u32,
        /// Its name.
        pub name: String,
        /// Whether a sample found where it was, within some ms of the rest.
        pub sampled: bool,
        @
        /// Where that was.
        pub stack: Stack {
            /// Index into `frames` of the first frame that is the user's own.
            blame: Option<u64>,
            /// Frames, innermost first; empty without a sample.
            #[serde(alias = "stack")]
            frames: SharedFrames,
            /// Why the stack ended.
            stack_end: Option<StackEnd>,
        },
    }
}

/// Threads that wait for each other in a circle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Deadlock {
    /// The threads; each waits for a lock that the next one holds, the last one for the first's.
    pub cycle: Vec<DeadlockThread>,
    /// False if an owner in it was inferred and not read from the lock.
    pub certain: bool,
    /// Further threads that wait, directly or not, for a thread of the cycle.
    pub also_blocked: u64,
}

/// A thread in a deadlock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeadlockThread {
    /// Thread ID.
    pub tid: u32,
    /// Its name.
    pub name: String,
    /// Address of the lock that it waits for.
    pub waits_for: Address,
    /// The thread that holds that lock.
    pub held_by: u32,
    /// Addresses of the locks that it is known to hold.
    pub holds: Vec<Address>,
    /// How long it has been blocked.
    pub blocked_ns: Option<u64>,
    /// How long it waits at most; null: for ever.
    #[serde(default)]
    pub limit_ns: Option<u64>,
    /// The site where it is blocked.
    pub site_id: String,
}

with_stack! {
    /// A stack that ended waits.
    pub struct Waker {
        /// Identifies the waker within this run.
        pub waker_id: String,
        /// Place, from 1: by the wait time that was not idle.
        pub rank: u64,
        /// Wait time that it ended.
        pub wait_ns: u64,
        /// Part of it that was waited at idle sites.
        pub idle_wait_ns: u64,
        /// Waits that it ended.
        pub wakes: u64,
        /// What it is.
        pub by: WakerKind,
        /// Name of the other process.
        pub comm: Option<String>,
        /// Sites whose waits it ended, most wait time first.
        pub sites: Vec<String>,
        @
        /// The stack.
        pub stack: Stack {
            /// Index into `frames` of the first frame that is the user's own.
            blame: Option<u64>,
            /// Frames, innermost first; empty if it is no thread of the target.
            #[serde(alias = "stack")]
            frames: SharedFrames,
            /// Why the stack ended.
            stack_end: Option<StackEnd>,
        },
    }
}

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WakerKind {
    /// A thread of the target.
    Thread,
    /// A thread of another process.
    OtherProcess,
    /// A timer, a device or a kernel thread.
    TimerOrInterrupt,
}

with_stack! {
    /// Who held locks of a kind while others waited for them.
    pub struct LockHolder {
        /// Identifies the holder within this run.
        pub holder_id: String,
        /// Place, from 1.
        pub rank: u64,
        /// What it held.
        pub kind: WaitKind,
        /// How long others waited while it held: a wait is split at the releases that were seen during it.
        pub wait_ns: u64,
        /// Waits that it ended by its release.
        pub contentions: u64,
        /// What it is. Of a timer or interrupt nothing is known but that it ended a wait: who held meanwhile did not
        /// release in time.
        pub by: WakerKind,
        /// Name of the other process.
        pub comm: Option<String>,
        /// The sites that waited, longest first.
        pub waiters: Vec<HeldUp>,
        @
        /// The stack of its release.
        pub stack: Stack {
            /// Index into `frames` of the first frame that is the user's own.
            blame: Option<u64>,
            /// Frames, innermost first; empty if it is no thread of the target.
            #[serde(alias = "stack")]
            frames: SharedFrames,
            /// Why the stack ended.
            stack_end: Option<StackEnd>,
        },
    }
}

impl LockHolder {
    /// Makes its sums those of its sites.
    pub fn add_up(&mut self) {
        let sum = |of: fn(&HeldUp) -> u64| self.waiters.iter().map(of).fold(0, u64::saturating_add);
        (self.wait_ns, self.contentions) = (sum(|site| site.wait_ns), sum(|site| site.contentions));
    }
}

/// A site that waited for what a holder held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeldUp {
    /// The site.
    pub site_id: String,
    /// How long threads waited there meanwhile.
    pub wait_ns: u64,
    /// Waits there that its release ended.
    pub contentions: u64,
}

/// A single wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LongWait {
    /// The thread.
    pub tid: u32,
    /// The site.
    pub site_id: String,
    /// When it began, from the start of the window.
    pub start_ns: u64,
    /// How long it took.
    pub wait_ns: u64,
}

crate::section::site::sites!(WaitSite);
crate::section::site::ranked!(Waker, LockHolder);

//! The shape of a snapshot, which is also the JSON of `top` (schema `leakscope.top/1`).
//!
//! snake_case; bytes and nanoseconds are integers with `_bytes` and `_ns`; times are RFC 3339; what is absent
//! is null, never 0. Within /1 fields are only added. The JSON Schema in `leakscope/schema/top.schema.json`
//! is generated from these types.

use std::cmp::{Ordering, Reverse};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::runtime::RuntimeName;

/// The value of [`Snapshot::schema`].
pub const SCHEMA: &str = "leakscope.top/1";

/// The machine's processes at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Snapshot {
    /// Always `leakscope.top/1`.
    pub schema: String,
    /// Version of the leakscope that wrote it.
    pub leakscope_version: String,
    /// When.
    pub at: String,
    /// The machine.
    pub machine: Machine,
    /// What could not be seen without root.
    pub unseen: Unseen,
    /// Processes, in the order asked for; those of the kernel and ended ones apart.
    pub processes: Vec<Process>,
}

/// The machine's memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Machine {
    /// All memory.
    pub memory_total_bytes: u64,
    /// What programs can have without swapping, as the kernel estimates it.
    pub memory_available_bytes: u64,
    /// All swap.
    pub swap_total_bytes: u64,
    /// Unused swap.
    pub swap_free_bytes: u64,
    /// Growth of what is used; null until enough is known.
    pub growth_bytes_per_min: Option<i64>,
    /// When memory and swap are used up at this rate; null if they are not.
    pub full_in_ns: Option<u64>,
}

/// What could not be seen without root, in processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unseen {
    /// Whose runtime is not known.
    pub runtimes: u64,
    /// Whose threads' waits for locks are not known.
    pub lock_waits: u64,
    /// Whether `/proc` hides processes of others (`hidepid`).
    pub processes_hidden: bool,
}

/// A process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Process {
    /// Process ID.
    pub pid: u32,
    /// Short name.
    pub comm: String,
    /// Command line; null where it has none.
    pub cmdline: Option<String>,
    /// User ID of its owner.
    pub uid: Option<u32>,
    /// Resident memory.
    pub rss_bytes: u64,
    /// Growth of it, by least squares over the last 15 seconds; null in the first snapshot.
    pub growth_bytes_per_min: Option<i64>,
    /// Share of the machine's memory, from 0 to 1.
    pub memory_share: f64,
    /// When the pool with the nearest end is full, at the rate at which that fills; null if it does not, or if
    /// this process is not what fills it.
    pub full_in_ns: Option<u64>,
    /// The pool that `full_in_ns` speaks of, or else the control group with the least room.
    pub limit: Option<Limit>,
    /// Threads.
    pub threads: u64,
    /// Blocked threads: `blocked_uninterruptible` and `blocked_locks`; null if either is.
    pub blocked: Option<u64>,
    /// Threads that wait uninterruptibly (state D); null until they were looked at.
    pub blocked_uninterruptible: Option<u64>,
    /// Threads that wait for a lock, by a rule that looks at no stack (`leakscope dump` does); null until they
    /// were looked at, and where that takes root.
    pub blocked_locks: Option<u64>,
    /// Language runtime; null where its program could not be looked at, or was not yet.
    pub runtime: Option<RuntimeName>,
    /// Container ID (12 digits).
    pub container: Option<String>,
    /// systemd unit.
    pub unit: Option<String>,
    /// Path of the control group that accounts for its memory.
    pub cgroup: Option<String>,
    /// Its latest resident sizes, for the graph; empty in JSON.
    #[serde(skip)]
    pub history: Vec<u64>,
    /// What [`container`](Self::container), [`unit`](Self::unit) and [`cgroup`](Self::cgroup) are in short.
    #[serde(skip)]
    pub place: Option<String>,
}

/// A pool of memory with an end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Limit {
    /// What it is.
    pub kind: LimitKind,
    /// Path of the control group; null for the machine.
    pub cgroup: Option<String>,
    /// Bytes that can't be had back (no page cache).
    pub used_bytes: u64,
    /// Bytes there are, swap included.
    pub limit_bytes: u64,
    /// Growth of `used_bytes` a minute: the median of the slopes between samples; null until enough is known.
    pub growth_bytes_per_min: Option<i64>,
}

/// Kinds of ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LimitKind {
    /// The machine's memory and swap.
    Machine,
    /// A control group's hard limit: there the kernel kills.
    CgroupMax,
    /// A control group's `memory.high`: there the kernel slows it down.
    CgroupHigh,
}

/// What processes are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Order {
    /// Growth, fastest first.
    #[default]
    Growth,
    /// Resident memory, most first.
    Rss,
    /// What is full soonest.
    FullIn,
    /// Blocked threads, most first.
    Blocked,
    /// Threads, most first.
    Threads,
    /// Name.
    Name,
    /// PID.
    Pid,
}

impl Order {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Growth, Self::Rss, Self::FullIn, Self::Blocked, Self::Threads, Self::Name, Self::Pid];

    /// What the screen calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Growth => "growth",
            Self::Rss => "RSS",
            Self::FullIn => "full in",
            Self::Blocked => "blocked",
            Self::Threads => "threads",
            Self::Name => "name",
            Self::Pid => "PID",
        }
    }

    /// Which one comes first; where they are equal, the larger one, then the older PID.
    pub fn compare(self, a: &Process, b: &Process) -> Ordering {
        let by = |f: fn(&Process) -> i64| f(b).cmp(&f(a));
        let first = match self {
            Self::Growth => by(|p| p.growth_bytes_per_min.unwrap_or(0)),
            Self::Rss => Ordering::Equal,
            Self::FullIn => {
                let soon = |p: &Process| p.full_in_ns.unwrap_or(u64::MAX);
                soon(a).cmp(&soon(b)).then_with(|| by(|p| p.growth_bytes_per_min.unwrap_or(0)))
            }
            Self::Blocked => by(|p| known_blocked(p).cast_signed()),
            Self::Threads => by(|p| p.threads.cast_signed()),
            Self::Name => a.comm.cmp(&b.comm),
            Self::Pid => return a.pid.cmp(&b.pid),
        };
        first.then_with(|| Reverse(a.rss_bytes).cmp(&Reverse(b.rss_bytes))).then(a.pid.cmp(&b.pid))
    }
}

/// Threads that are known to be blocked.
pub fn known_blocked(process: &Process) -> u64 {
    process.blocked_uninterruptible.unwrap_or(0) + process.blocked_locks.unwrap_or(0)
}

/// Whether a process is meant by the filter: its name, command line, container, unit, runtime or PID
/// holds it, in any case of letters. Our own command line holds it whenever it was given there: that is
/// no match.
pub fn matches(process: &Process, filter: &str) -> bool {
    if filter.is_empty() {
        return true;
    }
    let filter = filter.to_lowercase();
    let holds = |text: &str| text.to_lowercase().contains(&filter);
    process.pid.to_string().contains(&filter)
        || holds(&process.comm)
        || [&process.container, &process.unit, &process.cgroup].into_iter().flatten().any(|text| holds(text))
        || process.cmdline.as_deref().is_some_and(holds) && process.pid != std::process::id()
        || process.runtime.as_ref().is_some_and(|r| holds(r.as_str()))
}

/// The JSON Schema of a snapshot, as text.
pub fn json_schema() -> String {
    let schema = schemars::schema_for!(Snapshot);
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A process of 1 MiB with nothing known.
    pub(crate) fn process(pid: u32, comm: &str) -> Process {
        Process {
            pid,
            comm: comm.to_owned(),
            cmdline: None,
            uid: Some(0),
            rss_bytes: 1 << 20,
            growth_bytes_per_min: None,
            memory_share: 0.001,
            full_in_ns: None,
            limit: None,
            threads: 1,
            blocked: None,
            blocked_uninterruptible: None,
            blocked_locks: None,
            runtime: None,
            container: None,
            unit: None,
            cgroup: None,
            history: Vec::new(),
            place: None,
        }
    }

    #[test]
    fn the_schema_in_the_repository_is_the_types() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/top.schema.json");
        let kept = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(kept, json_schema(), "run `cargo xtask schema` and commit {path}");
    }

    #[test]
    fn orders() {
        let mut all = vec![process(1, "b"), process(2, "a"), process(3, "c")];
        all[0].growth_bytes_per_min = Some(-5);
        all[1].rss_bytes = 2 << 20;
        all[2].growth_bytes_per_min = Some(5);
        all[0].threads = 9;
        all[0].blocked_uninterruptible = Some(1);
        all[1].full_in_ns = Some(5);
        let sorted = |order: Order| {
            let mut all = all.clone();
            all.sort_by(|a, b| order.compare(a, b));
            all.iter().map(|p| p.pid).collect::<Vec<_>>()
        };
        assert_eq!(
            Order::ALL.map(sorted),
            [[3, 2, 1], [2, 1, 3], [2, 3, 1], [1, 2, 3], [1, 2, 3], [2, 1, 3], [1, 2, 3]]
        );
    }

    #[test]
    fn filters() {
        let mut redis = process(4711, "redis-server");
        redis.unit = Some("cache.service".to_owned());
        redis.runtime = Some(RuntimeName::from(&crate::runtime::Native));
        for filter in ["", "REDIS", "711", "cache", "native"] {
            assert!(matches(&redis, filter), "{filter}");
        }
        assert!(!matches(&redis, "nginx"));
        redis.cmdline = Some("leakscope top --filter nginx".to_owned());
        assert!(matches(&redis, "nginx"));
        redis.pid = std::process::id();
        assert!(!matches(&redis, "nginx"), "what we were asked for");
    }
}

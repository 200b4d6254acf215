//! The truth about blocked threads, as `programs/c/waiters.h` says how it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::str::SplitWhitespace;

use anyhow::{Context as _, Result, bail};

/// A thread that is blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockedThread {
    /// Its ID.
    pub tid: u32,
    /// When it was about to block, CLOCK_MONOTONIC.
    pub since_ns: u64,
    /// The first argument of its system call.
    pub argument: u64,
}

/// Threads that are blocked in one function.
#[derive(Clone, Debug, Default)]
pub struct Group {
    pub name: String,
    /// The kind of their wait.
    pub kind: String,
    /// The system call; `-` where they are in none.
    pub operation: String,
    /// The function that blocks; in a cycle, the first thread's.
    pub function: String,
    /// The line of the call.
    pub line: u64,
    pub threads: Vec<BlockedThread>,
}

impl Group {
    /// Their IDs.
    pub fn tids(&self) -> BTreeSet<u32> {
        self.threads.iter().map(|thread| thread.tid).collect()
    }
}

/// A lock that threads of a group wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    pub group: String,
    /// Where it lies.
    pub address: u64,
    /// The thread that holds it, with its name, where the lock tells.
    pub owner: Option<(u32, String)>,
    /// How many wait.
    pub waiters: u64,
}

/// A thread of a deadlock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CycleThread {
    /// Its ID.
    pub tid: u32,
    /// The lock that it waits for.
    pub waits_for: u64,
    /// Who holds that.
    pub held_by: u32,
    /// The function in which it waits.
    pub function: String,
}

/// The truth about blocked threads.
#[derive(Clone, Debug, Default)]
pub struct Blocked {
    /// Groups by name.
    pub groups: BTreeMap<String, Group>,
    pub locks: Vec<Lock>,
    /// The deadlock, in its order.
    pub cycle: Vec<CycleThread>,
    /// The error with which this kernel refused the scenario.
    pub impossible: Option<i64>,
}

impl Blocked {
    /// Reads the lines that came until `ready`.
    ///
    /// # Errors
    /// If one of them is not understood.
    pub fn parse(lines: &[String]) -> Result<Self> {
        let mut truth = Self::default();
        for line in lines {
            truth.enter(line).with_context(|| line.clone())?;
        }
        for group in truth.groups.values() {
            if group.threads.is_empty() {
                bail!("group {} has no threads", group.name);
            }
        }
        Ok(truth)
    }

    fn enter(&mut self, line: &str) -> Result<()> {
        let mut words = line.split_whitespace();
        match words.next().unwrap_or_default() {
            "blocked" => {
                let group = group(&mut words)?;
                self.groups.insert(group.name.clone(), group);
            }
            "thread" => {
                let name = word(&mut words)?;
                let thread = BlockedThread {
                    tid: word(&mut words)?.parse()?,
                    since_ns: word(&mut words)?.parse()?,
                    argument: hex(word(&mut words)?)?,
                };
                self.groups.get_mut(name).context("no such group")?.threads.push(thread);
            }
            "lock" => {
                let (group, address) = (word(&mut words)?.to_owned(), hex(word(&mut words)?)?);
                let (tid, waiters) = (word(&mut words)?.parse()?, word(&mut words)?.parse()?);
                let owner = (tid != 0).then(|| Ok::<_, anyhow::Error>((tid, word(&mut words)?.to_owned())));
                self.locks.push(Lock { group, address, owner: owner.transpose()?, waiters });
            }
            "cycle" => self.cycle.push(CycleThread {
                tid: word(&mut words)?.parse()?,
                waits_for: hex(word(&mut words)?)?,
                held_by: word(&mut words)?.parse()?,
                function: word(&mut words)?.to_owned(),
            }),
            "impossible" => self.impossible = Some(word(&mut words)?.parse()?),
            "ready" => {}
            other => bail!("{other:?} is not understood"),
        }
        Ok(())
    }

    /// The same with other thread IDs, such as those outside of a PID namespace.
    ///
    /// # Errors
    /// If a thread has none.
    pub fn renumbered(mut self, ids: &BTreeMap<u32, u32>) -> Result<Self> {
        let other = |tid: &mut u32| -> Result<()> {
            *tid = *ids.get(tid).with_context(|| format!("no other ID of {tid}"))?;
            Ok(())
        };
        for thread in self.groups.values_mut().flat_map(|group| &mut group.threads) {
            other(&mut thread.tid)?;
        }
        for owner in self.locks.iter_mut().filter_map(|lock| lock.owner.as_mut()) {
            other(&mut owner.0)?;
        }
        for thread in &mut self.cycle {
            other(&mut thread.tid)?;
            other(&mut thread.held_by)?;
        }
        Ok(self)
    }

    /// A group.
    ///
    /// # Panics
    /// If there is none of that name.
    #[track_caller]
    pub fn group(&self, name: &str) -> &Group {
        self.groups.get(name).unwrap_or_else(|| panic!("no group {name} in {:?}", self.groups.keys()))
    }

    /// How many threads all groups have.
    pub fn threads(&self) -> usize {
        self.groups.values().map(|group| group.threads.len()).sum()
    }
}

fn group(words: &mut SplitWhitespace<'_>) -> Result<Group> {
    let mut group = Group { name: word(words)?.to_owned(), ..Group::default() };
    for pair in words {
        let (key, value) = pair.split_once('=').with_context(|| pair.to_owned())?;
        match key {
            "kind" => group.kind = value.to_owned(),
            "operation" => group.operation = value.to_owned(),
            "function" => group.function = value.to_owned(),
            "line" => group.line = value.parse()?,
            // As many as there are lines of threads.
            "count" => {}
            _ => bail!("{key} is not understood"),
        }
    }
    Ok(group)
}

fn word<'a>(words: &mut SplitWhitespace<'a>) -> Result<&'a str> {
    words.next().context("a word is missing")
}

/// A number as `0x12`.
///
/// # Errors
/// If it is none.
pub fn hex(text: &str) -> Result<u64> {
    let digits = text.strip_prefix("0x").with_context(|| format!("{text:?} is no address"))?;
    Ok(u64::from_str_radix(digits, 16)?)
}

//! Threads of other processes whose IDs stand in locks: of locks that processes share, and of those that a fork has
//! copied while another thread held them.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::Target;
use super::budget::Budget;
use super::proc;

/// IDs that are looked up.
const MOST_LOOKUPS: usize = 64;
/// Threads of another PID namespace that are looked at.
const MOST_THREADS: usize = 1 << 16;
/// Ancestors that are looked at.
const MOST_ANCESTORS: usize = 64;

/// A thread of another process that a word of a lock names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherThread {
    /// The ID by which the target's PID namespace knows it, as it stands in the word.
    pub ns_tid: u32,
    /// Its ID in our PID namespace.
    pub tid: u32,
    /// The process that it belongs to.
    pub pid: u32,
    pub thread_name: String,
    pub process_name: String,
    /// Whether the process can hold the target's locks: it maps the memory that the lock lies in, or one of them is a
    /// copy of the other by fork(2), or both are of a third one. Another process may have the ID by chance.
    pub related: bool,
}

/// What is known of the IDs that were looked up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Others {
    pub threads: Vec<OtherThread>,
    /// IDs that no living thread of a program has in the target's PID namespace. An ID that is in neither list was not looked up, or
    /// not to the end.
    pub nobody: Vec<u32>,
}

impl Others {
    /// Whether nothing was looked up.
    pub fn is_empty(&self) -> bool {
        self.threads.is_empty() && self.nobody.is_empty()
    }
}

/// Looks up words of locks that may be IDs of threads: the word and the lock's address.
pub fn others(target: Target, words: &[(u32, u64)], budget: &Budget) -> Others {
    let mut others = Others::default();
    if words.is_empty() {
        return others;
    }
    let mut lookup = Lookup::new(target, budget);
    for (ns_tid, address) in words.iter().take(MOST_LOOKUPS) {
        let known = others.threads.iter().position(|thread| thread.ns_tid == *ns_tid);
        if others.nobody.contains(ns_tid) || known.is_some_and(|known| others.threads[known].related) {
            continue;
        }
        match lookup.thread_of(*ns_tid, *address, budget) {
            Found::Thread(thread) => match known {
                Some(known) => others.threads[known] = thread,
                None => others.threads.push(thread),
            },
            Found::Nobody => others.nobody.push(*ns_tid),
            Found::Unknown => {}
        }
    }
    others
}

enum Found {
    Thread(OtherThread),
    Nobody,
    Unknown,
}

/// Where threads of the target's PID namespace are found.
struct Lookup {
    target: Target,
    /// By the IDs of the target's namespace, if that is not ours; and whether these are all.
    elsewhere: Option<(HashMap<u32, u32>, bool)>,
}

impl Lookup {
    fn new(target: Target, budget: &Budget) -> Self {
        let namespace = |process: &str| proc::link(&format!("{process}/ns/pid"));
        let theirs = namespace(&target.through.to_string());
        let elsewhere = if theirs.is_some() && namespace("self") == theirs {
            None
        } else {
            Some(theirs.map_or((HashMap::new(), false), |theirs| threads_of(&theirs, budget)))
        };
        Self { target, elsewhere }
    }

    /// The thread that the target's PID namespace knows by an ID.
    fn thread_of(&mut self, ns_tid: u32, address: u64, budget: &Budget) -> Found {
        let tid = match &self.elsewhere {
            None => ns_tid,
            Some((threads, all)) => match threads.get(&ns_tid) {
                Some(tid) => *tid,
                None if *all => return Found::Nobody,
                None => return Found::Unknown,
            },
        };
        if budget.is_spent() {
            return Found::Unknown;
        }
        // A thread of any process can be looked up there, though only processes are listed.
        let Some(status) = proc::read(&format!("{tid}/status")) else { return Found::Nobody };
        let Some(pid) = proc::field(&status, "Tgid").and_then(|pid| pid.parse().ok()) else {
            return Found::Unknown;
        };
        // A thread of the kernel has no memory, one that has ended holds nothing.
        if proc::field(&status, "VmSize").is_none() {
            return Found::Nobody;
        }
        if pid == self.target.pid {
            // It began after the snapshot.
            return Found::Unknown;
        }
        let (Some(thread_name), Some(process_name)) = (proc::name(tid), proc::name(pid)) else {
            return Found::Unknown;
        };
        let related =
            shares_memory(self.target.through, pid, address, budget) || is_kin(self.target.pid, pid);
        Found::Thread(OtherThread { ns_tid, tid, pid, thread_name, process_name, related })
    }
}

/// All threads of a PID namespace by their IDs in it, and whether these are all.
fn threads_of(namespace: &str, budget: &Budget) -> (HashMap<u32, u32>, bool) {
    let mut threads = HashMap::new();
    let Ok(processes) = proc::numbers("") else { return (threads, false) };
    for pid in processes {
        if budget.is_spent() {
            return (threads, false);
        }
        if proc::link(&format!("{pid}/ns/pid")).is_none_or(|of| of != namespace) {
            continue;
        }
        for tid in proc::numbers(&format!("{pid}/task")).into_iter().flatten() {
            if budget.is_spent() || threads.len() >= MOST_THREADS {
                return (threads, false);
            }
            let status = proc::read(&format!("{pid}/task/{tid}/status")).unwrap_or_default();
            threads.extend(proc::field_numbers(&status, "NSpid").last().map(|own| (*own, tid)));
        }
    }
    (threads, true)
}

/// Memory that processes share, as `/proc/PID/maps` identifies it: device and inode number, which shared memory
/// without a file has, too.
fn shared(line: &str, address: Option<u64>) -> Option<(&str, &str)> {
    let mut parts = line.split_ascii_whitespace();
    let (start, end) = parts.next()?.split_once('-')?;
    let (rights, _offset) = (parts.next()?, parts.next()?);
    let (device, inode) = (parts.next()?, parts.next()?);
    let hex = |text| u64::from_str_radix(text, 16).ok();
    let within = match address {
        Some(address) => (hex(start)?..hex(end)?).contains(&address),
        None => true,
    };
    (within && rights.ends_with('s') && inode != "0").then_some((device, inode))
}

/// Whether another process maps the shared memory in which an address of the target's lies.
fn shares_memory(target: u32, other: u32, address: u64, budget: &Budget) -> bool {
    let mut wanted = None;
    proc::lines(&format!("{target}/maps"), budget, |line| {
        wanted = shared(line, Some(address)).map(|(device, inode)| (device.to_owned(), inode.to_owned()));
        wanted.is_none()
    });
    let Some((device, inode)) = wanted else { return false };
    let mut found = false;
    proc::lines(&format!("{other}/maps"), budget, |line| {
        found = shared(line, None) == Some((&device, &inode));
        !found
    });
    found
}

/// Whether two processes run the same program, and one of them descends from the other, or both from a third that
/// runs it, too.
fn is_kin(one: u32, other: u32) -> bool {
    let program = |pid: u32| proc::link(&format!("{pid}/exe"));
    let Some(same) = program(one).filter(|exe| program(other).is_some_and(|of| of == *exe)) else {
        return false;
    };
    let (of_one, of_other) = (ancestors(one), ancestors(other));
    let parent = of_one.first().filter(|parent| of_other.first() == Some(parent));
    of_one.contains(&other)
        || of_other.contains(&one)
        || parent.is_some_and(|parent| program(*parent).is_some_and(|of| of == same))
}

/// Its parent, the parent of that one, and so on.
fn ancestors(pid: u32) -> Vec<u32> {
    let parent = |pid: &u32| {
        let status = proc::read(&format!("{pid}/status"))?;
        proc::field(&status, "PPid")?.parse().ok().filter(|parent| *parent > 0)
    };
    std::iter::successors(parent(&pid), parent).take(MOST_ANCESTORS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_shared() {
        let line = "7f5e6c1d9000-7f5e6c1da000 rw-s 00000000 00:01 1031   /dev/zero (deleted)";
        assert_eq!(shared(line, Some(0x7f5e_6c1d_9010)), Some(("00:01", "1031")));
        assert_eq!(shared(line, Some(0x7f5e_6c1d_a000)), None);
        assert_eq!(shared(line, None), Some(("00:01", "1031")));
        assert_eq!(shared(&line.replace("rw-s", "rw-p"), None), None);
        for odd in ["", "-", "x-y rw-s 0 0:0 1", "1-2 rw-s", "1 rw-s 0 0:0 1"] {
            assert_eq!(shared(odd, Some(1)), None, "{odd}");
        }
    }

    #[test]
    fn words_are_looked_up() {
        let pid = std::process::id();
        let target = Target { pid, through: pid };
        let parent = std::os::unix::process::parent_id();
        let found = others(target, &[(parent, 0), (u32::MAX >> 2, 0), (pid, 0)], &Budget::default());
        assert_eq!(
            found.threads.iter().map(|thread| (thread.tid, thread.pid)).collect::<Vec<_>>(),
            [(parent, parent)]
        );
        assert!(!found.threads[0].related, "it runs another program");
        assert_eq!(found.nobody, [u32::MAX >> 2]);
        let unknown = others(target, &[(parent, 0)], &Budget::spent());
        assert!(unknown.is_empty(), "{unknown:?}");
    }
}

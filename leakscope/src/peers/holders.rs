//! Which processes have a file, pipe or socket open.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Target;
use super::budget::{Budget, SPENT};
use super::locks::{self, FileLock};
use super::model::{End, Peer, PeerProcess};
use super::proc::{self, FdInfo};

/// Descriptors of one link that are kept; more are only counted.
const MOST_OPEN: usize = 1 << 10;
/// Processes of one peer that are listed.
const MOST_HOLDERS: usize = 8;
/// Threads whose descriptors are tried where those of the main one are gone.
const MOST_THREADS: usize = 8;

/// A peer whose holders have yet to be found.
#[derive(Debug)]
pub(super) struct Seek {
    pub(super) peer: Peer,
    /// What the link of their descriptors says.
    pub(super) link: Option<String>,
    pub(super) test: Test,
}

/// Which of the descriptors with that link count.
#[derive(Debug)]
pub(super) enum Test {
    All,
    /// Those of a pipe or FIFO that have one end open, but not this one of the target's.
    Pipe {
        fd: u32,
        inode: u64,
        end: Option<End>,
    },
    /// Those through which locks were taken that are in the way of one.
    Lock {
        wanted: FileLock,
        holders: Vec<FileLock>,
    },
}

impl Seek {
    /// Nothing more is to be looked for.
    pub(super) fn done(peer: Peer) -> Self {
        Self { peer, link: None, test: Test::All }
    }

    pub(super) fn link(peer: Peer, link: String) -> Self {
        Self { peer, link: Some(link), test: Test::All }
    }
}

/// A descriptor of a process, by the thread through which it is reached.
#[derive(Clone, Copy, Debug)]
struct Open {
    pid: u32,
    through: u32,
    fd: u32,
}

/// Descriptors that are looked for in all processes.
#[derive(Debug)]
pub(super) struct Wanted {
    target: Target,
    links: HashMap<String, Vec<Open>>,
    /// Why some may be missing.
    missing: Option<&'static str>,
}

const DENIED: &str = "the descriptors of some processes cannot be read; this needs CAP_SYS_PTRACE";
const HIDDEN: &str = "processes outside of leakscope's PID namespace are not seen";
const MANY: &str = "very many descriptors lead there";

impl Wanted {
    pub(super) fn new<'a>(target: Target, seeks: impl Iterator<Item = &'a Seek>) -> Self {
        let links = seeks.filter_map(|seek| Some((seek.link.clone()?, Vec::new()))).collect();
        Self { target, links, missing: None }
    }

    /// Looks through the descriptors of all processes, if any are looked for.
    pub(super) fn scan(&mut self, budget: &Budget) {
        if self.links.is_empty() {
            return;
        }
        if !proc::sees_all() {
            self.missing = Some(HIDDEN);
        }
        // The target first: without it nothing could be said.
        self.process(self.target.pid, self.target.through, budget);
        let Ok(processes) = proc::numbers("") else {
            self.missing = Some(DENIED);
            return;
        };
        let target = self.target.pid;
        for pid in processes.filter(|pid| *pid != target) {
            if budget.is_spent() {
                self.missing = Some(SPENT);
                return;
            }
            if !self.process(pid, pid, budget) {
                // The main thread may have ended before the others.
                let threads = proc::numbers(&format!("{pid}/task")).into_iter().flatten();
                let mut threads = threads.filter(|tid| *tid != pid).take(MOST_THREADS);
                threads.find(|tid| self.process(pid, *tid, budget));
            }
        }
    }

    /// Looks through the descriptors of one; whether it has any.
    fn process(&mut self, pid: u32, through: u32, budget: &Budget) -> bool {
        let numbers = match proc::numbers(&format!("{through}/fd")) {
            Ok(numbers) => numbers,
            Err(error) => {
                if error.kind() == std::io::ErrorKind::PermissionDenied {
                    self.missing = self.missing.or(Some(DENIED));
                }
                return false;
            }
        };
        let mut any = false;
        for fd in numbers {
            any = true;
            if budget.is_spent() {
                self.missing = Some(SPENT);
                break;
            }
            let Some(link) = proc::link(&format!("{through}/fd/{fd}")) else { continue };
            if let Some(open) = self.links.get_mut(&link) {
                if open.len() < MOST_OPEN {
                    open.push(Open { pid, through, fd });
                } else {
                    self.missing = self.missing.or(Some(MANY));
                }
            }
        }
        any
    }

    /// Fills in who was found.
    pub(super) fn finish(&self, seek: Seek, budget: &Budget) -> Peer {
        let Seek { mut peer, link, test } = seek;
        let Some(link) = link else { return peer };
        let open = self.links.get(&link).map_or(&[][..], Vec::as_slice);
        let mut pids: BTreeSet<u32> = BTreeSet::new();
        for one in open {
            if pids.contains(&one.pid) {
                continue;
            }
            if budget.is_spent() && !matches!(test, Test::All) {
                peer.unknown = Some(SPENT.to_owned());
                break;
            }
            if self.counts(one, &test) {
                pids.insert(one.pid);
            }
        }
        peer.unknown = peer.unknown.or(self.missing.map(str::to_owned));
        match test {
            Test::Lock { wanted, holders } => {
                locks::by_pid(&wanted, &holders, &mut pids);
                if !pids.is_empty() {
                    // Who is in the way is told by the lock itself.
                    peer.unknown = None;
                } else if peer.unknown.is_none() {
                    peer.unknown =
                        Some("no process was found through whose descriptors it was taken".to_owned());
                }
            }
            Test::Pipe { .. } if link.starts_with('/') => {
                let why = "a FIFO is looked for by its name, and can be open under others";
                peer.unknown = peer.unknown.or(Some(why.to_owned()));
            }
            _ => {}
        }
        self.fill(&mut peer, &pids);
        peer
    }

    fn counts(&self, open: &Open, test: &Test) -> bool {
        match test {
            Test::All => true,
            Test::Pipe { fd, inode, end } => {
                if open.pid == self.target.pid && open.fd == *fd {
                    return false;
                }
                FdInfo::of(open.through, open.fd).is_some_and(|info| {
                    let (reads, writes) = info.access();
                    info.inode == *inode
                        && match end {
                            Some(End::Read) => reads,
                            Some(End::Write) => writes,
                            None => true,
                        }
                })
            }
            Test::Lock { wanted, holders } => {
                let of_descriptor = holders.iter().any(FileLock::is_of_descriptor);
                of_descriptor
                    && FdInfo::of(open.through, open.fd).is_some_and(|info| wanted.is_held_by(&info.locks))
            }
        }
    }

    fn fill(&self, peer: &mut Peer, pids: &BTreeSet<u32>) {
        let (own, others): (Vec<u32>, Vec<u32>) = pids.iter().partition(|pid| **pid == self.target.pid);
        let mut named: BTreeMap<u32, String> = BTreeMap::new();
        for pid in others.iter().copied() {
            if named.len() == MOST_HOLDERS {
                break;
            }
            named.extend(proc::name(pid).map(|name| (pid, name)));
        }
        peer.more = (others.len() - named.len()) as u64;
        peer.holders =
            named.into_iter().map(|(pid, name)| PeerProcess { pid, name, itself: false }).collect();
        let itself = |pid| PeerProcess { pid, name: proc::name(pid).unwrap_or_default(), itself: true };
        peer.holders.extend(own.into_iter().map(itself));
    }
}

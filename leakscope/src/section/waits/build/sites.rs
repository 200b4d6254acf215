//! Sites: what is blocked now and what has blocked in the window, by stack.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};

use super::WaitInputs;
use super::book::{Book, Entry};
use super::holders::{Holder, Holders};
use crate::collect::waits::aggregate::SiteWaits;
use crate::peers::What;
use crate::section::model::{
    Address, Cut, OwnerProcess, OwnerState, Since, StackEnd, WaitLock, WaitSite, WaitThread,
};
use crate::section::site::site_id;
use crate::section::waits::answer::is_notable;
use crate::stack::StackId;
use crate::symbol::FrameOwner;
use crate::wait::classify::{Classified, Facts};
use crate::wait::locks::{Elsewhere, Lock, ThreadIds, decode};
use crate::wait::primitives::Mark;
use crate::wait::verdict::{Circle, Verdict, judge};
use crate::wait::{
    AGAIN_NS, FdTarget, TaskState, Thread, ThreadSnapshot, WaitKind, WaitSiteId, classify, idle,
};

/// A thread that is blocked now.
#[derive(Debug)]
pub(super) struct Blocked<'a> {
    pub thread: &'a Thread,
    pub classified: Classified,
    pub key: SiteKey,
    pub lock: Option<Lock>,
    pub blocked_ns: u64,
    pub at_least: bool,
    pub since: Since,
}

/// The blocked threads of a snapshot.
pub(super) fn blocked<'a>(
    inputs: &WaitInputs<'_>,
    snapshot: &'a ThreadSnapshot,
    book: &mut Book<'_, '_>,
) -> Vec<Blocked<'a>> {
    let ids = ThreadIds::new(snapshot);
    let open: HashMap<u32, u64> = inputs
        .window
        .into_iter()
        .flat_map(|window| &window.open)
        .map(|open| (open.tid, open.since_ns))
        .collect();
    let blocked = |thread: &'a Thread| {
        let before = thread.blocked_ns?;
        let facts = Facts {
            name: Some(&thread.name),
            state: thread.state,
            syscall: thread.syscall,
            fd: FdTarget::of(&thread.descriptor),
            several: false,
        };
        let classified = classify(facts, &book.get(thread.stack).marks);
        let key = SiteKey::new(thread.stack, &classified, facts.fd);
        let lock = classified.lock.and_then(|lock| decode(&lock, thread.futex.as_ref(), &ids));
        let (this_wait_ns, at_least, since) = match open.get(&thread.tid) {
            Some(since_ns) => (inputs.at_ns.saturating_sub(*since_ns), false, Since::Traced),
            None => (before, thread.blocked_at_least, Since::BeforeAttach),
        };
        // A wait with a limit may not be the first one here.
        let blocked_ns = thread.again.map_or(this_wait_ns, |again| again.for_ns.max(this_wait_ns));
        let renewed = classified.kind.is_lock() && thread.limit_ns.is_some_and(|limit| limit <= AGAIN_NS);
        let at_least = at_least || thread.again.is_some() || renewed;
        Some(Blocked { thread, classified, key, lock, blocked_ns, at_least, since })
    };
    snapshot.threads.iter().filter_map(blocked).collect()
}

/// What makes waits those of one site: they agree in all of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct SiteKey {
    stack: Option<StackId>,
    kind: WaitKind,
    operation: Option<&'static str>,
    primitive: Option<String>,
    fd: Option<FdTarget>,
}

impl SiteKey {
    fn new(stack: Option<StackId>, what: &Classified, fd: Option<FdTarget>) -> Self {
        let (kind, operation, primitive) = (what.kind, what.operation, what.primitive.clone());
        Self { stack, kind, operation, primitive, fd }
    }

    /// Identifies the site in the report: the same in each report of a run.
    pub(super) fn id(&self) -> String {
        let mut hasher = crc32fast::Hasher::new();
        let parts = [self.kind.name(), self.operation.unwrap_or_default()];
        for part in parts.into_iter().chain(self.primitive.as_deref()) {
            hasher.update(part.as_bytes());
            hasher.update(&[0]);
        }
        hasher.update(&[self.fd.map_or(0, |fd| fd as u8 + 1)]);
        format!("{}-{:08x}", site_id(self.stack), hasher.finalize())
    }
}

/// Where two sources meet.
struct Parts<'a, 'b> {
    what: Classified,
    blocked: Vec<&'b Blocked<'a>>,
    finished: Vec<&'b SiteWaits>,
}

impl Parts<'_, '_> {
    fn of(what: &Classified) -> Self {
        Self { what: what.clone(), blocked: Vec::new(), finished: Vec::new() }
    }
}

/// Sites, and where waits of the kernel side's sites went.
pub(super) struct Sites {
    pub(super) sites: Vec<WaitSite>,
    pub(super) ids: HashMap<Option<WaitSiteId>, String>,
}

impl Sites {
    /// The site of the report that has the waits of one of the kernel side's.
    pub(super) fn id(&self, site: Option<WaitSiteId>) -> String {
        self.ids.get(&site).cloned().unwrap_or_else(|| site_id(None))
    }
}

/// All sites, ranked.
pub(super) fn sites(
    inputs: &WaitInputs<'_>,
    snapshot: &ThreadSnapshot,
    blocked: &[Blocked<'_>],
    holders: &Holders,
    book: &mut Book<'_, '_>,
) -> Sites {
    let mut parts: BTreeMap<SiteKey, Parts<'_, '_>> = BTreeMap::new();
    for thread in blocked {
        let part = parts.entry(thread.key.clone()).or_insert_with(|| Parts::of(&thread.classified));
        part.blocked.push(thread);
    }
    let mut ids = HashMap::new();
    for finished in inputs.window.into_iter().flat_map(|window| &window.sites) {
        let facts = Facts {
            name: None,
            state: TaskState::Interruptible,
            syscall: finished.syscall,
            fd: finished.fd,
            several: finished.several,
        };
        let what = classify(facts, &book.get(finished.stack).marks);
        let key = SiteKey::new(finished.stack, &what, finished.fd);
        ids.insert(finished.id, key.id());
        parts.entry(key).or_insert_with(|| Parts::of(&what)).finished.push(finished);
    }
    let mut owners = Owners {
        threads: snapshot.threads.iter().map(|thread| (thread.tid, thread)).collect(),
        blocked: blocked.iter().map(|thread| (thread.thread.tid, thread)).collect(),
        holders,
        at_work: at_work(snapshot, book),
        book,
    };
    let mut sites: Vec<(Order, WaitSite)> = parts
        .into_iter()
        .map(|(key, mut parts)| {
            let by_time = |b: &&Blocked<'_>| (Reverse(b.blocked_ns), b.thread.tid);
            parts.blocked.sort_by_key(by_time);
            let site = site(&key, &parts, inputs, &mut owners);
            (order(&site, &parts, holders), site)
        })
        .collect();
    // Stable: what is equal stays in the order of its stack's number.
    sites.sort_by_key(|(order, _)| *order);
    let ranked = sites.into_iter().zip(1..).map(|((_, site), rank)| WaitSite { rank, ..site });
    Sites { sites: ranked.collect(), ids }
}

/// What ranks sites: group, then threads blocked, longest, time.
type Order = (u8, Reverse<u64>, Reverse<u64>, Reverse<u64>);

fn order(site: &WaitSite, parts: &Parts<'_, '_>, holders: &Holders) -> Order {
    let now: u64 = parts.blocked.iter().fold(0, |sum, thread| sum.saturating_add(thread.blocked_ns));
    let time = site.wait_ns.unwrap_or_default().saturating_add(now);
    let longest = Reverse(site.longest_blocked_ns.unwrap_or_default());
    if circle(parts, holders) != Circle::None {
        (0, Reverse(site.blocked_now), longest, Reverse(time))
    } else if is_notable(site) {
        (1, Reverse(site.blocked_now), longest, Reverse(time))
    } else {
        // A wait of a moment says little, whoever is in it now.
        let group = match site.verdict() {
            Verdict::Stuck => 2,
            Verdict::Unknown => 3,
            Verdict::Idle => 4,
        };
        (group, Reverse(time), longest, Reverse(site.blocked_now))
    }
}

fn site(
    key: &SiteKey,
    parts: &Parts<'_, '_>,
    inputs: &WaitInputs<'_>,
    owners: &mut Owners<'_, '_, '_, '_>,
) -> WaitSite {
    let entry = owners.book.get(key.stack);
    let what = &parts.what;
    let longest_blocked_ns = parts.blocked.iter().map(|thread| thread.blocked_ns).max();
    let judgement = judge(
        &facts(key, parts, &entry, owners),
        circle(parts, owners.holders),
        longest_blocked_ns.unwrap_or_default(),
        &crate::runtime::rules().workers,
    );
    let idle = judgement.verdict == Verdict::Idle;
    let why = judgement.why.to_owned();
    let (idle_rule, verdict_reason) = if idle { (Some(why), None) } else { (None, Some(why)) };
    let window = inputs.window.is_some();
    let sum = |of: fn(&SiteWaits) -> u64| {
        window.then(|| parts.finished.iter().fold(0u64, |sum, waits| sum.saturating_add(of(waits))))
    };
    let mut stack = entry.charged(what.primitive_frame.or_else(|| entry.stub(what.operation?)));
    if stack.end.is_none() && !parts.blocked.is_empty() {
        stack.end = Some(StackEnd::Cut(Cut::Unsettled));
    }
    WaitSite {
        site_id: key.id(),
        stack_id: site_id(key.stack),
        rank: 0,
        kind: what.kind,
        operation: what.operation.map(str::to_owned),
        primitive: what.primitive.clone(),
        verdict: Some(judgement.verdict),
        verdict_reason,
        idle,
        idle_rule,
        blocked_now: parts.blocked.len() as u64,
        longest_blocked_ns,
        waits: sum(|waits| waits.waits),
        wait_ns: sum(|waits| waits.wait_ns),
        max_wait_ns: parts.finished.iter().map(|waits| waits.max_ns).max(),
        histogram: histogram(&parts.finished),
        stack,
        threads: parts.blocked.iter().map(|thread| wait_thread(thread)).collect(),
        locks: locks(&parts.blocked, owners),
    }
}

/// What the verdict on a site is made from.
fn facts<'a>(
    key: &SiteKey,
    parts: &Parts<'_, '_>,
    entry: &'a Entry,
    owners: &Owners<'_, '_, '_, '_>,
) -> idle::Site<'a> {
    let what = &parts.what;
    let threads = || parts.blocked.iter().map(|blocked| blocked.thread);
    idle::Site {
        kind: what.kind,
        operation: what.operation,
        fd: key.fd,
        frames: &entry.marks,
        primitive: what.primitive_frame,
        complete: entry.stack.end == Some(StackEnd::Root),
        blocked_now: parts.blocked.len() as u64,
        main_thread: threads().any(|thread| thread.main),
        holds_wanted_lock: threads().any(|thread| owners.holders.held_by(thread.tid).next().is_some()),
        listens: threads()
            .any(|thread| thread.peer.as_ref().is_some_and(|peer| peer.what == What::Listening)),
        joined: parts.blocked.iter().all(|blocked| blocked.lock.is_some()),
        holder_receives: behind_receivers(parts, owners),
        library_at_work: entry.marks.iter().any(|mark| owners.at_work.contains(&mark.file)),
    }
}

/// Whether all threads of a site want locks whose holders wait to receive from a channel.
fn behind_receivers(parts: &Parts<'_, '_>, owners: &Owners<'_, '_, '_, '_>) -> bool {
    let receives = |blocked: &&Blocked<'_>| {
        let lock = blocked.lock.as_ref()?;
        let Some(Holder::Known { tid, .. }) = owners.holders.of(lock.address) else { return None };
        owners.blocked.get(tid)?.classified.primitive.as_deref().filter(|name| name.ends_with("::recv"))
    };
    !parts.blocked.is_empty() && parts.blocked.iter().all(|blocked| receives(blocked).is_some())
}

/// Whether the threads of a site are in a circle.
fn circle(parts: &Parts<'_, '_>, holders: &Holders) -> Circle {
    let circles = parts.blocked.iter().filter_map(|blocked| holders.circle(blocked.thread.tid));
    circles.fold(Circle::None, |worst, endless| match (worst, endless) {
        (_, true) => Circle::Endless,
        (Circle::None, false) => Circle::Timed,
        (worst, false) => worst,
    })
}

fn wait_thread(blocked: &Blocked<'_>) -> WaitThread {
    WaitThread {
        tid: blocked.thread.tid,
        name: blocked.thread.name.clone(),
        blocked_ns: Some(blocked.blocked_ns),
        at_least: blocked.at_least,
        since: blocked.since,
        again_ns: blocked.thread.again.map(|again| again.period_ns),
        lock: blocked.lock.as_ref().map(|lock| Address(lock.address)),
        futex: blocked.thread.futex.as_ref().map(|futex| Address(futex.address)),
        peer: blocked.thread.peer.clone(),
    }
}

fn histogram(finished: &[&SiteWaits]) -> Vec<(u64, u64)> {
    let mut sums: BTreeMap<u64, u64> = BTreeMap::new();
    for &(upper, count) in finished.iter().flat_map(|waits| &waits.histogram) {
        let sum = sums.entry(upper).or_default();
        *sum = sum.saturating_add(count);
    }
    sums.into_iter().filter(|&(_, count)| count > 0).collect()
}

/// What is needed to describe the holders of locks.
struct Owners<'h, 'p, 'n, 'f> {
    threads: HashMap<u32, &'h Thread>,
    blocked: HashMap<u32, &'h Blocked<'h>>,
    holders: &'h Holders,
    /// Files of libraries that run code of the program in some thread.
    at_work: HashSet<String>,
    book: &'p mut Book<'n, 'f>,
}

/// The libraries that run code of the program: their own threads may wait for it.
fn at_work(snapshot: &ThreadSnapshot, book: &mut Book<'_, '_>) -> HashSet<String> {
    let mut files = HashSet::new();
    let stacks: HashSet<StackId> = snapshot.threads.iter().filter_map(|thread| thread.stack).collect();
    for stack in stacks {
        let entry = book.get(Some(stack));
        let Some(first) = entry.marks.iter().position(Mark::runs_code) else { continue };
        let around = entry.marks[first..].iter().filter(|mark| mark.c_library.is_none());
        let library = around.filter(|mark| mark.owner <= FrameOwner::Runtime && !mark.file.is_empty());
        files.extend(library.map(|mark| mark.file.clone()));
    }
    files
}

/// For so many locks of a site the holder's frames are given. Further holders' frames are at the sites
/// that have them in their lists of threads.
const LOCKS_WITH_FRAMES: usize = 256;

/// The locks of one site, those with most waiters first.
fn locks(blocked: &[&Blocked<'_>], owners: &mut Owners<'_, '_, '_, '_>) -> Vec<WaitLock> {
    let mut waiters: BTreeMap<u64, u64> = BTreeMap::new();
    for lock in blocked.iter().filter_map(|thread| thread.lock.as_ref()) {
        *waiters.entry(lock.address).or_default() += 1;
    }
    let mut locks: Vec<(u64, u64)> = waiters.into_iter().collect();
    locks.sort_by_key(|&(address, waiters)| (Reverse(waiters), address));
    let describe = |(at, (address, waiters))| lock(address, waiters, at < LOCKS_WITH_FRAMES, owners);
    locks.into_iter().enumerate().map(describe).collect()
}

fn lock(address: u64, waiters: u64, with_frames: bool, owners: &mut Owners<'_, '_, '_, '_>) -> WaitLock {
    let mut lock = WaitLock {
        address: Address(address),
        waiters,
        owner_tid: None,
        owner_name: None,
        owner_process: None,
        owner_state: None,
        owner_stack: None,
        owner_inferred: false,
        owner_method: None,
        owner_unknown: None,
    };
    match owners.holders.of(address) {
        Some(Holder::Known { tid, method, inferred }) => {
            lock.owner_tid = Some(*tid);
            lock.owner_name = owners.threads.get(tid).map(|thread| thread.name.clone());
            lock.owner_inferred = *inferred;
            lock.owner_method = Some((*method).to_owned());
            let blocked = owners.blocked.get(tid);
            let state = blocked.map(|owner| OwnerState::Waits(owner.classified.kind));
            lock.owner_state = Some(state.unwrap_or(OwnerState::Running));
            // Of one that runs, a sample.
            let entry = owners.book.get(owners.threads.get(tid).and_then(|owner| owner.stack));
            if with_frames && !entry.stack.frames.is_empty() {
                lock.owner_stack =
                    Some(entry.charged(blocked.and_then(|owner| owner.classified.primitive_frame)));
            }
        }
        Some(Holder::Elsewhere(Elsewhere { thread, copied })) => {
            lock.owner_tid = Some(thread.tid);
            lock.owner_name = Some(thread.thread_name.clone());
            lock.owner_process =
                Some(OwnerProcess { pid: thread.pid, name: thread.process_name.clone(), copied: *copied });
            lock.owner_method =
                Some("the TID in the lock, and the process that has such a thread".to_owned());
        }
        Some(Holder::Unknown(why)) => lock.owner_unknown = Some(why.clone()),
        None => lock.owner_unknown = Some("nothing is known of it".to_owned()),
    }
    lock
}

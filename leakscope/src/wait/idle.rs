//! Waits that look like waiting for work, not like being stuck, and the rules that say so.

use super::kind::Idle;
use super::primitives::Mark;
use super::{FdTarget, WaitKind};
use crate::symbol::FrameOwner;

/// What is known of a site.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    /// What is waited for.
    pub kind: WaitKind,
    /// The system call.
    pub operation: Option<&'a str>,
    /// What the descriptor in its first argument is.
    pub fd: Option<FdTarget>,
    /// Its frames, innermost first.
    pub frames: &'a [Mark],
    /// Index of the function that tells the kind.
    pub primitive: Option<usize>,
    /// Whether the frames reach the thread's first function.
    pub complete: bool,
    /// Threads that are blocked here.
    pub blocked_now: u64,
    /// Whether one of them is the main thread.
    pub main_thread: bool,
    /// Whether one of them holds a lock that others wait for.
    pub holds_wanted_lock: bool,
    /// Whether the one descriptor that it waits for listens for connections.
    pub listens: bool,
    /// Whether the thread whose end is waited for is known.
    pub joined: bool,
    /// Whether the holders of all locks that are waited for here wait to receive from a channel.
    pub holder_receives: bool,
    /// Whether a library on the stack runs code of the program in another thread.
    pub library_at_work: bool,
}

/// The loop of a worker. A thread without work waits in it, with none of the program's code in between: a job that
/// waits is on the stack, too.
#[derive(Clone, Copy, Debug)]
pub struct IdleRule {
    /// In the form of [`super::names::canonical`]. A trailing `::` stands for everything below it.
    pub function: &'static str,
    /// The waits that it is good for: a worker that waits for a mutex has work.
    pub kinds: &'static [WaitKind],
    /// What the thread does, for people: `a worker of rayon waits for tasks`.
    pub words: &'static str,
    /// Beginning of the name of the file that it is in; empty: any.
    pub module: &'static str,
    /// Functions without a name that may lie in between: static ones of the loop's own program.
    pub nameless: usize,
}

/// How a worker sleeps.
pub const SLEEPS: &[WaitKind] = &[WaitKind::Condvar, WaitKind::Semaphore];
/// How a loop of events waits.
pub const POLLS: &[WaitKind] = &[WaitKind::Poll];
/// How one sleeps that has descriptors to watch as well.
pub const SLEEPS_OR_POLLS: &[WaitKind] = &[WaitKind::Condvar, WaitKind::Semaphore, WaitKind::Poll];

impl IdleRule {
    /// A row of a table.
    pub const fn new(function: &'static str, kinds: &'static [WaitKind], words: &'static str) -> Self {
        Self { function, kinds, words, module: "", nameless: 0 }
    }

    /// It is only known in files whose names begin so.
    #[must_use]
    pub const fn of(self, module: &'static str) -> Self {
        Self { module, ..self }
    }

    /// So many functions without a name may lie between it and the wait.
    #[must_use]
    pub const fn over(self, nameless: usize) -> Self {
        Self { nameless, ..self }
    }

    fn is(&self, frame: &Mark) -> bool {
        let Some(function) = frame.function.as_deref() else { return false };
        let named = match self.function.strip_suffix("::") {
            Some(_) => function.starts_with(self.function),
            None => function == self.function,
        };
        named && (self.module.is_empty() || frame.file.starts_with(self.module))
    }
}

const EVENT_LOOP: &str = "waits for events of all descriptors of an epoll, as an event loop does";
const ACCEPT: &str = "waits for connections";
const TERMINAL: &str = "waits for input from a terminal";
const LIBRARY: &str = "a library's own thread, with none of the program's code on its stack";
const POOL: &str =
    "several threads wait on a condition in the function that they began with, as workers of a pool do";
const JOIN: &str = "waits for a thread to end: what that one does tells more";

/// A worker waits in its own loop: with more functions of the program's between the wait and the thread's start it may
/// be in a job that waits for another one.
const MAX_WORKER_FRAMES: usize = 1;

/// The rule by which a site waits for work; `None` if it may wait for anything. `workers` are the known loops.
///
/// The row of the kind tells, but who holds a lock that others wait for is never idle.
pub fn rule(site: &Site<'_>, workers: &[IdleRule]) -> Option<&'static str> {
    if site.holds_wanted_lock {
        return None;
    }
    match site.kind.row().idle {
        Idle::Never => None,
        Idle::Always(rule) => Some(rule),
        Idle::If(test) => test(site, workers),
    }
}

/// Of events: in a loop that is known, or in epoll, which is made for loops. A poll of a few descriptors is not: it
/// may wait for the answer of one peer.
pub(super) fn event_loop(site: &Site<'_>, workers: &[IdleRule]) -> Option<&'static str> {
    let epoll = matches!(site.operation, Some("epoll_wait" | "epoll_pwait" | "epoll_pwait2"));
    match known(site, workers) {
        Found::Loop(words) => Some(words),
        Found::Job => None,
        Found::Nothing if epoll => Some(EVENT_LOOP),
        Found::Nothing => site.listens.then_some(ACCEPT),
    }
}

/// Of what workers wait for: in a loop that is known, or in a pool.
pub(super) fn pooled(site: &Site<'_>, workers: &[IdleRule]) -> Option<&'static str> {
    match known(site, workers) {
        Found::Loop(words) => Some(words),
        Found::Job => None,
        Found::Nothing => pool(site).or_else(|| library(site, workers)),
    }
}

/// Of a socket: where it takes connections.
pub(super) fn accept(site: &Site<'_>, _: &[IdleRule]) -> Option<&'static str> {
    matches!(site.operation, Some("accept" | "accept4")).then_some(ACCEPT)
}

/// Of a file: where it is a terminal that is read.
pub(super) fn terminal(site: &Site<'_>, _: &[IdleRule]) -> Option<&'static str> {
    let reads = matches!(site.operation, Some("read" | "readv"));
    (reads && site.fd == Some(FdTarget::Terminal)).then_some(TERMINAL)
}

/// Of the end of a thread: where it is known which one, so that it can be looked at.
pub(super) fn join(site: &Site<'_>, _: &[IdleRule]) -> Option<&'static str> {
    site.joined.then_some(JOIN)
}

/// Of what nothing is known of: where none of the stack is the program's, and the library does not run the
/// program's code in another thread, for which this one may wait.
pub(super) fn library(site: &Site<'_>, _: &[IdleRule]) -> Option<&'static str> {
    let library = !site.frames.is_empty()
        && site.complete
        && !site.main_thread
        && !site.library_at_work
        && site.frames.iter().all(|frame| frame.owner <= FrameOwner::Runtime);
    library.then_some(LIBRARY)
}

/// What is known of the loops on a stack.
enum Found {
    /// It waits in one.
    Loop(&'static str),
    /// It waits in code that one has called.
    Job,
    /// There is none.
    Nothing,
}

/// Functions that run a loop of events until one thing has happened, for which their caller waits: src/spawn_sync.cc
/// of Node 18, glib/gspawn.c of GLib 2.74.
const WAITS_BY_A_LOOP: &[&str] =
    &["node::SyncProcessRunner::Run", "node::SyncProcessRunner::Spawn", "g_spawn_sync"];

/// Looks for the loops of workers that are known.
fn known(site: &Site<'_>, workers: &[IdleRule]) -> Found {
    let named = |frame: &Mark| frame.function.as_deref().is_some_and(|name| WAITS_BY_A_LOOP.contains(&name));
    if site.frames.iter().any(named) {
        return Found::Job;
    }
    let first = site.primitive.unwrap_or(0);
    let mut job = false;
    for (at, frame) in site.frames.iter().enumerate() {
        let mut of_loop = workers.iter().filter(|worker| worker.is(frame)).peekable();
        if of_loop.peek().is_none() {
            continue;
        }
        let own = |inner: &&Mark| inner.runs_code() && !same_library(inner, frame);
        let between = site.frames.get(first..at).unwrap_or_default().iter().filter(own);
        let nameless = between.clone().filter(|inner| inner.function.is_none()).count();
        let between = between.count();
        let waits = |worker: &&IdleRule| {
            worker.kinds.contains(&site.kind) && between == nameless && nameless <= worker.nameless
        };
        if let Some(worker) = of_loop.find(waits) {
            return Found::Loop(worker.words);
        }
        job = true;
    }
    if job { Found::Job } else { Found::Nothing }
}

/// Whether two frames are of one shared library: a loop that calls its own functions.
fn same_library(inner: &Mark, outer: &Mark) -> bool {
    inner.file == outer.file && outer.file.contains(".so")
}

/// Whether threads look like workers of a pool that has no job.
fn pool(site: &Site<'_>) -> Option<&'static str> {
    let primitive = site.frames.get(site.primitive?)?;
    let beyond = site.frames.get(site.primitive? + 1..)?;
    let own = beyond.iter().filter(|frame| frame.runs_code()).count();
    let workers = site.kind == WaitKind::Condvar && site.blocked_now > 1 && !site.main_thread;
    let interpreted = beyond.iter().any(|frame| frame.interpreter);
    (workers && waits_for_jobs(primitive) && site.complete && !interpreted && own <= MAX_WORKER_FRAMES)
        .then_some(POOL)
}

/// Whether workers wait for jobs in a function: in a condition variable, or at the end of a channel where things come
/// out. Who waits for a result, for room in a channel or for a thread is no worker without work.
fn waits_for_jobs(primitive: &Mark) -> bool {
    primitive.row.is_some_and(|(_, row)| !row.wraps || row.name().ends_with("::recv"))
}

#[cfg(test)]
mod tests;

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
    /// Whether one of them holds a lock that others wait for.
    pub holds_wanted_lock: bool,
    /// Processors of the machine.
    pub processors: usize,
}

/// A function that only a thread without work waits in, or below.
#[derive(Clone, Copy, Debug)]
pub struct IdleRule {
    /// In the form of [`super::names::canonical`]. A trailing `::` stands for everything below it.
    pub function: &'static str,
    /// The waits that it is good for: a worker that waits for a mutex has work.
    pub kinds: &'static [WaitKind],
    /// What the thread does, for people: `a worker of rayon waits for tasks`.
    pub words: &'static str,
}

/// How a worker sleeps.
pub const SLEEPS: &[WaitKind] = &[WaitKind::Condvar, WaitKind::Semaphore];
/// How one sleeps that has descriptors to watch as well.
pub const SLEEPS_OR_POLLS: &[WaitKind] = &[WaitKind::Condvar, WaitKind::Semaphore, WaitKind::Poll];

const REDIS: &str = "a background thread of Redis waits for jobs";
const JEMALLOC: &str = "jemalloc's background thread waits for its next turn";
const TOKIO: &str = "a thread of the tokio runtime waits for tasks";
const RAYON: &str = "a worker of rayon waits for tasks";
const PG_CLIENT: &str = "a PostgreSQL backend waits for its client";
const PG_WORKER: &str = "a PostgreSQL background process waits for its next turn";
const MYSQL: &str = "a background thread of MySQL waits for its next turn";

/// Known loops of workers of libraries and servers; those of runtimes stand with these. Sources: Redis 7 src/bio.c;
/// jemalloc 5 src/background_thread.c; libuv 1.44 src/threadpool.c; tokio 1 src/runtime; rayon-core 1 src/sleep;
/// PostgreSQL 15 src/backend/{libpq,postmaster}; MySQL 8 storage/innobase/srv, sql/conn_handler;
/// GLib 2.74 glib/gthreadpool.c; Boost.Asio 1.74; oneTBB 2021; folly 2022.
pub(super) const WORKERS: &[IdleRule] = &[
    IdleRule::new("bioProcessBackgroundJobs", SLEEPS, REDIS),
    IdleRule::new("IOThreadMain", SLEEPS, "an I/O thread of Redis waits for work"),
    IdleRule::new("background_thread_entry", SLEEPS, JEMALLOC),
    IdleRule::new("background_thread_sleep", SLEEPS, JEMALLOC),
    IdleRule::new("tokio::runtime::", SLEEPS_OR_POLLS, TOKIO),
    IdleRule::new("rayon_core::sleep::", SLEEPS, RAYON),
    IdleRule::new("rayon_core::registry::main_loop", SLEEPS, RAYON),
    IdleRule::new("secure_read", SLEEPS_OR_POLLS, PG_CLIENT),
    IdleRule::new("pq_recvbuf", SLEEPS_OR_POLLS, PG_CLIENT),
    IdleRule::new("ServerLoop", SLEEPS_OR_POLLS, "the PostgreSQL server waits for connections"),
    IdleRule::new("AuxiliaryProcessMain", SLEEPS_OR_POLLS, PG_WORKER),
    IdleRule::new("AutoVacLauncherMain", SLEEPS_OR_POLLS, PG_WORKER),
    IdleRule::new("BackgroundWorkerMain", SLEEPS_OR_POLLS, PG_WORKER),
    IdleRule::new("srv_worker_thread", SLEEPS, MYSQL),
    IdleRule::new("srv_purge_coordinator_thread", SLEEPS, MYSQL),
    IdleRule::new("buf_flush_page_coordinator_thread", SLEEPS, MYSQL),
    IdleRule::new("io_handler_thread", SLEEPS, MYSQL),
    IdleRule::new("Per_thread_connection_handler::block_until_new_connection", SLEEPS, MYSQL),
    IdleRule::new("g_thread_pool_wait_for_new_task", SLEEPS, "a worker of a GThreadPool waits for tasks"),
    IdleRule::new(
        "boost::asio::detail::scheduler::",
        SLEEPS_OR_POLLS,
        "a thread of Boost.Asio waits for work",
    ),
    IdleRule::new("tbb::detail::r1::rml::", SLEEPS, "a worker of oneTBB waits for tasks"),
    IdleRule::new("folly::CPUThreadPoolExecutor::", SLEEPS, "a worker of a folly executor waits for tasks"),
];

impl IdleRule {
    /// A row of a table.
    pub const fn new(function: &'static str, kinds: &'static [WaitKind], words: &'static str) -> Self {
        Self { function, kinds, words }
    }

    fn is(&self, function: &str) -> bool {
        match self.function.strip_suffix("::") {
            Some(_) => function.starts_with(self.function),
            None => function == self.function,
        }
    }
}

const EVENT_LOOP: &str = "waits for events of descriptors, as an event loop does";
const ACCEPT: &str = "waits for connections";
const TERMINAL: &str = "waits for input from a terminal";
const LIBRARY: &str = "a library's own thread, with none of the program's code on its stack";
const POOL: &str = "few frames above the thread's start, in a pool of usual size: a worker waiting for work";

/// A worker's loop has at most so many frames of the user's between the wait and the thread's start.
const MAX_WORKER_FRAMES: usize = 3;
/// Pools of workers have at most so many threads, or [`THREADS_A_PROCESSOR`] for each processor.
const MAX_POOL: u64 = 64;
const THREADS_A_PROCESSOR: u64 = 4;

/// The rule by which a site is idle; `None` if it may be stuck. `workers` are the known loops of workers.
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

/// Of what an event loop waits for: always.
pub(super) fn event_loop(site: &Site<'_>, workers: &[IdleRule]) -> Option<&'static str> {
    known(site, workers).or(Some(EVENT_LOOP))
}

/// Of what workers wait for: in a loop that is known, or in a pool.
pub(super) fn pooled(site: &Site<'_>, workers: &[IdleRule]) -> Option<&'static str> {
    known(site, workers).or_else(|| pool(site))
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

/// Of what nothing is known of: where none of the stack is the program's.
pub(super) fn library(site: &Site<'_>, _: &[IdleRule]) -> Option<&'static str> {
    let library = !site.frames.is_empty()
        && site.complete
        && site.frames.iter().all(|frame| frame.owner <= FrameOwner::Runtime);
    library.then_some(LIBRARY)
}

/// The rule of the innermost loop of workers that is known.
fn known(site: &Site<'_>, workers: &[IdleRule]) -> Option<&'static str> {
    let functions = site.frames.iter().filter_map(|frame| frame.function.as_deref());
    functions
        .flat_map(|function| workers.iter().find(|w| w.kinds.contains(&site.kind) && w.is(function)))
        .map(|w| w.words)
        .next()
}

fn pool(site: &Site<'_>) -> Option<&'static str> {
    let beyond = site.frames.get(site.primitive? + 1..)?;
    let own = beyond.iter().filter(|frame| frame.is_user()).count();
    let processors = u64::try_from(site.processors).unwrap_or(u64::MAX);
    let usual = MAX_POOL.max(processors.saturating_mul(THREADS_A_PROCESSOR));
    (site.complete && own <= MAX_WORKER_FRAMES && site.blocked_now <= usual).then_some(POOL)
}

#[cfg(test)]
mod tests;

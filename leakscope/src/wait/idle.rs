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
struct Worker {
    /// In the form of [`super::names::canonical`]. A trailing `::` stands for everything below it.
    function: &'static str,
    kinds: &'static [WaitKind],
    rule: &'static str,
}

const fn worker(function: &'static str, kinds: &'static [WaitKind], rule: &'static str) -> Worker {
    Worker { function, kinds, rule }
}

/// How a worker sleeps.
const SLEEPS: &[WaitKind] = &[WaitKind::Condvar, WaitKind::Semaphore];
/// How one sleeps that has descriptors to watch as well.
const SLEEPS_OR_POLLS: &[WaitKind] = &[WaitKind::Condvar, WaitKind::Semaphore, WaitKind::Poll];

const REDIS: &str = "a background thread of Redis waits for jobs";
const JEMALLOC: &str = "jemalloc's background thread waits for its next turn";
const NODE: &str = "a worker of Node's platform waits for tasks";
const GO: &str = "a thread of the Go scheduler waits for goroutines to run";
const TOKIO: &str = "a thread of the tokio runtime waits for tasks";
const RAYON: &str = "a worker of rayon waits for tasks";
const JVM: &str = "a thread of the Java VM waits for its next task";
const PG_CLIENT: &str = "a PostgreSQL backend waits for its client";
const PG_WORKER: &str = "a PostgreSQL background process waits for its next turn";
const MYSQL: &str = "a background thread of MySQL waits for its next turn";

/// Known loops of workers. Sources: Redis 7 src/bio.c; jemalloc 5 src/background_thread.c; Node 18
/// src/node_platform.cc, src/inspector_agent.cc; V8 10 src/libplatform; libuv 1.44 src/threadpool.c;
/// tokio 1 src/runtime; rayon-core 1 src/sleep; Go 1.22 src/runtime/proc.go; OpenJDK 17 src/hotspot;
/// PostgreSQL 15 src/backend/{libpq,postmaster}; MySQL 8 storage/innobase/srv, sql/conn_handler;
/// GLib 2.74 glib/gthreadpool.c; Boost.Asio 1.74; oneTBB 2021; folly 2022.
const WORKERS: &[Worker] = &[
    worker("bioProcessBackgroundJobs", SLEEPS, REDIS),
    worker("IOThreadMain", SLEEPS, "an I/O thread of Redis waits for work"),
    worker("background_thread_entry", SLEEPS, JEMALLOC),
    worker("background_thread_sleep", SLEEPS, JEMALLOC),
    worker("node::PlatformWorkerThread", SLEEPS, NODE),
    worker("node::WorkerThreadsTaskRunner::", SLEEPS, NODE),
    worker("node::inspector::StartIoThreadMain", SLEEPS, "Node's inspector thread waits for a signal"),
    worker("v8::platform::", SLEEPS, "a worker of V8's platform waits for tasks"),
    worker("tokio::runtime::", SLEEPS_OR_POLLS, TOKIO),
    worker("rayon_core::sleep::", SLEEPS, RAYON),
    worker("rayon_core::registry::main_loop", SLEEPS, RAYON),
    worker("runtime.stopm", SLEEPS, GO),
    worker("runtime.mPark", SLEEPS, GO),
    worker("runtime.stoplockedm", SLEEPS, GO),
    worker("runtime.templateThread", SLEEPS, GO),
    worker("os/signal.signal_recv", SLEEPS, "the Go runtime waits for signals"),
    worker("WorkerThread::run", SLEEPS, JVM),
    worker("GangWorker::run", SLEEPS, JVM),
    worker("VMThread::run", SLEEPS, JVM),
    worker("WatcherThread::run", SLEEPS, JVM),
    worker("CompileBroker::compiler_thread_loop", SLEEPS, JVM),
    worker("ServiceThread::service_thread_entry", SLEEPS, JVM),
    worker("ConcurrentGCThread::run", SLEEPS, JVM),
    worker("signal_thread_entry", SLEEPS, JVM),
    worker("secure_read", SLEEPS_OR_POLLS, PG_CLIENT),
    worker("pq_recvbuf", SLEEPS_OR_POLLS, PG_CLIENT),
    worker("ServerLoop", SLEEPS_OR_POLLS, "the PostgreSQL server waits for connections"),
    worker("AuxiliaryProcessMain", SLEEPS_OR_POLLS, PG_WORKER),
    worker("AutoVacLauncherMain", SLEEPS_OR_POLLS, PG_WORKER),
    worker("BackgroundWorkerMain", SLEEPS_OR_POLLS, PG_WORKER),
    worker("srv_worker_thread", SLEEPS, MYSQL),
    worker("srv_purge_coordinator_thread", SLEEPS, MYSQL),
    worker("buf_flush_page_coordinator_thread", SLEEPS, MYSQL),
    worker("io_handler_thread", SLEEPS, MYSQL),
    worker("Per_thread_connection_handler::block_until_new_connection", SLEEPS, MYSQL),
    worker("g_thread_pool_wait_for_new_task", SLEEPS, "a worker of a GThreadPool waits for tasks"),
    worker("boost::asio::detail::scheduler::", SLEEPS_OR_POLLS, "a thread of Boost.Asio waits for work"),
    worker("tbb::detail::r1::rml::", SLEEPS, "a worker of oneTBB waits for tasks"),
    worker("folly::CPUThreadPoolExecutor::", SLEEPS, "a worker of a folly executor waits for tasks"),
];

impl Worker {
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

/// The rule by which a site is idle; `None` if it may be stuck.
///
/// The row of the kind tells, but who holds a lock that others wait for is never idle.
pub fn rule(site: &Site<'_>) -> Option<&'static str> {
    if site.holds_wanted_lock {
        return None;
    }
    match site.kind.row().idle {
        Idle::Never => None,
        Idle::Always(rule) => Some(rule),
        Idle::If(test) => test(site),
    }
}

/// Of what an event loop waits for: always.
pub(super) fn event_loop(site: &Site<'_>) -> Option<&'static str> {
    known(site).or(Some(EVENT_LOOP))
}

/// Of what workers wait for: in a loop that is known, or in a pool.
pub(super) fn pooled(site: &Site<'_>) -> Option<&'static str> {
    known(site).or_else(|| pool(site))
}

/// Of a socket: where it takes connections.
pub(super) fn accept(site: &Site<'_>) -> Option<&'static str> {
    matches!(site.operation, Some("accept" | "accept4")).then_some(ACCEPT)
}

/// Of a file: where it is a terminal that is read.
pub(super) fn terminal(site: &Site<'_>) -> Option<&'static str> {
    let reads = matches!(site.operation, Some("read" | "readv"));
    (reads && site.fd == Some(FdTarget::Terminal)).then_some(TERMINAL)
}

/// Of what nothing is known of: where none of the stack is the program's.
pub(super) fn library(site: &Site<'_>) -> Option<&'static str> {
    let library = !site.frames.is_empty()
        && site.complete
        && site.frames.iter().all(|frame| frame.owner <= FrameOwner::Runtime);
    library.then_some(LIBRARY)
}

/// The rule of the innermost loop of workers that is known.
fn known(site: &Site<'_>) -> Option<&'static str> {
    let functions = site.frames.iter().filter_map(|frame| frame.function.as_deref());
    functions
        .flat_map(|function| WORKERS.iter().find(|w| w.kinds.contains(&site.kind) && w.is(function)))
        .map(|w| w.rule)
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

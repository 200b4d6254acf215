//! Known loops of workers and of events, of libraries and servers; those of runtimes stand with these.
//!
//! Sources: Redis 7 src/bio.c; jemalloc 5 src/background_thread.c; libuv 1.44 src/threadpool.c; tokio 1 src/runtime;
//! rayon-core 1 src/registry.rs; PostgreSQL 15 src/backend/{libpq,postmaster,replication}; MySQL 8
//! storage/innobase/srv, sql/conn_handler; GLib 2.74 glib/{gthreadpool,gmain}.c; Boost.Asio 1.74; oneTBB 2021; folly
//! 2022; libevent 2.1 event.c; libev 4.33 ev.c; nginx 1.22 src/event; Qt 5.15 src/corelib/kernel; Chromium 120
//! base/message_loop.

use super::idle::{IdleRule, POLLS, SLEEPS, SLEEPS_OR_POLLS};

const REDIS: &str = "a background thread of Redis waits for jobs";
const JEMALLOC: &str = "jemalloc's background thread waits for its next turn";
const TOKIO: &str = "a thread of the tokio runtime waits for tasks";
const RAYON: &str = "a worker of rayon waits for tasks";
const PG_CLIENT: &str = "a PostgreSQL backend waits for its client";
const PG_WORKER: &str = "a PostgreSQL background process waits for its next turn";
const PG_SERVER: &str = "the PostgreSQL server waits for connections";
const MYSQL: &str = "a background thread of MySQL waits for its next turn";
const ASIO: &str = "a thread of Asio waits for work";
const EVENTS: &str = "an event loop waits for events";
const CHROMIUM: &str = "a message loop waits for messages";

/// The loops.
#[rustfmt::skip]
pub(super) const WORKERS: &[IdleRule] = &[
    IdleRule::new("bioProcessBackgroundJobs", SLEEPS, REDIS),
    IdleRule::new("IOThreadMain", SLEEPS, "an I/O thread of Redis waits for work"),
    IdleRule::new("background_thread_entry", SLEEPS, JEMALLOC),
    IdleRule::new("background_thread_sleep", SLEEPS, JEMALLOC),
    // Not all of `multi_thread`: its `block_on` waits for one future.
    IdleRule::new("tokio::runtime::scheduler::multi_thread::worker::", SLEEPS_OR_POLLS, TOKIO),
    IdleRule::new("tokio::runtime::scheduler::multi_thread::park::", SLEEPS_OR_POLLS, TOKIO),
    IdleRule::new("tokio::runtime::scheduler::current_thread::", SLEEPS_OR_POLLS, TOKIO),
    IdleRule::new("tokio::runtime::thread_pool::worker::", SLEEPS_OR_POLLS, TOKIO),
    IdleRule::new("tokio::runtime::blocking::pool::Inner::run", SLEEPS, TOKIO),
    IdleRule::new("rayon_core::registry::main_loop", SLEEPS, RAYON),
    IdleRule::new("rayon_core::registry::ThreadBuilder::run", SLEEPS, RAYON),
    IdleRule::new("rayon_core::registry::WorkerThread::wait_until_out_of_work", SLEEPS, RAYON),
    IdleRule::new("secure_read", SLEEPS_OR_POLLS, PG_CLIENT).of("postgres"),
    IdleRule::new("pq_recvbuf", SLEEPS_OR_POLLS, PG_CLIENT).of("postgres"),
    IdleRule::new("ServerLoop", SLEEPS_OR_POLLS, PG_SERVER).of("postgres"),
    IdleRule::new("PostmasterMain", SLEEPS_OR_POLLS, PG_SERVER).of("postgres").over(1),
    IdleRule::new("BackgroundWriterMain", SLEEPS_OR_POLLS, PG_WORKER).of("postgres"),
    IdleRule::new("CheckpointerMain", SLEEPS_OR_POLLS, PG_WORKER).of("postgres"),
    IdleRule::new("WalWriterMain", SLEEPS_OR_POLLS, PG_WORKER).of("postgres"),
    IdleRule::new("PgArchiverMain", SLEEPS_OR_POLLS, PG_WORKER).of("postgres").over(1),
    IdleRule::new("SysLoggerMain", SLEEPS_OR_POLLS, PG_WORKER).of("postgres"),
    IdleRule::new("AutoVacLauncherMain", SLEEPS_OR_POLLS, PG_WORKER).of("postgres"),
    IdleRule::new("StartAutoVacLauncher", SLEEPS_OR_POLLS, PG_WORKER).of("postgres").over(1),
    IdleRule::new("ApplyLauncherMain", SLEEPS_OR_POLLS, PG_WORKER).of("postgres"),
    IdleRule::new("srv_worker_thread", SLEEPS, MYSQL),
    IdleRule::new("srv_purge_coordinator_thread", SLEEPS, MYSQL),
    IdleRule::new("buf_flush_page_coordinator_thread", SLEEPS, MYSQL),
    IdleRule::new("io_handler_thread", SLEEPS, MYSQL),
    IdleRule::new("Per_thread_connection_handler::block_until_new_connection", SLEEPS, MYSQL),
    IdleRule::new("g_thread_pool_wait_for_new_task", SLEEPS, "a worker of a GThreadPool waits for tasks"),
    IdleRule::new("g_main_context_iterate", POLLS, EVENTS),
    IdleRule::new("g_main_context_iterate_unlocked", POLLS, EVENTS),
    IdleRule::new("g_main_loop_run", POLLS, EVENTS).of("libglib"),
    IdleRule::new("g_main_context_iteration", POLLS, EVENTS).of("libglib"),
    IdleRule::new("boost::asio::detail::scheduler::", SLEEPS_OR_POLLS, ASIO),
    IdleRule::new("asio::detail::scheduler::", SLEEPS_OR_POLLS, ASIO),
    IdleRule::new("tbb::detail::r1::rml::", SLEEPS, "a worker of oneTBB waits for tasks"),
    IdleRule::new("folly::CPUThreadPoolExecutor::", SLEEPS, "a worker of a folly executor waits for tasks"),
    IdleRule::new("uv__io_poll", POLLS, EVENTS),
    IdleRule::new("uv_run", POLLS, EVENTS),
    IdleRule::new("aeProcessEvents", POLLS, EVENTS),
    IdleRule::new("event_base_loop", POLLS, EVENTS),
    IdleRule::new("ev_run", POLLS, EVENTS),
    IdleRule::new("ngx_process_events_and_timers", POLLS, EVENTS).over(1),
    IdleRule::new("ngx_epoll_process_events", POLLS, EVENTS),
    IdleRule::new("ngx_poll_process_events", POLLS, EVENTS),
    IdleRule::new("ngx_select_process_events", POLLS, EVENTS),
    IdleRule::new("aeApiPoll", POLLS, EVENTS),
    IdleRule::new("epoll_dispatch", POLLS, EVENTS),
    IdleRule::new("poll_dispatch", POLLS, EVENTS),
    IdleRule::new("epoll_poll", POLLS, EVENTS),
    IdleRule::new("QEventDispatcherUNIX::processEvents", POLLS, EVENTS),
    IdleRule::new("QEventDispatcherGlib::processEvents", POLLS, EVENTS),
    IdleRule::new("base::MessagePumpDefault::Run", SLEEPS, CHROMIUM),
    IdleRule::new("base::MessagePumpLibevent::Run", POLLS, CHROMIUM),
    IdleRule::new("base::MessagePumpEpoll::Run", POLLS, CHROMIUM),
    IdleRule::new("base::MessagePumpGlib::Run", POLLS, CHROMIUM),
];

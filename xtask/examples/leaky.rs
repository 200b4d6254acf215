//! A server that leaks at two sites and is stuck at one, for `cargo xtask demo`.
//!
//! `cache_session` and `remember_request` keep what nobody asks for again; `render_page` frees all
//! it allocates. `flush_log` waits for a storage that never answers, with the lock in its hands that
//! twelve requests need in `append_to_log`; four workers wait in `next_job` for work, as they should.
//! The program prints `ready PID` and runs until its standard input ends.

use std::{
    cell::UnsafeCell,
    hint::black_box,
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    sync::{
        Condvar, Mutex, PoisonError,
        mpsc::{self, Sender},
    },
    thread,
    time::Duration,
};

/// Requests that need the log.
const REQUESTS: usize = 12;
/// Workers without work.
const WORKERS: usize = 4;

/// A session that is cached and never looked up.
#[allow(dead_code, reason = "the program only shows who holds memory")]
struct Session {
    user: u64,
    state: [u8; 4096],
}

/// A request that is remembered and never forgotten.
#[allow(dead_code, reason = "the program only shows who holds memory")]
struct Request {
    number: u64,
    header: [u8; 504],
}

#[inline(never)]
fn cache_session(user: u64) {
    let session = Box::new(Session { user, state: [0; 4096] });
    black_box(Box::leak(session));
}

#[inline(never)]
fn remember_request(number: u64) {
    let request = Box::new(Request { number, header: [0; 504] });
    black_box(Box::leak(request));
}

#[inline(never)]
fn render_page(number: u64) {
    let page = format!("<html><body>page {number}</body></html>").repeat(20);
    black_box(&page);
}

/// Does something over and over on a thread of its own.
fn every(pause: Duration, name: &str, work: fn(u64)) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        let mut turn = 0;
        loop {
            work(turn);
            turn += 1;
            thread::sleep(pause);
        }
    })?;
    Ok(())
}

/// The lock of the log: the C library's, because that notes which thread holds it. A `Mutex` of
/// Rust's std does not, and a report could only guess.
struct LogLock(UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: the mutex is used through the C library's functions alone, from any thread.
unsafe impl Sync for LogLock {}

static LOG: LogLock = LogLock(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER));

/// Sends the log to the storage. The lock is held over the wait for the answer: that is the bug.
#[inline(never)]
fn flush_log(mut storage: UnixStream, begun: &Sender<()>) {
    // SAFETY: the mutex is initialized and stays where it is.
    unsafe { libc::pthread_mutex_lock(LOG.0.get()) };
    // The receiver is there until all threads have begun.
    let _ = begun.send(());
    let mut answer = [0; 16];
    // There is never an answer and never an error.
    let _ = black_box(storage.read_exact(&mut answer));
    // SAFETY: this thread has locked it.
    unsafe { libc::pthread_mutex_unlock(LOG.0.get()) };
}

#[inline(never)]
fn append_to_log(line: &str) {
    // SAFETY: the mutex is initialized and stays where it is.
    unsafe { libc::pthread_mutex_lock(LOG.0.get()) };
    black_box(line);
    // SAFETY: this thread has locked it.
    unsafe { libc::pthread_mutex_unlock(LOG.0.get()) };
}

#[inline(never)]
fn handle_request(number: usize) {
    append_to_log(&format!("request {number}"));
}

static JOBS: Mutex<Vec<u64>> = Mutex::new(Vec::new());
static NEW_JOB: Condvar = Condvar::new();

/// Waits for a job; there is never one.
#[inline(never)]
fn next_job() -> u64 {
    let mut jobs = JOBS.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if let Some(job) = jobs.pop() {
            return job;
        }
        jobs = NEW_JOB.wait(jobs).unwrap_or_else(PoisonError::into_inner);
    }
}

/// Starts a thread that says when it has begun.
fn spawn(
    name: String,
    begun: &Sender<()>,
    work: impl FnOnce(&Sender<()>) + Send + 'static,
) -> io::Result<()> {
    let begun = begun.clone();
    thread::Builder::new().name(name).spawn(move || work(&begun)).map(drop)
}

/// The threads that are blocked; returns once all of them have begun.
fn block() -> io::Result<UnixStream> {
    let (storage, ours) = UnixStream::pair()?;
    let (begun, all) = mpsc::channel();
    spawn("flush".to_owned(), &begun, move |begun| flush_log(ours, begun))?;
    // Nobody else asks for the lock before the flush has it.
    let _ = all.recv();
    for number in 1..=REQUESTS {
        spawn(format!("request-{number}"), &begun, move |begun| {
            let _ = begun.send(());
            handle_request(number);
        })?;
    }
    for number in 1..=WORKERS {
        spawn(format!("worker-{number}"), &begun, |begun| {
            let _ = begun.send(());
            black_box(next_job());
        })?;
    }
    all.iter().take(REQUESTS + WORKERS).for_each(drop);
    Ok(storage)
}

fn main() -> io::Result<()> {
    // The storage's end stays open: reading from a closed one would end the wait.
    let _storage = block()?;
    every(Duration::from_millis(10), "sessions", cache_session)?;
    every(Duration::from_millis(4), "requests", remember_request)?;
    every(Duration::from_millis(1), "pages", render_page)?;
    writeln!(io::stdout(), "ready {}", std::process::id())?;
    // The threads end with the process.
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

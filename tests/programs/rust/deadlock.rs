//! Locks of Rust's std: deadlocks, and each primitive with threads that wait.
//!
//! Speaks the protocol of `../c/waiters.h`.

use std::fs;
use std::hint::black_box;
use std::io::{self, BufRead, Write};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex, RwLock, mpsc};
use std::thread;
use std::time::Duration;

unsafe extern "C" {
    fn clock_gettime(clock: i32, time: *mut [i64; 2]) -> i32;
    fn gettid() -> i32;
}

/// CLOCK_MONOTONIC
fn now_ns() -> u64 {
    let mut time = [0; 2];
    // SAFETY: on x86-64 a timespec is two words.
    unsafe { clock_gettime(1, &mut time) };
    time[0] as u64 * 1_000_000_000 + time[1] as u64
}

/// What a thread notes of itself directly before it blocks.
#[derive(Default)]
struct Arrival {
    tid: AtomicI32,
    since: AtomicU64,
    line: AtomicU64,
}

impl Arrival {
    #[inline(never)]
    fn here(&self, line: u32) {
        // SAFETY: takes nothing and cannot fail.
        self.tid.store(unsafe { gettid() }, Ordering::Relaxed);
        self.line.store(u64::from(line), Ordering::Relaxed);
        self.since.store(now_ns(), Ordering::Release);
    }

    /// Once the kernel says that the thread sleeps in that system call: its first argument.
    fn await_asleep(&self, number: i64) -> u64 {
        loop {
            if self.since.load(Ordering::Acquire) != 0 {
                let tid = self.tid.load(Ordering::Relaxed);
                let path = format!("/proc/self/task/{tid}");
                let stat = fs::read_to_string(format!("{path}/stat")).unwrap_or_default();
                let asleep = stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['S', 'D']));
                let syscall = fs::read_to_string(format!("{path}/syscall")).unwrap_or_default();
                let mut words = syscall.split_whitespace();
                if asleep && words.next().is_some_and(|found| found == number.to_string()) {
                    let word = words.next().unwrap_or_default().trim_start_matches("0x");
                    return u64::from_str_radix(word, 16).unwrap_or(0);
                }
            }
            thread::yield_now();
        }
    }
}

const FUTEX: (&str, i64) = ("futex", 202);
const NANOSLEEP: (&str, i64) = ("clock_nanosleep", 230);

/// Starts threads that block, waits until they do and prints the truth. Returns the TIDs and arguments.
fn block(
    group: &'static str,
    kind: &str,
    call: (&str, i64),
    function: &str,
    count: usize,
    body: impl Fn(usize, &Arrival) + Send + Sync + 'static,
) -> Vec<(i32, u64)> {
    let body = Arc::new(body);
    let arrivals: Vec<_> = (0..count).map(|_| Arc::new(Arrival::default())).collect();
    for (index, arrival) in arrivals.iter().enumerate() {
        let (body, arrival) = (Arc::clone(&body), Arc::clone(arrival));
        let thread = thread::Builder::new().name(group.to_owned());
        thread.spawn(move || body(index, &arrival)).expect("a thread");
    }
    let arguments: Vec<_> = arrivals.iter().map(|arrival| arrival.await_asleep(call.1)).collect();
    let line = arrivals[0].line.load(Ordering::Relaxed);
    println!("blocked {group} count={count} kind={kind} operation={} function={function} line={line}", call.0);
    let mut all = Vec::new();
    for (arrival, argument) in arrivals.iter().zip(arguments) {
        let (tid, since) = (arrival.tid.load(Ordering::Relaxed), arrival.since.load(Ordering::Relaxed));
        println!("thread {group} {tid} {since} {argument:#x}");
        all.push((tid, argument));
    }
    all
}

#[inline(never)]
fn take_next(next: &Mutex<u64>, arrival: &Arrival) {
    arrival.here(line!()); let guard = next.lock();
    black_box(&guard);
}

#[inline(never)]
fn take_both(own: &Mutex<u64>, next: &Mutex<u64>, all: &Barrier, arrival: &Arrival) {
    let mut guard = own.lock().expect("nothing panics");
    all.wait();
    take_next(next, arrival);
    *guard += 1;
    black_box(&mut guard);
}

/// The lock begins so many bytes before the word that is waited on.
fn tell_cycle(threads: &[(i32, u64)], function: &str, before: u64) {
    for (index, (tid, word)) in threads.iter().enumerate() {
        let (next, _) = threads[(index + 1) % threads.len()];
        println!("cycle {tid} {:#x} {next} {function}", word - before);
    }
}

fn mutexes(length: usize) {
    let locks: Vec<_> = (0..length).map(|_| Arc::new(Mutex::new(0))).collect();
    let all = Barrier::new(length);
    let threads = block("dead", "mutex", FUTEX, "take_next", length, move |index, arrival| {
        take_both(&locks[index], &locks[(index + 1) % length], &all, arrival);
    });
    tell_cycle(&threads, "take_next", 0);
}

#[inline(never)]
fn write_next(next: &RwLock<u64>, arrival: &Arrival) {
    arrival.here(line!()); let guard = next.write();
    black_box(&guard);
}

#[inline(never)]
fn write_both(own: &RwLock<u64>, next: &RwLock<u64>, all: &Barrier, arrival: &Arrival) {
    let mut guard = own.write().expect("nothing panics");
    all.wait();
    write_next(next, arrival);
    *guard += 1;
    black_box(&mut guard);
}

fn rwlocks() {
    let locks = [Arc::new(RwLock::new(0)), Arc::new(RwLock::new(0))];
    let all = Barrier::new(2);
    let threads = block("dead", "rwlock", FUTEX, "write_next", 2, move |index, arrival| {
        write_both(&locks[index], &locks[1 - index], &all, arrival);
    });
    // A writer waits on the second word of std's RwLock.
    tell_cycle(&threads, "write_next", 4);
}

#[inline(never)]
fn hold_asleep(arrival: &Arrival) {
    loop {
        arrival.here(line!()); thread::sleep(Duration::from_secs(86_400));
    }
}

#[inline(never)]
fn at_mutex(lock: &Mutex<u64>, arrival: &Arrival) {
    arrival.here(line!()); let guard = lock.lock();
    black_box(&guard);
}

#[inline(never)]
fn at_read(lock: &RwLock<u64>, arrival: &Arrival) {
    arrival.here(line!()); let guard = lock.read();
    black_box(&guard);
}

#[inline(never)]
fn at_condvar(lock: &Mutex<u64>, condition: &Condvar, arrival: &Arrival) {
    let mut guard = lock.lock().expect("nothing panics");
    loop {
        arrival.here(line!()); guard = condition.wait(guard).expect("nothing panics");
    }
}

#[inline(never)]
fn at_channel(receiver: &mpsc::Receiver<u64>, arrival: &Arrival) {
    arrival.here(line!()); let message = receiver.recv();
    let _ = black_box(message);
}

#[inline(never)]
fn at_park(arrival: &Arrival) {
    loop {
        arrival.here(line!()); thread::park();
    }
}

#[inline(never)]
fn at_join(thread: thread::JoinHandle<()>, arrival: &Arrival) {
    arrival.here(line!()); let result = thread.join();
    let _ = black_box(result);
}

/// A holder that sleeps, and eight threads at each primitive.
fn primitives() {
    let mutex = Arc::new(Mutex::new(0));
    let rwlock = Arc::new(RwLock::new(0));
    let (held, held_too) = (Arc::clone(&mutex), Arc::clone(&rwlock));
    block("holder", "sleep", NANOSLEEP, "hold_asleep", 1, move |_, arrival| {
        let first = held.lock().expect("nothing panics");
        let second = held_too.write().expect("nothing panics");
        hold_asleep(arrival);
        black_box((&first, &second));
    });
    block("mutex", "mutex", FUTEX, "at_mutex", 8, move |_, arrival| at_mutex(&mutex, arrival));
    block("rwlock", "rwlock", FUTEX, "at_read", 8, move |_, arrival| at_read(&rwlock, arrival));
    let pair = (Mutex::new(0), Condvar::new());
    block("condvar", "condvar", FUTEX, "at_condvar", 8, move |_, arrival| at_condvar(&pair.0, &pair.1, arrival));
    block("channel", "condvar", FUTEX, "at_channel", 8, |_, arrival| {
        let (sender, receiver) = mpsc::channel();
        at_channel(&receiver, arrival);
        black_box(sender);
    });
    block("park", "condvar", FUTEX, "at_park", 8, |_, arrival| at_park(arrival));
    block("join", "join", FUTEX, "at_join", 8, |_, arrival| {
        let sleeper = thread::spawn(|| thread::sleep(Duration::from_secs(86_400)));
        at_join(sleeper, arrival);
    });
}

fn run(scenario: &str) {
    match scenario {
        "two" => mutexes(2),
        "three" => mutexes(3),
        "rwlock" => rwlocks(),
        "primitives" => primitives(),
        other => panic!("no scenario {other}"),
    }
}

fn main() {
    // In a thread that is gone then: its stack knows every lock's address, as no holder's would.
    let scenario = std::env::args().nth(1).expect("a scenario");
    thread::spawn(move || run(&scenario)).join().expect("it is told");
    println!("ready {}", std::process::id());
    io::stdout().flush().expect("stdout is open");
    let mut lines = io::stdin().lock().lines();
    if lines.next().is_some() {
        println!("done");
        lines.next();
    }
}

//! Programs of which leakscope must not say more than it sees. Usage: rust_verdicts SCENARIO

use std::hint::black_box;
use std::sync::{Arc, Mutex, OnceLock, RwLock, mpsc};
use std::thread;
use std::time::Duration;

static ONCE: OnceLock<u32> = OnceLock::new();
static LOCK: RwLock<u32> = RwLock::new(0);

#[inline(never)]
fn bump(lock: &Mutex<u64>) {
    *lock.lock().unwrap() += 1;
}

#[inline(never)]
fn busy(lock: &Mutex<u64>) {
    let mut held = lock.lock().unwrap();
    loop {
        *held = black_box(held.wrapping_add(1));
    }
}

/// The holder computes; a worker that uses the lock for each job has no job.
fn holder_runs() {
    let lock = Arc::new(Mutex::new(0));
    let (jobs, work) = mpsc::channel::<u32>();
    let worker = Arc::clone(&lock);
    thread::spawn(move || {
        for _ in work {
            bump(&worker);
        }
    });
    let holder = Arc::clone(&lock);
    thread::Builder::new().name("busy".into()).spawn(move || busy(&holder)).unwrap();
    while lock.try_lock().is_ok() {
        thread::yield_now();
    }
    thread::spawn(move || bump(&lock));
    loop {
        thread::sleep(Duration::from_secs(1));
        black_box(&jobs);
    }
}

#[inline(never)]
fn forgets(lock: &Mutex<u64>) {
    std::mem::forget(lock.lock().unwrap());
}

/// A thread that has ended did not release the lock, which lies on the main thread's stack.
fn forgotten() {
    let lock = Mutex::new(0);
    thread::scope(|scope| {
        scope.spawn(|| forgets(&lock)).join().unwrap();
        for _ in 0..2 {
            scope.spawn(|| bump(&lock));
        }
    });
}

#[inline(never)]
fn twice(lock: &Mutex<u64>) {
    let held = lock.lock().unwrap();
    bump(lock);
    drop(held);
}

/// A thread takes a lock of the main thread's twice.
fn locked_twice() {
    let lock = Mutex::new(0);
    thread::scope(|scope| {
        scope.spawn(|| twice(&lock));
    });
}

#[inline(never)]
fn initialise() -> u32 {
    *ONCE.get_or_init(initialise)
}

#[inline(never)]
fn upgrade() {
    let read = LOCK.read().unwrap();
    *LOCK.write().unwrap() += *read;
}

#[inline(never)]
fn reads_again(writer_waits: &dyn Fn() -> bool) -> u32 {
    let read = LOCK.read().unwrap();
    while !writer_waits() {
        thread::yield_now();
    }
    *read + *LOCK.read().unwrap()
}

fn read_twice() {
    // A second reader is refused as soon as a writer waits.
    let reader = thread::spawn(|| reads_again(&|| LOCK.try_read().is_err()));
    thread::spawn(|| {
        while LOCK.try_write().is_ok() {
            thread::yield_now();
        }
        *LOCK.write().unwrap() = 1;
    });
    reader.join().unwrap();
}

#[inline(never)]
fn collect(values: &mpsc::Receiver<u32>) -> u32 {
    values.iter().sum()
}

/// A channel that never ends, because a sender was kept.
fn kept_sender() {
    let (sender, receiver) = mpsc::channel();
    sender.send(1).unwrap();
    black_box(collect(&receiver));
    drop(sender);
}

/// A pool whose workers take turns to wait for a job.
fn receivers() {
    let (jobs, queue) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
    let queue = Arc::new(Mutex::new(queue));
    for _ in 0..4 {
        let queue = Arc::clone(&queue);
        thread::spawn(move || {
            loop {
                let job = queue.lock().unwrap().recv().unwrap();
                job();
            }
        });
    }
    drop(queue);
    loop {
        thread::sleep(Duration::from_secs(3600));
        black_box(&jobs);
    }
}

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("holder-runs") => holder_runs(),
        Some("forgotten") => forgotten(),
        Some("locked-twice") => locked_twice(),
        Some("once") => {
            initialise();
        }
        Some("upgrade") => thread::spawn(upgrade).join().unwrap(),
        Some("read-twice") => read_twice(),
        Some("kept-sender") => kept_sender(),
        Some("receivers") => receivers(),
        other => panic!("no such scenario: {other:?}"),
    }
}

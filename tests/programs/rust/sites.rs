//! Sites in Rust's std: boxes, growing vectors, strings, shared pointers, maps, threads.
//!
//! Speaks the protocol of `../c/fixture.h`. Every site is a function of its own name; the truth is
//! computed from the layouts that std asks the allocator for.

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc, realloc};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::{self, BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

struct Site {
    name: &'static str,
    live_objects: AtomicIsize,
    live_bytes: AtomicIsize,
}

impl Site {
    const fn new(name: &'static str) -> Self {
        Self { name, live_objects: AtomicIsize::new(0), live_bytes: AtomicIsize::new(0) }
    }
    fn add(&self, objects: isize, bytes: usize) {
        self.live_objects.fetch_add(objects, Ordering::Relaxed);
        self.live_bytes.fetch_add(objects * bytes as isize, Ordering::Relaxed);
    }
}

static KEEP_BOX: Site = Site::new("keep_box");
static GROW_VEC: Site = Site::new("grow_vec");
static KEEP_STRING: Site = Site::new("keep_string");
static KEEP_ARC: Site = Site::new("keep_arc");
static KEEP_ZEROED: Site = Site::new("keep_zeroed");
static KEEP_ALIGNED: Site = Site::new("keep_aligned");
static IN_THREAD: Site = Site::new("keep_in_thread");
static FROM_CLOSURE: Site = Site::new("call_closure");
static PANICS: Site = Site::new("keep_while_panicking");
static SITES: [&Site; 9] = [
    &KEEP_BOX,
    &GROW_VEC,
    &KEEP_STRING,
    &KEEP_ARC,
    &KEEP_ZEROED,
    &KEEP_ALIGNED,
    &IN_THREAD,
    &FROM_CLOSURE,
    &PANICS,
];

#[inline(never)]
fn keep_box(value: u64) -> Box<[u64; 4]> {
    let block = black_box(Box::new([value; 4]));
    KEEP_BOX.add(1, 32);
    block
}

/// Grows by realloc; what is live in the end has the capacity asked for last.
#[inline(never)]
fn grow_vec(items: u32) -> Vec<u32> {
    let mut grown = Vec::new();
    for item in 0..items {
        grown.push(black_box(item));
    }
    GROW_VEC.add(1, grown.capacity() * 4);
    black_box(grown)
}

#[inline(never)]
fn keep_string(length: usize) -> String {
    let mut text = String::with_capacity(length);
    text.push_str("x");
    KEEP_STRING.add(1, length);
    black_box(text)
}

/// Two reference counts stand before the value.
#[inline(never)]
fn keep_arc(value: u128) -> Arc<u128> {
    let shared = black_box(Arc::new(value));
    KEEP_ARC.add(1, 32);
    shared
}

#[inline(never)]
fn keep_zeroed(length: usize) -> Vec<u8> {
    let zeroed = black_box(vec![0_u8; length]);
    KEEP_ZEROED.add(1, length);
    zeroed
}

const ALIGNED: Layout = match Layout::from_size_align(4096, 4096) {
    Ok(layout) => layout,
    Err(_) => panic!("a valid layout"),
};

#[inline(never)]
fn keep_aligned() -> *mut u8 {
    // SAFETY: the layout's size is not zero.
    let block = black_box(unsafe { alloc(ALIGNED) });
    KEEP_ALIGNED.add(1, ALIGNED.size());
    block
}

#[inline(never)]
fn keep_in_thread(rounds: usize) {
    for round in 0..rounds {
        let block = black_box(vec![1_u8; 48]);
        if round % 10 == 0 {
            std::mem::forget(block);
            IN_THREAD.add(1, 48);
        }
    }
}

#[inline(never)]
fn call_closure<R>(make: impl Fn() -> R) -> R {
    let made = black_box(make());
    FROM_CLOSURE.add(1, 80);
    made
}

/// Unwinds through frames that hold memory; what the handler keeps stays.
#[inline(never)]
fn keep_while_panicking(depth: u32) {
    let caught = std::panic::catch_unwind(|| panic_at(depth));
    assert!(caught.is_err());
    std::mem::forget(black_box(Box::new([0_u8; 33])));
    PANICS.add(1, 33);
}

#[inline(never)]
fn panic_at(depth: u32) {
    let _held = black_box(vec![depth; 10]);
    if depth == 0 {
        std::panic::resume_unwind(Box::new(0_u8));
    }
    panic_at(black_box(depth - 1));
}

fn run() {
    // A closure: else the name of the function that collects would have that of the site in it.
    let mut boxes: Vec<_> = (0..300).map(|value| keep_box(value)).collect();
    for _ in 0..100 {
        boxes.pop();
        KEEP_BOX.add(-1, 32);
    }
    std::mem::forget(boxes);

    for items in [1, 10, 1000, 100_000] {
        std::mem::forget(grow_vec(items));
    }
    let mut shrunk = grow_vec(5000);
    GROW_VEC.add(-1, shrunk.capacity() * 4);
    shrunk.clear();
    drop(shrunk);

    for length in 1..=50 {
        let text = keep_string(length);
        if length % 5 == 0 {
            drop(text);
            KEEP_STRING.add(-1, length);
        } else {
            std::mem::forget(text);
        }
    }

    let shared: Vec<_> = (0..40).map(keep_arc).collect();
    let again = shared.clone();
    drop(shared); // the clones hold them
    std::mem::forget(again);

    std::mem::forget(keep_zeroed(100_000));
    drop(keep_zeroed(50_000));
    KEEP_ZEROED.add(-1, 50_000);

    keep_aligned();
    let aligned = keep_aligned();
    // SAFETY: allocated with this layout just above.
    unsafe { dealloc(aligned, ALIGNED) };
    KEEP_ALIGNED.add(-1, ALIGNED.size());
    raw_calls();

    std::mem::forget(call_closure(|| Box::new([1_u8; 80])));
    // Frames of std between ours; not in the truth, but on the heap.
    let map: BTreeMap<u32, u32> = (0..1000).map(|i| (i, i)).collect();
    drop(black_box(map));

    for depth in 0..10 {
        keep_while_panicking(depth);
    }

    let threads: Vec<_> = (0..8).map(|_| std::thread::spawn(|| keep_in_thread(2000))).collect();
    for thread in threads {
        thread.join().expect("the thread ends well");
    }
}

/// All of GlobalAlloc, with nothing left behind.
#[inline(never)]
fn raw_calls() {
    let layout = Layout::from_size_align(100, 8).expect("a valid layout");
    let over = Layout::from_size_align(256, 256).expect("a valid layout");
    // SAFETY: every block is used with the layout that it was made with.
    unsafe {
        let block = realloc(black_box(alloc(layout)), layout, 300);
        dealloc(black_box(block), Layout::from_size_align_unchecked(300, 8));
        let block = realloc(black_box(alloc_zeroed(over)), over, 1024);
        dealloc(black_box(block), Layout::from_size_align_unchecked(1024, 256));
    }
}

fn main() -> io::Result<()> {
    let mut input = io::stdin().lock().lines();
    let mut output = io::stdout().lock();
    writeln!(output, "ready {}", std::process::id())?;
    output.flush()?;
    if input.next().is_none() {
        return Ok(());
    }
    run();
    for site in SITES {
        let objects = site.live_objects.load(Ordering::Relaxed);
        let bytes = site.live_bytes.load(Ordering::Relaxed);
        writeln!(output, "site {} {objects} {bytes}", site.name)?;
    }
    writeln!(output, "done")?;
    output.flush()?;
    while input.next().is_some() {}
    Ok(())
}

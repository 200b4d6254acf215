//! Signals that ask for the end, counted where they arrive.
//!
//! The first one ends the observation with a report; the second one leaves at once, whatever is being done:
//! the handler itself ends the process, so no work can delay it. What comes within a tenth of a second of the first is
//! the same wish: timeout(1) sends its signal twice, and a closing terminal sends SIGHUP more than once,
//! which therefore never counts as a second one. While a pager shows the report, Ctrl-C is the pager's, and the
//! others end it.
//!
//! Long work on files of the target asks its [`Mark`] whether a signal has come since it began, and gives up
//! then. Work that begins after the first signal is done for the report that it asked for.

use std::io;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};

/// Signals that ask for the end.
pub const SIGNALS: [libc::c_int; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];
/// Signals less than this apart are one.
const APART_NS: u64 = 100_000_000;

static COUNT: AtomicU32 = AtomicU32::new(0);
static FIRST_NS: AtomicU64 = AtomicU64::new(0);
static LEAVES: AtomicBool = AtomicBool::new(false);
static ENDING: AtomicBool = AtomicBool::new(false);
/// The pager that has the keyboard; 0: there is none.
static PAGER: AtomicI32 = AtomicI32::new(0);
/// The exit code once the last report is out; negative before.
static CODE: AtomicI32 = AtomicI32::new(-1);

/// Counts signals from now on, instead of dying of them. With `leaves` the second one ends the process.
pub fn listen(leaves: bool) -> io::Result<()> {
    static LISTENING: Once = Once::new();
    LEAVES.store(leaves, Ordering::Relaxed);
    let mut result = Ok(());
    LISTENING.call_once(|| {
        for number in SIGNALS {
            // SAFETY: `arrived` is async-signal-safe.
            let registered = unsafe { signal_hook_registry::register(number, move || arrived(number)) };
            if let Err(error) = registered {
                result = Err(error);
            }
        }
    });
    result
}

/// How many have come.
pub fn count() -> u32 {
    COUNT.load(Ordering::Relaxed)
}

/// The end has come by itself: the last report is being made.
pub fn ending() {
    ENDING.store(true, Ordering::Relaxed);
}

/// The last report is out: leaving early loses nothing any more, and has this exit code.
pub fn report_is_out(code: u8) {
    CODE.store(i32::from(code), Ordering::Relaxed);
}

/// Counts signals from now on, if nobody does yet: for a pager, which must not lose the terminal to our end.
pub fn hear() -> io::Result<()> {
    listen(LEAVES.load(Ordering::Relaxed))
}

/// Somebody reads in the pager with this PID (0: not any more). It has the keyboard, so Ctrl-C is the pager's; what else
/// asks for the end, ends the pager first, which gives the terminal back.
pub fn paging(pid: u32) {
    PAGER.store(pid.cast_signed(), Ordering::Relaxed);
}

/// When some work began.
#[derive(Clone, Copy, Debug)]
pub struct Mark(u32);

impl Mark {
    pub fn now() -> Self {
        Self(count())
    }

    /// Whether a signal has come since.
    pub fn is_past(self) -> bool {
        count() > self.0
    }

    /// An error if a signal has come since.
    pub fn check(self) -> io::Result<()> {
        // Not of the kind `Interrupted`, which is tried again.
        if self.is_past() { Err(io::Error::other("a signal asked for the end")) } else { Ok(()) }
    }
}

/// In the signal handler.
fn arrived(number: libc::c_int) {
    let pager = PAGER.load(Ordering::Relaxed);
    if pager > 0 {
        if number != libc::SIGINT {
            // SAFETY: async-signal-safe; the pager is our child, which nobody has waited for yet.
            unsafe { libc::kill(pager, number) };
        }
        return;
    }
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is valid; async-signal-safe.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    let now = time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned();
    let leaves = LEAVES.load(Ordering::Relaxed);
    if COUNT.load(Ordering::Relaxed) == 0 {
        FIRST_NS.store(now, Ordering::Relaxed);
        COUNT.store(1, Ordering::Relaxed);
        if leaves && CODE.load(Ordering::Relaxed) >= 0 {
            leave();
        }
        if leaves && ENDING.load(Ordering::Relaxed) {
            say(b"leakscope: the report is being written; press Ctrl-C again to leave without it\n");
        }
    } else if number != libc::SIGHUP && now.saturating_sub(FIRST_NS.load(Ordering::Relaxed)) >= APART_NS {
        COUNT.store(2, Ordering::Relaxed);
        if leaves {
            leave();
        }
    }
}

/// Says whether there is a report, and ends; the kernel takes the probes away.
fn leave() {
    let code = CODE.load(Ordering::Relaxed);
    say(if code >= 0 {
        b"leakscope: leaving; the kernel removes the probes\n"
    } else {
        b"leakscope: no report; the kernel removes the probes\n"
    });
    // SAFETY: async-signal-safe.
    unsafe { libc::_exit(if code >= 0 { code } else { 1 }) }
}

fn say(message: &[u8]) {
    // SAFETY: async-signal-safe, and the message outlives the call.
    unsafe { libc::write(libc::STDERR_FILENO, message.as_ptr().cast(), message.len()) };
}

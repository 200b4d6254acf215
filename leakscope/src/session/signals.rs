//! The signals that ask for the end: the first is answered with a report, the second at once.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGINT, SIGTERM and SIGHUP.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    /// Takes the signals over. Must be called within a tokio runtime.
    pub(super) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for one of them.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }

    /// From now on each of them ends the process at once; the kernel then takes the probes away.
    pub(super) fn leave_on_the_next(&self) {
        for number in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            // SAFETY: `leave` is async-signal-safe.
            unsafe { libc::signal(number, leave as extern "C" fn(libc::c_int) as libc::sighandler_t) };
        }
    }
}

/// Whether the last report was written.
static REPORTED: AtomicBool = AtomicBool::new(false);

/// The last report is out: leaving early loses nothing any more.
pub(super) fn report_is_out() {
    REPORTED.store(true, Ordering::Relaxed);
}

/// Says that there is no report, and ends.
extern "C" fn leave(_: libc::c_int) {
    let reported = REPORTED.load(Ordering::Relaxed);
    let message: &[u8] = if reported {
        b"leakscope: leaving; the kernel removes the probes\n"
    } else {
        b"leakscope: no report; the kernel removes the probes\n"
    };
    // SAFETY: both calls are async-signal-safe, and the message outlives the call.
    unsafe {
        libc::write(libc::STDERR_FILENO, message.as_ptr().cast(), message.len());
        libc::_exit(i32::from(!reported));
    }
}

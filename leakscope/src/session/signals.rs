//! The signals that ask for the end, waited for: [`crate::interrupt`] says what each one does.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::interrupt;

/// SIGINT, SIGTERM and SIGHUP.
pub(super) struct Signals {
    all: Vec<Signal>,
    /// How many had come before.
    before: u32,
}

impl Signals {
    /// Takes the signals over. Must be called within a tokio runtime. With `leaves` the second one ends the
    /// process.
    pub(super) fn listen(leaves: bool) -> std::io::Result<Self> {
        let before = interrupt::count();
        interrupt::listen(leaves)?;
        let all = interrupt::SIGNALS.map(|number| signal(SignalKind::from_raw(number)));
        Ok(Self { all: all.into_iter().collect::<Result<_, _>>()?, before })
    }

    /// Waits for one of them.
    pub(super) async fn next(&mut self) {
        // One that came while they were taken over is counted, and in no stream.
        if interrupt::count() > self.before {
            return;
        }
        let [a, b, c] = &mut self.all[..] else { return std::future::pending().await };
        tokio::select! {
            _ = a.recv() => {}
            _ = b.recv() => {}
            _ = c.recv() => {}
        }
    }
}

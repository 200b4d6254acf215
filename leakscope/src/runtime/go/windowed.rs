//! What probes need that stand in windows at random times.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Random bits (xorshift64*); from a seed of 0 they are always the same.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// 32 of them.
    pub(super) fn bits(&mut self) -> u64 {
        let mut x = if self.0 == 0 { 0x9e37_79b9_7f4a_7c15 } else { self.0 };
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.0 = x;
        x.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    }

    /// A number from 0 to 1.
    pub(super) fn share(&mut self) -> f64 {
        self.bits() as f64 / f64::from(u32::MAX)
    }
}

/// Links that are being closed.
#[derive(Debug, Default)]
pub(super) struct Leaving(Arc<AtomicUsize>);

impl Leaving {
    /// How many.
    pub(super) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Closes a link on a thread of its own: the probes are gone at once, but the kernel waits until none is under way.
    pub(super) fn close(&self, link: OwnedFd, thread: &str) {
        self.0.fetch_add(1, Ordering::Relaxed);
        let count = Arc::clone(&self.0);
        let spawned = std::thread::Builder::new().name(thread.to_owned()).spawn(move || {
            drop(link);
            count.fetch_sub(1, Ordering::Relaxed);
        });
        if spawned.is_err() {
            // It was closed with the thread's closure.
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

//! How long may be looked for peers.

use std::time::{Duration, Instant};

/// Time for all that is looked up for one snapshot.
const TIME: Duration = Duration::from_millis(200);

/// Time that is left.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    end: Instant,
}

/// Why something is unknown that there was no time for.
pub(super) const SPENT: &str = "not all processes could be looked at within 0.2 s";

impl Default for Budget {
    fn default() -> Self {
        Self { end: Instant::now() + TIME }
    }
}

impl Budget {
    /// Whether the time is over.
    pub fn is_spent(&self) -> bool {
        Instant::now() >= self.end
    }

    /// One without time.
    #[cfg(test)]
    pub(super) fn spent() -> Self {
        Self { end: Instant::now() }
    }
}

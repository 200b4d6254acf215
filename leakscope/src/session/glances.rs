//! What was mapped whenever the kernel side told that it changed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::process::mapped::Followed;
use crate::process::seen::{Seen, Seer};

/// Most of them that wait; of further changes the mappings are looked at later, when their turn comes.
const MOST: usize = 512;

/// One glance for each record of a change, in the order of the records. The thread that takes these out of the ring
/// looks, the session takes the glances as it comes to the records.
#[derive(Clone, Debug, Default)]
pub(super) struct Glances {
    all: Arc<Mutex<VecDeque<Seen>>>,
    followed: Arc<Mutex<Followed>>,
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Glances {
    /// None yet; `followed` has what is mapped between them.
    pub(super) fn new(followed: Followed) -> Self {
        Self { all: Arc::default(), followed: Arc::new(Mutex::new(followed)) }
    }

    /// Looks at the process whenever it is called.
    pub(super) fn looking(&self, pid: u32) -> impl FnMut() + Send + use<> {
        let (all, followed, mut seer) = (Arc::clone(&self.all), Arc::clone(&self.followed), Seer::new(pid));
        move || {
            let mut all = lock(&all);
            let mut seen = if all.len() < MOST { seer.look() } else { Seen::default() };
            seen.add_told(lock(&followed).take());
            all.push_back(seen);
        }
    }

    /// The glance of the next record.
    pub(super) fn next(&self) -> Seen {
        lock(&self.all).pop_front().unwrap_or_default()
    }

    /// Makes room for what is mapped. To be called now and then: other processes map code, too.
    pub(super) fn keep_up(&self) {
        lock(&self.followed).take_in();
    }
}

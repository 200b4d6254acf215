//! What was mapped whenever the kernel side told that it changed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::process::seen::{Seen, Seer};

/// Most of them that wait; of further changes the mappings are looked at later, when their turn comes.
const MOST: usize = 512;

/// One glance for each record of a change, in the order of the records. The thread that takes these out of the ring
/// looks, the session takes the glances as it comes to the records.
#[derive(Clone, Debug, Default)]
pub(super) struct Glances(Arc<Mutex<VecDeque<Seen>>>);

impl Glances {
    /// Looks at the process whenever it is called.
    pub(super) fn looking(&self, pid: u32) -> impl FnMut() + Send + use<> {
        let (all, mut seer) = (Arc::clone(&self.0), Seer::new(pid));
        move || {
            let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
            let seen = if all.len() < MOST { seer.look() } else { Seen::default() };
            all.push_back(seen);
        }
    }

    /// The glance of the next record.
    pub(super) fn next(&self) -> Seen {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front().unwrap_or_default()
    }
}

//! The ring buffer's records, as bytes: what is in them their takers know.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use aya::maps::{MapData, RingBuf};
use leakscope_common::event::{Header, Kind};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use tokio::sync::Notify;

use super::object::Object;
use super::queue::Queue;
use super::{BpfError, Pod, sys};

/// What the kernel side had to tell: a record that begins with a [`Header`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record(Vec<u8>);

impl Record {
    /// A record, if there is a header.
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        (bytes.len() >= size_of::<Header>()).then_some(Self(bytes))
    }

    /// Whether it is of this kind.
    pub fn is(&self, kind: Kind) -> bool {
        self.u32(0) == Some(kind as u32)
    }

    /// The record as a structure, if it is long enough.
    pub fn as_value<T: Pod>(&self) -> Option<T> {
        sys::value_of(self.0.get(..size_of::<T>())?)
    }

    /// 4 bytes of it as a number.
    pub fn u32(&self, at: usize) -> Option<u32> {
        Some(u32::from_ne_bytes(self.0.get(at..at.checked_add(4)?)?.try_into().ok()?))
    }

    /// 8 bytes of it as a number.
    pub fn u64(&self, at: usize) -> Option<u64> {
        Some(u64::from_ne_bytes(self.0.get(at..at.checked_add(8)?)?.try_into().ok()?))
    }

    /// All of it.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The consumer's end of a ring buffer that is asked now and then.
pub struct Ring(pub(super) RingBuf<MapData>);

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ring")
    }
}

impl Ring {
    /// Takes the next record, if there is one.
    pub fn next<T>(&mut self, take: impl FnOnce(&[u8]) -> T) -> Option<T> {
        self.0.next().map(|record| take(&record))
    }
}

/// The records of the ring buffer of events.
///
/// A thread of its own takes them out of the ring as they come, so that the ring has room while the session is busy
/// with others.
pub struct Events {
    shared: Arc<Shared>,
    stop: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

/// What the thread and the session share.
struct Shared {
    state: Mutex<State>,
    /// Records wait, or the thread has failed.
    came: Notify,
    /// There is room in the queue again, or the thread is to end.
    room: Condvar,
}

/// Is called for each record that tells of a change of the mappings, as it leaves the ring.
pub type OnChange = Box<dyn FnMut() + Send>;

struct State {
    ring: RingBuf<MapData>,
    on_change: OnChange,
    queue: Queue,
    ending: bool,
    /// Why the thread has ended.
    failed: Option<io::Error>,
}

/// Most records that the ring has room for: it has 4 MiB, and a record takes 16 bytes at least.
const RECORDS_OF_A_RING: usize = (4 << 20) / 16;

impl Events {
    /// Takes the ring buffer out of `object`, and begins to take records out of it.
    pub fn open(object: &mut Object, on_change: OnChange) -> Result<Self, BpfError> {
        let Ring(ring) = object.take_ring("EVENTS")?;
        Self::follow(ring, on_change).map_err(|error| BpfError::Map { what: "follow the ring buffer", error })
    }

    fn follow(ring: RingBuf<MapData>, on_change: OnChange) -> io::Result<Self> {
        let filled = ring.as_fd().try_clone_to_owned()?;
        let stop = eventfd(0, EventfdFlags::CLOEXEC)?;
        let stopped = stop.try_clone()?;
        let state = State { ring, on_change, queue: Queue::default(), ending: false, failed: None };
        let shared = Arc::new(Shared { state: Mutex::new(state), came: Notify::new(), room: Condvar::new() });
        let thread = {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name("events".to_owned()).spawn(move || shared.run(&filled, &stopped))?
        };
        Ok(Self { shared, stop, thread: Some(thread) })
    }

    /// Waits until there is something, then takes up to a few thousand records.
    pub async fn next(&self) -> io::Result<Vec<Record>> {
        loop {
            {
                let mut state = self.shared.state();
                if let Some(error) = state.failed.take() {
                    return Err(error);
                }
                if !state.queue.is_empty() {
                    let records = state.queue.batch();
                    self.shared.room.notify_one();
                    return Ok(records);
                }
            }
            self.shared.came.notified().await;
        }
    }

    /// Takes what has come until now, without waiting.
    pub fn drain(&self) -> Vec<Record> {
        let mut state = self.shared.state();
        state.take_in(RECORDS_OF_A_RING);
        self.shared.room.notify_one();
        state.queue.all()
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.shared.state().ending = true;
        self.shared.room.notify_one();
        // It is full only if somebody has told it already.
        let _ = rustix::io::write(&self.stop, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            // Its panic was reported as it came.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Whoever panicked with it has left whole records.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes records out of the ring until it is told to end.
    fn run(&self, filled: &OwnedFd, stopped: &OwnedFd) {
        loop {
            let mut either = [PollFd::new(filled, PollFlags::IN), PollFd::new(stopped, PollFlags::IN)];
            let polled = poll(&mut either, None);
            let mut state = self.state();
            match polled {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    state.failed = Some(error.into());
                    self.came.notify_one();
                    return;
                }
            }
            while state.queue.is_full() && !state.ending {
                state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.ending {
                return;
            }
            state.take_in(BATCH);
            if !state.queue.is_empty() {
                self.came.notify_one();
            }
        }
    }
}

/// Records taken with the queue locked, so that the session gets its turn.
const BATCH: usize = 4096;

impl State {
    /// Takes up to `most` records out of the ring.
    fn take_in(&mut self, most: usize) {
        for _ in 0..most {
            let Some(record) = self.ring.next() else { return };
            if self.queue.add(&record) == Some(Kind::MappingsChanged) {
                (self.on_change)();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_a_header_at_least() {
        assert_eq!(Record::new(vec![0; 7]), None);
        let record = Record::new([2, 0, 0, 0, 0, 0, 0, 0, 5].to_vec()).expect("a header");
        assert!(record.is(Kind::MappingsChanged) && !record.is(Kind::Stack));
        assert_eq!((record.u64(0), record.u64(2), record.u32(usize::MAX)), (Some(2), None, None));
        assert_eq!((record.as_value::<u64>(), record.as_value::<[u64; 2]>()), (Some(2), None));
    }
}

//! The ring buffer's records as values.

use std::io;

use aya::maps::{MapData, RingBuf};
use leakscope_common::event::{EXACT, Kind, StackHeader, ThreadEvent};
use leakscope_common::unwind::{MAX_FRAMES, StackEnd};
use tokio::io::unix::AsyncFd;

use super::BpfError;
use super::object::Object;
use crate::collect::waits::aggregate::LongWait;
use crate::stack::StackFrame;
use crate::wait::WaitSiteId;

/// What the kernel side had to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A stack on first sight.
    Stack {
        /// Its hash: the site's key.
        id: u64,
        /// Innermost first.
        frames: Vec<StackFrame>,
        /// Why it ended.
        end: StackEnd,
    },
    /// The mappings should be looked at again.
    MappingsChanged,
    /// A thread of the target began at this time (CLOCK_MONOTONIC, ns).
    ThreadStart(u64),
    /// A thread of the target ended.
    ThreadExit(u64),
    /// The target's main thread ended.
    LeaderExit,
    /// A wait of at least `--min-wait` ended.
    LongWait(LongWait),
    /// The target replaced its program at this time (CLOCK_MONOTONIC, ns).
    Exec(u64),
}

/// The consumer's end of the ring buffer.
pub struct Events {
    ring: AsyncFd<RingBuf<MapData>>,
}

impl Events {
    /// Takes the ring buffer out of `object`. Must be called within a tokio runtime.
    pub fn open(object: &mut Object) -> Result<Self, BpfError> {
        let map = object.ebpf.take_map("EVENTS").ok_or(BpfError::Missing("EVENTS"))?;
        let ring = RingBuf::try_from(map).map_err(|_| BpfError::Missing("EVENTS"))?;
        // SAFETY: the map's descriptor stays the same for as long as the ring buffer lives.
        let ring = unsafe { AsyncFd::register(ring) }
            .map_err(|e| BpfError::Map { what: "poll the ring buffer", error: e.into() })?;
        Ok(Self { ring })
    }

    /// Waits until there is something, then takes up to a few thousand records.
    pub async fn next(&mut self) -> io::Result<Vec<Event>> {
        let mut guard = self.ring.readable_mut().await?;
        let events = take(guard.get_inner_mut());
        if events.is_empty() {
            guard.clear_ready();
        }
        Ok(events)
    }

    /// Takes what is there without waiting.
    pub fn drain(&mut self) -> Vec<Event> {
        let mut all = Vec::new();
        loop {
            let events = take(self.ring.get_mut());
            if events.is_empty() {
                return all;
            }
            all.extend(events);
        }
    }
}

/// Records taken at once, so that other work gets its turn.
const BATCH: usize = 4096;

fn take(ring: &mut RingBuf<MapData>) -> Vec<Event> {
    let mut events = Vec::new();
    while events.len() < BATCH
        && let Some(record) = ring.next()
    {
        events.extend(parse(&record));
    }
    events
}

fn parse(record: &[u8]) -> Option<Event> {
    let word = |at: usize| Some(u32::from_ne_bytes(record.get(at..at + 4)?.try_into().ok()?));
    let long = |at: usize| Some(u64::from_ne_bytes(record.get(at..at + 8)?.try_into().ok()?));
    let kind = word(0)?;
    let count = (word(4)? as usize).min(MAX_FRAMES);
    if kind == Kind::Stack as u32 {
        let frames = record.get(size_of::<StackHeader>()..)?.as_chunks().0.iter().take(count);
        Some(Event::Stack {
            id: long(8)?,
            frames: frames
                .map(|frame| {
                    let word = u64::from_ne_bytes(*frame);
                    StackFrame { address: word & !EXACT, exact: word & EXACT != 0 }
                })
                .collect(),
            end: StackEnd::from_number(word(16)?)?,
        })
    } else if kind == Kind::MappingsChanged as u32 {
        Some(Event::MappingsChanged)
    } else if kind == Kind::Wait as u32 {
        let site = long(24)?;
        let site = (site != 0).then_some(WaitSiteId(site));
        Some(Event::LongWait(LongWait { tid: word(32)?, site, since_ns: long(8)?, wait_ns: long(16)? }))
    } else if record.len() < size_of::<ThreadEvent>() {
        None
    } else if kind == Kind::ThreadStart as u32 {
        Some(Event::ThreadStart(long(8)?))
    } else if kind == Kind::ThreadExit as u32 {
        Some(Event::ThreadExit(long(8)?))
    } else if kind == Kind::Exec as u32 {
        Some(Event::Exec(long(8)?))
    } else if kind == Kind::LeaderExit as u32 {
        Some(Event::LeaderExit)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_record() {
        let mut record = Vec::new();
        record.extend_from_slice(&(Kind::Stack as u32).to_ne_bytes());
        record.extend_from_slice(&2u32.to_ne_bytes());
        record.extend_from_slice(&77u64.to_ne_bytes());
        record.extend_from_slice(&(StackEnd::Root as u32).to_ne_bytes());
        record.extend_from_slice(&0u32.to_ne_bytes());
        for frame in [10u64 | EXACT, 20, 30] {
            record.extend_from_slice(&frame.to_ne_bytes());
        }
        let frame = |address, exact| StackFrame { address, exact };
        assert_eq!(
            parse(&record),
            Some(Event::Stack {
                id: 77,
                frames: vec![frame(10, true), frame(20, false)],
                end: StackEnd::Root
            })
        );
        assert_eq!(parse(&record[..20]), None);
        assert_eq!(parse(&[]), None);
    }
}

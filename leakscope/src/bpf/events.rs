//! The ring buffer's records, as bytes: what is in them their takers know.

use std::io;

use aya::maps::{MapData, RingBuf};
use leakscope_common::event::{Header, Kind};
use tokio::io::unix::AsyncFd;

use super::object::Object;
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

/// The consumer's end of the ring buffer of events, which can be waited for.
pub struct Events {
    ring: AsyncFd<RingBuf<MapData>>,
}

impl Events {
    /// Takes the ring buffer out of `object`. Must be called within a tokio runtime.
    pub fn open(object: &mut Object) -> Result<Self, BpfError> {
        let Ring(ring) = object.take_ring("EVENTS")?;
        // SAFETY: the map's descriptor stays the same for as long as the ring buffer lives.
        let ring = unsafe { AsyncFd::register(ring) }
            .map_err(|e| BpfError::Map { what: "poll the ring buffer", error: e.into() })?;
        Ok(Self { ring })
    }

    /// Waits until there is something, then takes up to a few thousand records.
    pub async fn next(&mut self) -> io::Result<Vec<Record>> {
        let mut guard = self.ring.readable_mut().await?;
        let records = take(guard.get_inner_mut());
        if records.is_empty() {
            guard.clear_ready();
        }
        Ok(records)
    }

    /// Takes what is there without waiting.
    pub fn drain(&mut self) -> Vec<Record> {
        let mut all = Vec::new();
        loop {
            let records = take(self.ring.get_mut());
            if records.is_empty() {
                return all;
            }
            all.extend(records);
        }
    }
}

/// Records taken at once, so that other work gets its turn.
const BATCH: usize = 4096;

fn take(ring: &mut RingBuf<MapData>) -> Vec<Record> {
    let mut records = Vec::new();
    while records.len() < BATCH
        && let Some(record) = ring.next()
    {
        records.extend(Record::new(record.to_vec()));
    }
    records
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

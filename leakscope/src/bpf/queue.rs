//! Records that were taken out of the ring buffer and wait for the session.

use std::collections::{HashSet, VecDeque};

use leakscope_common::event::{Kind, StackHeader};

use super::events::Record;

/// Most bytes that wait. Then records stay in the ring, and the kernel side sends a stack again that found no room
/// there.
const MOST_BYTES: usize = 256 << 20;

/// Records handed over at once, so that other work gets its turn.
const BATCH: usize = 4096;

/// The records in their order, of each stack the first alone: the kernel side sends one again for another purpose, or
/// where two threads saw it first.
#[derive(Debug)]
pub(super) struct Queue {
    records: VecDeque<Record>,
    bytes: usize,
    most: usize,
    /// Stacks that came, by identity.
    seen: HashSet<u64>,
}

impl Default for Queue {
    fn default() -> Self {
        Self::with_room_for(MOST_BYTES)
    }
}

impl Queue {
    fn with_room_for(most: usize) -> Self {
        Self { records: VecDeque::new(), bytes: 0, most, seen: HashSet::new() }
    }

    /// Adds what came out of the ring; what is no record is left out. Tells of a change of the mappings.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Option<Kind> {
        let record = Record::new(bytes.to_vec())?;
        let kind = record.is(Kind::MappingsChanged).then_some(Kind::MappingsChanged);
        if self.is_first(&record) {
            self.bytes += bytes.len();
            self.records.push_back(record);
        }
        kind
    }

    fn is_first(&mut self, record: &Record) -> bool {
        let id = record.is(Kind::Stack).then(|| record.u64(std::mem::offset_of!(StackHeader, id))).flatten();
        id.is_none_or(|id| self.seen.insert(id))
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes >= self.most
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Takes the oldest ones.
    pub(super) fn batch(&mut self) -> Vec<Record> {
        self.take(BATCH)
    }

    pub(super) fn all(&mut self) -> Vec<Record> {
        self.take(self.records.len())
    }

    fn take(&mut self, most: usize) -> Vec<Record> {
        let taken: Vec<Record> = self.records.drain(..most.min(self.records.len())).collect();
        self.bytes -= taken.iter().map(|record| record.bytes().len()).sum::<usize>();
        if self.records.is_empty() {
            self.records.shrink_to(BATCH);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: Kind, id: u64) -> Vec<u8> {
        let mut bytes = vec![0; size_of::<StackHeader>()];
        bytes[..4].copy_from_slice(&(kind as u32).to_ne_bytes());
        bytes[8..16].copy_from_slice(&id.to_ne_bytes());
        bytes
    }

    fn ids(records: &[Record]) -> Vec<Option<u64>> {
        records.iter().map(|record| record.u64(8)).collect()
    }

    #[test]
    fn a_stack_comes_once_and_the_order_stays() {
        let mut queue = Queue::default();
        for (kind, id) in [
            (Kind::Stack, 7),
            (Kind::ThreadExit, 7),
            (Kind::Stack, 8),
            (Kind::Stack, 7),
            (Kind::ThreadExit, 7),
        ] {
            queue.add(&record(kind, id));
        }
        assert_eq!(ids(&queue.all()), [7, 7, 8, 7].map(Some));
        queue.add(&record(Kind::Stack, 8));
        assert!(queue.is_empty(), "not even after the first was taken");
    }

    #[test]
    fn what_is_no_record_is_left_out() {
        let mut queue = Queue::default();
        assert_eq!(queue.add(&[1, 0, 0]), None);
        queue.add(&[1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(queue.all().len(), 1, "a header without a stack is for its reader to judge");
    }

    #[test]
    fn it_is_full_until_some_are_taken() {
        let mut queue = Queue::with_room_for(2 * size_of::<StackHeader>());
        for id in 0..3 {
            let _ = queue.add(&record(Kind::Stack, id));
        }
        assert!(queue.is_full());
        assert_eq!(queue.take(2).len(), 2);
        assert!(!queue.is_full() && !queue.is_empty());
        assert_eq!(queue.batch().len(), 1);
    }
}

//! Interned stacks: each distinct stack once, its addresses normalised to (module, virtual address)
//! when it is first seen, while the mapping is certain to be there.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::mem::offset_of;

use foldhash::fast::RandomState;
use leakscope_common::event::{EXACT, StackHeader};
use leakscope_common::unwind::{MAX_FRAMES, StackEnd};
use serde::{Deserialize, Serialize};

use crate::bpf::events::Record;
use crate::process::Location;

/// Handle of an interned stack: the hash of its frames, and so its site's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StackId(pub u64);

/// A frame as it was unwound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackFrame {
    /// Address in the target.
    pub address: u64,
    /// Whether it is the instruction itself; otherwise it is a return address, and the call lies
    /// before it.
    pub exact: bool,
}

/// A stack as it was unwound, innermost frame first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawStack {
    /// The hash of its frames.
    pub id: StackId,
    pub frames: Vec<StackFrame>,
    /// Why there are no more.
    #[serde(with = "end_by_number")]
    pub end: StackEnd,
    /// Of C that a goroutine calls and that allocates, the address behind the `go` statement that created that; else 0.
    #[serde(default)]
    pub created_at: u64,
}

impl RawStack {
    /// The stack in a record of the kernel side, if it is whole.
    pub fn of_record(record: &Record) -> Option<Self> {
        let count = (record.u32(offset_of!(StackHeader, header.count))? as usize).min(MAX_FRAMES);
        // As the header was before it had its last member.
        let short = record.u32(offset_of!(StackHeader, size))? == 0;
        let begin = if short { offset_of!(StackHeader, created_at) } else { size_of::<StackHeader>() };
        let frames = record.bytes().get(begin..)?.as_chunks().0.iter().take(count);
        let frame = |bytes: &[u8; 8]| {
            let word = u64::from_ne_bytes(*bytes);
            StackFrame { address: word & !EXACT, exact: word & EXACT != 0 }
        };
        Some(Self {
            id: StackId(record.u64(offset_of!(StackHeader, id))?),
            frames: frames.map(frame).collect(),
            end: StackEnd::from_number(record.u32(offset_of!(StackHeader, end))?)?,
            created_at: if short { 0 } else { record.u64(offset_of!(StackHeader, created_at))? },
        })
    }
}

/// When the stack in a record was seen, CLOCK_MONOTONIC in ns.
pub fn seen_at_ns(record: &Record) -> Option<u64> {
    record.u64(offset_of!(StackHeader, at_ns))
}

/// A stack's end by its number, for serde's `with`.
mod end_by_number {
    use leakscope_common::unwind::StackEnd;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(end: &StackEnd, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(*end as u32)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<StackEnd, D::Error> {
        StackEnd::from_number(u32::deserialize(deserializer)?).ok_or_else(|| D::Error::custom("no such end"))
    }
}

/// A frame with its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Frame {
    /// Address in the target.
    pub address: u64,
    /// Whether it is the instruction itself; otherwise a return address.
    pub exact: bool,
    /// Where it lies. Of a return address, where the call before it lies.
    pub location: Location,
}

/// Handle of an interned frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameId(u32);

impl FrameId {
    /// Its place in a list of all frames.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A stack, innermost frame first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocatedStack {
    pub frames: Box<[FrameId]>,
    /// Why there are no more.
    pub end: StackEnd,
    /// Of C that a goroutine calls, the `go` statement that created that.
    pub created_by: Option<FrameId>,
}

/// All stacks seen.
#[derive(Debug, Default)]
pub struct Stacks {
    by_id: HashMap<StackId, LocatedStack>,
    /// Their frames, each once: stacks have most of theirs in common.
    frames: Vec<Frame>,
    numbers: HashMap<Frame, FrameId, RandomState>,
    /// How many frames have been handed out.
    taken: usize,
}

impl Stacks {
    /// Interns a stack; `locate` tells where an address lies now.
    pub fn insert(&mut self, stack: &RawStack, locate: impl Fn(u64) -> Location) {
        let Entry::Vacant(entry) = self.by_id.entry(stack.id) else { return };
        let place = |f: &StackFrame| {
            // The call is the instruction before a return address; that one may even be the
            // first of the next function.
            let location = match locate(if f.exact { f.address } else { f.address.wrapping_sub(1) }) {
                Location::Module(module, address) if !f.exact => {
                    Location::Module(module, address.wrapping_add(1))
                }
                other => other,
            };
            Frame { address: f.address, exact: f.exact, location }
        };
        let frames = &mut self.frames;
        let mut number = |frame: Frame| {
            *self.numbers.entry(frame).or_insert_with(|| {
                frames.push(frame);
                // Memory ends long before.
                FrameId(u32::try_from(frames.len() - 1).unwrap_or(u32::MAX))
            })
        };
        let located = stack.frames.iter().map(|frame| number(place(frame))).collect();
        let statement =
            (stack.created_at != 0).then_some(StackFrame { address: stack.created_at, exact: false });
        let created_by = statement.map(|statement| number(place(&statement)));
        entry.insert(LocatedStack { frames: located, end: stack.end, created_by });
    }

    /// Hands each frame that no stack of before had to `take`.
    pub fn take_new(&mut self, take: impl FnMut(&Frame)) {
        self.frames[self.taken..].iter().for_each(take);
        self.taken = self.frames.len();
    }

    /// The stack, if its frames have arrived.
    pub fn get(&self, id: StackId) -> Option<&LocatedStack> {
        self.by_id.get(&id)
    }

    /// A frame of one of these stacks.
    pub fn frame(&self, id: FrameId) -> &Frame {
        &self.frames[id.index()]
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::ModuleId;
    use leakscope_common::event::Kind;

    #[test]
    fn a_return_address_past_the_end_belongs_to_the_caller() {
        let mut stacks = Stacks::default();
        let locate = |a: u64| if a < 100 { Location::Module(ModuleId(0), a) } else { Location::Unmapped };
        let frames =
            vec![StackFrame { address: 100, exact: true }, StackFrame { address: 100, exact: false }];
        stacks.insert(&RawStack { id: StackId(1), frames, end: StackEnd::Root, created_at: 0 }, locate);
        let stack = stacks.get(StackId(1)).expect("interned");
        let location = |at: usize| stacks.frame(stack.frames[at]).location;
        assert_eq!(location(0), Location::Unmapped);
        assert_eq!(location(1), Location::Module(ModuleId(0), 100));
        let again = RawStack { id: StackId(1), frames: vec![], end: StackEnd::Truncated, created_at: 0 };
        stacks.insert(&again, locate);
        assert_eq!((stacks.len(), stacks.is_empty()), (1, false));
        assert_eq!(stacks.get(StackId(1)).map(|s| s.end), Some(StackEnd::Root));
    }

    #[test]
    fn stacks_have_frames_in_common() {
        let mut stacks = Stacks::default();
        let mut new = Vec::new();
        for (id, addresses) in [(1, vec![10, 20, 30]), (2, vec![11, 20, 30]), (3, vec![20, 30])] {
            let frames = addresses.into_iter().map(|address| StackFrame { address, exact: false }).collect();
            let raw = RawStack { id: StackId(id), frames, end: StackEnd::Root, created_at: 0 };
            stacks.insert(&raw, |_| Location::Anonymous);
            stacks.take_new(|frame| new.push(frame.address));
        }
        assert_eq!(new, [10, 20, 30, 11]);
        let frames = |id| stacks.get(StackId(id)).expect("interned").frames.clone();
        assert_eq!(frames(1)[1..], frames(2)[1..]);
        assert_eq!(frames(3), frames(2)[1..].into());
    }

    #[test]
    fn a_stack_record() {
        let mut record = Vec::new();
        record.extend_from_slice(&(Kind::Stack as u32).to_ne_bytes());
        record.extend_from_slice(&2u32.to_ne_bytes());
        record.extend_from_slice(&77u64.to_ne_bytes());
        record.extend_from_slice(&(StackEnd::Root as u32).to_ne_bytes());
        record.extend_from_slice(&40u32.to_ne_bytes());
        record.extend_from_slice(&55u64.to_ne_bytes());
        record.extend_from_slice(&66u64.to_ne_bytes());
        for frame in [10u64 | EXACT, 20, 30] {
            record.extend_from_slice(&frame.to_ne_bytes());
        }
        let frame = |address, exact| StackFrame { address, exact };
        let parsed = |bytes: &[u8]| RawStack::of_record(&Record::new(bytes.to_vec())?);
        let frames = vec![frame(10, true), frame(20, false)];
        assert_eq!(
            parsed(&record),
            Some(RawStack { id: StackId(77), frames, end: StackEnd::Root, created_at: 66 })
        );
        assert_eq!(seen_at_ns(&Record::new(record.clone()).expect("a header")), Some(55));
        assert_eq!(parsed(&record[..20]), None);
        // A record of a recording of before.
        let frames = vec![frame(10, true), frame(20, false)];
        let old = [&record[..20], &0u32.to_ne_bytes(), &record[24..32], &record[40..]].concat();
        assert_eq!(
            parsed(&old),
            Some(RawStack { id: StackId(77), frames, end: StackEnd::Root, created_at: 0 })
        );
        assert_eq!(parsed(&[]), None);
    }
}

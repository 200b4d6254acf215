//! The frames of a stack, shared by all stacks that go through them.

use std::borrow::Cow;
use std::fmt;
use std::ops::{Deref, Index, IndexMut};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::frame::Frame;
use super::tables;

/// Frames of a stack, innermost first. A copy is a handle: neither the list nor its frames are copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SharedFrames(Arc<[Arc<Frame>]>);

impl SharedFrames {
    /// The frames, to be changed here and in no other stack.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Frame> {
        Arc::make_mut(&mut self.0).iter_mut().map(Arc::make_mut)
    }

    /// Changes the list.
    #[cfg(test)]
    pub(crate) fn edit<T>(&mut self, edit: impl FnOnce(&mut Vec<Arc<Frame>>) -> T) {
        let mut frames = self.0.to_vec();
        edit(&mut frames);
        self.0 = frames.into();
    }
}

impl Index<usize> for SharedFrames {
    type Output = Frame;

    fn index(&self, index: usize) -> &Frame {
        &self.0[index]
    }
}

/// Changes a frame in this stack and in no other.
impl IndexMut<usize> for SharedFrames {
    fn index_mut(&mut self, index: usize) -> &mut Frame {
        Arc::make_mut(&mut Arc::make_mut(&mut self.0)[index])
    }
}

impl Deref for SharedFrames {
    type Target = [Arc<Frame>];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl From<Vec<Frame>> for SharedFrames {
    fn from(frames: Vec<Frame>) -> Self {
        frames.into_iter().collect()
    }
}

impl FromIterator<Frame> for SharedFrames {
    fn from_iter<I: IntoIterator<Item = Frame>>(frames: I) -> Self {
        Self(frames.into_iter().map(Arc::new).collect())
    }
}

impl From<Vec<Arc<Frame>>> for SharedFrames {
    fn from(frames: Vec<Arc<Frame>>) -> Self {
        Self(frames.into())
    }
}

impl<'a> IntoIterator for &'a SharedFrames {
    type Item = &'a Arc<Frame>;
    type IntoIter = std::slice::Iter<'a, Arc<Frame>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// The stack's number where there are tables, else its frames.
impl Serialize for SharedFrames {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match tables::number(self) {
            Some(number) => to.serialize_u32(number),
            None => self.0.serialize(to),
        }
    }
}

impl<'de> Deserialize<'de> for SharedFrames {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Frames)
    }
}

struct Frames;

impl<'de> Visitor<'de> for Frames {
    type Value = SharedFrames;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("frames, or the number of a stack")
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<SharedFrames, E> {
        tables::stack(number).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<SharedFrames, A::Error> {
        let mut frames: Vec<Arc<Frame>> = Vec::new();
        while let Some(frame) = all.next_element()? {
            frames.push(Arc::new(frame));
        }
        Ok(frames.into())
    }
}

impl JsonSchema for SharedFrames {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Frames".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        if tables::are_used() { u32::json_schema(generator) } else { Vec::<Frame>::json_schema(generator) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_of_one_stack() {
        let frame = |line| Frame { line: Some(line), ..Frame::default() };
        let kept: SharedFrames = [frame(1), frame(2)].into_iter().collect();
        let mut changed = kept.clone();
        assert!(std::ptr::eq(&*kept, &*changed), "a copy is a handle");
        changed[1].line = Some(3);
        assert_eq!((kept[1].line, changed[1].line), (Some(2), Some(3)));
        assert!(std::ptr::eq(&kept[0], &changed[0]), "what is not changed stays shared");
        changed.iter_mut().for_each(|frame| frame.inlined = true);
        assert!(changed.iter().all(|frame| frame.inlined) && !kept.iter().any(|frame| frame.inlined));
    }
}

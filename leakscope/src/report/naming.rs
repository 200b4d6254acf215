//! Stacks with their names, each made once: of a site that many reports show, of a frame that many stacks have.

use std::collections::HashMap;
use std::sync::Arc;

use crate::process::AddressSpace;
use crate::runtime;
use crate::section::frame::Frame;
use crate::section::model::Stack;
use crate::stack::{FrameId, StackId, Stacks};
use crate::symbol::{BlameInput, Names, RecordedFrame};

/// Names stacks of one observation. What was named once stays so: a frame lies in a file that is held open, whatever
/// is mapped there later.
#[derive(Debug)]
pub struct Naming {
    pub names: Names,
    /// By the handles of frames as they were unwound: what is inlined into one, and itself.
    frames: Vec<Option<Arc<[Arc<Frame>]>>>,
    stacks: HashMap<StackId, Stack>,
}

impl Naming {
    /// Nothing is named yet.
    pub fn new(names: Names) -> Self {
        Self { names, frames: Vec::new(), stacks: HashMap::new() }
    }

    /// Takes in names of a recording, which may be of what had none before.
    pub fn learn(&mut self, names: Vec<RecordedFrame>) {
        self.names.learn(names);
        self.frames.clear();
        self.stacks.clear();
    }

    /// A stack of `stacks`, which are always the same, with its names; none if its frames never arrived.
    pub fn stack(&mut self, id: StackId, stacks: &Stacks, space: &AddressSpace) -> Option<Stack> {
        if let Some(known) = self.stacks.get(&id) {
            return Some(known.clone());
        }
        let located = stacks.get(id)?;
        let mut frames = Vec::with_capacity(located.frames.len());
        for &frame in &located.frames {
            frames.extend_from_slice(self.frame(frame, stacks, space));
        }
        let inputs: Vec<BlameInput<'_>> = frames.iter().map(|frame| frame.blame_input()).collect();
        let blame = runtime::rules().owners.blame(&inputs).map(|at| at as u64);
        let stack = Stack { frames: frames.into(), blame, end: Some(located.end.into()) };
        self.stacks.insert(id, stack.clone());
        Some(stack)
    }

    fn frame(&mut self, id: FrameId, stacks: &Stacks, space: &AddressSpace) -> &[Arc<Frame>] {
        if self.frames.len() <= id.index() {
            self.frames.resize(id.index() + 1, None);
        }
        let names = &mut self.names;
        self.frames[id.index()].get_or_insert_with(|| {
            let named = names.frames(space, stacks.frame(id));
            named.into_iter().map(|frame| Arc::new(Frame::from(frame))).collect()
        })
    }
}

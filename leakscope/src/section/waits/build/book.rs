//! Stacks with their names, each looked up once.

use std::collections::HashMap;
use std::rc::Rc;

use crate::section::model::Stack;
use crate::section::site::NameStack;
use crate::stack::StackId;
use crate::symbol::FrameOwner;
use crate::wait::primitives::Mark;

/// A system call's stub is among so many innermost frames: musl makes cancellable calls by another function.
const STUB_FRAMES: usize = 3;

/// A stack, its names, and what they say about waiting.
#[derive(Debug, Default)]
pub(super) struct Entry {
    /// Frames and their names.
    pub stack: Stack,
    /// What is known of each frame.
    pub marks: Vec<Mark>,
}

impl Entry {
    /// The frame to charge a wait to, where `primitive` is the function that waits: the first frame of
    /// the user's beyond it, which is not one of those that lead to a wait.
    pub(super) fn blame(&self, primitive: Option<usize>) -> Option<u64> {
        let first = primitive.map_or(0, |at| at.saturating_add(1));
        let beyond = || self.marks.iter().enumerate().skip(first);
        let framework = |mark: &Mark| mark.row.is_none() && mark.owner == FrameOwner::Framework;
        let named = |mark: &Mark| mark.row.is_none() && mark.c_library.is_none() && mark.function.is_some();
        beyond()
            .find(|(_, mark)| mark.is_user())
            .map(|(at, _)| at as u64)
            // What the stack is charged to lies further out where that frame is of a library that is not the
            // program's, or of a wrapper of the user's.
            .map(|at| self.stack.blame.map_or(at, |charged| charged.max(at)))
            .or_else(|| beyond().find(|(_, mark)| framework(mark)).map(|(at, _)| at as u64))
            .or_else(|| {
                let shown = beyond().find(|(_, mark)| named(mark)).filter(|_| primitive.is_some());
                shown.map(|(at, _)| at as u64)
            })
            .or(self.stack.blame)
    }

    /// The stack, charged to that frame.
    pub(super) fn charged(&self, primitive: Option<usize>) -> Stack {
        Stack { blame: self.blame(primitive), ..self.stack.clone() }
    }

    /// The innermost frame that is nothing but the system call `operation`: a C library that is linked statically
    /// has no file of its own to tell it from the program by.
    pub(super) fn stub(&self, operation: &str) -> Option<usize> {
        let plain = |name: &str| name.trim_start_matches('_').trim_start_matches("libc_") == operation;
        self.marks.iter().take(STUB_FRAMES).position(|mark| mark.function.as_deref().is_some_and(plain))
    }
}

/// The stacks looked up so far.
pub(super) struct Book<'a, 'f> {
    name: &'a mut NameStack<'f>,
    entries: HashMap<StackId, Rc<Entry>>,
    empty: Rc<Entry>,
}

impl<'a, 'f> Book<'a, 'f> {
    pub(super) fn new(name: &'a mut NameStack<'f>) -> Self {
        Self { name, entries: HashMap::new(), empty: Rc::default() }
    }

    /// A stack; an empty one if there is none or its frames never arrived.
    pub(super) fn get(&mut self, stack: Option<StackId>) -> Rc<Entry> {
        let Some(id) = stack else { return Rc::clone(&self.empty) };
        let name = &mut self.name;
        let entry = self.entries.entry(id).or_insert_with(|| {
            Rc::new(match name(id) {
                Some(stack) => Entry {
                    marks: stack
                        .frames
                        .iter()
                        .map(|frame| Mark::new(&frame.blame_input(), crate::runtime::rules()))
                        .collect(),
                    stack,
                },
                None => Entry::default(),
            })
        });
        Rc::clone(entry)
    }
}

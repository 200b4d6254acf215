//! What sections give profiles: samples.

use std::borrow::Cow;
use std::sync::Arc;

use super::frame::Frame;
use super::stack::{Stack, StackEnd};

/// Go's profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProfileKind {
    /// Allocations by site; what is in use counts.
    Heap,
    /// The same; what was allocated counts.
    Allocs,
    /// What threads wait for.
    Block,
    /// Waits for mutexes and rwlocks, by who held them; those that go on by who waits.
    Mutex,
    /// Goroutines; the threads of a native process.
    Goroutine,
    /// Those that can never run again.
    Goroutineleak,
    /// What created threads.
    Threadcreate,
    /// What holds the memory now; none of Go's.
    Memory,
}

/// A distinct stack with its values.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<'a> {
    /// Frames, innermost first.
    pub frames: &'a [Arc<Frame>],
    /// Which of them is charged, if one is.
    pub blame: Option<usize>,
    /// What stands for frames that are not known.
    pub note: Option<Cow<'a, str>>,
    /// Why the stack is not whole, if it is not.
    pub cut: Option<&'a StackEnd>,
    /// Whether it looks like waiting for work.
    pub idle: bool,
    /// As many as there are types; the others are 0.
    pub values: [u64; 4],
    /// The values of what this is compared with; 0 where it is compared with nothing.
    pub base: [u64; 4],
    /// The one number for pictures.
    pub weight: u64,
    /// Labels: key and value.
    pub labels: Vec<(&'a str, Cow<'a, str>)>,
}

impl Sample<'_> {
    /// Why frames are missing at its root, and what stands for it if it has none.
    pub(crate) fn notes(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let cut = self.cut.map(|why| Cow::from(why.to_string()));
        cut.into_iter().chain(self.note.as_deref().map(Cow::from))
    }
}

/// A stack, with a note where it has no frames.
pub(crate) fn sample(stack: &Stack) -> Sample<'_> {
    let empty = stack.frames.is_empty();
    let why = || stack.end.as_ref().map_or(Cow::Borrowed("stack not captured"), |end| end.to_string().into());
    let cut = stack.end.as_ref().filter(|end| !end.is_whole() && !empty);
    let blame = stack.blame.and_then(|blame| usize::try_from(blame).ok());
    Sample { note: empty.then(why), cut, blame, ..bare(&stack.frames) }
}

/// Frames without values.
fn bare(frames: &[Arc<Frame>]) -> Sample<'_> {
    Sample {
        blame: None,
        frames,
        note: None,
        cut: None,
        idle: false,
        values: [0; 4],
        base: [0; 4],
        weight: 0,
        labels: Vec::new(),
    }
}

/// What is counted without a stack.
pub(crate) fn without_stack<'a>(note: &'static str, count: u64) -> Sample<'a> {
    Sample { note: Some(Cow::Borrowed(note)), values: [count, 0, 0, 0], weight: count, ..bare(&[]) }
}

/// How sure numbers are, in the comments of a profile.
pub(crate) const fn exactness(exact: bool) -> &'static str {
    if exact { "exact" } else { "not exact" }
}

//! A simulated stack, which knows what is on it, and how much of that a walk gets to see.

use super::super::nesting::SMALLEST_SIGNAL_FRAME;
use super::super::{Frame, Walk};
use super::functions::{Function, Given};
use crate::heap::{INFLIGHT_DEPTH, LiveBlock};
use crate::unwind::StackEnd;

/// What stands in place of the return addresses of probed calls.
pub(super) const TRAMPOLINE: u64 = 0x7fff_0000;

/// An allocator call that has not returned.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) function: Function,
    pub(super) given: Given,
    pub(super) standing: Standing,
    /// The record that it is to make.
    pub(super) site: u64,
    pub(super) at_ns: u64,
    /// The record of the block that it may move.
    pub(super) old: Option<LiveBlock>,
    /// Whether the allocator has freed that block already.
    pub(super) released: bool,
    /// A block that the allocator has got from a call inside this one.
    pub(super) inner: Option<u64>,
}

/// What the account is to make of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its outcome is booked.
    Noted,
    /// It belongs to a noted one, inside which the allocator made it.
    Inside,
    /// There was no room to note it.
    Lost,
}

/// What an activation is of.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Program,
    /// A signal handler, and what it has interrupted.
    Handler {
        sp: u64,
        ip: u64,
    },
    Call(Pending),
}

/// One activation of a function.
#[derive(Clone, Debug)]
pub(super) struct Activation {
    pub(super) kind: Kind,
    pub(super) frame: Frame,
    /// The lowest address that is its own.
    pub(super) low: u64,
}

impl Activation {
    /// The noted call that it is.
    pub(super) fn noted(&self) -> Option<&Pending> {
        match &self.kind {
            Kind::Call(call) if call.standing == Standing::Noted => Some(call),
            _ => None,
        }
    }
}

/// How far a walk comes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// It ends after so many steps, at least one, for lack of rows; `None`: at the first function.
    pub(super) steps: Option<u8>,
    /// From this step on it follows frame pointers.
    pub(super) frame_pointers: Option<u8>,
    /// Which functions those pass by, a bit for each step.
    pub(super) passed_by: u16,
}

impl Look {
    /// At everything.
    pub(super) const WHOLE: Self = Self { steps: None, frame_pointers: None, passed_by: 0 };
}

/// A thread's stack, outermost first.
#[derive(Clone, Debug)]
pub(super) struct Stack(pub(super) Vec<Activation>);

impl Stack {
    /// The stack of a thread that has called nothing yet.
    pub(super) fn new(top: u64) -> Self {
        let frame = Frame { cfa: top, return_address: 0 };
        Self(vec![Activation { kind: Kind::Program, frame, low: top - 64 }])
    }

    pub(super) fn top(&self) -> &Activation {
        self.0.last().expect("the first function stays")
    }

    /// How many noted calls are on it.
    pub(super) fn noted(&self) -> usize {
        self.0.iter().filter(|activation| activation.noted().is_some()).count()
    }

    /// Index of the noted call that a call made now is inside: the innermost, unless a handler came between.
    pub(super) fn owner(&self) -> Option<usize> {
        let mut indexes = (0..self.0.len()).rev();
        let index = indexes
            .find(|i| self.0[*i].noted().is_some() || matches!(self.0[*i].kind, Kind::Handler { .. }))?;
        self.0[index].noted().is_some().then_some(index)
    }

    /// Whether frame pointers may pass an activation by without a loss: not a noted call that another one could
    /// be taken for.
    fn may_be_passed_by(&self, activation: &Activation) -> bool {
        let handlers = self.0.iter().any(|a| matches!(a.kind, Kind::Handler { .. }));
        self.0.iter().filter(|a| a.frame == activation.frame).all(|a| match a.kind {
            Kind::Handler { .. } => false,
            _ if a.noted().is_some() => self.noted() == 1 && !handlers,
            _ => true,
        })
    }

    /// Walks from the entry of the function on top, and looks out for the first `count` of `frames`.
    pub(super) fn walk(
        &self,
        look: Look,
        trampoline: u64,
        frames: &[Frame; INFLIGHT_DEPTH],
        count: u64,
    ) -> Walk {
        let mut walk = Walk { trampoline, end: StackEnd::NoRows as u64, ..Walk::default() };
        let (mut step, mut left) = (0, None);
        // The first function has no caller.
        for activation in self.0[1..].iter().rev() {
            if look.steps.is_some_and(|steps| step >= steps.max(1)) {
                return walk;
            }
            let by_frame_pointer = step > 0 && look.frame_pointers.is_some_and(|from| step >= from);
            let passed_by = by_frame_pointer && look.passed_by >> (step & 15) & 1 != 0;
            // A tail call has its caller's frame.
            let same = left.replace(activation.frame) == Some(activation.frame);
            walk.frame_pointer_frames += u64::from(by_frame_pointer);
            if same || passed_by && self.may_be_passed_by(activation) {
                continue;
            }
            step += 1;
            walk.reach(frames, count, activation.frame.cfa, activation.frame.return_address);
            if let Kind::Handler { sp, ip } = activation.kind {
                if look.steps.is_some_and(|steps| step >= steps.max(1)) {
                    return walk;
                }
                step += 1;
                walk.signalled = 1;
                walk.reach(frames, count, sp, ip);
            }
        }
        walk.end = StackEnd::Root as u64;
        walk
    }

    /// The frame of a function that is called now.
    pub(super) fn next_frame(&self, return_address: u64) -> Frame {
        Frame { cfa: self.top().low, return_address }
    }

    /// A signal handler's activation.
    pub(super) fn handler(&self, ip: u64) -> Activation {
        let sp = self.top().low;
        let cfa = sp - SMALLEST_SIGNAL_FRAME;
        let frame = Frame { cfa, return_address: ip + 1 };
        Activation { kind: Kind::Handler { sp, ip }, frame, low: cfa - 64 }
    }
}

//! A simulated program: threads that call the allocator, are interrupted, jump and end. What the probes would
//! see goes to the state machine, what happens goes to the model.

use std::collections::BTreeSet;

use super::super::{Frame, Free};
use super::books::Machine;
use super::functions::{self, Function, Given, free_cookie};
use super::stack::{Activation, Kind, Look, Pending, Stack, Standing, TRAMPOLINE};
use super::truth::Truth;
use crate::counter::{Loss, Tally};
use crate::heap::{INFLIGHT_DEPTH, LiveBlock};

/// Most activations on a stack.
const DEEPEST: usize = 14;
/// Blocks that the allocator can hand out, and their distance.
const BLOCKS: u64 = 14;
const FIRST_BLOCK: u64 = 0x10_0000;
const APART: u64 = 64;

/// A noted call that was left by a jump; the account has yet to notice.
#[derive(Debug)]
struct Left {
    function: Function,
    frame: Frame,
    old: Option<(u64, LiveBlock)>,
}

#[derive(Debug)]
struct Thread {
    tid: u32,
    stack: Stack,
    /// Outermost first.
    left: Vec<Left>,
}

#[derive(Debug)]
pub(super) struct Program {
    pub(super) machine: Machine,
    pub(super) truth: Truth,
    threads: Vec<Thread>,
    /// Addresses that are handed out, also of blocks that are not in the account.
    pub(super) heap: BTreeSet<u64>,
    /// Whether return probes put their trampoline in the place of return addresses.
    trampolines: bool,
    next_ip: u64,
}

/// A call: numbers choose among what is possible.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) function: usize,
    pub(super) size: u16,
    pub(super) block: usize,
    pub(super) site: u64,
    /// What the function keeps on the stack.
    pub(super) locals: u8,
    /// A tail call of the call on top; or the call in a loop that was left by a jump.
    pub(super) tail: bool,
    pub(super) look: Look,
}

/// What a thread does next. Numbers choose among what is possible; what is not, is not done.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// It calls a function of the allocator; or the allocator does, inside the call on top.
    Call(Asked),
    /// The function on top returns.
    Return { outcome: u8, block: u64 },
    /// It calls a function of its own.
    Function { locals: u8 },
    /// A signal arrives.
    Signal,
    /// longjmp, or an exception.
    Jump { to: usize },
    /// A block is freed; or the allocator frees one, inside the call on top.
    Free { block: usize },
    /// It ends, and another one begins.
    End,
}

impl Program {
    pub(super) fn new(threads: u32, room: usize, trampolines: bool) -> Self {
        let thread = |tid: u32| Thread { tid, stack: Stack::new(u64::from(tid + 1) << 32), left: Vec::new() };
        Self {
            machine: Machine::new(room),
            truth: Truth { room, ..Truth::default() },
            threads: (0..threads).map(thread).collect(),
            // Some were handed out before anybody looked.
            heap: [0, 3].map(|n| FIRST_BLOCK + n * APART).into(),
            trampolines,
            next_ip: 0x1000,
        }
    }

    /// How many threads there are.
    pub(super) fn threads(&self) -> usize {
        self.threads.len()
    }

    /// Whether the account has noticed all that has happened.
    pub(super) fn is_settled(&self) -> bool {
        self.threads.iter().all(|thread| thread.left.is_empty())
    }

    /// A thread does something.
    pub(super) fn step(&mut self, thread: usize, step: Step) {
        let t = thread % self.threads.len();
        match step {
            Step::Call(asked) => self.call(t, asked),
            Step::Return { outcome, block } => self.leave(t, outcome, block),
            Step::Function { locals } => self.function(t, locals),
            Step::Signal => {
                let (ip, stack) = (self.fresh_ip(), &mut self.threads[t].stack);
                if stack.0.len() < DEEPEST {
                    let handler = stack.handler(ip);
                    self.push(t, handler);
                }
            }
            Step::Jump { to } => self.jump(t, to),
            Step::Free { block } => self.free(t, block),
            Step::End => self.end(t),
        }
    }

    fn fresh_ip(&mut self) -> u64 {
        self.next_ip += 0x10;
        self.next_ip
    }

    /// An activation begins, and writes to the stack.
    fn push(&mut self, t: usize, activation: Activation) {
        let memory = &mut self.machine.books.memory;
        memory.retain(|address, _| !(activation.low..activation.frame.cfa).contains(address));
        memory.insert(activation.frame.cfa - 8, activation.frame.return_address);
        self.threads[t].stack.0.push(activation);
    }

    fn function(&mut self, t: usize, locals: u8) {
        let ip = self.fresh_ip();
        let frame = self.threads[t].stack.next_frame(ip);
        let stack = &self.threads[t].stack;
        if stack.0.len() < DEEPEST && !matches!(stack.top().kind, Kind::Call(_)) {
            let low = frame.cfa - 16 - u64::from(locals) * 8;
            self.push(t, Activation { kind: Kind::Program, frame, low });
        }
    }

    /// Blocks that a call works on: nobody else may touch them.
    fn busy(&self, block: u64) -> bool {
        let pending = self.threads.iter().flat_map(|t| &t.stack.0).any(
            |a| matches!(&a.kind, Kind::Call(c) if (c.given.pointer == block && !c.released) || c.inner == Some(block)),
        );
        pending || self.threads.iter().flat_map(|t| &t.left).any(|l| l.old.is_some_and(|(at, _)| at == block))
    }

    /// One of the blocks that the program may free or resize.
    fn choose(&self, block: usize) -> Option<u64> {
        let blocks: Vec<u64> = self.heap.iter().copied().filter(|at| !self.busy(*at)).collect();
        (!blocks.is_empty()).then(|| blocks[block % blocks.len()])
    }

    /// A block that is not handed out.
    pub(super) fn new_block(&mut self, from: u64) -> Option<u64> {
        let at = (0..BLOCKS)
            .map(|i| FIRST_BLOCK + (from + i) % BLOCKS * APART)
            .find(|at| !self.heap.contains(at))?;
        self.heap.insert(at);
        Some(at)
    }

    fn call(&mut self, t: usize, asked: Asked) {
        let ip = self.fresh_ip();
        let thread = &self.threads[t];
        let stack = &thread.stack;
        let by_allocator = match &stack.top().kind {
            Kind::Call(call) if call.standing == Standing::Lost => return,
            Kind::Call(_) => true,
            _ => false,
        };
        if stack.0.len() >= DEEPEST {
            return;
        }
        let mut function = functions::ALL[asked.function % functions::ALL.len()];
        let mut frame = stack.next_frame(ip);
        if let Some(left) = thread.left.iter().find(|l| asked.tail && l.frame.cfa == frame.cfa) {
            // The same call in a loop; the one before was left.
            (function, frame) = (left.function, left.frame);
        }
        let of_same = |a: &Activation| {
            a.frame == stack.top().frame && matches!(&a.kind, Kind::Call(call) if call.function == function)
        };
        if asked.tail && by_allocator && !stack.0.iter().any(of_same) {
            frame = stack.top().frame;
        }
        let standing = match stack.owner() {
            Some(_) => Standing::Inside,
            None if stack.noted() == INFLIGHT_DEPTH => Standing::Lost,
            None => Standing::Noted,
        };
        let given = self.given(t, asked, function, standing);
        let low = stack.top().low.min(frame.cfa - 16) - u64::from(asked.locals) * 8;
        let site = asked.site;
        let call =
            Pending { function, given, standing, site, at_ns: 0, old: None, released: false, inner: None };
        self.push(t, Activation { kind: Kind::Call(call), frame, low });
        self.enter(t, asked.look);
    }

    /// What a call is given.
    fn given(&self, t: usize, asked: Asked, function: Function, standing: Standing) -> Given {
        let thread = &self.threads[t];
        let owner = thread.stack.owner().and_then(|owner| thread.stack.0[owner].noted());
        // What a call that is not noted does to a block of the account is another matter.
        let pointer = match (function.takes_block(), owner) {
            (false, _) => 0,
            (true, Some(owner)) => owner.given.pointer,
            (true, None) if standing == Standing::Lost || asked.block.is_multiple_of(8) => 0,
            (true, None) => self.choose(asked.block).unwrap_or(0),
        };
        // One of calloc's products overflows.
        let overflows = function == Function::Calloc && asked.size == u16::MAX;
        Given {
            size: if overflows { u64::MAX / 2 } else { u64::from(asked.size % 1000) },
            count: u64::from(asked.size % 7) * 3,
            pointer,
            out: 0x60_0000 + u64::from(thread.tid) * 8,
            extra: u64::from(asked.locals),
        }
    }

    /// The call on top begins: its probe is hit.
    fn enter(&mut self, t: usize, look: Look) {
        self.settle(t);
        let thread = &mut self.threads[t];
        let activation = thread.stack.0.last().expect("a call was pushed");
        let Kind::Call(call) = &activation.kind else { return };
        let (cookie, registers) = (call.function.cookie(), call.given.registers());
        let trampoline = if self.trampolines { TRAMPOLINE } else { 0 };
        let frame = activation.frame;
        let at_ns = self.machine.enter(thread.tid, cookie, frame, call.site, &registers, |frames, count| {
            thread.stack.walk(look, trampoline, frames, count)
        });
        let Some(Activation { kind: Kind::Call(call), .. }) = thread.stack.0.last_mut() else { return };
        call.at_ns = at_ns;
        match call.standing {
            Standing::Noted if call.function.moves() => {
                call.old = self.truth.live.remove(&call.given.pointer)
            }
            Standing::Noted => {}
            Standing::Inside => self.truth.count(Tally::NestedCalls as u32),
            Standing::Lost => self.truth.count(Loss::InflightFull as u32),
        }
        if self.trampolines {
            self.machine.books.memory.insert(frame.cfa - 8, TRAMPOLINE);
        }
    }

    /// The account notices which calls were left.
    fn settle(&mut self, t: usize) {
        for left in std::mem::take(&mut self.threads[t].left).into_iter().rev() {
            let what = if left.function == Function::New {
                Tally::CallUnwound as u32
            } else {
                Loss::CallAbandoned as u32
            };
            self.truth.count(what);
            if let Some((at, block)) = left.old {
                self.put_back(at, block);
            }
        }
    }

    /// A block stays what it was.
    pub(super) fn put_back(&mut self, at: u64, block: LiveBlock) {
        if self.truth.has_room() {
            self.truth.live.insert(at, block);
        } else {
            self.truth.count(Loss::LiveFull as u32);
        }
    }

    fn jump(&mut self, t: usize, to: usize) {
        let thread = &mut self.threads[t];
        let targets: Vec<usize> = (0..thread.stack.0.len() - 1)
            .filter(|i| !matches!(thread.stack.0[*i].kind, Kind::Call(_)))
            .collect();
        let Some(target) = targets.get(to % targets.len().max(1)).copied() else { return };
        let over = &thread.stack.0[target + 1..];
        if over.iter().any(|a| matches!(&a.kind, Kind::Call(call) if call.released)) {
            // What becomes of the block then is nowhere documented.
            return;
        }
        let left: Vec<Left> = over.iter().filter_map(left).collect();
        thread.left.splice(0..0, left);
        let span = thread.stack.top().low..thread.stack.0[target].low;
        thread.stack.0.truncate(target + 1);
        // Other functions have been there before the next call.
        self.machine.books.memory.retain(|address, _| !span.contains(address));
    }

    fn free(&mut self, t: usize, block: usize) {
        let thread = &mut self.threads[t];
        let (tid, sp) = (thread.tid, thread.stack.top().low);
        let free = |address| Free { cookie: free_cookie(), address, probed: 0x400_0000, sp };
        if let Kind::Call(call) = &thread.stack.top().kind {
            if call.standing == Standing::Lost {
                return;
            }
            // By the allocator: the block that is moved, or one that it made for itself.
            let Some(owner) = thread.stack.owner() else { return };
            let Kind::Call(owner) = &mut thread.stack.0[owner].kind else { return };
            let old = owner.given.pointer;
            if owner.function.moves()
                && old != 0
                && !owner.released
                && (owner.inner.is_some() || owner.given.size == 0)
            {
                owner.released = true;
                self.heap.remove(&old);
                self.machine.free(tid, free(old));
            } else if let Some(inner) = owner.inner.take_if(|_| !owner.released) {
                self.heap.remove(&inner);
                self.machine.free(tid, free(inner));
            }
            return;
        }
        if block.is_multiple_of(10) {
            self.machine.free(tid, free(0));
            return;
        }
        let unseen = thread.stack.noted() + thread.left.len() != 0;
        let Some(at) = self.choose(block) else { return };
        self.heap.remove(&at);
        self.machine.free(tid, free(at));
        if let Some(block) = self.truth.live.remove(&at) {
            self.truth.free(block);
            self.truth.count(Tally::FreedObjects as u32);
        } else if !unseen {
            self.truth.count(Tally::UnknownFrees as u32);
        }
    }

    fn end(&mut self, t: usize) {
        let released = |a: &Activation| matches!(&a.kind, Kind::Call(call) if call.released);
        if self.threads[t].stack.0.iter().any(released) {
            return;
        }
        let thread = &mut self.threads[t];
        let left: Vec<Left> = thread.stack.0.iter().filter_map(left).collect();
        thread.left.splice(0..0, left);
        self.machine.end(thread.tid);
        self.settle(t);
        let thread = &mut self.threads[t];
        thread.tid += 100;
        thread.stack.0.truncate(1);
    }

    fn leave(&mut self, t: usize, outcome: u8, block: u64) {
        let thread = &mut self.threads[t];
        if thread.stack.0.len() == 1 {
            // Of a call that was under way as recording began.
            let cfa = thread.stack.top().frame.cfa + 8;
            self.machine.leave(thread.tid, Function::Malloc.cookie(), cfa, FIRST_BLOCK);
            if thread.left.is_empty() {
                self.truth.count(Tally::EarlyReturns as u32);
            }
            return;
        }
        let Kind::Call(call) = thread.stack.top().kind.clone() else {
            thread.stack.0.pop();
            return;
        };
        let (cfa, tid) = (thread.stack.top().frame.cfa, thread.tid);
        let result = match call.standing {
            Standing::Noted => {
                let Some(mut result) = self.result(&call, outcome, block) else { return };
                self.settle(t);
                self.book(&call, &mut result);
                result
            }
            Standing::Inside => self.inner_result(t, &call, block),
            Standing::Lost => self.new_block(block).unwrap_or(0),
        };
        self.threads[t].stack.0.pop();
        self.machine.leave(tid, call.function.cookie(), cfa, result);
    }

    /// What a call inside another one returns: the block that the outer one will, if it is the first.
    fn inner_result(&mut self, t: usize, call: &Pending, block: u64) -> u64 {
        let Some(owner) = self.threads[t].stack.owner() else { return 0 };
        let Kind::Call(outer) = &self.threads[t].stack.0[owner].kind else { return 0 };
        let wanted = !outer.function.takes_block() || outer.function.moves() && outer.given.size != 0;
        if !wanted || outer.inner.is_some() || outer.released || call.function == Function::PosixMemalign {
            return 0;
        }
        let inner = self.new_block(block);
        if let Kind::Call(outer) = &mut self.threads[t].stack.0[owner].kind {
            outer.inner = inner;
        }
        inner.unwrap_or(0)
    }
}

/// A noted call as one that was left.
fn left(activation: &Activation) -> Option<Left> {
    let call = activation.noted()?;
    let old = call.old.map(|old| (call.given.pointer, old));
    Some(Left { function: call.function, frame: activation.frame, old })
}

//! Follows the frame through one function.

use std::collections::{BTreeMap, BTreeSet};

use iced_x86::{FlowControl, Instruction, InstructionInfoFactory, Mnemonic, Register};
use leakscope_common::unwind::{Row, cfa, rbp};

use super::super::wide::WideRules;
use super::code::Code;
use super::state::{State, is_call};

/// Most times that a function is looked at anew, because a call in it turned out not to return.
const RESTARTS: usize = 64;

/// An instruction that is reached.
struct Reached {
    state: State,
    /// The call that only a fall-through leads here from, if nothing else does.
    after_call: Option<u32>,
    end: u32,
    calls: bool,
}

/// A function, or a part of one that lies apart: the code from `start` to `end`, and where it is come to from
/// outside.
pub(super) struct Function<'a> {
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) entries: &'a [(u32, State)],
    /// Functions that never return.
    pub(super) endless: &'a BTreeSet<u32>,
}

/// What was learnt of a function.
#[derive(Default)]
pub(super) struct Found {
    /// Its rows, each as long as its instructions are reached; what is not has a row without a rule.
    pub(super) rows: Vec<Row>,
    pub(super) calls: BTreeSet<u32>,
    /// Where it jumps to outside of it.
    pub(super) leaves: Vec<(u32, State)>,
    /// Code whose address it takes.
    pub(super) takes: BTreeSet<u32>,
    /// Code that only a computed jump can lead to, if it is the function's at all.
    pub(super) inferred: BTreeSet<u32>,
    /// Whether it may come to its end, by a return or as another function does.
    pub(super) returns: bool,
    /// Whether two ways through it lead to one place with different frames: it has no rows.
    pub(super) refused: bool,
}

impl Found {
    /// Whether there is a rule at `at`.
    pub(super) fn has_rule(&self, at: u32) -> bool {
        let row = self.rows[..self.rows.partition_point(|row| row.pc <= at)].last();
        row.is_some_and(|row| row.cfa_kind() != cfa::NO_INFO)
    }
}

/// Why a look at a function did not come to its end.
enum Stop {
    Refused,
    Restart,
}

/// Looks at a function.
pub(super) fn function(
    code: &Code,
    function: &Function<'_>,
    wide: &mut WideRules,
    info: &mut InstructionInfoFactory,
) -> Found {
    let mut guesses = Guesses::default();
    for _ in 0..RESTARTS {
        let mut flow = Flow {
            code,
            function,
            info: &mut *info,
            guesses: &mut guesses,
            reached: BTreeMap::new(),
            work: Vec::new(),
            after_calls: Vec::new(),
            indirect: None,
            found: Found::default(),
        };
        match flow.run() {
            Ok(()) => return flow.into_found(wide),
            Err(Stop::Restart) => {}
            Err(Stop::Refused) => {
                let Found { calls, takes, .. } = flow.found;
                return Found { calls, takes, refused: true, ..Found::default() };
            }
        }
    }
    Found { refused: true, ..Found::default() }
}

/// What an earlier look has shown.
#[derive(Default)]
struct Guesses {
    /// Calls that do not return.
    endless: BTreeSet<u32>,
    /// Computed jumps leave from different frames, so they tell nothing of where they go.
    refuted: bool,
}

struct Flow<'b> {
    code: &'b Code,
    function: &'b Function<'b>,
    info: &'b mut InstructionInfoFactory,
    guesses: &'b mut Guesses,
    reached: BTreeMap<u32, Reached>,
    work: Vec<(u32, State, Option<u32>)>,
    /// Ways that are followed last, because the call may not return.
    after_calls: Vec<(u32, State, Option<u32>)>,
    /// The state at jumps whose target is computed.
    indirect: Option<State>,
    found: Found,
}

impl Flow<'_> {
    fn run(&mut self) -> Result<(), Stop> {
        self.work.extend(self.function.entries.iter().map(|&(at, state)| (at, state, None)));
        loop {
            while let Some((at, state, after_call)) = self.work.pop().or_else(|| self.after_calls.pop()) {
                self.arrive(at, state, after_call)?;
            }
            // What nothing leads to is where the computed jumps go.
            match (self.indirect, self.first_unreached()) {
                (Some(state), Some(at)) if state != State::ENTRY && self.begins_a_function(at) => {
                    self.found.calls.insert(at);
                    break;
                }
                (Some(state), Some(at)) => {
                    self.found.inferred.insert(at);
                    self.work.push((at, state, None));
                }
                _ => break,
            }
        }
        if self.indirect.is_some() {
            // Labels of its own, to which it jumps by their addresses.
            let own = self.function.start..self.function.end;
            self.found.takes.retain(|at| !own.contains(at));
        }
        Ok(())
    }

    fn arrive(&mut self, at: u32, state: State, after_call: Option<u32>) -> Result<(), Stop> {
        if at < self.function.start || at >= self.function.end {
            // Behind the last call of a function lies another one.
            if after_call.is_none() {
                self.found.leaves.extend(state.is_known().then_some((at, state)));
                self.found.returns = true;
            }
            return Ok(());
        }
        let Some(before) = self.reached.get_mut(&at) else {
            return self.visit(at, state, after_call);
        };
        if before.state == state {
            before.after_call = before.after_call.filter(|_| after_call.is_some());
            return Ok(());
        }
        match before.state.join(state) {
            Ok(joined) if joined == before.state => Ok(()),
            Ok(joined) => {
                let after_call = before.after_call.filter(|_| after_call.is_some());
                self.visit(at, joined, after_call)
            }
            Err(_) => match (after_call, before.after_call) {
                (Some(call), _) => {
                    self.guesses.endless.insert(call);
                    Ok(())
                }
                (None, Some(call)) => {
                    self.guesses.endless.insert(call);
                    Err(Stop::Restart)
                }
                (None, None) => match before.state.join_by_frame_pointer(state) {
                    Ok(joined) if joined == before.state => Ok(()),
                    Ok(joined) => self.visit(at, joined, None),
                    Err(_) => Err(Stop::Refused),
                },
            },
        }
    }

    fn visit(&mut self, at: u32, state: State, after_call: Option<u32>) -> Result<(), Stop> {
        // What is no instruction is not reached.
        let Some(i) = self.code.decode(at) else {
            self.found.returns = true;
            return Ok(());
        };
        let end = i.next_ip32();
        let calls = is_call(&i);
        self.reached.insert(at, Reached { state, after_call, end, calls });
        if i.is_ip_rel_memory_operand() && i.mnemonic() == Mnemonic::Lea {
            self.found.takes.extend(u32::try_from(i.ip_rel_memory_address()).ok());
        }
        let next = state.after(&i, self.info);
        let passed_on = after_call.filter(|_| is_padding(&i));
        if calls {
            let target = u32::try_from(i.near_branch_target()).ok().filter(|_| i.is_call_near());
            self.found.calls.extend(target);
            let returns = target.is_none_or(|target| !self.function.endless.contains(&target));
            if returns && !self.guesses.endless.contains(&at) {
                self.after_calls.push((end, next, Some(at)));
            }
            return Ok(());
        }
        match i.flow_control() {
            FlowControl::ConditionalBranch | FlowControl::XbeginXabortXend => {
                self.work.push((end, next, None));
                self.jump(&i, next);
            }
            FlowControl::UnconditionalBranch => self.jump(&i, next),
            FlowControl::IndirectBranch => self.computed(next)?,
            FlowControl::Return => self.found.returns = true,
            FlowControl::Interrupt | FlowControl::Exception => {}
            _ if i.mnemonic() == Mnemonic::Hlt => {}
            _ => self.work.push((end, next, passed_on)),
        }
        Ok(())
    }

    fn jump(&mut self, i: &Instruction, state: State) {
        if let Ok(target) = u32::try_from(i.near_branch_target()) {
            self.work.push((target, state, None));
        }
    }

    fn computed(&mut self, state: State) -> Result<(), Stop> {
        self.found.returns = true;
        // With nothing known it leaves for another stack.
        if self.guesses.refuted || !state.is_known() {
            return Ok(());
        }
        match self.indirect.map(|before| before.join(state)) {
            None => self.indirect = Some(state),
            Some(Ok(joined)) => self.indirect = Some(joined),
            Some(Err(_)) => {
                self.guesses.refuted = true;
                return Err(Stop::Restart);
            }
        }
        Ok(())
    }

    /// Whether the code at `at` looks like a function rather than a case of a switch.
    fn begins_a_function(&self, at: u32) -> bool {
        at.is_multiple_of(16)
            && self.code.decode(at).is_some_and(|i| {
                i.mnemonic() == Mnemonic::Push
                    || i.mnemonic() == Mnemonic::Endbr64
                    || i.mnemonic() == Mnemonic::Sub && i.op0_register() == Register::RSP
            })
    }

    /// The first code behind a reached instruction that nothing leads to, past what is padding.
    fn first_unreached(&self) -> Option<u32> {
        let mut instructions = self.reached.iter().peekable();
        while let Some((_, before)) = instructions.next() {
            let limit = instructions.peek().map_or(self.function.end, |(at, _)| **at);
            let mut at = before.end;
            while at < limit {
                let i = self.code.decode(at)?;
                if !is_padding(&i) {
                    return Some(at);
                }
                at = i.next_ip32();
            }
        }
        None
    }

    fn into_found(self, wide: &mut WideRules) -> Found {
        let mut found = self.found;
        let mut covered = None;
        for (&at, reached) in &self.reached {
            if let Some(covered) = covered.filter(|&covered| covered < at) {
                found.rows.push(Row::new(covered, cfa::NO_INFO, 0, rbp::SAME, 0));
            }
            let row = reached.state.row(at, reached.calls, wide);
            let same = covered == Some(at) && found.rows.last().is_some_and(|last| last.same_rule(row));
            if !same {
                found.rows.push(row);
            }
            covered = Some(reached.end.min(self.function.end));
        }
        found.rows.extend(covered.map(|end| Row::new(end, cfa::NO_INFO, 0, rbp::SAME, 0)));
        found
    }
}

/// Whether an instruction does nothing: what lies between functions and aligns loops.
pub(super) fn is_padding(i: &Instruction) -> bool {
    matches!(i.mnemonic(), Mnemonic::Nop | Mnemonic::Int3)
        || i.mnemonic() == Mnemonic::Xchg && i.op0_register() == i.op1_register()
}

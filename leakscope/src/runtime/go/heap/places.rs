//! Which samples are of one place. A stack is taken as a span is taken from the heap, or as an object is allocated in a
//! window: in both, below the runtime's own functions, are the callers.

use std::collections::HashMap;

use super::sampler::Stack;
use super::with_caller;
use crate::bpf::go::GoStacks;
use crate::runtime::go::program::Program;

/// Most stacks that are told apart: the kernel side keeps fewer.
const MOST: usize = 1 << 17;

/// Finds the place of a sample.
#[derive(Debug)]
pub(in crate::runtime::go) struct Places {
    stacks: GoStacks,
    /// Code of the runtime, in order.
    runtime: Vec<(u64, u64)>,
    /// Stacks by what they stand for: the first one of that place.
    known: HashMap<Stack, Stack>,
    by_callers: HashMap<Vec<u64>, Stack>,
}

impl Places {
    /// Of the stacks of a program.
    pub(in crate::runtime::go) fn of(program: &Program, stacks: GoStacks) -> Self {
        Self { stacks, runtime: runtime(program), known: HashMap::new(), by_callers: HashMap::new() }
    }

    /// The first stack of the same place.
    pub(super) fn place(&mut self, stack: Stack) -> Stack {
        if let Some(known) = self.known.get(&stack) {
            return *known;
        }
        if self.known.len() >= MOST {
            return stack;
        }
        let addresses = with_caller(stack, self.stacks.get(stack.number));
        let callers = callers(&self.runtime, &addresses);
        let place = match callers {
            [] => stack,
            callers => *self.by_callers.entry(callers.to_vec()).or_insert(stack),
        };
        self.known.insert(stack, place);
        place
    }
}

/// What is left of a stack without the runtime's functions that it begins with; all of one that has no others.
fn callers<'a>(runtime: &[(u64, u64)], stack: &'a [u64]) -> &'a [u64] {
    let is_runtime = |address: &u64| {
        let at = runtime.partition_point(|(start, _)| start <= address);
        at > 0 && *address <= runtime[at - 1].1
    };
    let hidden = stack.iter().take_while(|address| is_runtime(address)).count();
    if hidden < stack.len() { &stack[hidden..] } else { stack }
}

/// Ranges of the runtime's functions, in order. A return address may be the end of one.
fn runtime(program: &Program) -> Vec<(u64, u64)> {
    let internal = program.minor >= super::buckets::FIRST_INTERNAL;
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for part in &program.parts {
        let table = &part.pclntab;
        for function in (0..table.functions()).filter_map(|i| table.function(i)) {
            let name = table.name(function);
            if !super::buckets::is_runtime(&name, internal) {
                continue;
            }
            let end = table.end(function);
            match ranges.last_mut() {
                Some(last) if last.1 == function.entry => last.1 = end,
                _ => ranges.push((function.entry, end)),
            }
        }
    }
    ranges.sort_unstable();
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_runtime_calls_is_left_out() {
        let runtime = [(10, 20), (50, 60)];
        assert_eq!(callers(&runtime, &[12, 55, 30, 15, 70]), [30, 15, 70]);
        assert_eq!(callers(&runtime, &[30, 15]), [30, 15]);
        assert_eq!(callers(&runtime, &[12, 20]), [12, 20], "all of it is");
        assert!(callers(&runtime, &[]).is_empty());
    }
}

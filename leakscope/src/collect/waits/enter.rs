//! Threads that had blocked before recording began, told to the kernel side.

use std::collections::{HashMap, HashSet};

use leakscope_common::descriptor::Descriptor;
use leakscope_common::wait::{
    FUTEX, OBJECTS_A_STACK, SEVERAL_OBJECTS, ThreadState, WaitStack, WaitTotals, wait_entered, wait_site,
};

use crate::bpf::BpfError;
use crate::bpf::object::Object;
use crate::stack::StackId;
use crate::wait::{Syscall, Thread};

/// Enters threads that had blocked before recording began, with their stacks and context switches, so that the
/// ends of their waits are seen. These count from `since_ns` on. Userspace knows the stacks: their frames need
/// not be sent.
pub(super) fn enter_waits(
    object: &mut Object,
    blocked: &[(&Thread, StackId, u64)],
    since_ns: u64,
) -> Result<(), BpfError> {
    let mut entered = EnteredSites::default();
    let waits = blocked.iter().map(|&(thread, stack, switches)| {
        let syscall = wire_syscall(thread.syscall);
        let args = thread.syscall.map_or([0; 6], |call| call.args);
        let what = if syscall == FUTEX + 1 { args[0] } else { thread.descriptor.operations };
        let (what, is_new) = entered.enter(stack.0, syscall, what);
        let descriptor = if what == SEVERAL_OBJECTS { Descriptor::ZERO } else { thread.descriptor };
        let site = wait_site(stack.0, syscall, what);
        let totals =
            WaitTotals { stack: stack.0, syscall, object: what, args, descriptor, ..WaitTotals::ZERO };
        let state = ThreadState {
            since_ns,
            site,
            switches,
            entered: wait_entered::BY_USERSPACE,
            syscall,
            futex: if syscall == FUTEX + 1 { args[0] } else { 0 },
            ..ThreadState::ZERO
        };
        (thread.tid, state, is_new.then_some(totals))
    });
    let waits: Vec<(u32, ThreadState, Option<WaitTotals>)> = waits.collect();
    for (stack, objects) in entered.stacks() {
        object.insert("WAIT_STACKS", stack, WaitStack { sent: 1, objects })?;
    }
    for (tid, state, totals) in waits {
        if let Some(totals) = totals {
            object.insert("WAIT_SITES", state.site, totals)?;
        }
        object.insert("THREADS", tid, state)?;
    }
    Ok(())
}

/// Takes back what was entered of a thread.
pub(super) fn leave_wait(object: &mut Object, tid: u32) -> Result<(), BpfError> {
    object.remove::<_, ThreadState>("THREADS", tid)
}

/// A system call as the maps hold it: 1 + its number; 0: none.
fn wire_syscall(call: Option<Syscall>) -> u64 {
    call.map_or(0, |call| u64::from(call.number) + 1)
}

/// What the kernel side is told of: stacks, and at each the system calls with what they wait on. Told apart as the
/// kernel side does it (`wait.rs` there), so that a stack that waits on very many things does not fill its map.
#[derive(Debug, Default)]
struct EnteredSites(HashMap<u64, HashSet<(u64, u64)>>);

impl EnteredSites {
    /// The object of the site for a wait on `object` in `syscall`: itself, or [`SEVERAL_OBJECTS`] where the stack
    /// waits on too many. And whether that site is new.
    fn enter(&mut self, stack: u64, syscall: u64, object: u64) -> (u64, bool) {
        let sites = self.0.entry(stack).or_default();
        let many = objects(sites) >= OBJECTS_A_STACK;
        let known = object == 0 || sites.contains(&(syscall, object));
        let object = if many && !known { SEVERAL_OBJECTS } else { object };
        (object, sites.insert((syscall, object)))
    }

    /// How many sites were made for what each stack waits on.
    fn stacks(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().map(|(stack, sites)| (*stack, objects(sites)))
    }
}

fn objects(sites: &HashSet<(u64, u64)>) -> u64 {
    sites.iter().filter(|(_, object)| *object != 0).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_objects_have_sites_of_their_own() {
        let mut entered = EnteredSites::default();
        for object in 1..=OBJECTS_A_STACK {
            assert_eq!(entered.enter(7, 203, object), (object, true));
        }
        assert_eq!(entered.enter(7, 203, 1), (1, false));
        assert_eq!(entered.enter(7, 203, 1000), (SEVERAL_OBJECTS, true));
        assert_eq!(entered.enter(7, 203, 2000), (SEVERAL_OBJECTS, false));
        assert_eq!(entered.enter(7, 231, 0), (0, true), "the system call says it all");
        assert_eq!(entered.enter(8, 203, 1000), (1000, true), "another stack");
        let stacks: HashMap<u64, u64> = entered.stacks().collect();
        assert_eq!(stacks, HashMap::from([(7, OBJECTS_A_STACK + 1), (8, 1)]));
    }
}

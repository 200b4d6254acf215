//! Sites of threads that had blocked before recording began.

use std::collections::{HashMap, HashSet};

use leakscope_common::wait::{OBJECTS_A_STACK, SEVERAL_OBJECTS};

/// What the kernel side is told of: stacks, and at each the system calls with what they wait on. Told apart as the
/// kernel side does it (`wait.rs` there), so that a stack that waits on very many things does not fill its map.
#[derive(Debug, Default)]
pub(super) struct EnteredSites(HashMap<u64, HashSet<(u64, u64)>>);

impl EnteredSites {
    /// The object of the site for a wait on `object` in `syscall`: itself, or [`SEVERAL_OBJECTS`] where the stack
    /// waits on too many. And whether that site is new.
    pub(super) fn enter(&mut self, stack: u64, syscall: u64, object: u64) -> (u64, bool) {
        let sites = self.0.entry(stack).or_default();
        let many = objects(sites) >= OBJECTS_A_STACK;
        let known = object == 0 || sites.contains(&(syscall, object));
        let object = if many && !known { SEVERAL_OBJECTS } else { object };
        (object, sites.insert((syscall, object)))
    }

    /// How many sites were made for what each stack waits on.
    pub(super) fn stacks(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
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

//! Who holds a lock that does not tell.
//!
//! A thread that holds a lock has a reference to it on its stack: a guard, or the argument of the
//! function that took it. If only one thread besides the waiters has one, it is taken for the holder.

use std::collections::{HashMap, HashSet};

use super::ThreadSnapshot;

/// How an owner was inferred, for the report.
pub const METHOD: &str =
    "inferred: of the threads that do not wait for the lock, only this one's stack points to it";

/// Which threads' stacks point to which futexes.
#[derive(Clone, Debug, Default)]
pub struct Pointers(HashMap<u64, Vec<u32>>);

/// What the stacks say about a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inference {
    /// This thread holds it.
    Holder(u32),
    /// No stack but the waiters' points to it.
    Nobody,
    /// So many do.
    Several(usize),
}

impl Pointers {
    /// Those of a snapshot.
    pub fn new(snapshot: &ThreadSnapshot) -> Self {
        let mut map: HashMap<u64, Vec<u32>> = HashMap::new();
        for thread in &snapshot.threads {
            for &futex in &thread.points_to {
                let threads = map.entry(futex).or_default();
                // The same word may be on a stack twice.
                if threads.last() != Some(&thread.tid) {
                    threads.push(thread.tid);
                }
            }
        }
        Self(map)
    }

    /// Who else than its waiters has a pointer to a futex.
    pub fn holder(&self, futex: u64, waiters: &HashSet<u32>) -> Inference {
        let others: HashSet<u32> =
            self.0.get(&futex).into_iter().flatten().copied().filter(|tid| !waiters.contains(tid)).collect();
        match (others.len(), others.into_iter().next()) {
            (1, Some(tid)) => Inference::Holder(tid),
            (0, _) => Inference::Nobody,
            (n, _) => Inference::Several(n),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::tests::thread;

    #[test]
    fn one_that_does_not_wait() {
        let mut snapshot = ThreadSnapshot::default();
        for (tid, points_to) in
            [(1, vec![0x10, 0x10, 0x20]), (2, vec![0x10]), (3, vec![0x20, 0x30]), (4, vec![])]
        {
            snapshot.threads.push(super::super::Thread { points_to, ..thread(tid) });
        }
        let pointers = Pointers::new(&snapshot);
        let waiters = HashSet::from([2, 4]);
        assert_eq!(pointers.holder(0x10, &waiters), Inference::Holder(1));
        assert_eq!(pointers.holder(0x20, &waiters), Inference::Several(2));
        assert_eq!(pointers.holder(0x30, &HashSet::from([3])), Inference::Nobody);
        assert_eq!(pointers.holder(0x40, &waiters), Inference::Nobody);
    }
}

//! Threads that wait for each other in a circle.

use std::collections::HashMap;

/// A thread that waits for a lock, and the thread that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Who waits.
    pub tid: u32,
    /// The lock's address.
    pub lock: u64,
    /// Who holds it.
    pub owner: u32,
    /// Whether the owner was read from the lock, not inferred.
    pub certain: bool,
    /// Whether it waits until a time limit at most.
    pub timed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle {
    /// Its edges: each one's owner is the next one's thread, the last one's is the first's. The lowest
    /// TID is first.
    pub edges: Vec<Edge>,
    /// Further threads that wait, directly or not, for one of them.
    pub also_blocked: u64,
}

impl Cycle {
    /// Whether it does not end by itself.
    pub fn endless(&self) -> bool {
        !self.edges.iter().any(|edge| edge.timed)
    }

    /// Whether every owner in it was read from a lock.
    pub fn certain(&self) -> bool {
        self.edges.iter().all(|edge| edge.certain)
    }
}

/// What is known of a thread while cycles are looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Visit {
    /// On the path that is being followed.
    OnPath,
    /// It leads to the cycle of this number, or is in it.
    Leads(usize),
    /// It leads to a thread that waits for none.
    Free,
}

/// All cycles, largest groups first. Of several edges of a thread the first counts: a thread waits for
/// one lock at a time.
pub fn cycles(edges: &[Edge]) -> Vec<Cycle> {
    let mut by_tid: HashMap<u32, usize> = HashMap::with_capacity(edges.len());
    for (at, edge) in edges.iter().enumerate() {
        by_tid.entry(edge.tid).or_insert(at);
    }
    let mut seen: HashMap<u32, Visit> = HashMap::with_capacity(by_tid.len());
    let mut found: Vec<Cycle> = Vec::new();
    for start in 0..edges.len() {
        let mut path = Vec::new();
        let mut tid = edges[start].tid;
        let end = loop {
            match seen.get(&tid).copied() {
                Some(Visit::OnPath) => {
                    // A path ends as soon as it meets itself, so this is the present one.
                    let first = path.iter().position(|&at: &usize| edges[at].tid == tid).unwrap_or(0);
                    let mut cycle: Vec<Edge> = path[first..].iter().map(|&at| edges[at]).collect();
                    let lowest =
                        cycle.iter().enumerate().min_by_key(|(_, edge)| edge.tid).map_or(0, |(at, _)| at);
                    cycle.rotate_left(lowest);
                    found.push(Cycle { edges: cycle, also_blocked: 0 });
                    break Visit::Leads(found.len() - 1);
                }
                Some(known) => break known,
                None => {}
            }
            let Some(&at) = by_tid.get(&tid) else { break Visit::Free };
            seen.insert(tid, Visit::OnPath);
            path.push(at);
            tid = edges[at].owner;
        };
        for at in path {
            seen.insert(edges[at].tid, end);
        }
    }
    for state in seen.values() {
        if let Visit::Leads(cycle) = *state {
            found[cycle].also_blocked += 1;
        }
    }
    for cycle in &mut found {
        cycle.also_blocked = cycle.also_blocked.saturating_sub(cycle.edges.len() as u64);
    }
    found.sort_by_key(|cycle| {
        let blocked = cycle.also_blocked + cycle.edges.len() as u64;
        (std::cmp::Reverse(blocked), cycle.edges.first().map(|edge| edge.tid))
    });
    found
}

#[cfg(test)]
mod tests;

//! Circles of goroutines that wait for locks that they hold themselves.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::goroutine::Link;
use super::locks::{Held, Want};

/// Most circles that are told, and goroutines in one.
const MOST_CIRCLES: usize = 1 << 12;
const LONGEST: usize = 1 << 6;

/// A goroutine that waits for a lock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    /// Index of the goroutine.
    pub goroutine: usize,
    /// Index of the lock.
    pub lock: usize,
    /// Where the lock lies.
    pub address: u64,
    /// The runtime's note of it.
    pub note: u64,
    pub want: Want,
    /// Whether it is a writer that keeps new readers out.
    pub announced: bool,
}

/// Who must go on first, and by which function it holds the lock.
type Next = (usize, Option<Arc<str>>);

/// For each goroutine that waits: the lock, and those who must go on before it can have it.
fn edges(waits: &[Wait], held: &[Held]) -> HashMap<usize, (usize, Vec<Next>)> {
    let mut holders: HashMap<usize, Vec<&Held>> = HashMap::new();
    for one in held {
        holders.entry(one.lock).or_default().push(one);
    }
    let announced: HashMap<usize, usize> =
        waits.iter().filter(|wait| wait.announced).map(|wait| (wait.lock, wait.goroutine)).collect();
    let next = |wait: &Wait| {
        let conflicts = |one: &&&Held| wait.want != Want::Read || !one.reads;
        let holders = holders.get(&wait.lock).into_iter().flatten().filter(conflicts);
        let mut next: Vec<Next> =
            holders.take(LONGEST).map(|one| (one.goroutine, Some(Arc::clone(&one.function)))).collect();
        if let Some(writer) = announced.get(&wait.lock).filter(|_| wait.want == Want::Read) {
            next.push((*writer, None));
        }
        next
    };
    waits.iter().map(|wait| (wait.goroutine, (wait.lock, next(wait)))).collect()
}

/// The circles. A goroutine waits for all that hold its lock, so that any way round is one.
pub(super) fn find(waits: &[Wait], held: &[Held]) -> Vec<Vec<Link>> {
    let edges = edges(waits, held);
    // Whether a goroutine that was seen is on the path.
    let mut on_path: HashMap<usize, bool> = HashMap::new();
    let mut circles = Vec::new();
    for wait in waits {
        if circles.len() >= MOST_CIRCLES {
            break;
        }
        if on_path.contains_key(&wait.goroutine) {
            continue;
        }
        on_path.insert(wait.goroutine, true);
        // Each with the number of the next one that is tried.
        let mut path: Vec<(usize, usize)> = vec![(wait.goroutine, 0)];
        while let Some((at, tried)) = path.last_mut() {
            let Some((next, _)) = edges.get(at).and_then(|(_, next)| next.get(*tried)) else {
                on_path.insert(*at, false);
                path.pop();
                continue;
            };
            *tried += 1;
            match on_path.get(next) {
                Some(true) => {
                    let start = path.iter().position(|(goroutine, _)| goroutine == next).unwrap_or(0);
                    circles.push(links(&edges, &path[start..]));
                }
                None if path.len() < LONGEST => {
                    on_path.insert(*next, true);
                    path.push((*next, 0));
                }
                _ => {}
            }
        }
    }
    circles
}

fn links(edges: &HashMap<usize, (usize, Vec<Next>)>, path: &[(usize, usize)]) -> Vec<Link> {
    let link = |(goroutine, tried): &(usize, usize)| {
        let (lock, next) = edges.get(goroutine)?;
        let (_, held_by) = next.get(tried.checked_sub(1)?)?;
        Some(Link { goroutine: *goroutine, lock: *lock, held_by: held_by.clone() })
    };
    path.iter().filter_map(link).collect()
}

/// These goroutines, and all that wait behind them.
pub(super) fn behind(waits: &[Wait], held: &[Held], stuck: &[usize]) -> HashSet<usize> {
    let mut waiting_for: HashMap<usize, Vec<usize>> = HashMap::new();
    for (goroutine, (_, next)) in edges(waits, held) {
        for (first, _) in next {
            waiting_for.entry(first).or_default().push(goroutine);
        }
    }
    let mut found: HashSet<usize> = stuck.iter().copied().collect();
    let mut todo = stuck.to_vec();
    while let Some(one) = todo.pop() {
        for behind in waiting_for.get(&one).into_iter().flatten() {
            if found.insert(*behind) {
                todo.push(*behind);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(goroutine: usize, lock: usize, want: Want) -> Wait {
        Wait { goroutine, lock, address: 0x1000 + lock as u64, note: 0, want, announced: want == Want::Write }
    }

    fn held(goroutine: usize, lock: usize, reads: bool) -> Held {
        Held { goroutine, lock, reads, function: "main.f".into() }
    }

    fn circles(waits: &[Wait], held: &[Held]) -> Vec<Vec<usize>> {
        find(waits, held).iter().map(|circle| circle.iter().map(|link| link.goroutine).collect()).collect()
    }

    #[test]
    fn each_waits_for_the_other() {
        let waits = [wait(1, 0, Want::Mutex), wait(2, 1, Want::Mutex), wait(3, 0, Want::Mutex)];
        let holds = [held(2, 0, false), held(1, 1, false)];
        assert_eq!(circles(&waits, &holds), [[1, 2]]);
        let mut stuck: Vec<usize> = behind(&waits, &holds, &[1, 2]).into_iter().collect();
        stuck.sort_unstable();
        assert_eq!(stuck, [1, 2, 3]);
        assert!(circles(&waits, &holds[..1]).is_empty());
    }

    #[test]
    fn one_waits_for_itself() {
        assert_eq!(circles(&[wait(7, 0, Want::Mutex)], &[held(7, 0, false)]), [[7]]);
    }

    #[test]
    fn readers_do_not_keep_readers_out() {
        let reads = wait(1, 0, Want::Read);
        assert!(circles(&[reads], &[held(1, 0, true)]).is_empty());
        let writer = wait(2, 0, Want::Write);
        assert_eq!(circles(&[reads, writer], &[held(1, 0, true)]), [[1, 2]]);
        assert!(circles(&[reads, Wait { announced: false, ..writer }], &[held(1, 0, true)]).is_empty());
        assert_eq!(circles(&[wait(1, 0, Want::Write)], &[held(1, 0, true)]), [[1]], "it upgrades");
    }
}

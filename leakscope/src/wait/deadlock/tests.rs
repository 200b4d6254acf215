use super::*;

fn edge(tid: u32, owner: u32) -> Edge {
    Edge { tid, lock: u64::from(owner) * 0x10, owner, certain: true, timed: false }
}

fn tids(cycle: &Cycle) -> Vec<u32> {
    cycle.edges.iter().map(|edge| edge.tid).collect()
}

#[test]
fn two_and_three_and_one() {
    let edges = [edge(13, 12), edge(12, 13), edge(3, 1), edge(1, 2), edge(2, 3), edge(9, 9)];
    let found = cycles(&edges);
    assert_eq!(found.iter().map(tids).collect::<Vec<_>>(), [vec![1, 2, 3], vec![12, 13], vec![9]]);
    for cycle in &found {
        let next = cycle.edges.iter().cycle().skip(1);
        assert!(cycle.edges.iter().zip(next).all(|(edge, next)| edge.owner == next.tid));
        assert_eq!((cycle.also_blocked, cycle.certain()), (0, true));
    }
}

#[test]
fn who_waits_behind_a_cycle() {
    // 20 and 21 wait for 1, 22 waits for 20; 30 waits for 31, which waits for nothing.
    let edges = [edge(20, 1), edge(22, 20), edge(1, 2), edge(2, 1), edge(21, 1), edge(30, 31)];
    let found = cycles(&edges);
    assert_eq!(found.len(), 1);
    assert_eq!((tids(&found[0]), found[0].also_blocked), (vec![1, 2], 3));
}

#[test]
fn an_inferred_edge_makes_a_cycle_uncertain() {
    let edges = [edge(1, 2), Edge { certain: false, ..edge(2, 1) }];
    assert!(!cycles(&edges)[0].certain());
    assert_eq!(cycles(&[]), []);
    assert_eq!(cycles(&[edge(1, 2), edge(2, 3)]), []);
}

#[test]
fn a_long_chain_takes_no_recursion_and_no_square() {
    let edges: Vec<Edge> =
        (1..200_000).map(|tid| edge(tid, tid + 1)).chain([edge(200_000, 199_999)]).collect();
    let found = cycles(&edges);
    assert_eq!((found.len(), tids(&found[0]), found[0].also_blocked), (1, vec![199_999, 200_000], 199_998));
}

proptest::proptest! {
    #[test]
    fn odd_graphs(pairs in proptest::collection::vec((0u32..12, 0u32..12), 0..40)) {
        let edges: Vec<Edge> = pairs.iter().map(|&(tid, owner)| edge(tid, owner)).collect();
        let found = cycles(&edges);
        let mut seen = std::collections::HashSet::new();
        for cycle in &found {
            proptest::prop_assert!(!cycle.edges.is_empty());
            let next = cycle.edges.iter().cycle().skip(1);
            for (edge, next) in cycle.edges.iter().zip(next) {
                proptest::prop_assert_eq!(edge.owner, next.tid);
                // A thread is in one cycle at most.
                proptest::prop_assert!(seen.insert(edge.tid));
            }
        }
        let waiting: std::collections::HashSet<u32> = edges.iter().map(|edge| edge.tid).collect();
        let blocked: u64 = found.iter().map(|c| c.also_blocked + c.edges.len() as u64).sum();
        proptest::prop_assert!(blocked <= waiting.len() as u64);
    }
}

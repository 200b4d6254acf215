use super::*;
use crate::runtime::go::goroutine::{GoStack, Wakes};

/// A frame of Go code in `server.go`.
pub(crate) fn frame(function: &str, line: u32) -> GoFrame {
    GoFrame {
        address: 0x46_0000 + u64::from(line),
        function: function.into(),
        function_offset: Some(0x1d),
        file: "/src/server.go".into(),
        line,
        start_line: 0,
        inlined: false,
    }
}

/// A stack that reached its root.
pub(crate) fn stack(functions: &[(&str, u32)]) -> GoStack {
    let frames = functions.iter().map(|(function, line)| frame(function, *line)).collect();
    GoStack { frames, end: GoStackEnd::Root }
}

/// A goroutine that waits with stack 0.
pub(crate) fn waiting(id: u64, reason: &str) -> Goroutine {
    Goroutine {
        id,
        parent: None,
        state: GoState::Waiting,
        wait_reason: Some(reason.into()),
        blocked: Blocked::SinceLastGc,
        wakes: Wakes::Unknown,
        deadlocked: false,
        leaked: false,
        stack: 0,
        created_by: Some(frame("main.main", 12)),
        start_function: Some("main.work".into()),
        labels: None,
        system: false,
        locked_to_thread: false,
        tid: None,
    }
}

fn snapshot(goroutines: Vec<Goroutine>) -> GoroutineSnapshot {
    let stacks = vec![
        stack(&[("runtime.gopark", 398), ("main.work", 30)]),
        stack(&[("runtime.gopark", 398), ("main.other", 40)]),
    ];
    GoroutineSnapshot { goroutines, stacks, ..GoroutineSnapshot::default() }
}

#[test]
fn what_is_equal_is_one_site() {
    let seen = snapshot(vec![
        waiting(9, "chan receive"),
        Goroutine { blocked: Blocked::AtLeast(7), tid: Some(70), ..waiting(3, "chan receive") },
        Goroutine { locked_to_thread: true, ..waiting(5, "chan receive") },
        Goroutine { stack: 1, ..waiting(11, "chan receive") },
        waiting(12, "select"),
        Goroutine { state: GoState::Runnable, wait_reason: None, ..waiting(13, "") },
        Goroutine { created_by: None, ..waiting(14, "chan receive") },
        Goroutine { system: true, ..waiting(15, "chan receive") },
        Goroutine { start_function: None, ..waiting(16, "chan receive") },
    ]);
    let snapshot = GoroutineAggregate::default().sites(&seen);
    assert_eq!((snapshot.sites.len(), snapshot.total, snapshot.system), (7, 8, 1));
    let most = &snapshot.sites[0];
    assert_eq!((most.count, most.ids.as_slice(), most.tids.as_slice()), (3, &[3, 5, 9][..], &[70][..]));
    assert_eq!((most.longest_blocked_ns, most.since_last_gc, most.locked_to_thread), (Some(7), false, 1));
    assert!(snapshot.sites[1..].iter().all(|site| site.count == 1));
    assert_eq!((snapshot.growth, most.growth, snapshot.since_first_ns), (None, None, None));
}

/// Addresses and the order of what was found do not tell sites apart.
#[test]
fn numbers_are_made_from_texts() {
    let mut aggregate = GoroutineAggregate::default();
    let mut seen = snapshot(vec![waiting(1, "select"), Goroutine { stack: 1, ..waiting(2, "select") }]);
    let ids = |snapshot: &GoroutineSites| snapshot.sites.iter().map(|s| s.id).collect::<Vec<_>>();
    let first = aggregate.sites(&seen);
    seen.stacks.reverse();
    for goroutine in &mut seen.goroutines {
        goroutine.stack = 1 - goroutine.stack;
        goroutine.id += 100;
    }
    for frame in seen.stacks.iter_mut().flat_map(|stack| &mut stack.frames) {
        frame.address += 0x1000;
    }
    assert_eq!(ids(&GoroutineAggregate::default().sites(&seen)), ids(&first));
    // They do not change from one version of leakscope to the next either.
    let one = GoroutineAggregate::default().sites(&snapshot(vec![waiting(1, "select")]));
    assert_eq!(format!("{:016x}", one.sites[0].id), "6ef348f720e00d15");
}

#[test]
fn growth_is_since_the_look_before_and_since_the_first() {
    let mut aggregate = GoroutineAggregate::default();
    let look = |aggregate: &mut GoroutineAggregate, at_ns, receives: u64, selects: u64| {
        let receives = (0..receives).map(|id| waiting(id, "chan receive"));
        let selects = (0..selects).map(|id| waiting(1_000 + id, "select"));
        aggregate.sites(&GoroutineSnapshot { at_ns, ..snapshot(receives.chain(selects).collect()) })
    };
    look(&mut aggregate, 1_000, 10, 5);
    let second = look(&mut aggregate, 3_000, 25, 2);
    assert_eq!((second.total, second.growth, second.growth_since_first), (27, Some(12), Some(12)));
    let third = look(&mut aggregate, 4_000, 30, 0);
    assert_eq!((third.growth, third.growth_since_first), (Some(3), Some(15)));
    assert_eq!((third.since_previous_ns, third.since_first_ns), (Some(1_000), Some(3_000)));
    // A site that is empty now is not listed.
    assert_eq!(third.sites.len(), 1);
    assert_eq!((third.sites[0].growth, third.sites[0].growth_since_first), (Some(5), Some(20)));
    let fourth = look(&mut aggregate, 5_000, 30, 4);
    assert_eq!((fourth.sites[1].growth, fourth.sites[1].growth_since_first), (Some(4), Some(-1)));
    // Only the first look and the last one are remembered.
    assert!(aggregate.previous.as_ref().is_some_and(|counts| counts.sites.len() <= 6));
}

fn labelled(sets: usize, each: usize) -> GoroutineSnapshot {
    let label = |n: usize| {
        [("job", "sync".to_owned()), ("request", n.to_string())].map(|(k, v)| (k.to_owned(), v)).into()
    };
    let goroutines = (0..sets * each)
        .map(|n| Goroutine { labels: Some(n % sets), ..waiting(n as u64, "select") })
        .collect();
    GoroutineSnapshot { labels: (0..sets).map(label).collect(), ..snapshot(goroutines) }
}

#[test]
fn labels_tell_sites_apart_until_there_are_too_many() {
    let mut aggregate = GoroutineAggregate::default();
    let few = aggregate.sites(&labelled(MOST_LABEL_SETS, 2));
    assert_eq!((few.sites.len(), few.sites[0].labels.len()), (MOST_LABEL_SETS, 2));
    let many = aggregate.sites(&labelled(1_000, 2));
    let [site] = many.sites.as_slice() else { panic!("{} sites", many.sites.len()) };
    assert_eq!((site.count, site.label_sets, site.growth), (2_000, 1_000, Some(2_000 - 64)));
    // What all have in common is left.
    assert_eq!(site.labels.iter().collect::<Vec<_>>(), [(&"job".to_owned(), &"sync".to_owned())]);
    // It stays one site, so that its growth means something.
    let again = aggregate.sites(&labelled(3, 2));
    assert_eq!((again.sites.len(), again.sites[0].growth), (1, Some(6 - 2_000)));
    assert_eq!(again.sites[0].id, site.id);
}

#[test]
fn a_snapshot_that_lies_is_survived() {
    let mut seen = snapshot(vec![
        Goroutine { stack: usize::MAX, ..waiting(1, "x") },
        Goroutine { labels: Some(usize::MAX), ..waiting(2, "x") },
        Goroutine { blocked: Blocked::AtLeast(u64::MAX), ..waiting(u64::MAX, "x") },
    ]);
    seen.losses = vec![("goroutines.unreadable", 0), ("goroutines.missed", 2)];
    let snapshot = GoroutineAggregate::default().sites(&seen);
    assert_eq!((snapshot.total, snapshot.losses.as_slice()), (2, &[("goroutines.missed", 2)][..]));
    let mut aggregate = GoroutineAggregate::default();
    aggregate.sites(&GoroutineSnapshot { at_ns: 9, ..seen });
    assert_eq!(aggregate.sites(&GoroutineSnapshot::default()).since_first_ns, Some(0));
}

use super::*;
use crate::runtime::go::aggregate::GoroutineAggregate;
use crate::runtime::go::aggregate::goroutine_sites::tests::{frame as go, stack, waiting};
use crate::runtime::go::goroutine::{GoFrame, Goroutine, GoroutineSnapshot};

/// A program that all frames of these tests lie in.
pub(crate) fn chat() -> GoCode<'static> {
    GoCode {
        file: Some("/srv/bin/chat"),
        build_id: None,
        bias: 0,
        text: (0x46_0000, 0x47_0000),
        main_module: Some("example.com/chat"),
        others: &[],
    }
}

/// A look after so many seconds at a websocket server that has so many goroutines with each wait reason.
pub(crate) fn look(seconds: u64, waits: &[(u64, &str)]) -> GoroutineSnapshot {
    let at = |function: &str, file: &str, line| GoFrame {
        file: format!("/src/{file}").into(),
        ..go(function, line)
    };
    let mut stack = stack(&[("runtime.gopark", 398), ("runtime.chanrecv1", 442)]);
    stack.frames.push(at("main.(*WebSocket).notifyFxn", "websocket.go", 156));
    stack.frames.push(at("main.(*WebSocket).run", "websocket.go", 90));
    let one = |id: u64, reason: &str| Goroutine {
        created_by: Some(at("main.(*Hub).add", "hub.go", 40)),
        start_function: Some("main.(*WebSocket).run".into()),
        ..waiting(id, reason)
    };
    let goroutines = waits.iter().flat_map(|(n, reason)| (0..*n).map(|id| one(id, reason)));
    GoroutineSnapshot {
        at_ns: seconds * 1_000_000_000,
        goroutines: goroutines.collect(),
        stacks: vec![stack],
        ..GoroutineSnapshot::default()
    }
}

/// The last of these looks.
pub(crate) fn seen(looks: &[GoroutineSnapshot]) -> GoroutineSites {
    let mut aggregate = GoroutineAggregate::default();
    looks.iter().map(|look| aggregate.sites(look)).last().unwrap_or_default()
}

/// The section on it.
pub(crate) fn section(looks: &[GoroutineSnapshot]) -> Goroutines {
    goroutines(&seen(looks), None, chat())
}

fn reasons(all: &Goroutines) -> Vec<&str> {
    all.sites.iter().filter_map(|site| site.wait_reason.as_deref()).collect()
}

#[test]
fn a_site_is_told_whole() {
    let mut snapshot = look(0, &[(7, "chan receive")]);
    snapshot.labels = vec![[("job".to_owned(), "sync".to_owned())].into()];
    for goroutine in &mut snapshot.goroutines {
        goroutine.labels = Some(0);
    }
    let all = section(&[snapshot]);
    assert!(all.exact);
    let site = &all.sites[0];
    assert_eq!((site.rank, site.count, site.growth, site.stack.blame), (1, 7, None, Some(2)));
    assert_eq!((site.state.as_str(), &site.stack.end), ("waiting", &Some(StackEnd::Root)));
    assert_eq!((site.since_last_gc, site.blocked_at_least, site.idle), (true, false, false));
    assert_eq!(site.goroutine_ids, [0, 1, 2, 3, 4]);
    assert_eq!(site.labels.as_ref().and_then(|labels| labels.get("job")).map(String::as_str), Some("sync"));
    assert_eq!(site.stack.frames[0].module.as_deref(), Some("/srv/bin/chat"));
    assert_eq!(site.created_by.as_ref().and_then(|frame| frame.line), Some(40));
    assert_eq!(site.site_id.len(), 16);
}

#[test]
fn what_piles_up_comes_first_and_what_is_idle_last() {
    let mut last = look(10, &[(500, "select"), (40, "sleep"), (90, "chan send"), (60, "chan receive")]);
    for goroutine in last.goroutines.iter_mut().take(3) {
        goroutine.system = true;
    }
    let all =
        section(&[look(0, &[(500, "select"), (40, "sleep"), (20, "chan send"), (40, "chan receive")]), last]);
    assert_eq!(reasons(&all), ["chan send", "chan receive", "select", "sleep", "select"]);
    assert_eq!(all.sites.iter().map(|site| site.rank).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!(
        all.sites.iter().map(|site| site.piling_up).collect::<Vec<_>>(),
        [true, true, false, false, false]
    );
    assert_eq!(all.sites.iter().map(|site| site.idle).collect::<Vec<_>>(), [false, false, false, true, true]);
    assert!(all.sites[4].system);
    // Without growth, by count.
    let one = section(&[look(0, &[(40, "chan receive"), (500, "select"), (20, "sleep"), (60, "chan send")])]);
    assert_eq!(reasons(&one), ["select", "chan send", "chan receive", "sleep"]);
    assert_eq!((one.growth, one.total), (None, 620));
}

/// Small changes, of a large site or beside a large growth, do not put a site before others.
#[test]
fn noise_is_no_pile() {
    let before = look(0, &[(5_000, "select"), (10, "chan send"), (100, "chan receive")]);
    let after = look(9, &[(5_012, "select"), (19, "chan send"), (900, "chan receive")]);
    let all = section(&[before, after]);
    assert_eq!(reasons(&all), ["chan receive", "select", "chan send"]);
    assert_eq!(all.sites.iter().filter(|site| site.piling_up).count(), 1);
}

#[test]
fn what_could_not_be_read_is_not_exact() {
    let lost = GoroutineSnapshot { losses: vec![("goroutines.missed", 1)], ..look(0, &[(1, "select")]) };
    assert!(!section(&[lost]).exact);
    let mut unread = look(0, &[(1, "select")]);
    unread.stacks[0].end = crate::runtime::go::goroutine::GoStackEnd::Unreadable;
    let all = section(&[unread]);
    assert!(!all.exact && all.method.contains("some could not be read"));
    assert_eq!(all.sites[0].stack.end, Some(StackEnd::Cut(Cut::Unreadable)));
}

#[test]
fn absurd_growth_does_not_panic() {
    let mut snapshot = seen(&[look(0, &[(1, "select"), (1, "chan send")])]);
    for site in &mut snapshot.sites {
        site.count = u64::MAX;
        site.growth_since_first = Some(i64::MAX);
    }
    assert_eq!(goroutines(&snapshot, None, GoCode::default()).sites.len(), 2);
}

#[test]
fn statements_are_ranked_by_growth() {
    let statement = |line, created, exited| GoCreation {
        address: line,
        created,
        exited,
        frames: vec![go("main.serve", u32::try_from(line).unwrap_or(0))],
    };
    let all = [statement(1, 1000, 1000), statement(2, 5, 50), statement(3, 70, 0)];
    let report = goroutines(&seen(&[]), Some(&all), GoCode::default());
    let told: Vec<(u64, i64, Option<u32>)> =
        report.creations.iter().flatten().map(|c| (c.rank, c.growth, c.stack.frames[0].line)).collect();
    assert_eq!(told, [(1, 70, Some(3)), (2, 0, Some(1)), (3, -45, Some(2))]);
    assert_eq!(goroutines(&seen(&[]), None, GoCode::default()).creations, None, "not traced");
}

/// Always the same goroutines, that go from one place to another: a broadcast to many subscribers.
#[test]
fn goroutines_that_move_do_not_pile_up() {
    let mut busy = look(9, &[(60, "chan receive")]);
    for goroutine in &mut busy.goroutines {
        goroutine.state = GoState::Runnable;
        goroutine.wait_reason = None;
    }
    let all = section(&[look(0, &[(60, "chan receive")]), busy]);
    assert_eq!(all.sites[0].growth_since_first, Some(60));
    assert_eq!(all.sites[0].creator_growth_since_first, Some(0));
    assert!(!all.sites[0].piling_up);
}

/// What was traced of the creator says that fewer are there than the looks tell.
#[test]
fn growth_agrees_with_what_was_traced() {
    let looks = || seen(&[look(0, &[(5, "select")]), look(9, &[(65, "select")])]);
    let creator = look(0, &[(1, "select")]).goroutines.remove(0).created_by;
    let traced = |exited| GoCreation {
        address: 1,
        created: 400,
        exited,
        frames: creator.clone().into_iter().collect(),
    };
    assert!(goroutines(&looks(), Some(&[traced(340)]), chat()).sites[0].piling_up);
    assert!(!goroutines(&looks(), Some(&[traced(398)]), chat()).sites[0].piling_up);
}

#[test]
fn what_nothing_can_wake_is_stuck() {
    let reasons = ["chan receive (nil chan)", "select (no cases)", "select", "chan receive"];
    let mut snapshot = look(0, &reasons.map(|reason| (2, reason)));
    snapshot.goroutines[4].wakes = crate::runtime::go::goroutine::Wakes::Nothing;
    let all = section(&[snapshot]);
    let stuck = |reason: &str| {
        let sites = all.sites.iter().filter(|site| site.wait_reason.as_deref() == Some(reason));
        sites.map(|site| site.stuck).sum::<u64>()
    };
    assert_eq!(reasons.map(stuck), [2, 2, 1, 0]);
    assert_eq!(all.stuck, 5);
    // The main goroutine of a server waits so.
    let mut main = look(0, &[(1, "select (no cases)")]);
    main.goroutines[0].start_function = Some("runtime.main".into());
    let all = section(&[main]);
    assert_eq!((all.stuck, all.sites[0].idle), (0, true));
}

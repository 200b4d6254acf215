//! Reports on Go programs.

use super::samples::{S, empty, hot_mutex, stack as c_stack};
use super::{assert_fits, assert_shown, plain, poison, shown, styled};
use crate::collect::heap::Sort;
use crate::export::table::TableStyle;
use crate::report::Report;
use crate::report::model::Site;
use crate::runtime::RuntimeName;
use crate::runtime::go::Go;
use crate::runtime::go::aggregate::goroutine_sites::GoroutineSites;
use crate::runtime::go::aggregate::goroutine_sites::tests::{frame, stack, waiting};
use crate::runtime::go::aggregate::{GoHeapAggregate, GoroutineAggregate};
use crate::runtime::go::goroutine::{
    Blocked, GoFrame, GoStack, GoStackEnd, GoState, Goroutine, GoroutineSnapshot,
};
use crate::section::Section as _;
use crate::section::goroutines::build::goroutines;
use crate::section::goroutines::build::tests::chat as program;
use crate::section::heap::go::tests::account;
use crate::section::heap::go::{GoHeapInputs, join};

fn at(function: &str, file: &str, line: u32) -> GoFrame {
    GoFrame { file: format!("/src/{file}").into(), ..frame(function, line) }
}

fn below(outer: Vec<GoFrame>, runtime: &[(&str, u32)]) -> GoStack {
    let mut stack = stack(runtime);
    stack.frames.extend(outer);
    stack
}

/// A chat server with so many goroutines at its receive.
fn chat(seconds: u64, receive: u64) -> GoroutineSnapshot {
    let receives = [("runtime.gopark", 398), ("runtime.chanrecv1", 442)];
    let reads = [("runtime.gopark", 398), ("internal/poll.(*FD).Read", 164), ("net.(*conn).Read", 179)];
    let accepts = [("runtime.gopark", 398), ("internal/poll.(*FD).Accept", 614)];
    let stacks = vec![
        below(
            vec![
                at("main.(*WebSocket).notifyFxn", "websocket.go", 156),
                at("main.(*WebSocket).run", "websocket.go", 90),
            ],
            &receives,
        ),
        below(vec![at("main.(*WebSocket).read", "websocket.go", 60)], &reads),
        below(vec![at("main.serve", "main.go", 31), at("main.main", "main.go", 12)], &accepts),
        stack(&[("runtime.gopark", 398), ("runtime.bgsweep", 300)]),
        GoStack { frames: Vec::new(), end: GoStackEnd::Running },
        below(vec![at("main.tick", "tick.go", 8)], &[("time.Sleep", 195)]),
    ];
    let one = |id: u64, stack: usize, reason: &str, start: &str| Goroutine {
        stack,
        created_by: Some(at("main.(*Hub).add", "hub.go", 40)),
        start_function: Some(start.into()),
        ..waiting(id, reason)
    };
    let mut goroutines = vec![
        Goroutine { created_by: None, ..one(1, 2, "IO wait", "runtime.main") },
        Goroutine {
            state: GoState::Running,
            wait_reason: None,
            blocked: Blocked::No,
            tid: Some(4712),
            locked_to_thread: true,
            ..one(7, 4, "", "main.render")
        },
        Goroutine { labels: Some(0), ..one(8, 5, "sleep", "main.tick") },
    ];
    goroutines
        .extend((2..6).map(|id| Goroutine { system: true, ..one(id, 3, "GC worker (idle)", "runtime.f") }));
    goroutines.push(Goroutine { system: true, ..one(6, 3, "GC sweep wait", "runtime.bgsweep") });
    let blocked = |id| if id % 3 == 0 { Blocked::AtLeast(720 * S) } else { Blocked::SinceLastGc };
    goroutines.extend((0..receive).map(|id| Goroutine {
        blocked: blocked(id),
        labels: Some(1),
        ..one(100 + id, 0, "chan receive", "main.(*WebSocket).run")
    }));
    goroutines.extend((0..2_370).map(|id| one(20_000 + id, 1, "IO wait", "main.(*WebSocket).read")));
    let labels = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    GoroutineSnapshot {
        at_ns: seconds * S,
        goroutines,
        stacks,
        labels: vec![labels(&[("every", "5s")]), labels(&[("room", "lobby"), ("tenant", "acme")])],
        ..GoroutineSnapshot::default()
    }
}

fn report(snapshot: &GoroutineSites, seconds: u64) -> Report {
    let mut report = empty(seconds * S);
    report.target.comm = "chat".to_owned();
    report.target.runtime = RuntimeName::from(&Go);
    report.target.runtime_version = Some("go1.21.4".to_owned());
    report.summary.answer = Some(crate::report::model::Finding::unnamed(
        "11,274 of 13,647 goroutines are blocked in chan receive.",
    ));
    report.goroutines = Some(goroutines(snapshot, None, program()));
    report
}

/// `dump` of it, with a thread below.
fn dumped() -> Report {
    let snapshot = GoroutineAggregate::default().sites(&chat(0, 11_274));
    let mut report = report(&snapshot, 0);
    let mut waits = hot_mutex().waits.expect("waits");
    waits.sites.truncate(1);
    waits.sites[0].threads.truncate(2);
    waits.sites[0].blocked_now = 2;
    waits.blocked_now = 2;
    report.waits = Some(waits);
    report
}

/// What `attach` tells after 20 s.
fn attached() -> Report {
    let mut aggregate = GoroutineAggregate::default();
    aggregate.sites(&chat(0, 10_334));
    report(&aggregate.sites(&chat(20, 11_274)), 20)
}

/// A program whose goroutines are all the runtime's.
fn none() -> Report {
    let mut snapshot = chat(0, 0);
    snapshot.goroutines.retain(|goroutine| goroutine.system);
    report(&GoroutineAggregate::default().sites(&snapshot), 0)
}

/// Go's heap and C's in one program.
fn heaps() -> Report {
    let mut report = attached();
    report.goroutines = None;
    let snapshot = GoHeapAggregate::default().snapshot(account());
    let mut traced = super::samples::heap().heap.expect("a heap");
    traced.sites.truncate(1);
    traced.sites[0] = {
        let mut site = Site { live_bytes: 90_000, ..traced.sites[0].clone() };
        site.stack.frames = c_stack("malloc", "sqlite3_step", 31).into();
        site
    };
    let go = GoHeapInputs { snapshot: &snapshot, sort: Sort::LiveBytes };
    let mut heap = join(Some(traced), &go, program());
    heap.complete();
    report.heap = Some(heap);
    report
}

#[test]
fn a_look_at_a_go_program() {
    for width in [40, 80, 120] {
        assert_shown(&format!("goroutines-{width}"), &shown(&dumped(), width));
    }
}

#[test]
fn what_piles_up_in_a_go_program() {
    for width in [80, 140] {
        assert_shown(&format!("goroutines-attached-{width}"), &shown(&attached(), width));
    }
}

#[test]
fn no_goroutines_but_the_runtimes_own() {
    assert_shown("goroutines-none", &shown(&none(), 80));
}

#[test]
fn heaps_of_go_and_c() {
    assert_shown("go-heap-80", &shown(&heaps(), 80));
    assert_shown("go-heap-120", &shown(&heaps(), 120));
    let mut report = heaps();
    let heap = report.heap.as_mut().expect("a heap");
    heap.sources.remove(0);
    heap.sites.retain(|site| site.source == "go");
    let text = shown(&report, 120);
    assert!(!text.contains("Heap: ") && !text.contains("│ source"), "{text}");
}

#[test]
fn only_so_many_are_shown() {
    let style = TableStyle { top: 1, frames: Some(1), ..TableStyle::plain(120) };
    let text = styled(&attached(), &style);
    assert!(text.contains("and 4 sites more, 2 of them idle"), "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with('#')).count(), 1, "{text}");
}

#[test]
fn grids_of_goroutines_fit_every_terminal() {
    for report in [dumped(), attached(), none(), heaps()] {
        for width in 40..160 {
            assert_fits(&shown(&report, width), width);
            let colored = styled(&report, &TableStyle { color: true, ..TableStyle::plain(width) });
            assert_eq!(plain(&colored), shown(&report, width));
        }
    }
}

/// Newlines, escape codes and endless names.
#[test]
fn hostile_goroutines_steer_no_terminal() {
    let evil = "\x1b[2J\u{202e}漢字\r\n\u{9b}31m│\u{200f}";
    let long = format!("{evil}{}", "x".repeat(10_000));
    for report in [dumped(), attached(), heaps()] {
        for evil in [evil, &long] {
            let mut json = serde_json::to_value(&report).expect("JSON");
            poison(&mut json, evil);
            let mut hostile: Report = serde_json::from_value(json).expect("a report");
            for site in hostile.goroutines.iter_mut().flat_map(|all| &mut all.sites) {
                site.labels = Some((0..99).map(|n| (format!("{n}{evil}"), evil.to_owned())).collect());
            }
            for width in [40, 80, 120] {
                let text = shown(&hostile, width);
                assert_fits(&text, width);
                assert!(text.contains("漢字"), "{text}");
                let steers = |c: char| c != '\n' && (c.is_control() || matches!(c, '\u{202e}' | '\u{200f}'));
                assert!(!text.contains(steers), "{text:?}");
                // Only what stands in the header is told whole.
                let stacks = text.lines().skip_while(|line| !line.starts_with('#'));
                let longest = stacks.take_while(|line| !line.starts_with("Lost")).map(str::len).max();
                assert!(longest.is_some_and(|n| n < 3_000), "{longest:?}");
            }
        }
    }
}

/// A site with more sets of labels than are told apart.
#[test]
fn labels_that_differ() {
    let mut report = dumped();
    let site = |report: &mut Report, sets, labels| {
        let site = &mut report.goroutines.as_mut().expect("goroutines").sites[0];
        (site.label_sets, site.labels) = (sets, labels);
    };
    site(&mut report, 900, Some([("tenant".to_owned(), "acme".to_owned())].into()));
    let text = shown(&report, 120);
    assert!(text.contains("  labels: tenant=acme (900 sets of labels; these are in all)\n"), "{text}");
    site(&mut report, 900, None);
    let text = shown(&report, 120);
    assert!(text.contains("  labels: 900 sets with nothing in common\n"), "{text}");
}

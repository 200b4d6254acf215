use std::time::Duration;

use super::*;
use crate::collect::heap::{Coverage, HeapAccount, HeapSnapshot, SiteSnapshot};
use crate::process::Location;
use crate::runtime::go;
use crate::runtime::go::aggregate::{GoHeapAggregate, GoroutineSites};
use crate::section::goroutines::build::tests::{chat, look, section, seen};
use crate::section::heap::go::tests::account;
use crate::section::site::StackSite as _;
use crate::section::waits::build::tests::{idles, runs, waits, waits_for};
use crate::stack::{RawStack, StackFrame};
use crate::symbol::{DebugSearch, Names};

fn report(heap: Option<&HeapAccount>, go: Option<go::Observed<'_>>) -> Report {
    named(heap, go, &Stacks::default(), &mut Naming::new(Names::new(DebugSearch::default())))
}

fn named(
    heap: Option<&HeapAccount>,
    go: Option<go::Observed<'_>>,
    stacks: &Stacks,
    naming: &mut Naming,
) -> Report {
    let process = Process {
        pid: 4711,
        through: 4711,
        comm: "chat".to_owned(),
        exe: Some("/srv/bin/chat".into()),
        cmdline: Vec::new(),
        start_ticks: 1,
        seccomp: 0,
        tracer: None,
        container: None,
    };
    let code = Code { stacks, space: &AddressSpace::default(), naming };
    let collected = Collected { heap, ..Collected::default() };
    let runtime = match go {
        Some(observed) => {
            runtime::Observed { runtime: &go::Go, version: Some("go1.21.4"), go: Some(observed) }
        }
        None => runtime::Observed::unread(&runtime::Native),
    };
    build(Inputs { collected, ..Inputs::new(&process, runtime, "2026-11-23T03:00:00Z", code) })
}

fn go<'a>(snapshot: Option<&'a GoroutineSites>) -> go::Observed<'a> {
    go::Observed { code: chat(), snapshot, ..go::Observed::default() }
}

/// The codes of all findings, that of the answer first.
fn codes(report: &Report) -> Vec<&str> {
    let answer = report.summary.answer.as_ref().map_or("", |said| said.code.name());
    std::iter::once(answer).chain(report.summary.details.iter().map(|said| said.code.name())).collect()
}

#[test]
fn a_go_program() {
    let mut snapshot = seen(&[look(0, &[(11_274, "chan receive"), (2_373, "IO wait")])]);
    snapshot.losses = vec![("goroutines.missed", 3)];
    let settings = [("CGO_ENABLED".to_owned(), "0".to_owned())];
    let report = report(None, Some(go::Observed { settings: &settings, ..go(Some(&snapshot)) }));
    assert_eq!(
        (report.target.runtime.as_str(), report.target.runtime_version.as_deref()),
        ("go", Some("go1.21.4"))
    );
    let program = report.target.go.expect("how it was built");
    assert_eq!(program.main_module.as_deref(), Some("example.com/chat"));
    assert_eq!(program.settings.get("CGO_ENABLED").map(String::as_str), Some("0"));
    assert_eq!(report.losses.get("goroutines.missed"), Some(&3));
    assert!(report.summary.headline().starts_with("11,274 of 13,647 goroutines are blocked in chan receive"));
    assert_eq!(report.goroutines.map(|all| (all.total, all.exact)), Some((13_647, false)));
}

#[test]
fn other_programs() {
    let report = report(None, None);
    assert_eq!((report.target.runtime.as_str(), report.target.runtime_version), ("native", None));
    assert!(report.goroutines.is_none() && report.target.go.is_none());
}

#[test]
fn goroutines_that_could_not_be_read() {
    let refused = go::Observed { refused: Some("self-check failed: goroutine numbers repeat"), ..go(None) };
    let report = report(None, Some(refused));
    assert!(report.goroutines.is_none());
    assert_eq!(codes(&report), ["", "goroutines_refused"]);
    assert_eq!(
        report.summary.texts().collect::<Vec<_>>(),
        ["The goroutines could not be read: self-check failed: goroutine numbers repeat."]
    );
    // What was seen before is still told, and that it is old.
    let calm = seen(&[look(0, &[(3, "sleep")])]);
    let refused = go::Observed { refused: Some("the process has ended"), ..go(Some(&calm)) };
    let report = self::report(None, Some(refused));
    assert_eq!(report.goroutines.as_ref().map(|all| all.total), Some(3));
    assert_eq!(codes(&report), ["goroutines_calm", "goroutines_old"]);
}

/// An allocator that a Go program does not have is no answer, where there is another.
#[test]
fn a_go_heap_beside_probes_or_alone() {
    let probes = |probes| HeapAccount {
        coverage: Coverage { probes, files_searched: 3, ..Coverage::default() },
        ..HeapAccount::default()
    };
    let (none, some) = (probes(0), probes(9));
    let names = |report: &Report| -> Vec<String> {
        report.heap.iter().flat_map(|heap| &heap.sources).map(|source| source.name.clone()).collect()
    };
    let blind = report(Some(&none), None);
    assert_eq!(codes(&blind), ["heap_no_allocator"]);
    let calm = seen(&[look(0, &[(3, "sleep")])]);
    let blind = report(Some(&none), Some(go(Some(&calm))));
    assert_eq!(codes(&blind), ["goroutines_calm", "heap_no_allocator"]);
    // Probes in the C library of a program that does not use it.
    let silent = report(Some(&some), Some(go(Some(&calm))));
    assert_eq!(codes(&silent), ["goroutines_calm", "heap_no_c_code"]);
    assert_eq!(codes(&report(Some(&some), Some(go(None)))), ["heap_no_c_code"]);

    let account = GoHeapAggregate::default().snapshot(account());
    let heap = Some(&account);
    let alone = report(Some(&none), Some(go::Observed { heap, ..go(Some(&calm)) }));
    assert_eq!(names(&alone), ["go"]);
    assert_eq!(codes(&alone), ["go_heap_live", "goroutines_calm"]);
    assert_eq!(alone.losses.get(losses::STACKS_MISSING), None);
    let both = report(Some(&some), Some(go::Observed { heap, ..go(None) }));
    assert_eq!(names(&both), ["malloc", "go"]);
}

/// What is stuck among goroutines, then among threads, then what holds the memory.
#[test]
fn the_order_of_answers() {
    let story = section(&[look(0, &[(500, "chan receive"), (600, "IO wait")])]);
    let calm = section(&[look(0, &[(3, "sleep")])]);
    let stuck = waits(vec![waits_for(3, 1, 0x1000, 4), runs(4)], None);
    let idle = waits(vec![idles(3), runs(4)], None);
    let answer = |threads: &Waits, goroutines: &Goroutines, heap: Option<&str>| {
        let said = Finding::unnamed;
        let mut answer = Answer(Summary { answer: heap.map(said), details: vec![said("Last.")] });
        answer.waits(threads, true);
        answer.goroutines(Some(goroutines), None);
        let first = |text: &str| text.split(' ').next().unwrap_or_default().to_owned();
        std::iter::once(answer.0.headline()).chain(answer.0.texts()).map(first).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(answer(&stuck, &story, Some("Heap.")), "500 1 Heap. Last.");
    assert_eq!(answer(&stuck, &story, None), "500 1 Last.");
    assert_eq!(answer(&idle, &story, Some("Heap.")), "500 Heap. Last.");
    assert_eq!(answer(&idle, &story, None), "500 Last.");
    assert_eq!(answer(&stuck, &calm, None), "1 All Last.");
    assert_eq!(answer(&idle, &calm, Some("Heap.")), "Heap. All Last.");
    assert_eq!(answer(&idle, &calm, None), "All Last.");
}

/// A screen does not wait for names; nothing is said of places until they are there.
#[test]
fn names_that_take_too_long() {
    let mut stacks = Stacks::default();
    let site = |number: u64| {
        let frames = vec![StackFrame { address: 0x1000 * number, exact: true }];
        let stack = RawStack { id: StackId(number), frames, end: StackEnd::Root, created_at: 0 };
        stacks.insert(&stack, |_| Location::Anonymous);
        SiteSnapshot {
            stack: Some(stack.id),
            live_bytes: if number < 3 { 1000 } else { 0 },
            live_objects: u64::from(number < 3),
            alloc_bytes: 1000,
            alloc_objects: 1,
            older_blocks: 0,
            older_bytes: 0,
            growth_bytes: 0,
            oldest_age_ns: None,
            youngest_age_ns: None,
            goroutine: None,
        }
    };
    let sites = (1..6).map(site).collect();
    let account = HeapAccount {
        snapshot: HeapSnapshot {
            sites,
            live_bytes: 2000,
            live_objects: 2,
            alloc_objects: 5,
            ..HeapSnapshot::default()
        },
        coverage: Coverage { probes: 9, ..Coverage::default() },
        ..HeapAccount::default()
    };
    let mut naming = Naming::new(Names::new(DebugSearch::default()));
    naming.slice = Some(Duration::ZERO);
    naming.begin(false);
    let first = named(Some(&account), None, &stacks, &mut naming);
    assert_eq!((first.unnamed_stacks, codes(&first)), (5, vec!["names_being_read"]));
    assert!(first.summary.headline().starts_with("The names of 5 stacks are still being read"));
    let places = first.heap.expect("a heap").places;
    let told: Vec<_> = places.iter().map(|place| (place.label.as_str(), place.live_bytes)).collect();
    assert_eq!(told, [("(names are being read)", 2000)]);
    assert!(places[0].stack().blamed().is_none());
    assert_eq!(first.losses.get(losses::STACKS_MISSING), None);
    naming.begin(true);
    let last = named(Some(&account), None, &stacks, &mut naming);
    assert_eq!((last.unnamed_stacks, codes(&last)), (0, vec!["heap_live"]));
    assert_ne!(last.heap.expect("a heap").places[0].label, "(names are being read)");
    // They are not read again.
    naming.begin(false);
    assert_eq!(named(Some(&account), None, &stacks, &mut naming).unnamed_stacks, 0);
}

//! What is read of a sound program.

use std::sync::Arc;

use crate::process::ModuleId;
use crate::runtime::go::buildinfo;
use crate::runtime::go::goroutine::{Blocked, GoStackEnd, GoState, Goroutine, GoroutineSnapshot};
use crate::runtime::go::goroutine_reader::GoroutineReader;
use crate::runtime::go::offsets::VERSIONS;
use crate::runtime::go::program::LayoutSource;
use crate::runtime::go::rows;
use crate::runtime::go::synthetic::{Kind, Spec, Synthetic};

const NOW: u64 = 9_000;

fn names(snapshot: &GoroutineSnapshot, goroutine: &Goroutine) -> Vec<String> {
    snapshot.stacks[goroutine.stack].frames.iter().map(|f| format!("{}:{}", f.function, f.line)).collect()
}

fn check(program: &Synthetic, version: &str, layouts: LayoutSource) {
    let opened = program.open_as(version, layouts).expect("a program");
    let snapshot = GoroutineReader::default().read(&opened, NOW).expect("goroutines");
    let of = |id| snapshot.goroutines.iter().find(|g| g.id == id).unwrap_or_else(|| panic!("no {id}"));
    let start = |g: &Goroutine| g.start_function.as_deref().unwrap_or_default().to_owned();
    assert_eq!(snapshot.goroutines.len(), 10, "the dead one is none");
    assert_eq!(snapshot.losses, []);

    let main = of(1);
    assert_eq!((main.state, main.wait_reason.as_deref()), (GoState::Waiting, Some("chan receive")));
    assert_eq!((main.blocked, start(main).as_str()), (Blocked::SinceLastGc, "runtime.main"));
    assert_eq!((main.parent, &main.created_by, main.system), (None, &None, false));
    assert_eq!(
        names(&snapshot, main),
        [
            "runtime.gopark:1030",
            "runtime.chanrecv:41",
            "main.main:1110",
            "runtime.main:21",
            "runtime.goexit:10"
        ]
    );
    assert!(of(2).system);

    let hub = of(17);
    assert_eq!(hub.parent, program.layout.parent.map(|_| 1));
    assert_eq!(hub.created_by.as_ref().map(|f| (&*f.function, f.line)), Some(("main.main", 110)));
    assert_eq!(names(&snapshot, hub)[2..4], ["main.(*Hub).wait:1120", "main.(*Hub).run:120"]);
    assert!(snapshot.stacks[hub.stack].frames[2].inlined);
    let labels = hub.labels.map(|i| &snapshot.labels[i]).expect("labels");
    assert_eq!((labels["tenant"].as_str(), labels["kind"].as_str(), labels.len()), ("a", "hub", 2));
    assert_eq!(of(22).labels.map(|i| snapshot.labels[i]["tenant"].as_str()), Some("b"));
    assert_eq!(of(24).labels, None);
    assert_eq!(of(24).stack, hub.stack, "one stack");

    assert_eq!(of(18).blocked, Blocked::AtLeast(4_000));
    let running = of(19);
    assert_eq!((running.state, running.tid), (GoState::Running, Some(4242)));
    assert_eq!(snapshot.stacks[running.stack].end, GoStackEnd::Running);
    let calling = of(20);
    assert_eq!((calling.state, calling.tid, calling.locked_to_thread), (GoState::Syscall, Some(4242), true));
    assert_eq!(
        names(&snapshot, calling),
        ["syscall.read:100", "main.worker:130", "runtime.goexit:10"],
        "the wrapper is left out"
    );
    assert_eq!((of(21).state, names(&snapshot, of(21))[0].as_str()), (GoState::Runnable, "main.worker:130"));
    assert_eq!(names(&snapshot, of(23)).len(), 11);
    assert!(snapshot.stacks.iter().all(|s| matches!(s.end, GoStackEnd::Root | GoStackEnd::Running)));
    assert!(snapshot.retried > 0, "the running one");

    let place = rows::Place { module: ModuleId(0), bias: opened.bias };
    let rows = rows::build(&opened, &opened.parts[0], place).expect("rows");
    assert!(!rows.truncated && rows.rows.windows(2).all(|w| w[0].pc < w[1].pc));
}

#[test]
fn every_version() {
    for minor in VERSIONS {
        let program = Synthetic::new(minor);
        let info = buildinfo::find(&program.elf().expect("a file")).expect("a record");
        assert_eq!((info.minor(), info.path.as_deref()), (Some(minor), Some("example.com/hub")));
        check(&program, &info.version, LayoutSource::Best);
    }
}

#[test]
fn by_calibration() {
    for minor in VERSIONS.into_iter().filter(|minor| *minor >= 24) {
        check(&Synthetic::new(minor), &format!("go1.{minor}"), LayoutSource::Calibration);
    }
    check(&Synthetic::new(27), "go1.99", LayoutSource::Best);
}

#[test]
fn stacks_deeper_than_is_kept() {
    let deep = Spec { id: 2, kind: Kind::Recursed(2000), labels: &[] };
    let program = Synthetic::with(27, &[Spec { id: 1, kind: Kind::Waits("main.main"), labels: &[] }, deep]);
    let opened = program.open().expect("a program");
    let snapshot = GoroutineReader::default().read(&opened, NOW).expect("goroutines");
    let stack = &snapshot.stacks[snapshot.goroutines[1].stack];
    assert_eq!((stack.end, stack.frames.len()), (GoStackEnd::TooDeep, 1024));
    assert_eq!(snapshot.goroutines[1].start_function, Some(Arc::from("main.recurse")));
}

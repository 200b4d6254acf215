//! The comparison notices what it must.

use serde_json::json;

use super::super::profile::{parse_groups, parse_stacks};
use super::*;

const GROUPS: &str = "goroutine profile: total 4\n\
    2 @ 0x1 0x2\n\
    # labels: {\"k\":\"v\"}\n\
    #\t0x1\tmain.wait+0x1\t/a.go:5\n\
    #\t0x2\truntime.gopanic+0x1\t/panic.go:7\n\n\
    1 @ 0x1\n\
    #\t0x1\truntime.gopark+0x1\t/proc.go:8\n\n\
    1 @ 0x1\n\
    #\t0x1\truntime/pprof.write+0x1\t/pprof.go:5\n\
    #\t0x1\tmain.main+0x1\t/a.go:9\n\n";

fn frame(function: &str, file: &str, line: u64) -> Value {
    json!({ "function": function, "file": file, "line": line, "inlined": false })
}

fn report() -> Value {
    let waiter = [
        frame("runtime.gopark", "/proc.go", 8),
        frame("main.wait", "/a.go", 5),
        frame("runtime.gopanic", "/panic.go", 7),
        frame("runtime.goexit", "/asm.s", 1),
    ];
    let created = frame("main.main", "/a.go", 3);
    json!({ "goroutines": { "total": 4, "sites": [
        { "count": 2, "state": "waiting", "wait_reason": "chan receive", "labels": { "k": "v" },
          "frames": waiter, "created_by": created },
        { "count": 1, "state": "runnable", "wait_reason": null, "labels": null,
          "frames": [frame("runtime.gopark", "/proc.go", 8)], "created_by": created },
        { "count": 1, "state": "syscall", "frames": [frame("main.main", "/a.go", 10)], "created_by": null },
        { "count": 3, "state": "waiting", "system": true, "frames": [] },
    ] } })
}

fn told(report: &Value) -> String {
    compare_goroutines(report, &parse_groups(GROUPS).unwrap()).unwrap_err().to_string()
}

#[test]
fn the_same_goroutines_are_the_same() {
    compare_goroutines(&report(), &parse_groups(GROUPS).unwrap()).unwrap();
}

#[test]
fn a_wrong_count_line_label_or_total_is_seen() {
    for (at, value, expected) in [
        ("/goroutines/sites/0/count", json!(3), "reported 3, true 2"),
        ("/goroutines/sites/0/frames/1/line", json!(6), "reported 0, true 2"),
        ("/goroutines/sites/0/frames/1/function", json!("main.other"), "main.other (/a.go:5)"),
        ("/goroutines/sites/0/labels", json!({ "k": "w" }), "\"k\": \"w\""),
        ("/goroutines/sites/2/count", json!(2), "the main goroutine is not in both"),
        ("/goroutines/total", json!(5), "in all: reported Some(5), true 4"),
    ] {
        let mut report = report();
        *report.pointer_mut(at).unwrap() = value;
        let told = told(&report);
        assert!(told.contains(expected), "{at}: {told}");
    }
}

#[test]
fn a_stack_that_the_profile_cuts_off_may_go_on() {
    let deep = |depth: usize| vec![frame("main.deep", "/a.go", 5); depth];
    let line = "#\t0x1\tmain.deep+0x1\t/a.go:5\n";
    let own = |depth: usize| {
        let text = format!("goroutine profile: total 1\n1 @{}\n{}", " 0x1".repeat(depth), line.repeat(depth));
        parse_groups(&text).unwrap()
    };
    let report = |depth: usize| {
        json!({ "goroutines": { "total": 1, "sites": [
            { "count": 1, "state": "waiting", "frames": deep(depth) } ] } })
    };
    compare_goroutines(&report(100), &own(32)).unwrap();
    assert!(compare_goroutines(&report(100), &own(33)).is_err());
    assert!(compare_goroutines(&report(31), &own(32)).is_err());
}

#[test]
fn states_and_creators_are_compared() {
    let text = "goroutine 1 [running]:\nmain.main()\n\t/a.go:10 +0x1\n\n\
        goroutine 2 [chan receive, 3 minutes]:\nmain.wait()\n\t/a.go:5 +0x1\n\
        created by main.main in goroutine 1\n\t/a.go:3 +0x1\n\n\
        goroutine 3 [chan receive]:\nmain.wait()\n\t/a.go:5 +0x1\ncreated by main.main\n\t/a.go:3 +0x1\n\n\
        goroutine 4 [runnable]:\ncreated by main.main\n\t/a.go:3 +0x1\n";
    let own = parse_stacks(text).unwrap();
    compare_stacks(&report(), &own).unwrap();
    for (at, value) in [
        ("/goroutines/sites/0/wait_reason", json!("select")),
        ("/goroutines/sites/0/created_by/line", json!(4)),
        ("/goroutines/sites/0/created_by/function", json!("main.other")),
        ("/goroutines/sites/0/created_by", json!(null)),
    ] {
        let mut report = report();
        *report.pointer_mut(at).unwrap() = value;
        assert!(compare_stacks(&report, &own).is_err(), "{at}");
    }
}

#[test]
fn heaps_are_compared_by_stack() {
    let own = super::super::heap::parse(
        "heap profile: 3: 30 [3: 30] @ heap/2\n\
         2: 20 [2: 20] @ 0x1\n#\t0x1\tmain.f+0x1\t/a.go:5\n\n\
         0: 0 [1: 10] @ 0x1\n#\t0x1\tmain.g+0x1\t/a.go:6\n\n",
    )
    .unwrap();
    let site = |objects: u64, line: u64| {
        let frames = [frame("runtime.mallocgc", "/m.go", 1), frame("main.f", "/a.go", line)];
        json!({ "live_objects": objects, "live_bytes": 10 * objects, "frames": frames })
    };
    compare_heap(&[&site(2, 5)], &own).unwrap();
    compare_heap(&[&site(1, 5), &site(1, 5)], &own).unwrap();
    assert!(compare_heap(&[&site(3, 5)], &own).is_err());
    assert!(compare_heap(&[&site(2, 5), &site(1, 6)], &own).is_err());
    assert!(compare_heap(&[], &own).is_err());
}

//! Texts as several releases of Go print them.

use super::super::heap;
use super::*;

fn frame(function: &str, file: &str, line: u64) -> Frame {
    Frame { function: function.into(), file: file.into(), line }
}

#[test]
fn groups_with_labels_and_inlined_frames() {
    let profile = parse_groups(
        "goroutine profile: total 13647\n\
         11274 @ 0x485b0a 0x415c0e 0x533f19 0x534691 0x48c341\n\
         #\t0x533f18\tmain.(*WebSocket).notifyFxn+0x78\t\t/src/websocket.go:156\n\
         #\t0x534690\tmain.serve.func1+0x30\t\t\t/src/a b:c/websocket.go:139\n\
         \n\
         20 @ 0x485b0a 0x48c341\n\
         # labels: {\"handler\":\"/api/0\", \"tenant\":\"a \\\"quoted\\\" one\"}\n\
         #\t0x5335ef\tmain.genericWait[...]+0xaf\t/src/shapes.go:234\n\
         #\t0x12\n\n",
    )
    .unwrap();
    assert_eq!(profile.total, 13647);
    let [first, second] = &profile.groups[..] else { panic!("{profile:?}") };
    assert_eq!((first.count, first.depth), (11274, 5));
    assert_eq!(first.frames[0], frame("main.(*WebSocket).notifyFxn", "/src/websocket.go", 156));
    assert_eq!(first.frames[1], frame("main.serve.func1", "/src/a b:c/websocket.go", 139));
    assert!(first.labels.is_empty());
    assert_eq!(second.labels["tenant"], "a \"quoted\" one");
    assert_eq!(second.frames[0].function, "main.genericWait[...]");
    assert_eq!(second.frames[1], frame("", "", 0));
}

#[test]
fn other_texts_are_refused() {
    assert!(parse_groups("heap profile: 3: 4 [5: 6] @ heap/2\n").is_err());
    assert!(parse_groups("goroutine profile: total 1\n#\t0x1\tmain.f+0x1\t/f.go:1\n").is_err());
    assert!(parse_groups("goroutine profile: total 1\n1 @ 0x1\n#\t0x1\tmain.f+0x1\t/f.go\n").is_err());
    assert!(parse_stacks("panic: no\n").is_err());
    assert!(parse_stacks("goroutine 1 [running]:\nmain.main()\n").is_err());
    assert!(heap::parse("goroutine profile: total 1\n").is_err());
}

#[test]
fn single_goroutines() {
    let goroutines = parse_stacks(
        "goroutine 1 [running]:\nmain.main()\n\t/src/main.go:9 +0x1d\n\n\
         goroutine 7 [chan receive, 2 minutes, locked to thread] {\"a\": b}:\n\
         main.(*WebSocket).waitNotify(...)\n\t/src/websocket.go:139\n\
         main.labelled({0x6a0ea8?, 0x2c10cbe6a000?})\n\t/src/waiters.go:234 +0xb0\n\
         panic({0x1?, 0x2?})\n\t/go/panic.go:1 +0x2\n\
         created by main.start.func1 in goroutine 1\n\t/src/waiters.go:134 +0x67\n\n\
         goroutine 9 [select (no cases) (scan)]:\n\
         main.recursive(0x1, 0x2)\n\t/src/shapes.go:55 +0x6b\n\
         ...3 frames elided...\n\
         main.recursive(0x3, 0x2)\n\t/src/shapes.go:55 +0x6b\n\
         created by main.start\n\t/src/shapes.go:134 +0x67\n",
    )
    .unwrap();
    let [main, locked, deep] = &goroutines[..] else { panic!("{goroutines:?}") };
    assert_eq!((main.id, main.state.as_str(), &main.created_by), (1, "running", &None));
    assert_eq!((locked.state.as_str(), locked.minutes, locked.locked), ("chan receive", 2, true));
    let functions: Vec<_> = locked.frames.iter().map(|frame| frame.function.as_str()).collect();
    assert_eq!(functions, ["main.(*WebSocket).waitNotify", "main.labelled", "runtime.gopanic"]);
    assert_eq!(locked.frames[0], frame("main.(*WebSocket).waitNotify", "/src/websocket.go", 139));
    assert_eq!(locked.created_by, Some(frame("main.start.func1", "/src/waiters.go", 134)));
    assert_eq!((deep.state.as_str(), deep.elided, deep.frames.len()), ("select (no cases)", Some(1), 2));
    assert_eq!(deep.created_by, Some(frame("main.start", "/src/shapes.go", 134)));
}

#[test]
fn heaps_are_scaled_by_their_rate() {
    let text = "heap profile: 30: 12032 [41: 21946168] @ heap/1048576\n\
         2: 2048 [3: 3072] @ 0x4838ac 0x483a45\n\
         #\t0x533a64\tmain.(*Hub).lockFor+0xa4\t/src/websocket.go:54\n\n\
         # runtime.MemStats\n# Alloc = 13017232\n# PauseNs = [1 2]\n# HeapAlloc = 4711\n";
    let profile = heap::parse(text).unwrap();
    assert_eq!((profile.rate, profile.stats["HeapAlloc"]), (524_288, 4711));
    let bucket = &profile.buckets[0];
    assert_eq!(bucket.frames, [frame("main.(*Hub).lockFor", "/src/websocket.go", 54)]);
    // 1 / (1 - e^(-1024/524288)) is 512.5.
    assert!((bucket.live_objects - 1025.0).abs() < 0.01, "{bucket:?}");
    assert!((bucket.alloc_bytes - 3072.0 * 512.5).abs() < 1.0, "{bucket:?}");
    let exact = heap::parse(&text.replace("1048576", "2")).unwrap();
    assert_eq!((exact.buckets[0].live_objects, exact.buckets[0].alloc_bytes), (2.0, 3072.0));
}

//! Each format, of reports made by hand.

mod hostile;
mod pprof;
mod speed;

use super::profile::{Profile, ProfileKind};
use super::table::tests::samples;
use super::{flamegraph, folded, text};
use crate::report::Report;

type Exporter = fn(&Profile<'_>, &mut dyn std::io::Write) -> std::io::Result<()>;

fn export(report: &Report, kind: ProfileKind, exporter: Exporter) -> String {
    let mut out = Vec::new();
    exporter(&Profile::of(report, kind).expect("a profile"), &mut out).expect("memory takes all");
    String::from_utf8(out).expect("UTF-8")
}

#[test]
fn text_of_a_heap() {
    let text = export(&samples::heap(), ProfileKind::Heap, text::write);
    let start = "heap profile: 10400: 1040010 [20800: 2080020] @ heap/2
10000: 1000000 [20000: 2000000] @ 0x1006 0x100d 0x1006 0x100c
#\t0x1006\tmalloc+0x1d\t\t(libc.so.6)
#\t0x100c\tcache_session+0x1c\t/src/bank.c:31
#\t0x1005\tworker+0x1c\t\t/src/bank.c:90
#\t0x100b\tstart_thread+0x1c\t(libc.so.6)

400: 40000 [800: 80000] @ ";
    assert!(text.starts_with(start), "{text}");
    let end = "# The answer.
# malloc: not exact, every call was counted
# lost: 3 x heap.live_full: ";
    assert!(text.contains(end), "{text}");
}

#[test]
fn text_of_waits() {
    let report = samples::attached();
    let text = export(&report, ProfileKind::Block, text::write);
    assert!(text.starts_with("--- contention:\ncycles/second=1000000000\n"), "{text}");
    assert!(text.contains("\n11550000000000 6 @ "), "the one that slept, and its waits that ended: {text}");
    let text = export(&report, ProfileKind::Mutex, text::write);
    assert!(text.starts_with("--- mutex:\ncycles/second=1000000000\nsampling period=1\n"), "{text}");
    let text = export(&report, ProfileKind::Goroutine, text::write);
    assert!(text.starts_with("goroutine profile: total 18\n12 @ 0x1012 0x100a 0x1006 0x100c\n#\t"), "{text}");
    assert!(text.contains("\n1 @\n#\t[running, or about to]\n"), "{text}");
    let text = export(&report, ProfileKind::Threadcreate, text::write);
    assert!(text.starts_with("threadcreate profile: total 600\n600 @ "), "{text}");
}

#[test]
fn folded_stacks() {
    let folded = export(&samples::heap(), ProfileKind::Heap, folded::write);
    assert!(folded.starts_with("start_thread;worker;cache_session;malloc 1000000\n"), "{folded}");
    let folded = export(&samples::attached(), ProfileKind::Block, folded::write);
    assert_eq!(
        folded,
        "start_thread;worker;append_log;pthread_mutex_lock 12\n\
         start_thread;worker;flush_log;clock_nanosleep 1\n\
         [idle];start_thread;worker;next_job;pthread_cond_wait 4\n"
    );
}

/// As Go does: what a stack begins with of the runtime is left out of the text, unless there is nothing else,
/// and what all goroutines begin in everywhere.
#[test]
fn stacks_of_goroutines_are_as_go_shows_them() {
    use crate::section::goroutines::build::tests::{look, section};
    let mut report = samples::empty(0);
    let mut all = section(&[look(0, &[(3, "chan receive"), (2, "finalizer wait")])]);
    let goexit = samples::frame("runtime.goexit", Some(("/go/src/runtime/asm_amd64.s", 1700)));
    for site in &mut all.sites {
        site.stack.frames.edit(|frames| frames.push(goexit.clone().into()));
    }
    all.sites[1].stack.frames.edit(|frames| frames.drain(2..4).count());
    report.goroutines = Some(all);
    let text = export(&report, ProfileKind::Goroutine, text::write);
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("#\t")).collect();
    let functions: Vec<&str> =
        lines.iter().filter_map(|line| line.split('\t').nth(2)?.split('+').next()).collect();
    let own = ["main.(*WebSocket).notifyFxn", "main.(*WebSocket).run"];
    assert_eq!(functions[..2], own, "{text}");
    assert_eq!(functions[2..], ["runtime.gopark", "runtime.chanrecv1"], "{text}");
    assert_eq!(text.matches(" @ ").count(), 2);
    let folded = export(&report, ProfileKind::Goroutine, folded::write);
    assert!(!folded.contains("goexit") && folded.contains("main.(*WebSocket).run;"), "{folded}");
    let profile = pprof::decoded(&report, ProfileKind::Goroutine);
    assert!(!profile.string_table.iter().any(|text| text == "runtime.goexit"));
}

/// Inlined frames stand between their callers and what they call.
#[test]
fn inlined_frames_are_frames() {
    let mut report = samples::heap();
    let site = &mut report.heap.as_mut().expect("heap").sites[0];
    site.stack.frames[1].inlined = true;
    site.stack.frames[1].address = site.stack.frames[2].address;
    let folded = export(&report, ProfileKind::Heap, folded::write);
    assert!(folded.starts_with("start_thread;worker;cache_session;malloc 1000000\n"), "{folded}");
    let text = export(&report, ProfileKind::Heap, text::write);
    assert!(text.contains(" @ 0x1006 0x1006 0x100c\n"), "one address: {text}");
    assert!(text.contains("#\t0x1005\tcache_session+0x1c\t/src/bank.c:31\n#\t0x1005\tworker+0x1c"), "{text}");
}

#[test]
fn a_flame_graph_is_as_wide_as_the_sum() {
    let svg = export(&samples::heap(), ProfileKind::Heap, flamegraph::write);
    assert!(svg.contains("bank (PID 4711): bytes in use"), "{svg}");
    assert!(svg.contains("1015.6 KiB in use, frames under 0.01 % are not drawn"), "{svg}");
    assert!(svg.contains("cache_session (1,000,000 bytes, 96.15%)"), "{svg}");
    assert!(!svg.contains("all_freed"), "10 bytes");
    let svg = export(&samples::attached(), ProfileKind::Block, flamegraph::write);
    assert!(svg.contains("17 blocked threads"), "{svg}");
    assert!(svg.contains("[idle] (4 threads, 23.53%)"), "{svg}");
    let mut report = samples::attached();
    report.waits.as_mut().expect("waits").sites.clear();
    let svg = export(&report, ProfileKind::Block, flamegraph::write);
    assert!(svg.contains("there are none: no blocked threads"), "{svg}");
}

/// Weights over what floating-point numbers hold do not overflow.
#[test]
fn a_flame_graph_of_the_largest_numbers() {
    let mut report = samples::heap();
    for site in &mut report.heap.as_mut().expect("heap").sites {
        site.live_bytes = u64::MAX;
    }
    let svg = export(&report, ProfileKind::Heap, flamegraph::write);
    assert!(svg.contains("cache_session"), "{svg}");
}

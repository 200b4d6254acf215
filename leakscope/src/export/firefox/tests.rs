use serde_json::Value;

use super::*;
use crate::export::table::tests::samples;

fn written(report: &Report) -> Value {
    serde_json::to_value(whole(report).expect("a profile")).expect("JSON")
}

/// The sum of a track's weights.
fn weights(track: &Value) -> i64 {
    let weights = track["samples"]["weight"].as_array().expect("weights");
    weights.iter().map(|weight| weight.as_i64().expect("a number")).sum()
}

fn track<'a>(profile: &'a Value, name: &str) -> &'a Value {
    let threads = profile["threads"].as_array().expect("threads");
    threads.iter().find(|thread| thread["name"] == name).expect("a track of that name")
}

#[test]
fn weights_are_what_the_report_counts() {
    let report = samples::heap();
    let profile = written(&report);
    let heap = track(&profile, ProfileKind::Heap.weighs());
    let live: u64 = report.heap.iter().flat_map(|heap| &heap.sites).map(|site| site.live_bytes).sum();
    assert_eq!((weights(heap), &heap["samples"]["weightType"]), (live.cast_signed(), &Value::from("bytes")));
    let sites = report.heap.iter().flat_map(|heap| &heap.sites).filter(|site| site.live_objects > 0).count();
    let said = report.summary.all().count() + report.losses.len();
    assert_eq!(heap["markers"]["length"].as_u64(), Some((sites + said) as u64));
}

/// A weight has 31 bits.
#[test]
fn large_weights_are_whole() {
    let mut report = samples::heap();
    let heap = report.heap.as_mut().expect("a heap");
    heap.sites.truncate(1);
    heap.sites[0].live_bytes = 5 << 32;
    heap.totals.live_bytes = 5 << 32;
    let profile = written(&report);
    assert_eq!(weights(track(&profile, ProfileKind::Heap.weighs())), 5 << 32);
}

#[test]
fn waits_are_markers() {
    let report = samples::attached();
    let profile = written(&report);
    let block = track(&profile, ProfileKind::Block.weighs());
    let waits = report.waits.as_ref().expect("waits");
    let threads: usize = waits.sites.iter().map(|site| site.threads.len()).sum();
    assert!(threads > 3 && !waits.long_waits.is_empty());
    assert_eq!(block["markers"]["length"].as_u64(), Some((threads + waits.long_waits.len()) as u64));
    let ends = block["markers"]["endTime"].as_array().expect("times");
    let window_ms = report.window.duration_ns as f64 / 1e6;
    assert!(ends.iter().all(|end| end.as_f64().is_some_and(|end| end <= window_ms)), "{ends:?}");
}

#[test]
fn a_look_has_some_length() {
    let profile = written(&samples::deadlock());
    let end = profile["threads"][0]["processShutdownTime"].as_f64();
    assert!(end.is_some_and(|end| end > 0.0), "{end:?}");
}

/// A saved report can hold anything.
#[test]
fn what_has_no_end_has_one() {
    let mut report = samples::heap();
    let heap = report.heap.as_mut().expect("a heap");
    heap.sites.truncate(1);
    heap.sites[0].live_bytes = u64::MAX;
    let profile = written(&report);
    let heap = track(&profile, ProfileKind::Heap.weighs());
    assert_eq!(weights(heap), i64::from(i32::MAX) * i64::from(MOST_PARTS));
    assert!(profile.to_string().contains("too much for this format"));
}

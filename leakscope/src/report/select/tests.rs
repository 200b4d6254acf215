use super::*;
use crate::export::table::tests::samples;

fn selected(report: &Report, focus: Option<&str>, ignore: Option<&str>) -> Report {
    let mut report = report.clone();
    Selection::new(focus, ignore).expect("expressions").apply(&mut report);
    report
}

#[test]
fn nothing_asked_for_changes_nothing() {
    assert_eq!(selected(&samples::attached(), None, None), samples::attached());
}

#[test]
fn sums_are_those_of_what_is_left() {
    let report = selected(&samples::heap(), Some("^cache_"), None);
    let heap = report.heap.expect("heap");
    assert_eq!((heap.sites.len(), heap.totals.live_bytes, heap.totals.free_objects), (1, 1_000_000, 10_000));
    assert_eq!(report.summary.headline(), "Of stacks that match `^cache_`: 976.6 KiB of 1.0 MiB live.");
    assert_eq!(report.summary.texts().collect::<Vec<_>>(), ["Of the whole process: The answer."]);
    let report = selected(&samples::heap(), Some("bank\\.c$"), Some("cache|freed"));
    let heap = report.heap.expect("heap");
    assert_eq!((heap.sites.len(), heap.sites[0].rank, heap.totals.live_bytes), (1, 1, 40_000));
    assert!(selected(&samples::heap(), Some("libc\\.so"), None).heap.expect("heap").sites.len() == 3);
    assert!(selected(&samples::heap(), None, Some(".")).heap.expect("heap").sites.is_empty());
}

#[test]
fn waits_take_what_belongs_to_them_along() {
    let report = selected(&samples::deadlock(), Some("^pay$"), None);
    let waits = report.waits.expect("waits");
    assert_eq!((waits.blocked_now, waits.threads), (1, 1));
    assert!(waits.deadlocks.is_empty(), "half a deadlock is none");
    let report = selected(&samples::deadlock(), None, Some("next_job"));
    assert_eq!(report.waits.expect("waits").deadlocks.len(), 1);
    let report = selected(&samples::attached(), Some("flush_log"), None);
    assert_eq!(report.waits.expect("waits").long_waits.len(), 1);
}

#[test]
fn a_bad_expression_is_named() {
    let error = Selection::new(None, Some("(")).expect_err("unclosed").to_string();
    assert!(error.starts_with("--ignore: "), "{error}");
}

use std::fs::File;

use super::*;
use crate::export::table::tests::samples;
use crate::export::{json, jsonl};

fn saved(report: &Report) -> Vec<u8> {
    let mut out = Vec::new();
    json::write(report, &mut out).expect("memory takes all");
    out
}

fn file(path: &Path) -> Result<Vec<Report>, ReadError> {
    let mut reports = Vec::new();
    each(path, &Reading::default(), &mut |report| {
        reports.push(report);
        ControlFlow::Continue(())
    })?;
    Ok(reports)
}

fn series(path: &Path) -> Result<Series, ReadError> {
    super::series(path, &Reading::default())
}

fn refused(bytes: &[u8]) -> String {
    parse("x.json", bytes).expect_err("no report").to_string()
}

#[test]
fn what_was_written_is_read() {
    for report in [samples::heap(), samples::attached(), samples::deadlock()] {
        assert_eq!(parse("x", &saved(&report)).expect("a report"), [report]);
    }
    let mut lines = Vec::new();
    for report in [samples::heap(), samples::idle()] {
        jsonl::write(&report, &mut lines).expect("memory takes all");
    }
    assert_eq!(parse("x", &lines).expect("reports"), [samples::heap(), samples::idle()]);
}

/// A field that a newer leakscope adds is passed over.
#[test]
fn new_fields_are_no_error() {
    let text = String::from_utf8(saved(&samples::heap())).expect("UTF-8");
    let newer = text.replacen('{', "{\"surprise\": [1, {}],", 1);
    assert_eq!(parse("x", newer.as_bytes()).expect("a report"), [samples::heap()]);
}

#[test]
fn other_files_are_refused_with_what_they_are() {
    assert!(refused(b"").contains("x.json is empty"));
    assert!(refused(b" \n").contains("is empty"));
    assert!(refused(b"hello").contains("is not JSON"));
    assert!(refused(b"{\"schema\": \"leakscope.report/1\", nonsense}").contains("is not JSON"));
    assert!(refused(&[0xff, 0xfe, 0, 1]).contains("is not JSON"));
    assert!(refused(&[0x1f, 0x8b, 8, 0]).contains("is gzipped"));
    assert!(refused(b"[]").contains("no report of leakscope"));
    assert!(refused(b"{}").contains("no report of leakscope"));
    assert!(refused(b"{\"schema\": 1}").contains("no report of leakscope"));
    assert!(
        refused(b"{\"schema\": \"leakscope.report/9\"}")
            .contains("reads leakscope.report/2 and leakscope.report/1")
    );
    assert!(refused(b"{\"schema\": \"leakscope.report/1\"}").contains("missing field"));
    let nested = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
    refused(&nested);
}

/// Wherever it was cut off.
#[test]
fn a_part_of_a_report_is_truncated() {
    let whole = saved(&samples::heap());
    for end in (1..whole.len() - 2).step_by(97) {
        let why = refused(&whole[..end]);
        assert!(why.contains("ends in the middle"), "{end}: {why}");
    }
}

/// What a killed writer leaves behind: whole lines, and a part of one.
#[test]
fn whole_lines_before_a_part_of_one_are_read() {
    let mut lines = Vec::new();
    for report in [samples::heap(), samples::idle(), samples::attached()] {
        jsonl::write(&report, &mut lines).expect("memory takes all");
    }
    let reports = parse("x.jsonl", &lines[..lines.len() - 1000]).expect("two reports");
    let [first, second] = &reports[..] else { panic!("{} reports", reports.len()) };
    assert_eq!(*first, samples::heap());
    assert_eq!(second.waits, samples::idle().waits);
    let last = second.summary.details.last().expect("a finding");
    assert_eq!(last.code, "report_left_out");
    let said = &last.text;
    assert!(said.starts_with("x.jsonl ends in the middle of a further report, which is left out"), "{said}");
    assert_eq!(second.unread, std::slice::from_ref(said));
    for (written, said) in
        [(lines.len(), "ends in zeros"), (lines.len() - 1000, "in the middle of a further")]
    {
        let lost = [&lines[..written], &[0; 4096]].concat();
        let last = parse("x.jsonl", &lost).expect("reports").pop().expect("one");
        assert!(last.unread.len() == 1 && last.unread[0].contains(said), "{:?}", last.unread);
    }
    assert!(refused(&[0; 4096]).contains("is empty"));
}

#[test]
fn a_series_does_without_files_that_are_not_whole() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(directory.path().join(name), bytes).expect("write");
    };
    let heap = saved(&samples::heap());
    write("report-1.json", b"");
    write("report-2.json", &heap);
    write("report-3.json", b"");
    write("report-5.json", &heap[..900]);
    let alone = series(directory.path()).expect("a report");
    assert_eq!(alone.last, None);
    assert_eq!(alone.first.summary.details.len(), samples::heap().summary.details.len() + 3);
    write("report-4.json", &saved(&samples::idle()));
    let both = series(directory.path()).expect("two reports");
    assert_eq!(both.first, samples::heap());
    let last = both.last.expect("a last one");
    let said = &last.summary.details[samples::idle().summary.details.len()..];
    assert_eq!(said.len(), 2);
    assert!(said[0].text.contains("report-1.json, which is left out"), "{said:?}");
    assert!(said[1].text.contains("report-5.json, which is left out"), "{said:?}");
    assert_eq!(file(directory.path()).expect("the newest")[0].waits, samples::idle().waits);
    std::fs::remove_file(directory.path().join("report-2.json")).expect("remove");
    std::fs::remove_file(directory.path().join("report-4.json")).expect("remove");
    let why = series(directory.path()).expect_err("nothing whole").to_string();
    assert!(why.contains("report-1.json is empty"), "{why}");
}

#[test]
fn paths() {
    let place = tempfile::tempdir().expect("a directory");
    let why = |path: &Path| file(path).expect_err("no report").to_string();
    assert!(why(place.path()).contains("directory without reports"));
    assert!(why(&place.path().join("absent")).contains("No such file"));
    let zeros = place.path().join("zeros");
    File::create(&zeros).and_then(|file| file.set_len(1 << 40)).expect("a sparse file");
    assert!(why(&zeros).contains("is empty"));
    std::fs::write(place.path().join("report-000009.json"), saved(&samples::idle())).expect("write");
    std::fs::write(place.path().join("report-000010.json"), saved(&samples::heap())).expect("write");
    assert_eq!(file(place.path()).expect("the newest"), [samples::heap()]);
}

#[test]
fn of_a_series_the_newest_counts() {
    let with = |pid, duration_ns| {
        let mut report = samples::empty(duration_ns);
        report.target.pid = pid;
        report
    };
    let mut newest = Newest::default();
    [with(1, 5), with(2, 1), with(1, 9), with(1, 7)].into_iter().for_each(|report| newest.add(report));
    assert_eq!((newest.kept, newest.given), (vec![with(1, 9), with(2, 1)], 4));
}

/// Copies and other files beside a series are none of its reports.
#[test]
fn only_what_is_named_so_is_of_a_series() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let write = |name: &str, report: &Report| {
        std::fs::write(directory.path().join(name), saved(report)).expect("write");
    };
    write("report-b.json", &samples::idle());
    write("report-a.json", &samples::heap());
    let by_hand = series(directory.path()).expect("two reports");
    assert_eq!((by_hand.first, by_hand.last), (samples::heap(), Some(samples::idle())));
    write("report-20260102T000000.000Z.json", &samples::deadlock());
    write("report-20260101T000000.000Z.jsonl", &samples::attached());
    let named = series(directory.path()).expect("two reports");
    assert_eq!((named.first, named.last), (samples::attached(), Some(samples::deadlock())));
}

/// What a report of leakscope before findings had codes says comes back as it was, and beside it what was added.
#[test]
fn reports_of_before_stay_as_they_are() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fuzz/report.json");
    let text = std::fs::read(path).expect("the report in the repository");
    let was: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    assert!(was["summary"].get("details").is_none() && was["heap"]["sites"][0]["stack_end"].is_string());
    let report = parse("it", &text).expect("a report").pop().expect("one");
    let mut is = serde_json::to_value(&report).expect("JSON");
    is["schema"] = was["schema"].clone();
    let summary = is["summary"].as_object_mut().expect("a summary");
    assert_eq!(summary.remove("answer").expect("an answer")["code"], "unnamed");
    assert_eq!(
        summary.remove("details").map(|details| details[0]["text"].clone()),
        Some(was["summary"]["findings"][0].clone())
    );
    assert_only_added(&was, &is, "");
}

fn assert_only_added(was: &serde_json::Value, is: &serde_json::Value, at: &str) {
    use serde_json::Value;
    match (was, is) {
        (Value::Object(was), Value::Object(is)) => {
            was.iter().for_each(|(key, value)| assert_only_added(value, &is[key], &format!("{at}.{key}")));
        }
        (Value::Array(was), Value::Array(is)) => {
            assert_eq!(was.len(), is.len(), "{at}");
            was.iter().zip(is).for_each(|(was, is)| assert_only_added(was, is, &format!("{at}[]")));
        }
        _ => assert_eq!(was, is, "{at}"),
    }
}

/// What stands once in the tables, and how many times a number of it.
#[test]
fn stacks_are_in_tables() {
    let mut report = samples::attached();
    let heap = samples::heap().heap.expect("a heap");
    report.heap = Some(heap);
    let text = saved(&report);
    let value: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    let site = &value["heap"]["sites"][0];
    assert!(site["stack"].is_u64() && site.get("frames").is_none(), "{site}");
    let list = |of: &str| value["tables"][of].as_array().expect("a table").clone();
    let distinct = |all: &[serde_json::Value]| {
        let texts: std::collections::HashSet<String> = all.iter().map(ToString::to_string).collect();
        texts.len() == all.len()
    };
    for of in ["strings", "frames", "stacks"] {
        assert!(!list(of).is_empty() && distinct(&list(of)), "{of}");
    }
    let back = parse("x", &text).expect("a report").pop().expect("one");
    assert_eq!(back, report);
    // In any order: who writes by another way may put the tables first.
    let moved = serde_json::to_vec(&value).expect("JSON");
    assert_eq!(parse("x", &moved).expect("a report"), [back]);
}

/// Numbers of nothing are an error that says which.
#[test]
fn numbers_without_a_row_are_refused() {
    let whole: serde_json::Value = serde_json::from_slice(&saved(&samples::heap())).expect("JSON");
    let changed = |pointer: &str, to: serde_json::Value| {
        let mut value = whole.clone();
        *value.pointer_mut(pointer).expect("a place") = to;
        refused(&serde_json::to_vec(&value).expect("JSON"))
    };
    let no_tables = changed("/tables", serde_json::Value::Null);
    assert!(no_tables.contains("stack 0 is not in the tables"), "{no_tables}");
    for (pointer, said) in [
        ("/heap/sites/0/stack", "stack 4000000000 is not in the tables"),
        ("/tables/stacks/0/0", "frame 4000000000 is not in the tables"),
        ("/tables/frames/0/function", "string 4000000000 is not in the tables"),
    ] {
        let why = changed(pointer, 4_000_000_000_u64.into());
        assert!(why.contains(said), "{why}");
    }
    for wrong in [serde_json::json!(-1), serde_json::json!("0"), serde_json::json!(u64::MAX)] {
        changed("/heap/sites/0/stack", wrong);
    }
}

mod packed;

//! Saved reports of any bytes, and of bytes that nearly are a report: read, written in every format,
//! compared, and asked for thresholds.

#![no_main]

use leakscope::diff::{Options, compare, series};
use leakscope::export::profile::{Profile, ProfileKind};
use leakscope::export::table::{TableStyle, write, write_diff};
use leakscope::export::{flamegraph, folded, json, pprof, text};
use leakscope::report::group::{By, by};
use leakscope::report::select::Selection;
use leakscope::report::{Report, read};
use leakscope::threshold::{Subject, Threshold};
use libfuzzer_sys::fuzz_target;

/// A report that holds a bit of everything.
const WHOLE: &[u8] = include_bytes!("../report.json");

const STYLE: TableStyle = TableStyle { width: 80, color: true, top: 5, frames: Some(4), stacks: false, all: false };

/// Asked of all: of numbers, lists, maps and texts.
const THRESHOLDS: [&str; 4] = [
    "sum(heap.sites[*].live_bytes) > 1GiB",
    "any(waits.sites[*].kind) == \"mutex\"",
    "count(losses) >= 0",
    "max(goroutines.sites[*].count) < 5",
];

fuzz_target!(|bytes: &[u8]| {
    let changed = patched(bytes);
    let whole = read::parse("it", WHOLE).expect("a report");
    for bytes in [bytes, &changed] {
        let Ok(reports) = read::parse("it", bytes) else { continue };
        for report in reports {
            every_format(&report);
            for other in &whole {
                difference(other, &report);
                difference(&report, other);
            }
        }
    }
    let _ = Threshold::new(&String::from_utf8_lossy(bytes), Subject::Diff);
});

/// The whole report with pieces of it replaced: two bytes say where, one how much goes, one how much comes.
fn patched(mut bytes: &[u8]) -> Vec<u8> {
    let mut text = WHOLE.to_vec();
    while let [high, low, goes, comes, rest @ ..] = bytes {
        let at = usize::from(u16::from_be_bytes([*high, *low])) % text.len().max(1);
        let end = (at + usize::from(*goes)).min(text.len());
        let (new, left) = rest.split_at(usize::from(*comes % 16).min(rest.len()));
        text.splice(at..end, new.iter().copied());
        bytes = left;
    }
    text
}

fn every_format(report: &Report) {
    let mut out = Vec::new();
    write(report, &STYLE, &mut out).expect("memory takes all");
    json::write(report, &mut out).expect("memory takes all");
    for kind in ProfileKind::ALL {
        let Ok(profile) = Profile::of(report, kind) else { continue };
        for write in [pprof::write, text::write, folded::write, flamegraph::write] {
            write(&profile, &mut out).expect("memory takes all");
        }
    }
    for how in [By::Blame, By::Function, By::Module] {
        let mut report = report.clone();
        by(&mut report, how);
        Selection::new(Some("a"), Some("b")).expect("expressions").apply(&mut report);
        write(&report, &STYLE, &mut out).expect("memory takes all");
    }
}

fn difference(old: &Report, new: &Report) {
    let options = Options { any_program: true, by_objects: false };
    let diff = compare(old, new, options).expect("any program");
    let mut out = Vec::new();
    write_diff(&diff, &STYLE, &mut out).expect("memory takes all");
    json::write(&diff, &mut out).expect("memory takes all");
    for kind in ProfileKind::ALL {
        if let Ok(profile) = Profile::difference(old, new, kind) {
            pprof::write(&profile, &mut out).expect("memory takes all");
        }
    }
    let mut last = new.clone();
    series::grow_since(old, &mut last);
    for text in THRESHOLDS {
        let _ = Threshold::new(text, Subject::Report).expect("a threshold").check(&last);
    }
}

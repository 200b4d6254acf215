//! How long the largest reports take. `cargo test --release -p leakscope --lib -- --ignored --nocapture speed`

use std::io::Write;
use std::time::Instant;

use super::*;
use crate::export::{json, jsonl, pprof, table};
use crate::report::model::Address;

const SITES: u64 = 100_000;
const FRAMES: u64 = 60;
/// What each may take.
const MOST_SECONDS: f64 = 2.0;

/// Distinct stacks that have their outer halves in common, as those of a large server.
fn large() -> Report {
    let mut report = samples::heap();
    let heap = report.heap.as_mut().expect("heap");
    let template = heap.sites[0].clone();
    let frame = |site: u64, depth: u64| {
        // Outer frames repeat soon, inner ones rarely.
        let n =
            if depth > FRAMES / 2 { depth * 8 + site % 8 } else { depth * 1000 + site % (17 + depth * 33) };
        let mut frame =
            samples::frame(&format!("namespace::component_{n}::function_{n}"), Some(("a.cpp", 9)));
        frame.address = Some(Address(0x7f00_0000_0000 + n * 64));
        frame.offset = Some(Address(n * 64));
        frame.build_id = Some("0123456789abcdef0123456789abcdef01234567".into());
        frame
    };
    heap.sites = (0..SITES)
        .map(|site| {
            let mut this = template.clone();
            this.site_id = format!("{site:016x}");
            this.live_bytes = 1000 + site;
            this.stack.frames = (0..FRAMES).map(|depth| frame(site, depth)).collect();
            this
        })
        .collect();
    report
}

/// Writes the report in some format.
type Written<'a> = &'a dyn Fn(&mut Counter) -> std::io::Result<()>;

/// Counts what is written.
struct Counter(u64);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
#[ignore = "for release builds"]
fn large_reports_are_quick() {
    let report = large();
    let style =
        table::TableStyle { width: 100, color: false, top: 10, frames: None, stacks: false, all: false };
    let profile = || Profile::of(&report, ProfileKind::Heap).expect("a profile");
    let formats: [(&str, Written<'_>); 7] = [
        ("table", &|out| table::write(&report, &style, out)),
        ("json", &|out| json::write(&report, out)),
        ("jsonl", &|out| jsonl::write(&report, out)),
        ("pprof", &|out| pprof::write(&profile(), out)),
        ("text", &|out| text::write(&profile(), out)),
        ("folded", &|out| folded::write(&profile(), out)),
        ("flamegraph", &|out| flamegraph::write(&profile(), out)),
    ];
    let mut slow = Vec::new();
    for (name, write) in formats {
        let mut out = Counter(0);
        let started = Instant::now();
        write(&mut out).expect("it takes all");
        let took = started.elapsed().as_secs_f64();
        println!("{name:<10} {took:5.2} s {:>8.1} MB", out.0 as f64 / 1e6);
        if took > MOST_SECONDS {
            slow.push(name);
        }
    }
    assert_eq!(slow, [""; 0], "slower than {MOST_SECONDS} s");
}

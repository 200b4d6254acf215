//! How long the largest reports take, and how much memory. It is of the process and only grows, so what comes first is
//! told best. `cargo test --release -p leakscope --lib -- --ignored --nocapture speed`

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use super::*;
use crate::export::{json, jsonl, pprof, table};
use crate::report::model::{Address, Frame};
use crate::report::read;
use crate::section::Section as _;

const SITES: u64 = 100_000;
const FRAMES: u64 = 60;
/// Distinct frames that a program of this size has.
const DISTINCT: u64 = 20_000;
/// What each may take.
const MOST_SECONDS: f64 = 2.0;

/// Distinct stacks that have their outer halves in common, as those of a large server.
fn large() -> Report {
    let mut report = samples::heap();
    let heap = report.heap.as_mut().expect("heap");
    let template = heap.sites[0].clone();
    let frame = |n: u64| {
        let function = format!("namespace::component_{n}::function_{n}(std::string const&, unsigned long)");
        let mut frame = samples::frame(&function, Some(("/usr/src/program/source/a.cpp", 9)));
        frame.address = Some(Address(0x7f00_0000_0000 + n * 64));
        frame.offset = Some(Address(n * 64));
        frame.build_id = Some("0123456789abcdef0123456789abcdef01234567".into());
        Arc::new(frame)
    };
    let frames: Vec<Arc<Frame>> = (0..DISTINCT).map(frame).collect();
    let frame = |site: u64, depth: u64| {
        // Outer frames repeat soon, inner ones rarely.
        let among = if depth > FRAMES / 2 { 8 } else { 17 + depth * 43 };
        let n = (depth * 331 + site.wrapping_mul(0x9e37_79b9_7f4a_7c15) % among) % DISTINCT;
        Arc::clone(&frames[n as usize])
    };
    heap.sites = (0..SITES)
        .map(|site| {
            let mut this = template.clone();
            this.site_id = format!("{site:016x}");
            this.live_bytes = 1000 + site;
            this.stack.frames = (0..FRAMES).map(|depth| frame(site, depth)).collect::<Vec<_>>().into();
            this
        })
        .collect();
    heap.totals.live_bytes = heap.sites.iter().map(|site| site.live_bytes).sum();
    report
}

/// The most memory that this process has had, MB.
fn most_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok());
    kib.unwrap_or(0u64) * 1024 / 1_000_000
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
    let mut report = large();
    println!("{:<10} {:>8} {:>11} {:>7} MB at most", "", "", "", most_memory());
    let started = Instant::now();
    report.heap.as_mut().expect("heap").complete();
    println!(
        "{:<10} {:5.2} s {:>11} {:>7} MB at most",
        "places",
        started.elapsed().as_secs_f64(),
        "",
        most_memory()
    );
    let style = table::TableStyle::plain(100);
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
        println!("{name:<10} {took:5.2} s {:>8.1} MB {:>7} MB at most", out.0 as f64 / 1e6, most_memory());
        if took > MOST_SECONDS {
            slow.push(name);
        }
    }
    assert_eq!(slow, [""; 0], "slower than {MOST_SECONDS} s");
    let mut file = Vec::new();
    json::write(&report, &mut file).expect("memory takes all");
    let started = Instant::now();
    let read = read::parse("memory", &file).expect("what was written is read");
    println!(
        "{:<10} {:5.2} s {:>11} {:>7} MB at most",
        "read",
        started.elapsed().as_secs_f64(),
        "",
        most_memory()
    );
    assert!(read == [report], "what is read is what was written");
}

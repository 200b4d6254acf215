//! What the Go runtime says of its memory and its collector.

use std::collections::BTreeMap;

use leakscope_tests::go::{MEMORY, TOOLCHAINS};
use serde_json::Value;

use super::*;

/// What may move between two looks at a heap of which little is asked.
const SLACK: u64 = 256 << 10;

/// What `runtime.ReadMemStats` says.
fn own_stats(fixture: &mut GoFixture) -> Result<BTreeMap<String, u64>> {
    let told = fixture.ask("stats", "stats")?;
    let pairs = told.split_whitespace().filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| Ok((name.to_owned(), value.parse()?))).collect()
}

fn number(memory: &Value, name: &str) -> Result<u64> {
    memory.pointer(name).and_then(Value::as_u64).with_context(|| format!("no {name} in {memory}"))
}

/// Each number of the report lies between those that the program says before and after, as far as these may move.
fn compare_stats(
    memory: &Value,
    before: &BTreeMap<String, u64>,
    after: &BTreeMap<String, u64>,
) -> Result<()> {
    let own = |stats: &BTreeMap<String, u64>, name: &str| {
        stats.get(name).copied().with_context(|| format!("it does not say {name}"))
    };
    let mut wrong = Vec::new();
    let mut check = |name: &str, told: u64, of: &[&str], slack: u64| -> Result<()> {
        // The first less the second.
        let value = |stats| -> Result<u64> {
            let less = of.get(1).map_or(Ok(0), |part| own(stats, part))?;
            own(stats, of[0])?.checked_sub(less).context("a part is larger than the whole")
        };
        let (was, is) = (value(before)?, value(after)?);
        if !(was.min(is).saturating_sub(slack)..=was.max(is) + slack).contains(&told) {
            wrong.push(format!("{name} is {told}, the program says {was} and {is}"));
        }
        Ok(())
    };
    for (name, of, slack) in [
        ("/heap_in_use_bytes", &["HeapInuse"][..], SLACK),
        ("/heap_objects_bytes", &["HeapAlloc"], SLACK),
        ("/heap_idle_bytes", &["HeapIdle", "HeapReleased"], SLACK),
        ("/heap_released_bytes", &["HeapReleased"], SLACK),
        ("/stack_bytes", &["StackInuse"], SLACK),
        ("/thread_stack_bytes", &["StackSys", "StackInuse"], 0),
        ("/mspan_in_use_bytes", &["MSpanInuse"], 4 << 10),
        ("/mspan_bytes", &["MSpanSys"], 0),
        ("/mcache_in_use_bytes", &["MCacheInuse"], 0),
        ("/mcache_bytes", &["MCacheSys"], 0),
        ("/profile_bytes", &["BuckHashSys"], 0),
        ("/gc_bytes", &["GCSys"], SLACK),
        ("/other_bytes", &["OtherSys"], 0),
        ("/total_bytes", &["Sys", "HeapReleased"], SLACK),
        ("/gc/collections", &["NumGC"], 0),
        ("/gc/forced_collections", &["NumForcedGC"], 0),
        ("/gc/pause_ns", &["PauseTotalNs"], 0),
    ] {
        check(name, number(memory, name)?, of, slack)?;
    }
    if !memory["gc"]["next_gc_bytes"].is_null() {
        check("next_gc_bytes", number(memory, "/gc/next_gc_bytes")?, &["NextGC"], 2 * SLACK)?;
    }
    let share = memory["gc"]["cpu_fraction"].as_f64().context("a share")? * 1e6;
    check("cpu_fraction", share as u64, &["GCCPUMillionths"], 1)?;
    ensure!(wrong.is_empty(), "{}\n{memory}", wrong.join("\n"));
    Ok(())
}

/// A look at a program that stands still, beside what it says.
pub(super) fn as_it_says(program: Program) -> Result<Report> {
    let mut fixture = program.start(&[])?;
    fixture.ask("spike 64", "done")?;
    fixture.ask("stacks 500", "done")?;
    let before = own_stats(&mut fixture)?;
    let report = dump(&fixture)?;
    let after = own_stats(&mut fixture)?;
    compare_stats(report.at("/go_memory"), &before, &after).with_context(|| program.to_string())?;
    // It stands still, so that all is of one moment.
    ensure!(report.at("/go_memory/exact") == true, "{program}: {}", report.at("/go_memory"));
    let cpu = report.at("/go_memory/gc/cpu");
    ensure!(cpu.is_object() == (program.toolchain != OLDEST), "{program}: {cpu}");
    Ok(report)
}

#[test]
fn memory_as_it_says_itself() -> Result<()> {
    let mut none = true;
    for toolchain in TOOLCHAINS.into_iter().filter(|toolchain| toolchain.root().is_some()) {
        none = false;
        for variant in [Variant::Normal, Variant::Stripped] {
            as_it_says(MEMORY.with(toolchain).variant(variant))?;
        }
    }
    if none {
        leakscope_tests::skip!("no toolchain is installed");
    }
    for variant in [Variant::PieStripped, Variant::NoSections, Variant::NoOptimisation] {
        need!(NEWEST);
        as_it_says(MEMORY.variant(variant))?;
    }
    Ok(())
}

/// What RSS has grown by is named, with its size.
#[test]
fn growth_of_every_kind_is_named() -> Result<()> {
    for toolchain in [OLDEST, NEWEST] {
        need!(toolchain);
        for (command, part) in [
            ("spike 200", "idle on the Go heap"),
            ("scatter 1500000", "free room between objects"),
            ("stacks 2000", "stacks of goroutines"),
            ("mmap 150", "not the Go runtime's"),
            ("garbage 150", "objects on the Go heap, garbage included. The collector is off (GOGC=off)"),
        ] {
            let mut fixture = MEMORY.with(toolchain).variant(Variant::Stripped).start(&[])?;
            let scope = Leakscope::attach(fixture.pid()).start()?;
            fixture.ask(command, "done")?;
            let report = scope.finish()?.report()?;
            let details = report.at("/summary/details").as_array().into_iter().flatten();
            let mut all = [report.at("/summary/answer")].into_iter().chain(details);
            let said = all.find(|said| said["code"] == "go_memory_grew");
            let said = said.with_context(|| format!("{toolchain} {command}: {}", report.at("/summary")))?;
            let text = said["text"].as_str().unwrap_or_default();
            ensure!(text.contains(part), "{toolchain} {command}: {said}");
            let (grown, rss) = (number(said, "/args/bytes")?, number(said, "/args/rss_growth_bytes")?);
            // Not all of a stack is used.
            ensure!(grown >= rss / 4 * 3, "{toolchain} {command}: {text}");
        }
    }
    Ok(())
}

/// A program whose heap has come to its limit collects all the time.
#[test]
fn a_heap_at_its_limit_is_told() -> Result<()> {
    for toolchain in [OLDEST, NEWEST] {
        need!(toolchain);
        let mut fixture = MEMORY.with(toolchain).variant(Variant::Stripped).start(&["-limit", "64"])?;
        fixture.ask("thrash 56", "done")?;
        let finished = Leakscope::attach(fixture.pid()).args(["--duration", "4s"]).run()?;
        let report = finished.report()?;
        let told = dump(&fixture)?;
        for report in [report, told] {
            let all = report.value()["summary"]["details"].as_array().cloned().unwrap_or_default();
            let said = all.iter().chain([report.at("/summary/answer")]);
            let limit = said.into_iter().find(|said| said["code"] == "go_gc_at_memory_limit");
            let limit = limit.with_context(|| format!("{toolchain}: {}", report.at("/summary")))?;
            ensure!(limit["args"]["limit_bytes"] == 64 << 20, "{toolchain}: {limit}");
        }
    }
    Ok(())
}

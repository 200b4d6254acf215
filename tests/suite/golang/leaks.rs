//! Goroutines that can never run again, and those that look so.

use leakscope_tests::go::{LEAKS, TOOLCHAINS};
use serde_json::Value;

use super::*;

/// Goroutines of a report that are told to be leaked, by their function.
fn leaked(report: &Report) -> BTreeMap<String, u64> {
    let mut by_function = BTreeMap::new();
    for site in report.at("/goroutines/sites").as_array().into_iter().flatten() {
        let functions = site["frames"].as_array().into_iter().flatten();
        let own =
            functions.filter_map(|frame| frame["function"].as_str()).find(|name| name.starts_with("main."));
        let own = own.unwrap_or("none of its own").to_owned();
        if let count @ 1.. = site["leaked"].as_u64().unwrap_or(0) {
            *by_function.entry(own).or_default() += count;
        }
    }
    by_function
}

/// Nearly all leaks are found, and nothing else; what waits goes on afterwards.
pub(super) fn found(program: Program) -> Result<String> {
    let mut fixture = program.start(&[])?;
    let told = fixture.ask("count", "count")?;
    let numbers: Vec<u64> = told.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [leaks, waiting] = numbers[..] else { anyhow::bail!("{told}") };
    let report = Leakscope::dump(fixture.pid()).args(["--leaked"]).run()?.report()?;
    let found = leaked(&report);
    let all: u64 = found.values().sum();
    ensure!(found.keys().all(|function| function.starts_with("main.leak")), "{program}: {found:?}");
    ensure!(
        report.at("/goroutines/leaked") == &Value::from(all),
        "{program}: {}",
        report.at("/goroutines/leaked")
    );
    // An address that nobody uses any more may still lie somewhere.
    ensure!(all <= leaks && all >= leaks - leaks / 10, "{program}: {all} of {leaks}: {found:?}");
    ensure!(report.number("/goroutines/leaked_heap_bytes") > 0, "{program}");
    let woken = fixture.ask("wake", "woken")?;
    ensure!(woken.trim() == waiting.to_string(), "{program}: {woken} of {waiting}");
    Ok(format!("{all} of {leaks}"))
}

/// Goroutines that nothing else is blocked beside.
fn none_found(program: Program) -> Result<()> {
    let mut fixture = program.start(&["-conditions"])?;
    let report = Leakscope::dump(fixture.pid()).args(["--leaked"]).run()?.report()?;
    ensure!(report.at("/goroutines/leaked") == &Value::from(0), "{program}: {:?}", leaked(&report));
    let waiting = fixture.ask("count", "count")?;
    let woken = fixture.ask("wake", "woken")?;
    ensure!(waiting.trim() == format!("0 {}", woken.trim()), "{program}: {woken} of {waiting}");
    Ok(())
}

/// Up to Go 1.25 a condition's waiters are met on the heap only.
#[test]
fn nothing_but_a_condition() -> Result<()> {
    for toolchain in [OLDEST, NEWEST] {
        need!(toolchain);
        none_found(LEAKS.with(toolchain))?;
    }
    none_found(LEAKS.variant(Variant::Stripped))
}

#[test]
fn leaks_and_what_looks_like_them() -> Result<()> {
    let mut none = true;
    for toolchain in TOOLCHAINS.into_iter().filter(|toolchain| toolchain.root().is_some()) {
        none = false;
        for variant in [Variant::Normal, Variant::Stripped] {
            found(LEAKS.with(toolchain).variant(variant))?;
        }
    }
    if none {
        leakscope_tests::skip!("no toolchain is installed");
    }
    Ok(())
}

/// It is found out while `attach` watches, and a threshold can be on it.
#[test]
fn leaks_are_told_by_attach() -> Result<()> {
    need!(NEWEST);
    let fixture = LEAKS.start(&[])?;
    let attach = Leakscope::attach_all(fixture.pid()).args(["--only", "waits"]);
    let finished = attach.args(["--duration", "5s", "--fail-on", "goroutines.leaked > 0"]).run()?;
    let report = finished.report_with(3)?;
    let found = leaked(&report);
    ensure!(!found.is_empty() && found.keys().all(|function| function.starts_with("main.leak")), "{found:?}");
    // Without being asked, a single look does not wait for it.
    let report = dump(&fixture)?;
    ensure!(report.at("/goroutines/leaked").is_null(), "{}", report.at("/goroutines/leaked"));
    ensure!(report.at("/goroutines/leaked_unknown").is_string());
    Ok(())
}

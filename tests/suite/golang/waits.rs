//! What goroutines wait for, beside the program's own block and mutex profiles.

use std::time::Duration;

use leakscope_tests::go::WAITS;
use serde_json::Value;

use super::*;

/// Waits and their time, by function.
type ByFunction = BTreeMap<String, (u64, u64)>;

/// What the program's own profiles say: block and mutex. `before` is what they said before.
fn own(fixture: &mut GoFixture, before: &[ByFunction; 2]) -> Result<[ByFunction; 2]> {
    fixture.fixture.say("truth")?;
    let mut all = [ByFunction::new(), ByFunction::new()];
    loop {
        let line = fixture.fixture.expect("truth ")?;
        if line == "truth told" {
            for (all, before) in all.iter_mut().zip(before) {
                for (function, (count, ns)) in before {
                    let sum = all.get_mut(function).with_context(|| format!("{function} is gone"))?;
                    *sum = (sum.0 - count, sum.1 - ns);
                }
                all.retain(|_, (count, _)| *count > 0);
            }
            return Ok(all);
        }
        let [_, profile, function, count, ns] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            anyhow::bail!("{line}")
        };
        let sum = all[usize::from(profile == "mutex")].entry(function.to_owned()).or_default();
        *sum = (sum.0 + count.parse::<u64>()?, sum.1 + ns.parse::<u64>()?);
    }
}

/// What the report says, by the first function of the program's own.
fn told(report: &Report, sites: &str, count: &str) -> ByFunction {
    let mut all = ByFunction::new();
    for site in report.at(sites).as_array().into_iter().flatten() {
        let functions = site["frames"].as_array().into_iter().flatten();
        let mut functions = functions.filter_map(|frame| frame["function"].as_str());
        let function = functions.find(|name| name.starts_with("main.")).unwrap_or("none").to_owned();
        let sum = all.entry(function).or_default();
        let number = |name: &str| site[name].as_u64().unwrap_or(0);
        *sum = (sum.0 + number(count), sum.1 + number("wait_ns"));
    }
    // Those that wait still are listed, too.
    all.retain(|_, (count, ns)| (*count, *ns) != (0, 0));
    all
}

/// As many waits in each function that has a thousandth of their time, and their time within 10 %. Go's own mutex profile
/// also has single microseconds of locks inside the runtime (Go 1.22 and newer), in whatever function is unlocking.
fn agree(own: &ByFunction, told: &ByFunction) -> Result<()> {
    let all_ns: u64 = own.values().map(|(_, ns)| ns).sum();
    let counts = |all: &ByFunction| -> BTreeMap<String, u64> {
        let notable = all.iter().filter(|(_, (_, ns))| ns.saturating_mul(1000) >= all_ns);
        notable.map(|(function, (count, _))| (function.clone(), *count)).collect()
    };
    ensure!(counts(own) == counts(told), "own {own:?}\ntold {told:?}");
    for (function, (_, ns)) in own.iter().filter(|(_, (_, ns))| *ns > 10_000_000) {
        let told = told[function].1;
        ensure!(told.abs_diff(*ns) <= ns / 10, "{function}: {told} of {ns} ns");
    }
    Ok(())
}

/// Every way to wait, to be woken and to unlock is counted as the program itself counts it.
pub(super) fn as_in_its_own_profiles(program: Program) -> Result<()> {
    let mut fixture = program.start(&[])?;
    let before = own(&mut fixture, &Default::default())?;
    let scope = Leakscope::attach_all(fixture.pid()).args(["--only", "waits", "--goroutine-waits", "always"]);
    let scope = scope.start()?;
    fixture.ask("work 20", "worked ")?;
    let report = scope.finish()?.report()?;
    let [mut block, mutex] = own(&mut fixture, &before)?;
    // It began to wait before leakscope came, and Go's own profile was on.
    ensure!(block.remove("main.waitBefore").is_some_and(|(count, _)| count == 1), "{program}: {block:?}");
    let waits = told(&report, "/goroutine_waits/sites", "waits");
    agree(&block, &waits).with_context(|| format!("{program}: block"))?;
    for function in
        ["main.waitClosed", "main.waitCond", "main.waitSelect", "main.waitTimer", "main.waitGroup"]
    {
        ensure!(waits.contains_key(function), "{program}: {function} is not in {waits:?}");
    }
    ensure!(!waits.contains_key("main.sleepOnly"), "{program}: {waits:?}");
    let releases = told(&report, "/goroutine_waits/releases", "contentions");
    agree(&mutex, &releases).with_context(|| format!("{program}: mutex"))?;
    for function in ["main.holdMutex", "main.holdWrite", "main.holdRead"] {
        ensure!(releases.contains_key(function), "{program}: {function} is not in {releases:?}");
    }
    ensure!(report.at("/goroutine_waits/exact") == &Value::Bool(true), "{program}: {:?}", report.losses());
    let sum: u64 = releases.values().map(|(count, _)| count).sum();
    ensure!(report.number("/goroutine_waits/contentions").cast_unsigned() == sum, "{program}");
    Ok(())
}

#[test]
fn waits_as_in_its_own_profiles() -> Result<()> {
    for (toolchain, variant) in [(OLDEST, Variant::Normal), (NEWEST, Variant::Stripped)] {
        need!(toolchain);
        as_in_its_own_profiles(WAITS.with(toolchain).variant(variant))?;
    }
    Ok(())
}

/// Windows say that they are a sample; Go's own reader takes the profiles.
#[test]
fn waits_in_windows_are_an_estimate() -> Result<()> {
    need!(NEWEST);
    let mut fixture = WAITS.variant(Variant::Stripped).start(&[])?;
    let scope =
        Leakscope::attach_all(fixture.pid()).args(["--only", "waits", "--goroutine-waits", "windows"]);
    let scope = scope.start()?;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        fixture.ask("work 5", "worked ")?;
    }
    let finished = scope.finish()?;
    let report = finished.report()?;
    ensure!(report.at("/goroutine_waits/exact") == &Value::Bool(false));
    ensure!(report.number("/goroutine_waits/windows") > 3, "{}", report.at("/goroutine_waits/method"));
    let [_, mutex] = own(&mut fixture, &Default::default())?;
    let truth: u64 = mutex.values().map(|(count, _)| count).sum();
    let told = report.number("/goroutine_waits/contentions").cast_unsigned();
    ensure!(told.abs_diff(truth) <= truth / 4, "{told} of {truth}");
    Ok(())
}

/// Nothing is followed where that is not wanted, and the target goes on where leakscope is killed.
#[test]
fn waits_can_be_left_alone() -> Result<()> {
    need!(NEWEST);
    let mut fixture = WAITS.start(&[])?;
    let scope = Leakscope::attach_all(fixture.pid()).args(["--goroutine-waits", "off"]).start()?;
    fixture.ask("work 1", "worked ")?;
    ensure!(scope.finish()?.report()?.at("/goroutine_waits").is_null());
    let mut fixture = WAITS.start(&[])?;
    let mut scope = Leakscope::attach_all(fixture.pid()).args(["--goroutine-waits", "always"]).start()?;
    scope.guard().signal(libc::SIGKILL)?;
    fixture.ask("work 5", "worked ")?;
    Ok(())
}

//! For `cargo xtask kernels`, which runs these and others under several kernels.

use anyhow::{Result, ensure};
use leakscope_tests::go;
use leakscope_tests::programs::{BLOCKED, CASES, DEADLOCK_C, PINGPONG, SPAWN, THREADS};
use serde_json::Value;

use crate::waits::{SITES, play};

/// Whether `LEAKSCOPE_KERNELS` asks for it.
fn asked(what: &str) -> bool {
    std::env::var_os("LEAKSCOPE_KERNELS").is_some_and(|asked| asked == what)
}

/// Builds what the machine that boots those kernels can only read.
#[test]
fn programs() -> Result<()> {
    if !asked("programs") {
        return Ok(());
    }
    for program in [BLOCKED, CASES, DEADLOCK_C, PINGPONG, SPAWN, THREADS] {
        program.build()?;
    }
    if go::STORY.toolchain.root().is_some() {
        go::STORY.build()?;
        go::GARBAGE.build()?;
    }
    Ok(())
}

/// Nothing may be lost under a kernel whose own tracing has no holes. Prints a row for each site.
#[test]
fn waits() -> Result<()> {
    if !asked("waits") {
        return Ok(());
    }
    let mut wrong = Vec::new();
    println!(
        "| site | calls | kernel's switches | waits | ended by a thread | program's ms | leakscope's ms |"
    );
    println!("|---|---|---|---|---|---|---|");
    for (rounds, span_ns) in [("200", "5000000"), ("2000", "2000000")] {
        let (report, truth) = play(rounds, span_ns, &[])?;
        for (function, kind, waker) in SITES {
            let sites: Vec<_> = report.waits_through(function).collect();
            let sum = |field: &str| -> u64 { sites.iter().map(|site| site.number(field)).sum() };
            let number = |key: &str| truth.numbers[&format!("{function}.{key}")].cast_unsigned();
            let of_site = |one: &Value| {
                let mut ids = one["sites"].as_array().into_iter().flatten();
                ids.any(|id| sites.iter().any(|site| id == site.text("site_id")))
            };
            let wakers = report.at("/waits/wakers").as_array().into_iter().flatten();
            let threads = wakers.filter(|one| one["by"] == "thread" && of_site(one));
            let woken: u64 = threads.filter_map(|one| one["wakes"].as_u64()).sum();
            let (waits, own_ns, ns) = (sum("waits"), number("wait_ns"), sum("wait_ns"));
            let (calls, switches) = (number("waits"), number("switches"));
            let (own_ms, ms) = (own_ns / 1_000_000, ns / 1_000_000);
            println!("| {function} | {calls} | {switches} | {waits} | {woken} | {own_ms} | {ms} |");
            // In a slow machine a span may be over before the thread has gone to sleep, and a thread waits
            // for a processor in its call: both are in its own time only.
            let right = (calls.min(switches)..=calls.max(switches)).contains(&waits)
                && (waker.is_none() || woken == waits)
                && (own_ns * 3 / 4..=own_ns + own_ns / 50).contains(&ns)
                && sites.iter().all(|site| site.text("kind") == kind && site.is_rooted());
            wrong.extend((!right).then(|| format!("{function} with {rounds} rounds")));
        }
        let losses = report.losses();
        println!("| losses: {losses:?} |");
        let of_waits = |(name, _): &(&str, i64)| name.starts_with("waits.") || name.starts_with("wakers.");
        wrong.extend(losses.iter().any(of_waits).then(|| format!("lost with {rounds} rounds: {losses:?}")));
        wrong.extend((report.at("/waits/exact") != true).then(|| "not exact".to_owned()));
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

//! For `cargo xtask kernels`, which runs these and others under several kernels.

use anyhow::{Result, ensure};
use leakscope_tests::go;
use leakscope_tests::programs::{BLOCKED, CASES, DEADLOCK_C, PINGPONG, SPAWN, THREADS};
use leakscope_tests::waits::compare_live;

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
        "| site | calls | kernel's switches | waits | program's ms | leakscope's ms | woken by thread |"
    );
    println!("|---|---|---|---|---|---|---|");
    for (rounds, span_ns) in [("200", "5000000"), ("2000", "2000000")] {
        let (report, truth) = play(rounds, span_ns, &[])?;
        for (function, kind, _) in SITES {
            let sites: Vec<_> = report.waits_through(function).collect();
            let sum = |field: &str| -> u64 { sites.iter().map(|site| site.number(field)).sum() };
            let number = |key: &str| truth.numbers[&format!("{function}.{key}")];
            let wakers = report.at("/waits/wakers").as_array().into_iter().flatten();
            let woken: u64 = wakers
                .filter(|one| {
                    let ids = one["sites"].as_array().into_iter().flatten();
                    let here = |id: &serde_json::Value| sites.iter().any(|site| id == site.text("site_id"));
                    one["by"] == "thread" && ids.into_iter().any(here)
                })
                .filter_map(|one| one["wakes"].as_u64())
                .sum();
            println!(
                "| {function} | {} | {} | {} | {} | {} | {woken} |",
                number("waits"),
                number("switches"),
                sum("waits"),
                number("wait_ns") / 1_000_000,
                sum("wait_ns") / 1_000_000,
            );
            wrong.extend(compare_live(&report, &truth, function, kind).err());
        }
        let losses = report.losses();
        println!("| losses | {losses:?} |");
        wrong.extend((!losses.is_empty()).then(|| format!("lost: {losses:?}")));
        wrong.extend((report.at("/waits/exact") != true).then(|| "not exact".to_owned()));
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

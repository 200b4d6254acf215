//! A loop of malloc and free, ten frames deep.

use anyhow::{Context, Result};

use super::{
    load::{Load, compile},
    stats::summary,
    tracer::{Allocator, Tracer},
};
use crate::workspace::Workspace;

/// Rounds; each tracer gets its turn in every one.
const ROUNDS: usize = 5;

pub(super) fn run(workspace: &Workspace) -> Result<()> {
    let program = compile(workspace, "pairs")?;
    let mut load = Load::start(&program)?;
    let allocator = Allocator { file: libc_of(load.pid)?, allocate: &["malloc"], free: &["free"] };
    let mut times: Vec<(Tracer, Vec<f64>)> = Tracer::all().into_iter().map(|t| (t, Vec::new())).collect();
    for _ in 0..ROUNDS {
        for (tracer, times) in &mut times {
            let attached = tracer.attach(workspace, load.pid, &allocator)?;
            times.push(load.turn()?);
            drop(attached);
        }
    }
    println!("malloc+free pair, ten frames deep, {ROUNDS} rounds: microseconds, median (least to most)");
    println!(
        "  (bpftrace follows frame pointers, which this load does not have: its stacks end after a frame or two)"
    );
    let mut medians = Vec::new();
    for (tracer, times) in &times {
        let summary = summary(times).context("no measurement")?;
        println!("  {:<22}{summary:.3}", tracer.name());
        medians.push(summary.median);
    }
    if let [base, ours, theirs, ..] = medians[..] {
        println!(
            "  leakscope adds {:.2} us a pair, bpftrace {:.2} us: {:.1} times as much",
            ours - base,
            theirs - base,
            (theirs - base) / (ours - base)
        );
    }
    Ok(())
}

/// The C library that a process maps.
pub(super) fn libc_of(pid: u32) -> Result<String> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).context("cannot read the load's maps")?;
    let path = maps.lines().filter_map(|l| l.split_whitespace().nth(5)).find(|p| p.contains("/libc.so"));
    path.map(ToOwned::to_owned).context("the load maps no libc.so")
}

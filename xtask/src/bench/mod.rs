//! `cargo xtask bench`: what tracing costs, against the rival, in one run.
//!
//! Baseline, leakscope and a bpftrace leak script take turns in every round, so that whatever else
//! the machine does hits all three; the medians are compared. `tracer` attaches and detaches them,
//! `pairs` and `redis` are the loads of the heap, `start` measures how long an attach takes, `waits`
//! compares leakscope on a program, on another one and not at all, `go_http` what looks at goroutines.

mod go_http;
mod load;
mod pairs;
mod redis;
mod start;
mod stats;
mod tracer;
mod waits;

use anyhow::{Result, bail};

use crate::{
    run, setup,
    workspace::{Workspace, is_root},
};

/// Runs all benchmarks, or only the one named.
pub(crate) fn run(workspace: &Workspace, only: Option<&str>) -> Result<()> {
    if !is_root() {
        bail!("tracing needs root: run `sudo -E cargo xtask bench`");
    }
    setup::run(workspace, &setup::Options { tests: true, rustc: None })?;
    run::visibly("release build", workspace.cargo().args(["build", "--release", "--package", "leakscope"]))?;
    type Bench = fn(&Workspace) -> Result<()>;
    let benches: [(&str, Bench); 6] = [
        ("pairs", pairs::run),
        ("redis", redis::run),
        ("attach", start::run),
        ("waits-redis", waits::redis),
        ("waits-pipe", waits::pipe),
        ("go-http", go_http::run),
    ];
    let mut ran = false;
    for (name, bench) in benches {
        if only.is_none_or(|wanted| wanted == name) {
            run::heading(name);
            bench(workspace)?;
            ran = true;
        }
    }
    if !ran {
        let names: Vec<&str> = benches.iter().map(|(name, _)| *name).collect();
        bail!("there is no benchmark `{}`; there are {}", only.unwrap_or_default(), names.join(", "));
    }
    Ok(())
}

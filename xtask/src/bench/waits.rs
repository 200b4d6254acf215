//! What tracing waits costs the program that is traced, and what it costs the others.
//!
//! The scheduler's tracepoints fire for the whole machine, so the load is measured three times a
//! round: without leakscope, with leakscope on a program that sleeps, and with leakscope on the load.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use super::{
    load::{Load, compile},
    redis::{REQUESTS, Server},
    stats::summary,
    tracer::attach_waits,
};
use crate::workspace::Workspace;

const ROUNDS: usize = 9;
/// Round trips of a turn of perf's.
const TRIPS: &str = "30000";

/// What leakscope is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    Nothing,
    Other,
    Load,
}

impl On {
    /// The name in tables.
    fn name(self) -> &'static str {
        match self {
            Self::Nothing => "no leakscope",
            Self::Other => "on another program",
            Self::Load => "on the program",
        }
    }
}

/// redis-server under redis-benchmark.
pub(super) fn redis(workspace: &Workspace) -> Result<()> {
    let server = Server::start(workspace)?;
    // The first turn fills the database.
    server.turn()?;
    println!("redis-benchmark SET, {REQUESTS} requests, {ROUNDS} rounds: requests a second");
    rounds(workspace, server.pid(), &[On::Nothing, On::Other, On::Load], 0, || server.turn())
}

/// Two threads that wake each other through pipes. Both stay on one processor: left to the scheduler,
/// a round trip takes ten times as long whenever it crosses processors, and nothing can be compared.
pub(super) fn pipe(workspace: &Workspace) -> Result<()> {
    let program = compile(workspace, "pipe")?;
    let mut load = Load::start(&program)?;
    println!("round trip of two threads through pipes on one processor, {ROUNDS} rounds: microseconds");
    rounds(workspace, load.pid, &[On::Nothing, On::Other, On::Load], 2, || load.turn())?;
    // perf begins at once and cannot wait for an attach, so it only tells of another program.
    println!(
        "perf bench sched pipe -T, {TRIPS} round trips on one processor, {ROUNDS} rounds: microseconds a round trip"
    );
    rounds(workspace, 0, &[On::Nothing, On::Other], 2, perf)
}

/// A turn of perf's benchmark; microseconds a round trip.
fn perf() -> Result<f64> {
    // SAFETY: takes nothing and cannot fail where threads have processors.
    let processor = unsafe { libc::sched_getcpu() };
    let output = Command::new("taskset")
        .args([
            "-c",
            &processor.to_string(),
            "perf",
            "bench",
            "-f",
            "simple",
            "sched",
            "pipe",
            "-T",
            "-l",
            TRIPS,
        ])
        .output()
        .context("cannot run perf; install linux-perf")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let seconds = text.lines().rev().find_map(|l| l.trim().parse::<f64>().ok());
    Ok(seconds.context("perf gave no number")? * 1e6 / TRIPS.parse::<f64>()?)
}

/// Measures in rounds, with leakscope on each in turn, and prints medians, and ratios to no leakscope
/// in the same round.
fn rounds(
    workspace: &Workspace,
    pid: u32,
    cases: &[On],
    digits: usize,
    mut turn: impl FnMut() -> Result<f64>,
) -> Result<()> {
    let other = Sleeper::start()?;
    let mut values: Vec<Vec<f64>> = vec![Vec::new(); cases.len()];
    let mut lost = Vec::new();
    for round in 0..ROUNDS {
        // Each round begins with another one, so that none always comes after the same.
        for i in (0..cases.len()).map(|i| (i + round) % cases.len()) {
            let (case, values) = (cases[i], &mut values[i]);
            let attached = match case {
                On::Nothing => None,
                On::Other => Some(attach_waits(workspace, other.0.id())?),
                On::Load => Some(attach_waits(workspace, pid)?),
            };
            values.push(turn()?);
            let Some(attached) = attached else { continue };
            let report = attached.detach()?;
            if !report.contains("\"waits\": {") {
                bail!("leakscope reported no waits");
            }
            lost.extend(losses(&report).map(|losses| format!("{}: {losses}", case.name())));
        }
    }
    let base = values.first().cloned().unwrap_or_default();
    println!("  {:<20}{:<34}ratio to none in the same round", "", "median (least to most)");
    for (case, values) in cases.iter().zip(&values) {
        let ratios: Vec<f64> = values.iter().zip(&base).map(|(value, base)| value / base).collect();
        let ratios = summary(&ratios).context("no measurement")?;
        let values = format!("{:.digits$}", summary(values).context("no measurement")?);
        println!("  {:<20}{values:<34}{ratios:.3}", case.name());
    }
    if let Some(last) = lost.last() {
        println!("  {} reports tell of losses, the last one {last}", lost.len());
    }
    Ok(())
}

/// The losses of a report, as they stand in it; `None` if there are none.
fn losses(report: &str) -> Option<String> {
    let (_, after) = report.split_once("\"losses\": {")?;
    let (losses, _) = after.split_once('}')?;
    let losses: Vec<&str> = losses.split_whitespace().collect();
    (!losses.is_empty()).then(|| losses.join(" "))
}

/// A program that does nothing.
struct Sleeper(Child);

impl Sleeper {
    fn start() -> Result<Self> {
        let mut command = Command::new("sleep");
        command.arg("infinity").stdin(Stdio::null()).stdout(Stdio::null());
        Ok(Self(command.spawn().context("cannot run sleep")?))
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        // Both fail only for a process that is gone.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::losses;

    #[test]
    fn losses_of_a_report() {
        assert_eq!(losses("{ \"losses\": {}, }"), None);
        let report = "\"losses\": {\n    \"waits.full\": 3\n  },\n  \"overhead\": {}";
        assert_eq!(losses(report).as_deref(), Some("\"waits.full\": 3"));
    }
}

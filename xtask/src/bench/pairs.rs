//! A loop of malloc and free, ten frames deep.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context, Result, bail};

use super::{
    stats::summary,
    tracer::{ALL, Allocator, Tracer},
};
use crate::{run, workspace::Workspace};

/// Rounds; each tracer gets its turn in every one.
const ROUNDS: usize = 5;
/// Milliseconds of a turn.
const TURN: &str = "1000";

/// Runs it.
pub(super) fn run(workspace: &Workspace) -> Result<()> {
    let program = compile(workspace)?;
    let mut load = Load::start(&program)?;
    let allocator = Allocator { file: libc_of(load.pid)?, allocate: &["malloc"], free: &["free"] };
    let mut times: Vec<(Tracer, Vec<f64>)> = ALL.iter().map(|t| (*t, Vec::new())).collect();
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
    if let [base, ours, theirs] = medians[..] {
        println!(
            "  leakscope adds {:.2} us a pair, bpftrace {:.2} us: {:.1} times as much",
            ours - base,
            theirs - base,
            (theirs - base) / (ours - base)
        );
    }
    Ok(())
}

/// Compiles a program of `xtask/bench`.
fn compile(workspace: &Workspace) -> Result<PathBuf> {
    let program = workspace.logs().join("pairs");
    std::fs::create_dir_all(workspace.logs()).context("cannot create the directory for benchmarks")?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/pairs.c");
    let mut gcc = Command::new("gcc");
    gcc.args(["-O2", "-fomit-frame-pointer", "-o"]).arg(&program).arg(source);
    run::visibly("gcc", &mut gcc)?;
    Ok(program)
}

/// The C library that a process maps.
pub(super) fn libc_of(pid: u32) -> Result<String> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).context("cannot read the load's maps")?;
    let path = maps.lines().filter_map(|l| l.split_whitespace().nth(5)).find(|p| p.contains("/libc.so"));
    path.map(ToOwned::to_owned).context("the load maps no libc.so")
}

/// The running program.
struct Load {
    child: Child,
    pid: u32,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Load {
    fn start(program: &Path) -> Result<Self> {
        let mut command = Command::new(program);
        command.arg(TURN).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot start the load")?;
        let pid = child.id();
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().context("no output")?);
        let mut load = Self { child, pid, stdin, stdout };
        if !load.line()?.starts_with("ready") {
            bail!("the load did not get ready");
        }
        Ok(load)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.stdout.read_line(&mut line).context("cannot read from the load")?;
        Ok(line)
    }

    /// One turn; microseconds a pair.
    fn turn(&mut self) -> Result<f64> {
        self.stdin.as_mut().context("the load is closed")?.write_all(b"go\n")?;
        let picoseconds: f64 = self.line()?.trim().parse().context("the load gave no number")?;
        Ok(picoseconds / 1e6)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stdin = None;
        // It ends by itself once its input is closed; both fail only if it is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

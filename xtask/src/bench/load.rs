//! The programs in `xtask/bench` as loads.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::{run, workspace::Workspace};

/// Milliseconds of a turn.
const TURN: &str = "1000";

/// Compiles a program of `xtask/bench`.
pub(super) fn compile(workspace: &Workspace, name: &str) -> Result<PathBuf> {
    let program = workspace.logs().join(name);
    std::fs::create_dir_all(workspace.logs()).context("cannot create the directory for benchmarks")?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("bench/{name}.c"));
    let mut gcc = Command::new("gcc");
    gcc.args(["-O2", "-fomit-frame-pointer", "-pthread", "-o"]).arg(&program).arg(source);
    run::visibly("gcc", &mut gcc)?;
    Ok(program)
}

/// A running program that does its work for a second each time it is told to.
pub(super) struct Load {
    child: Child,
    pub(super) pid: u32,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Load {
    pub(super) fn start(program: &Path) -> Result<Self> {
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

    /// One turn; microseconds that a unit of its work took.
    pub(super) fn turn(&mut self) -> Result<f64> {
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

//! How long an attach takes, and what leakscope itself needs.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, bail};

use super::{
    pairs::libc_of,
    stats::summary,
    tracer::{Allocator, Tracer},
};
use crate::workspace::Workspace;

const ROUNDS: usize = 5;

/// Runs it: python3 as it is, and with libLLVM mapped.
pub(super) fn run(workspace: &Workspace) -> Result<()> {
    measure(workspace, "python3", "")?;
    match llvm() {
        Some(library) => measure(workspace, "python3 with libLLVM", &library),
        None => {
            println!("python3 with libLLVM: not measured, there is no libLLVM on this machine");
            Ok(())
        }
    }
}

/// The largest libLLVM of this machine.
fn llvm() -> Option<String> {
    let libraries = std::fs::read_dir("/usr/lib/x86_64-linux-gnu").ok()?;
    let of_llvm = libraries.filter_map(|entry| {
        let path = entry.ok()?.path();
        let name = path.file_name()?.to_str()?;
        let size = std::fs::metadata(&path).ok()?.len();
        (name.starts_with("libLLVM") && name.contains(".so")).then(|| (size, path.display().to_string()))
    });
    of_llvm.max().map(|(_, path)| path)
}

fn measure(workspace: &Workspace, name: &str, library: &str) -> Result<()> {
    let target = Target::start(library)?;
    let pid = target.child.id();
    let allocator = Allocator { file: libc_of(pid)?, allocate: &[], free: &[] };
    let mut times = Vec::new();
    let mut memory = Vec::new();
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let attached = Tracer::Leakscope.attach(workspace, pid, &allocator)?;
        times.push(begun.elapsed().as_secs_f64());
        let report = attached.context("leakscope attaches")?.detach()?;
        memory.push(field(&report, "leakscope_memory_bytes")? / 1048576.0);
    }
    let (times, memory) =
        (summary(&times).context("no measurement")?, summary(&memory).context("no measurement")?);
    println!(
        "attach to {name}: {times:.2} s, leakscope's memory with its maps {memory:.0} MiB; median (least to most) of {ROUNDS}"
    );
    Ok(())
}

/// A number of the report.
fn field(report: &str, name: &str) -> Result<f64> {
    let at = report.find(&format!("\"{name}\":")).with_context(|| format!("the report has no {name}"))?;
    let rest = &report[at + name.len() + 3..];
    rest.split([',', '\n', '}'])
        .next()
        .unwrap_or_default()
        .trim()
        .parse()
        .context("the report's number is none")
}

/// python3, waiting.
struct Target {
    child: Child,
}

impl Target {
    fn start(library: &str) -> Result<Self> {
        let load = if library.is_empty() {
            String::new()
        } else {
            format!("import ctypes; ctypes.CDLL({library:?});")
        };
        let script = format!("{load}print('ready', flush=True); import sys; sys.stdin.read()");
        let mut child = Command::new("/usr/bin/python3")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start python3")?;
        let stdout = child.stdout.take().context("no output")?;
        let target = Self { child };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        if line.trim() != "ready" {
            bail!("python3 did not get ready");
        }
        Ok(target)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // Both fail only for a process that is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

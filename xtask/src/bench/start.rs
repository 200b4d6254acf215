//! How long attaching and leaving take, and what leakscope itself needs.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, bail};

use super::{
    load::{Load, compile},
    pairs::libc_of,
    stats::{Summary, summary},
    tracer::{Allocator, Tracer},
};
use crate::workspace::Workspace;

const ROUNDS: usize = 5;

/// Runs it: the load of pairs, python3 as it is, and with libLLVM mapped. Probes go on and off all at once in
/// the first, and one by one in python3, which calls vfork.
pub(super) fn run(workspace: &Workspace) -> Result<()> {
    let load = Load::start(&compile(workspace, "pairs")?)?;
    measure(workspace, "the load of pairs", load.pid)?;
    measure(workspace, "python3", Target::start("")?.child.id())?;
    match llvm() {
        Some(library) => measure(workspace, "python3 with libLLVM", Target::start(&library)?.child.id()),
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

fn measure(workspace: &Workspace, name: &str, pid: u32) -> Result<()> {
    let allocator = Allocator { file: libc_of(pid)?, allocate: &[], free: &[] };
    let mut builds: Vec<(Tracer, [Vec<f64>; 3])> =
        Tracer::builds().into_iter().map(|build| (build, Default::default())).collect();
    for _ in 0..ROUNDS {
        for (build, [on, off, memory]) in &mut builds {
            let begun = Instant::now();
            let attached = build.attach(workspace, pid, &allocator)?.context("leakscope attaches")?;
            on.push(begun.elapsed().as_secs_f64());
            let begun = Instant::now();
            let report = attached.detach()?;
            off.push(begun.elapsed().as_secs_f64());
            memory.push(field(&report, "leakscope_memory_bytes")? / 1048576.0);
        }
    }
    for (build, measured) in &builds {
        let summaries: Option<Vec<Summary>> = measured.iter().map(|values| summary(values)).collect();
        let [on, off, memory] = summaries.context("no measurement")?[..] else { bail!("three are measured") };
        println!(
            "{name}, {}: attached after {on:.2} s, gone {off:.2} s after Ctrl-C, its memory with maps {memory:.0} MiB; \
             median (least to most) of {ROUNDS}",
            build.name()
        );
    }
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

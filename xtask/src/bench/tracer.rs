//! What watches a load: nothing, leakscope, or a bpftrace leak script.

use std::{
    env,
    io::{BufRead, BufReader, Read},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
};

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;

/// Names another build of leakscope, such as the one before a change, which then takes its turns, too.
const OTHER: &str = "LEAKSCOPE_BENCH_OTHER";

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tracer {
    Baseline,
    Leakscope,
    Bpftrace,
    Other,
}

impl Tracer {
    /// Nothing, leakscope, the rival, and the other build if there is one.
    pub(super) fn all() -> Vec<Self> {
        let mut all = vec![Self::Baseline, Self::Leakscope, Self::Bpftrace];
        all.extend(env::var_os(OTHER).map(|_| Self::Other));
        all
    }

    /// The builds of leakscope.
    pub(super) fn builds() -> Vec<Self> {
        Self::all().into_iter().filter(|t| matches!(t, Self::Leakscope | Self::Other)).collect()
    }
}

/// The functions that a load allocates with, and where.
#[derive(Clone, Debug)]
pub(super) struct Allocator {
    /// Path of the library or program.
    pub(super) file: String,
    /// Allocating functions whose first argument is the size.
    pub(super) allocate: &'static [&'static str],
    /// Freeing functions.
    pub(super) free: &'static [&'static str],
}

impl Tracer {
    /// The name in tables.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Baseline => "no tracer",
            Self::Leakscope => "leakscope",
            Self::Bpftrace => "bpftrace leak script",
            Self::Other => "the other leakscope",
        }
    }

    /// Attaches to `pid`; returns once probes are active.
    pub(super) fn attach(
        self,
        workspace: &Workspace,
        pid: u32,
        allocator: &Allocator,
    ) -> Result<Option<Attached>> {
        let (mut command, sign) = match self {
            Self::Baseline => return Ok(None),
            Self::Leakscope | Self::Other => {
                let other = env::var_os(OTHER).filter(|_| self == Self::Other).map(PathBuf::from);
                let mut command = Command::new(other.unwrap_or_else(|| workspace.release("leakscope")));
                command.args(["attach", &pid.to_string(), "--format", "json"]);
                (command, SIGN)
            }
            Self::Bpftrace => {
                let mut command = Command::new("bpftrace");
                // Without -p its return probes would reach every process of the machine.
                command.args(["-p", &pid.to_string(), "-e", &script(allocator)]);
                (command, "leak script ready")
            }
        };
        // bpftrace's default of 4096 keys would drop most of what it traces.
        command.env("BPFTRACE_MAP_KEYS_MAX", "1000000");
        // leakscope speaks on standard error, bpftrace on standard output.
        Attached::start(command, sign, self != Self::Bpftrace).map(Some)
    }
}

/// leakscope, attached for waits alone.
pub(super) fn attach_waits(workspace: &Workspace, pid: u32) -> Result<Attached> {
    attach_with(workspace, pid, &["--only", "waits"])
}

/// leakscope, attached with these options.
pub(super) fn attach_with(workspace: &Workspace, pid: u32, options: &[&str]) -> Result<Attached> {
    let mut command = Command::new(workspace.release("leakscope"));
    command.args(["attach", &pid.to_string(), "--format", "json"]).args(options);
    Attached::start(command, SIGN, true)
}

/// What leakscope says once its probes are active.
const SIGN: &str = "attached to PID";

fn read_all(mut from: Box<dyn Read + Send>) -> String {
    let mut text = String::new();
    // What is not text is of no use here.
    let _ = from.read_to_string(&mut text);
    text
}

/// A bpftrace script that keeps outstanding allocations with their stacks, as its users write it.
fn script(allocator: &Allocator) -> String {
    let file = &allocator.file;
    let mut text = String::from("BEGIN { printf(\"leak script ready\\n\"); }\n");
    for function in allocator.allocate {
        text.push_str(&format!(
            "uprobe:{file}:{function} {{ @size[tid] = arg0; }}\n\
             uretprobe:{file}:{function} /@size[tid]/ {{ @live[retval] = @size[tid]; @stack[retval] = ustack(16); delete(@size[tid]); }}\n"
        ));
    }
    for function in allocator.free {
        text.push_str(&format!(
            "uprobe:{file}:{function} {{ delete(@live[arg0]); delete(@stack[arg0]); }}\n"
        ));
    }
    text.push_str("END { clear(@size); clear(@live); clear(@stack); }\n");
    text
}

/// A tracer at work; detached on drop.
#[derive(Debug)]
pub(super) struct Attached {
    child: Child,
    output: Option<(thread::JoinHandle<String>, thread::JoinHandle<String>)>,
}

impl Attached {
    /// Runs a tracer; returns once it has said `sign`, on standard error or else on standard output.
    fn start(mut command: Command, sign: &str, on_stderr: bool) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command.spawn().with_context(|| format!("cannot run {name}"))?;
        let out: Box<dyn Read + Send> = Box::new(child.stdout.take().context("no output")?);
        let err: Box<dyn Read + Send> = Box::new(child.stderr.take().context("no errors")?);
        let (watched, other) = if on_stderr { (err, out) } else { (out, err) };
        let rest = thread::spawn(move || read_all(other));
        let mut lines = BufReader::new(watched);
        let mut said = String::new();
        loop {
            let before = said.len();
            if lines.read_line(&mut said)? == 0 {
                let _ = child.wait();
                bail!("{name} did not attach: {said}{}", rest.join().unwrap_or_default());
            }
            if said[before..].contains(sign) {
                break;
            }
        }
        let drain = thread::spawn(move || read_all(Box::new(lines)));
        Ok(Self { child, output: Some((rest, drain)) })
    }

    /// Detaches; returns what it wrote to standard output (leakscope: the report).
    pub(super) fn detach(mut self) -> Result<String> {
        self.interrupt();
        let (rest, drain) = self.output.take().context("detached twice")?;
        drain.join().ok().context("the reader failed")?;
        rest.join().ok().context("the reader failed")
    }

    fn interrupt(&mut self) {
        // SAFETY: signals a child of ours that was not waited for.
        unsafe { libc::kill(self.child.id().cast_signed(), libc::SIGINT) };
        // It fails only for a child that is gone.
        let _ = self.child.wait();
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        if self.output.is_some() {
            self.interrupt();
        }
    }
}

//! `cargo xtask demo`: a program that leaks and is stuck, and what leakscope says about it.

use std::{
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    process::{Child, ChildStdin, Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::{
    run, setup,
    workspace::{Workspace, find_in_path, is_root},
};

/// How long the demo watches the program.
const DURATION: &str = "10s";

/// Builds leakscope and the program, looks at its threads, attaches, and prints the reports.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    setup::run(workspace, &setup::Options::default())?;
    run::heading("release build");
    // Two builds, so that leakscope is built as `cargo build --release` builds it.
    for what in [["leakscope", "--bin=leakscope"], ["xtask", "--example=leaky"]] {
        run::visibly("the build", workspace.cargo().args(["build", "--release", "--package"]).args(what))?;
    }

    stay_for_the_report();
    let leaky = Leaky::start(workspace)?;
    tell(workspace, &["dump", &leaky.pid])?;
    tell(workspace, &["attach", &leaky.pid, "--duration", DURATION])
}

/// Runs leakscope, as root.
fn tell(workspace: &Workspace, args: &[&str]) -> Result<()> {
    let leakscope = workspace.release("leakscope");
    let mut command = if is_root() {
        Command::new(&leakscope)
    } else {
        if find_in_path("sudo").is_none() {
            bail!("tracing needs root and there is no sudo: run `cargo xtask demo` as root");
        }
        eprintln!(
            "tracing another process needs root: only this command goes through sudo, which may ask for your password"
        );
        let mut sudo = Command::new("sudo");
        sudo.arg(&leakscope);
        sudo
    };
    command.args(args);
    run::heading(&run::shown(&command));
    let status = command.status().with_context(|| format!("cannot run {}", run::shown(&command)))?;
    if !status.success() {
        bail!("leakscope ended with {}", run::explain(status));
    }
    Ok(())
}

/// Lets Ctrl-C end leakscope, which then prints its report, but not this task, which waits for it.
fn stay_for_the_report() {
    extern "C" fn ignore(_signal: libc::c_int) {}
    // SAFETY: the handler does nothing, which is safe at any moment. A handler, unlike SIG_IGN, is
    // not inherited by the commands that are started.
    unsafe { libc::signal(libc::SIGINT, ignore as extern "C" fn(libc::c_int) as libc::sighandler_t) };
}

/// The program. It ends on drop, and by itself when its standard input is closed: however
/// this task ends, no leak is left running.
struct Leaky {
    child: Child,
    pid: String,
    _lifeline: ChildStdin,
}

impl Leaky {
    fn start(workspace: &Workspace) -> Result<Self> {
        let program = workspace.release("examples/leaky");
        let mut child = Command::new(&program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        let lifeline = child.stdin.take().context("the program has no standard input")?;
        let stdout = child.stdout.take().context("the program has no standard output")?;
        let mut leaky = Self { child, pid: String::new(), _lifeline: lifeline };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).context("cannot read from the program")?;
        let pid = line.trim().strip_prefix("ready ").context("the program did not get ready")?;
        leaky.pid = pid.to_owned();
        Ok(leaky)
    }
}

impl Drop for Leaky {
    fn drop(&mut self) {
        // Both fail only for a program that is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

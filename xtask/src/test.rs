//! `cargo xtask test`: everything that must hold before a change lands.
//!
//! The integration suite comes last. It runs the release build of leakscope, named by
//! `LEAKSCOPE_BIN`, with real BPF programs; a normal user's goes through sudo. With
//! `LEAKSCOPE_TESTS_COMPLETE` its tests fail where they would skip.

use std::{env, ffi::OsString, process::Command, thread};

use anyhow::{Result, bail};

use crate::{
    run, setup,
    workspace::{Workspace, find_in_path, is_root},
};

/// Packages that are built for this machine.
const HOST: [&str; 3] = ["--workspace", "--exclude", "leakscope-ebpf"];

/// Tests of a suite that run at the same time; more would trace over each other.
const THREADS: usize = 2;

/// Runs every check, or only the integration tests whose names contain `filter`.
pub(crate) fn run(workspace: &Workspace, filter: Option<&str>) -> Result<()> {
    let complete = env::var_os("LEAKSCOPE_TESTS_COMPLETE").is_some() || env::var_os("CI").is_some();
    setup::run(workspace, &setup::Options { tests: true, rustc: None })?;
    if filter.is_none() {
        check("format", workspace.cargo().args(["fmt", "--all", "--check"]))?;
        let strict = ["-D", "warnings"];
        let everything = ["--all-targets", "--"];
        check("clippy", workspace.cargo().arg("clippy").args(HOST).args(everything).args(strict))?;
        check("clippy, BPF programs", clippy_bpf(workspace).args(strict))?;
        let docs = ["doc", "--no-deps"];
        check("docs", workspace.cargo().args(docs).args(HOST).env("RUSTDOCFLAGS", "-D warnings"))?;
    }
    check("release build", workspace.cargo().args(["build", "--release", "--package", "leakscope"]))?;
    if filter.is_none() {
        let without_suite = ["--exclude", "leakscope-tests"];
        check("unit and property tests", workspace.cargo().arg("test").args(HOST).args(without_suite))?;
        check(
            "tests of the harness",
            workspace.cargo().args(["test", "--package", "leakscope-tests", "--lib"]),
        )?;
    }
    check("integration tests", &mut suite(workspace, filter, complete)?)
}

fn check(what: &str, command: &mut Command) -> Result<()> {
    run::heading(what);
    run::visibly(what, command)
}

/// Lints the BPF programs as if they were for this machine: clippy has no `core` for BPF. They bring
/// no unwinder, so panics abort.
fn clippy_bpf(workspace: &Workspace) -> Command {
    let mut command = workspace.cargo();
    command.args(["clippy", "--package", "leakscope-ebpf", "--", "-Cpanic=abort"]);
    command
}

/// The integration suite, as root.
fn suite(workspace: &Workspace, filter: Option<&str>, complete: bool) -> Result<Command> {
    let mut variables = vec![("LEAKSCOPE_BIN", workspace.release("leakscope").into_os_string())];
    if complete {
        variables.push(("LEAKSCOPE_TESTS_COMPLETE", OsString::from("1")));
    }
    let mut command = workspace.cargo();
    command.args(["test", "--package", "leakscope-tests", "--test", "suite"]);
    if !is_root() {
        if find_in_path("sudo").is_none() {
            bail!("the integration tests trace processes, which needs root, and there is no sudo");
        }
        eprintln!(
            "tracing needs root: the compiled integration tests go through sudo, which may ask for your password"
        );
        variables.extend(workspace.rust.variables());
        command.arg("--config").arg(sudo_runner(&variables));
    }
    command.envs(variables);
    let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS);
    command.arg("--").arg(format!("--test-threads={threads}"));
    command.args(filter);
    Ok(command)
}

/// Cargo's setting that runs a test binary through sudo with these variables and this `PATH`.
fn sudo_runner(variables: &[(&str, OsString)]) -> String {
    let path = ("PATH", env::var_os("PATH").unwrap_or_default());
    let mut runner = String::from("target.'cfg(unix)'.runner=['sudo', '-E', 'env'");
    // The last of a name counts.
    for (name, value) in [&path].into_iter().chain(variables) {
        runner.push_str(&format!(", {:?}", format!("{name}={}", value.to_string_lossy())));
    }
    runner.push(']');
    runner
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runner_keeps_spaces_and_quotes() {
        let runner = sudo_runner(&[("LEAKSCOPE_BIN", OsString::from("/a \"b\"/leakscope"))]);
        assert!(runner.starts_with("target.'cfg(unix)'.runner=['sudo', '-E', 'env', \"PATH="));
        assert!(runner.ends_with(r#", "LEAKSCOPE_BIN=/a \"b\"/leakscope"]"#));
    }
}

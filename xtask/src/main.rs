//! Development tasks: setup, demo, test, bench, dist, fuzz, go-matrix, kernels, schema.
//!
//! One module a task. [`setup`] finds or provides what a build needs and writes it to
//! `.bpf-toolchain`, which `leakscope/build.rs` reads; [`rust`] finds or installs the Rust that the
//! workspace needs, which may be newer than the one that runs this; [`workspace`] knows where things lie;
//! [`run`] runs commands and shows their progress.

mod bench;
mod demo;
mod dist;
mod fuzz;
mod go_matrix;
mod kernels;
mod run;
mod rust;
mod setup;
mod test;
mod workspace;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use workspace::Workspace;

const HELP: &str = "\
cargo xtask TASK

  setup [--tests] [--rustc PATH]
                 find or provide the BPF toolchain; --tests also installs what the tests need;
                 --rustc takes this compiler instead of looking for one
  demo           build, start a program that leaks and is stuck, look at its threads, then
                 attach to it for ten seconds
  test [FILTER]  setup, format, clippy, docs, unit, property and integration tests;
                 with FILTER only the integration tests whose names contain it
  bench [NAME]   cost of tracing against no tracer and a bpftrace script: pairs, redis, attach;
                 of tracing waits in the program, in another one and in none: waits-redis, waits-pipe;
                 of looking at a server's goroutines: go-http
  dist [--check] a self-contained leakscope as .tar.gz and .deb in target/dist; --check installs and
                 runs them where nothing else is, and removes them again (needs root)
  fuzz [TARGET…] [--seconds N]
                 the fuzz targets of tests/fuzz, each for N seconds (60)
  go-matrix [goroutines]
                 programs built by every release of Go, each normal, stripped, position-independent
                 and with cgo: goroutines and heap against their own profiles, or only goroutines
  kernels [--kernel PACKAGE_OR_VERSION...]
                 some of the tests under Debian's kernels in an emulated machine
  schema         write the JSON Schema of reports to leakscope/schema
  help           this text
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match dispatch(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(args: &[&str]) -> Result<()> {
    let Some((&task, rest)) = args.split_first() else {
        print!("{HELP}");
        return Ok(());
    };
    match task {
        "setup" => {
            let options = setup::Options::parse(rest)?;
            setup::run(&Workspace::open()?, &options).map(drop)
        }
        "demo" => {
            expect_none(task, rest)?;
            demo::run(&Workspace::open()?)
        }
        "test" => match rest {
            [] => test::run(&Workspace::open()?, None),
            [filter] if !filter.starts_with('-') => test::run(&Workspace::open()?, Some(filter)),
            _ => bail!("`cargo xtask test` takes one FILTER\n\n{HELP}"),
        },
        "bench" => match rest {
            [] => bench::run(&Workspace::open()?, None),
            [name] => bench::run(&Workspace::open()?, Some(name)),
            _ => bail!("`cargo xtask bench` takes one NAME\n\n{HELP}"),
        },
        "dist" => match rest {
            [] => dist::run(&Workspace::open()?, false),
            ["--check"] => dist::run(&Workspace::open()?, true),
            _ => bail!("`cargo xtask dist` takes `--check` or nothing\n\n{HELP}"),
        },
        "fuzz" => fuzz::run(&Workspace::open()?, &fuzz::Options::parse(rest)?),
        "go-matrix" => match rest {
            [] => go_matrix::run(&Workspace::open()?, true),
            ["goroutines"] => go_matrix::run(&Workspace::open()?, false),
            _ => bail!("`cargo xtask go-matrix` takes `goroutines` or nothing\n\n{HELP}"),
        },
        "kernels" => match rest {
            [] => kernels::run(&Workspace::open()?, &[]),
            ["--kernel", kernels @ ..] if !kernels.is_empty() => kernels::run(&Workspace::open()?, kernels),
            _ => bail!("`cargo xtask kernels` takes `--kernel PACKAGE_OR_VERSION...` or nothing\n\n{HELP}"),
        },
        "schema" => {
            expect_none(task, rest)?;
            schema(&Workspace::open()?)
        }
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        _ => bail!("there is no task `{task}`\n\n{HELP}"),
    }
}

/// Writes the schemas that the types of a report, a difference and a list of processes give.
fn schema(workspace: &Workspace) -> Result<()> {
    for name in ["report", "top", "diff"] {
        let mut command = workspace.cargo();
        command.args(["run", "--quiet", "--package", "leakscope", "--example", "schema", "--", name]);
        let text = run::quietly(&mut command).context("the schema could not be made")?;
        let path = workspace.root.join(format!("leakscope/schema/{name}.schema.json"));
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn expect_none(task: &str, rest: &[&str]) -> Result<()> {
    match rest {
        [] => Ok(()),
        [first, ..] => bail!("`cargo xtask {task}` takes no `{first}`\n\n{HELP}"),
    }
}

//! Development tasks: `cargo xtask setup`, `cargo xtask demo`, `cargo xtask test`.
//!
//! One module a task. [`setup`] finds or provides what a build needs and writes it to
//! `.bpf-toolchain`, which `leakscope/build.rs` reads; [`workspace`] knows where things lie;
//! [`run`] runs commands and shows their progress.

mod demo;
mod run;
mod setup;
mod test;
mod workspace;

use std::process::ExitCode;

use anyhow::{Result, bail};

use workspace::Workspace;

const HELP: &str = "\
cargo xtask TASK

  setup [--tests] [--rustc PATH]
                 find or provide the BPF toolchain; --tests also installs what the tests need;
                 --rustc takes this compiler instead of looking for one
  demo           build, start a program that leaks at two sites, attach to it for ten seconds
  test [FILTER]  setup, format, clippy, docs, unit, property and integration tests;
                 with FILTER only the integration tests whose names contain it
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
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        _ => bail!("there is no task `{task}`\n\n{HELP}"),
    }
}

fn expect_none(task: &str, rest: &[&str]) -> Result<()> {
    match rest {
        [] => Ok(()),
        [first, ..] => bail!("`cargo xtask {task}` takes no `{first}`\n\n{HELP}"),
    }
}

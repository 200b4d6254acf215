//! `cargo xtask fuzz`: the fuzz targets of `tests/fuzz`, each for some seconds.
//!
//! They are built by the stable compiler, which is told to take the flags of their instrumentation;
//! sanitizers are left out, as the code they would watch has next to nothing `unsafe`.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run;
use crate::workspace::Workspace;

const TARGETS: [&str; 5] = ["go_pclntab", "go_buildinfo", "go_program", "elf_rows", "report_file"];
/// How long each runs if nothing else is said.
const SECONDS: u32 = 60;
/// Most memory of a target, in MiB.
const MOST_MEMORY: u32 = 2048;
/// The longest that one input may take, in seconds.
const LONGEST_INPUT: u32 = 20;

/// What `cargo xtask fuzz` is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    targets: Vec<&'static str>,
    seconds: u32,
}

impl Options {
    /// Reads the arguments after `fuzz`.
    pub(crate) fn parse(args: &[&str]) -> Result<Self> {
        let mut options = Self { targets: Vec::new(), seconds: SECONDS };
        let mut args = args.iter();
        while let Some(&arg) = args.next() {
            if arg == "--seconds" {
                let seconds = args.next().context("--seconds needs a number")?;
                options.seconds = seconds.parse().with_context(|| format!("`{seconds}` is no number"))?;
                continue;
            }
            match TARGETS.iter().find(|target| **target == arg) {
                Some(target) => options.targets.push(target),
                None => bail!("there is no target `{arg}`; there are {}", TARGETS.join(", ")),
            }
        }
        if options.targets.is_empty() {
            options.targets = TARGETS.to_vec();
        }
        Ok(options)
    }
}

/// Runs the targets; the first that finds something ends it.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let directory = workspace.root.join("tests/fuzz");
    let tools = workspace.target.join("tools");
    let program = tools.join("bin/cargo-fuzz");
    if !program.is_file() {
        let mut install = workspace.cargo();
        install.args(["install", "--quiet", "--locked", "cargo-fuzz", "--root"]).arg(&tools);
        run::heading("cargo-fuzz");
        run::visibly("installing cargo-fuzz", &mut install)?;
    }
    for target in &options.targets {
        run::heading(&format!("{target}, {} s", options.seconds));
        let mut command = Command::new(&program);
        command.args(["run", "--sanitizer", "none", "--fuzz-dir"]).arg(&directory);
        command.arg("--target-dir").arg(workspace.target.join("fuzz")).arg(target).arg("--");
        command.arg(format!("-max_total_time={}", options.seconds));
        command.arg(format!("-rss_limit_mb={MOST_MEMORY}")).arg(format!("-timeout={LONGEST_INPUT}"));
        workspace.rust.apply(&mut command).env("RUSTC_BOOTSTRAP", "1").current_dir(&directory);
        run::visibly(target, &mut command)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments() {
        let all = Options::parse(&[]).expect("all");
        assert_eq!((all.targets.as_slice(), all.seconds), (TARGETS.as_slice(), SECONDS));
        let one = Options::parse(&["go_program", "--seconds", "5"]).expect("one");
        assert_eq!((one.targets.as_slice(), one.seconds), (["go_program"].as_slice(), 5));
        assert!(Options::parse(&["go_progam"]).is_err());
        assert!(Options::parse(&["--seconds"]).is_err());
    }
}

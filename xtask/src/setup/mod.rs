//! `cargo xtask setup`: finds or provides what a build of leakscope needs.
//!
//! A compiler for BPF needs three things that fit together: a rustc, the source of its standard
//! library (for `-Z build-std=core`), and a bpf-linker whose LLVM is at least as new as rustc's.
//! What is on the machine comes first, in this order: what an earlier setup recorded, rustup's
//! nightly, rustup's other toolchains, any rustc on `PATH`; each must be as new as the workspace needs. Only if
//! none of them fits is something installed: `rust-src` by rustup, then Debian's packages when root. A finding is recorded in
//! `.bpf-toolchain` and checked again by every run.

mod apt;
pub(crate) mod go;
mod linker;
mod packages;
mod record;
mod toolchain;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;
use linker::Plan;
use record::Record;
use toolchain::Toolchain;

/// What `cargo xtask setup` is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Install what the tests need, too.
    pub(crate) tests: bool,
    /// Take this compiler instead of looking for one.
    pub(crate) rustc: Option<PathBuf>,
}

impl Options {
    /// Reads the arguments after `setup`.
    pub(crate) fn parse(args: &[&str]) -> Result<Self> {
        let mut options = Self::default();
        let mut args = args.iter();
        while let Some(&arg) = args.next() {
            match arg {
                "--tests" => options.tests = true,
                "--rustc" => {
                    let path = args.next().context("--rustc needs the path of a compiler")?;
                    options.rustc = Some(PathBuf::from(path));
                }
                _ => bail!("`cargo xtask setup` takes no `{arg}`"),
            }
        }
        Ok(options)
    }
}

/// Finds or provides everything, says what it found, and records it.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let record = match recorded(workspace, options) {
        Some(record) => record,
        None => look(workspace, options)?,
    };
    record.write(&workspace.root)?;
    println!("bpf toolchain: {} {} (LLVM {})", record.rustc.display(), record.release(), record.llvm);
    println!("bpf-linker: {} (LLVM {})", record.linker.display(), record.linker_llvm);
    if options.tests {
        packages::provide(workspace)?;
        go::provide(workspace, false)?;
    }
    Ok(())
}

/// What an earlier setup found, if it still works.
fn recorded(workspace: &Workspace, options: &Options) -> Option<Record> {
    let record = Record::read(&workspace.root)?;
    if options.rustc.as_ref().is_some_and(|asked| *asked != record.rustc) {
        return None;
    }
    let toolchain = toolchain::inspect(&record.rustc).ok()?;
    let linker_llvm = linker::llvm_of(&record.linker).ok()?;
    let fits = toolchain.version == record.rustc_version && linker_llvm >= toolchain.llvm;
    fits.then_some(Record { linker_llvm, ..record })
}

/// Looks for a toolchain; installs one if none is found.
fn look(workspace: &Workspace, options: &Options) -> Result<Record> {
    if let Some(rustc) = &options.rustc {
        let toolchain =
            toolchain::inspect(rustc).with_context(|| format!("cannot use {}", rustc.display()))?;
        let plan = linker::plan(&toolchain)?;
        return finish(workspace, toolchain, plan);
    }
    let mut refusals = Vec::new();
    if let Some((toolchain, plan)) = choose(&mut refusals) {
        return finish(workspace, toolchain, plan);
    }
    for provide in [toolchain::add_source, apt::install_toolchain] {
        match provide(workspace) {
            Ok(true) => {
                refusals.clear();
                if let Some((toolchain, plan)) = choose(&mut refusals) {
                    return finish(workspace, toolchain, plan);
                }
            }
            Ok(false) => {}
            Err(error) => refusals.push(format!("{error:#}")),
        }
    }
    bail!("there is no BPF toolchain:\n  {}\n{}", refusals.join("\n  "), apt::advice());
}

/// The first toolchain that is complete and that a bpf-linker exists or can be built for.
fn choose(refusals: &mut Vec<String>) -> Option<(Toolchain, Plan)> {
    for rustc in toolchain::candidates() {
        let found = toolchain::inspect(&rustc).and_then(|toolchain| {
            let plan = linker::plan(&toolchain)?;
            Ok((toolchain, plan))
        });
        match found {
            Ok(found) => return Some(found),
            Err(error) => refusals.push(format!("{}: {error:#}", rustc.display())),
        }
    }
    None
}

/// Builds the linker if the plan says so.
fn finish(workspace: &Workspace, toolchain: Toolchain, plan: Plan) -> Result<Record> {
    let (linker, linker_llvm) = linker::carry_out(workspace, plan)?;
    Ok(Record {
        cargo: toolchain.cargo,
        rustc: toolchain.rustc,
        rustc_version: toolchain.version,
        llvm: toolchain.llvm,
        linker,
        linker_llvm,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_or_refused() {
        assert_eq!(Options::parse(&[]).unwrap(), Options::default());
        let options = Options::parse(&["--tests", "--rustc", "/usr/bin/rustc"]).unwrap();
        assert!(options.tests);
        assert_eq!(options.rustc, Some(PathBuf::from("/usr/bin/rustc")));
        assert!(Options::parse(&["--rustc"]).is_err());
        assert!(Options::parse(&["--test"]).is_err());
    }
}

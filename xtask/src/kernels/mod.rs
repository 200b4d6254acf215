//! `cargo xtask kernels`: leakscope on Debian's kernels, as distributed, in an emulated machine.
//!
//! The machine's root is this one's file system, read-only, so it runs the very programs that were built
//! here. [`packages`] fetches kernels, [`machine`] boots them.

mod archive;
mod machine;
mod packages;

use std::{fs, time::Duration};

use anyhow::{Context, Result, bail};

use crate::{
    run,
    workspace::{Workspace, json_string},
};
use packages::Kernel;

/// The oldest that Debian supports, its next, and the newest long-term one.
const USUAL: [&str; 3] = ["6.1", "6.12", "6.18"];

/// How long a machine may run; without hardware support it is about 20 times slower than this one.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// Of the suite; `kernels::programs` builds what they run.
const TESTS: &[&str] = &[
    "kernels::waits",
    "waits::wakers",
    "waits::sites_that_create_threads",
    "waits::heap_beside_waits",
    "exactness::one_site",
    "exactness::nested_calls_of_calloc_and_reallocarray",
    "exactness::frees_of_blocks_from_before_the_attach",
    "dump::mutex_whose_holder_sleeps",
    "dump::epoll",
    "dump::deadlocks::deadlock_of_two_in_c",
    "golang::goroutines_as_in_its_own_profile_normal",
    "doctor::this_machine",
    "lifecycle::programs_of_uprobes_work_on_the_stack_of_their_thread",
    "exactness::eight_threads_at_full_speed",
];

/// Fetches, boots and tests each kernel: packages such as `linux-image-6.12.95+deb12-amd64` or the
/// beginning of a version.
pub(crate) fn run(workspace: &Workspace, kernels: &[&str]) -> Result<()> {
    machine::check()?;
    let place = workspace.target.join("kernels");
    fs::create_dir_all(&place).with_context(|| format!("cannot create {}", place.display()))?;

    run::heading("release build");
    run::visibly("the build", workspace.cargo().args(["build", "--release", "--package", "leakscope"]))?;
    let suite = suite(workspace)?;
    let mut programs = std::process::Command::new(&suite);
    programs.args(["--quiet", "--exact", "kernels::programs"]).env("LEAKSCOPE_KERNELS", "programs");
    run::visibly("building the programs that are watched", &mut programs)?;

    let wanted = if kernels.is_empty() { &USUAL[..] } else { kernels };
    let kernels = packages::provide(&place, wanted)?;
    let script = format!(
        "export LEAKSCOPE_KERNELS=waits LEAKSCOPE_BIN='{}'\n'{suite}' --test-threads=1 --color=never --show-output --exact {}\n",
        workspace.release("leakscope").display(),
        TESTS.join(" ")
    );
    let mut wrong = Vec::new();
    for kernel in &kernels {
        let console = place.join(format!("{}.log", kernel.package));
        machine::boot(kernel, &script, &console, LIMIT)?;
        if !tell(kernel, &fs::read_to_string(&console).context("the console was not UTF-8")?) {
            wrong.push(format!("{}: see {}", kernel.package, console.display()));
        }
    }
    if !wrong.is_empty() {
        bail!("not all is well under {} of {} kernels\n{}", wrong.len(), kernels.len(), wrong.join("\n"));
    }
    Ok(())
}

/// Builds the integration tests and says where they lie.
fn suite(workspace: &Workspace) -> Result<String> {
    let mut build = workspace.cargo();
    build.args(["test", "--quiet", "--no-run", "--message-format=json"]);
    build.args(["--package", "leakscope-tests", "--test", "suite"]);
    let messages = run::quietly(&mut build).context("the integration tests cannot be built")?;
    json_string(&messages, "executable").context("cargo names no test program")
}

/// Prints what the console showed of the tests; whether all went well.
fn tell(kernel: &Kernel, console: &str) -> bool {
    let lines: Vec<&str> = console.lines().map(str::trim).collect();
    let version = lines
        .iter()
        .find_map(|line| line.split_once("machine: "))
        .map_or("did not come up", |(_, version)| version);
    println!("\n{}: {version}", kernel.package);
    for line in &lines {
        let row = line.starts_with('|') || line.starts_with("SKIPPED ") || line.starts_with("test ");
        if row && !line.starts_with("test result:") {
            println!("  {line}");
        }
    }
    let passed = passed(&lines);
    println!("  {} of {} tests passed", passed, TESTS.len());
    let broken = lines.iter().find_map(|line| line.find("BUG: ").map(|at| &line[at..]));
    if let Some(broken) = broken {
        println!("  the kernel itself failed: {broken}");
    }
    passed == TESTS.len() && broken.is_none()
}

fn passed(console: &[&str]) -> usize {
    console.iter().filter(|line| line.starts_with("test ") && line.ends_with("... ok")).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_that_passed_are_counted() {
        let console =
            ["test waits::wakers ... ok", "test dump::epoll ... FAILED", "test result: ok. 1 passed"];
        assert_eq!(passed(&console), 1);
    }
}

//! What the tests need beyond a build: Debian's packages and components of the toolchain.

use std::{env, time::Duration};

use anyhow::{Result, bail};

use super::apt;
use crate::{
    run,
    workspace::{Workspace, find_in_path, is_root},
};

/// A package, and the program that makes it unnecessary where it is there by other means.
struct Package {
    name: &'static str,
    unless: Option<&'static str>,
}

const fn package(name: &'static str) -> Package {
    Package { name, unless: None }
}

/// What the integration tests compile with, link against, run and drive.
const PACKAGES: &[Package] = &[
    // Fixtures in C and C++, one of them 32-bit; a static program.
    package("gcc"),
    package("g++"),
    package("gcc-multilib"),
    package("make"),
    package("libc6-dev"),
    package("libc6-dbg"),
    package("busybox-static"),
    // Two files with one inode number.
    package("btrfs-progs"),
    // A C library without unwind tables.
    Package { name: "musl-tools", unless: Some("musl-gcc") },
    // Fixtures in Go: 1.19 of Debian 12, and pip for the other releases.
    package("golang-go"),
    Package { name: "python3-pip", unless: Some("pip3") },
    // Allocators.
    package("libjemalloc-dev"),
    package("libgoogle-perftools-dev"),
    package("libmimalloc-dev"),
    // Real programs and their load tools.
    package("redis-server"),
    package("redis-tools"),
    package("nginx"),
    package("apache2-utils"),
    package("python3"),
    package("python3-dev"),
    Package { name: "nodejs", unless: Some("node") },
    package("postgresql"),
    // Brendan Gregg's flamegraph.pl, and what draws the graphs of pprof.
    package("libdevel-nytprof-perl"),
    package("graphviz"),
    // A browser for flame graphs, and what the README reads JSON with.
    Package { name: "chromium", unless: Some("google-chrome") },
    package("jq"),
    // Servers in Go, with their own profiles.
    package("prometheus"),
    package("etcd-server"),
    package("etcd-client"),
    package("wrk"),
    // Second opinions.
    package("bpftrace"),
    package("gdb"),
    package("strace"),
    // Programs that run others inside themselves.
    package("valgrind"),
    package("qemu-user"),
    // Capabilities, one by one.
    package("libcap2-bin"),
    // A terminal for the screens, and what long reports are read in.
    package("tmux"),
    package("less"),
    // The scheduler's worst case.
    Package { name: "linux-perf", unless: Some("perf") },
];

/// Installs what is missing. Without apt it only says what the tests look for.
pub(super) fn provide(workspace: &Workspace) -> Result<()> {
    components(workspace)?;
    let needed: Vec<&str> = PACKAGES
        .iter()
        .filter(|package| package.unless.is_none_or(|program| find_in_path(program).is_none()))
        .map(|package| package.name)
        .collect();
    if !apt::present() {
        if env::var_os("LEAKSCOPE_TESTS_COMPLETE").is_some() {
            bail!("there is no apt-get to install the tests' packages with");
        }
        println!("test packages: no apt-get here; tests skip what they miss of {}", needed.join(" "));
        return Ok(());
    }
    let missing = apt::missing(&needed)?;
    if missing.is_empty() {
        println!("test packages: all {} present", needed.len());
        return Ok(());
    }
    let list = missing.join(" ");
    if !is_root() {
        bail!(
            "the tests need {} more packages; run `sudo apt-get install --no-install-recommends {list}`",
            missing.len()
        );
    }
    eprintln!("test packages: {} of {} missing: {list}", missing.len(), needed.len());
    apt::update(workspace)?;
    apt::install(workspace, &missing, &format!("installing {} packages", missing.len()))?;
    println!("test packages: all {} present", needed.len());
    Ok(())
}

/// Checks for rustfmt and clippy; lets rustup add them.
fn components(workspace: &Workspace) -> Result<()> {
    for (subcommand, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        let works = || run::quietly(workspace.cargo().args([subcommand, "--version"])).is_some();
        if works() {
            continue;
        }
        let mut command = std::process::Command::new("rustup");
        workspace.rust.apply(&mut command).args(["component", "add", component]);
        let log = workspace.logs().join("rustup.log");
        let added =
            run::logged(&format!("rustup: adding {component}"), &mut command, &log, Duration::from_secs(120));
        if added.is_err() || !works() {
            bail!("`cargo {subcommand}` does not work; run `rustup component add {component}`");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_named_once() {
        let mut names: Vec<&str> = PACKAGES.iter().map(|package| package.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), PACKAGES.len());
    }
}

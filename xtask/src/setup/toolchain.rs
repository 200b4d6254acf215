//! Looks for a rustc that has the source of its standard library.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::{
    run,
    rust::{self, OLDEST, Release},
    workspace::{Workspace, find_in_path},
};

/// How long rustup may take to download a component.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(120);

/// A rustc that can build `core` for BPF.
#[derive(Debug)]
pub(super) struct Toolchain {
    pub(super) rustc: PathBuf,
    pub(super) cargo: PathBuf,
    /// First line of `rustc -vV`.
    pub(super) version: String,
    /// Major version of its LLVM.
    pub(super) llvm: u32,
}

/// What `rustc -vV` says.
#[derive(Debug, PartialEq, Eq)]
struct Described {
    version: String,
    release: Release,
    llvm: u32,
}

fn parse_version(text: &str) -> Option<Described> {
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    Some(Described {
        version: text.lines().next()?.to_owned(),
        release: Release::parse(value("release:")?)?,
        llvm: value("LLVM version:")?.split('.').next()?.parse().ok()?,
    })
}

fn describe(rustc: &Path) -> Result<Described> {
    let text = run::quietly(plain(rustc).arg("-vV")).context("it does not run")?;
    parse_version(&text).context("its version cannot be read")
}

/// Checks that a compiler runs, is new enough, and has its source and a cargo.
pub(super) fn inspect(rustc: &Path) -> Result<Toolchain> {
    let described = describe(rustc)?;
    if described.release < OLDEST {
        bail!("{} is older than {}.{}", described.version, OLDEST.major, OLDEST.minor);
    }
    let sysroot = run::quietly(plain(rustc).args(["--print", "sysroot"])).context("it has no sysroot")?;
    let source = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/Cargo.lock");
    if !source.is_file() {
        bail!("{} comes without the source of its library", described.version);
    }
    let sibling = rustc.with_file_name("cargo");
    let cargo = if sibling.is_file() { Some(sibling) } else { find_in_path("cargo") };
    Ok(Toolchain {
        rustc: rustc.to_owned(),
        cargo: cargo.context("there is no cargo beside it")?,
        version: described.version,
        llvm: described.llvm,
    })
}

/// Compilers worth a look, best first.
pub(super) fn candidates() -> Vec<PathBuf> {
    let mut found = rustups();
    for name in env::var_os("PATH").iter().flat_map(env::split_paths) {
        let rustc = name.join("rustc");
        // rustup's proxies only stand for toolchains that are in the list already.
        if rustc.is_file() && !name.join("rustup").is_file() && !found.contains(&rustc) {
            found.push(rustc);
        }
    }
    found
}

/// The compilers of rustup's toolchains: nightly, the active one, the rest.
fn rustups() -> Vec<PathBuf> {
    let list = run::quietly(Command::new("rustup").args(["toolchain", "list", "-v"])).unwrap_or_default();
    let mut found: Vec<PathBuf> = Vec::new();
    for (_, dir) in ranked(&list) {
        let rustc = dir.join("bin/rustc");
        if rustc.is_file() && !found.contains(&rustc) {
            found.push(rustc);
        }
    }
    found
}

/// Names and folders in `rustup toolchain list -v`, best first.
fn ranked(list: &str) -> Vec<(&str, &Path)> {
    let mut found = rust::toolchains(list);
    found.sort_by_key(|&(name, _)| match name {
        _ if name == "nightly" || name.starts_with("nightly-x86_64") => 0,
        _ if list.lines().any(|line| line.starts_with(name) && line.contains("active")) => 1,
        _ if name.starts_with("nightly") => 2,
        _ => 3,
    });
    found
}

/// Lets rustup add the library's source to the best toolchain that is new enough. `Ok(false)` where rustup has
/// none.
pub(super) fn add_source(workspace: &Workspace) -> Result<bool> {
    let Some(list) = run::quietly(Command::new("rustup").args(["toolchain", "list", "-v"])) else {
        return Ok(false);
    };
    let described = |dir: &Path| describe(&dir.join("bin/rustc")).ok();
    let new_enough = |dir: &Path| described(dir).is_some_and(|described| described.release >= OLDEST);
    let Some((name, _)) = ranked(&list).into_iter().find(|(_, dir)| new_enough(dir)) else {
        return Ok(false);
    };
    let mut command = Command::new("rustup");
    command.args(["component", "add", "rust-src", "--toolchain", name]);
    let log = workspace.logs().join("rustup.log");
    run::logged("rustup: adding rust-src", &mut command, &log, DOWNLOAD_LIMIT).map(|()| true)
}

fn plain(rustc: &Path) -> Command {
    let mut command = Command::new(rustc);
    rust::plain(&mut command);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rustc_describes_itself() {
        let text = "rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)\nbinary: rustc\n\
                    host: x86_64-unknown-linux-gnu\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
        let described = parse_version(text).unwrap();
        assert_eq!(described.release, Release { major: 1, minor: 96 });
        assert_eq!(described.llvm, 22);
        assert!(described.version.starts_with("rustc 1.96.0 ("));
        assert_eq!(parse_version("rustc 1.96.0\nrelease: 1.96.0\n"), None);
    }

    #[test]
    fn nightly_comes_first_then_the_active_toolchain() {
        let list = "1.95.0-x86_64-unknown-linux-gnu /r/1.95\n\
                    stable-x86_64-unknown-linux-gnu (active, default) /r/stable\n\
                    nightly-2026-01-01-x86_64-unknown-linux-gnu /r/dated\n\
                    nightly-x86_64-unknown-linux-gnu /r/nightly\n";
        let dirs: Vec<&Path> = ranked(list).into_iter().map(|(_, dir)| dir).collect();
        assert_eq!(dirs, ["/r/nightly", "/r/stable", "/r/dated", "/r/1.95"].map(Path::new));
    }
}

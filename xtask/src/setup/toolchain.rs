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
    workspace::{Workspace, find_in_path},
};

/// How long rustup may take to download a component.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(120);

/// The oldest compiler that builds the workspace, as its `rust-version` says.
pub(super) const OLDEST: Release = Release { major: 1, minor: 95 };

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

/// The part of a version that decides what a compiler can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Release {
    pub(super) major: u32,
    pub(super) minor: u32,
}

impl Release {
    /// Reads `1.96.0`, `1.97.0-nightly`, `1.96.0+dfsg1-1~deb12u2`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        Some(Self { major: parts.next()?.parse().ok()?, minor: parts.next()?.parse().ok()? })
    }
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

/// Checks that a compiler runs, is new enough, and has its source and a cargo.
pub(super) fn inspect(rustc: &Path) -> Result<Toolchain> {
    let text = run::quietly(plain(rustc).arg("-vV")).context("it does not run")?;
    let described = parse_version(&text).context("its version cannot be read")?;
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
    let mut toolchains: Vec<(u32, &str, &Path)> = Vec::new();
    for line in list.lines() {
        let Some((name, rest)) = line.split_once(char::is_whitespace) else { continue };
        let Some(start) = rest.find('/') else { continue };
        let rank = match name {
            _ if name == "nightly" || name.starts_with("nightly-x86_64") => 0,
            _ if rest.contains("active") => 1,
            _ if name.starts_with("nightly") => 2,
            _ => 3,
        };
        toolchains.push((rank, name, Path::new(rest[start..].trim_end())));
    }
    toolchains.sort_by_key(|(rank, ..)| *rank);
    toolchains.into_iter().map(|(_, name, dir)| (name, dir)).collect()
}

/// Lets rustup add the library's source: to nightly if it is there, else to the active toolchain.
/// A new toolchain is not installed: any rustc will do. `Ok(false)` without rustup.
pub(super) fn add_source(workspace: &Workspace) -> Result<bool> {
    let Some(list) = run::quietly(Command::new("rustup").args(["toolchain", "list", "-v"])) else {
        return Ok(false);
    };
    let Some(&(name, _)) = ranked(&list).first() else {
        return Ok(false);
    };
    let mut command = Command::new("rustup");
    command.args(["component", "add", "rust-src", "--toolchain", name]);
    let log = workspace.logs().join("rustup.log");
    run::logged("rustup: adding rust-src", &mut command, &log, DOWNLOAD_LIMIT).map(|()| true)
}

/// A compiler without what the surrounding cargo and rustup tell theirs.
fn plain(rustc: &Path) -> Command {
    let mut command = Command::new(rustc);
    command.env_remove("RUSTUP_TOOLCHAIN").env_remove("LD_LIBRARY_PATH");
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
    fn releases_compare_by_number() {
        let release = |text| Release::parse(text).unwrap();
        assert!(release("1.100.0-nightly") > release("1.96.0+dfsg1-1~deb12u2"));
        assert!(release("1.63.0+dfsg1-2") < OLDEST);
        assert_eq!(Release::parse("(none)"), None);
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

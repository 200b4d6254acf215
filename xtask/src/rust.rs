//! The Rust that builds the workspace.
//!
//! This task is built by the cargo that runs it, which may be older than what the workspace needs: aya sets
//! that. Where it is, a newer toolchain of rustup's builds, lints and tests the workspace, the BPF programs
//! too; if there is none, rustup installs one. A file `rust-toolchain.toml`, which git does not know, then
//! chooses it for every other cargo that is run in the workspace.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::{run, workspace::cargo};

/// The oldest compiler that builds the workspace, as its `rust-version` says.
pub(crate) const OLDEST: Release = Release { major: 1, minor: 98 };

/// The toolchain that is installed where there is none.
const CHANNEL: &str = "1.99.1";

/// What is installed of it.
const COMPONENTS: [&str; 6] = ["--component", "clippy", "--component", "rustfmt", "--component", "rust-src"];

/// How long rustup may take to download it.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(10 * 60);

/// Chooses a toolchain for whoever runs cargo in the workspace.
const OVERRIDE: &str = "rust-toolchain.toml";

/// First line of an override of ours; a user's own is left alone.
const OURS: &str = "# Written by `cargo xtask setup`; can be deleted.";

/// The part of a version that decides what a compiler can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Release {
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

impl Release {
    /// Reads `1.96.0`, `1.97.0-nightly`, `1.96.0+dfsg1-1~deb12u2`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        Some(Self { major: parts.next()?.parse().ok()?, minor: parts.next()?.parse().ok()? })
    }

    /// The release of a compiler by its `-V`: `rustc 1.99.1 (58cf8f9c3 2026-10-13)`.
    fn of(rustc: &mut Command) -> Option<Self> {
        Self::parse(run::quietly(rustc.arg("-V"))?.split(' ').nth(1)?)
    }
}

/// What builds the workspace.
#[derive(Debug)]
pub(crate) enum Rust {
    /// What runs this task.
    Running,
    /// A toolchain of rustup's.
    Rustup {
        name: String,
        /// Its folder.
        directory: PathBuf,
    },
}

impl Rust {
    /// Finds it, or lets rustup install it.
    pub(crate) fn provide(root: &Path, logs: &Path) -> Result<Self> {
        let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let running = Release::of(&mut Command::new(rustc));
        if running.is_some_and(|release| release >= OLDEST) {
            return Ok(Self::Running);
        }
        if let Some(found) = Self::find() {
            found.choose(root)?;
            return Ok(found);
        }
        let mut command = Command::new("rustup");
        command.args(["toolchain", "install", CHANNEL, "--no-self-update", "--profile", "minimal"]);
        command.args(COMPONENTS);
        let advice = format!(
            "leakscope needs Rust {}.{} or newer; run `{}`, or install rustup (https://rustup.rs) first",
            OLDEST.major,
            OLDEST.minor,
            run::shown(&command)
        );
        if run::quietly(Command::new("rustup").arg("--version")).is_none() {
            bail!("there is no rustup to install it with: {advice}");
        }
        run::logged(
            &format!("rustup: installing Rust {CHANNEL}"),
            &mut command,
            &logs.join("rust.log"),
            DOWNLOAD_LIMIT,
        )
        .context(advice)?;
        let found = Self::find().context("rustup does not list what it has installed")?;
        found.choose(root)?;
        Ok(found)
    }

    /// The best of rustup's toolchains that lint and format, too.
    fn find() -> Option<Self> {
        let list = run::quietly(Command::new("rustup").args(["toolchain", "list", "-v"]))?;
        let mut toolchains = toolchains(&list);
        // What is installed here comes first, then releases in the order of rustup, then nightlies.
        toolchains.sort_by_key(|(name, _)| (!name.starts_with(CHANNEL), name.starts_with("nightly")));
        let fits = |directory: &Path| {
            let program = |name: &str| directory.join("bin").join(name);
            ["cargo", "cargo-clippy", "cargo-fmt"].iter().all(|name| program(name).is_file())
                && Release::of(plain(&mut Command::new(program("rustc")))).is_some_and(|r| r >= OLDEST)
        };
        let (name, directory) = toolchains.into_iter().find(|(_, directory)| fits(directory))?;
        Some(Self::Rustup { name: name.to_owned(), directory: directory.to_owned() })
    }

    /// Chooses it for every cargo that is run in the workspace.
    fn choose(&self, root: &Path) -> Result<()> {
        let Self::Rustup { name, .. } = self else { return Ok(()) };
        eprintln!("Rust {}.{} or newer is needed: {name} builds the workspace", OLDEST.major, OLDEST.minor);
        let path = root.join(OVERRIDE);
        let text = format!("{OURS}\n[toolchain]\nchannel = \"{name}\"\n");
        match fs::read_to_string(&path) {
            Ok(there) if !there.starts_with(OURS) || there == text => Ok(()),
            _ => fs::write(&path, text).with_context(|| format!("cannot write {}", path.display())),
        }
    }

    /// What a command needs in its environment to use it.
    pub(crate) fn variables(&self) -> Vec<(&'static str, OsString)> {
        let Self::Rustup { name, directory } = self else { return Vec::new() };
        let programs = directory.join("bin");
        let path = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths([programs.clone()].into_iter().chain(env::split_paths(&path)));
        let mut variables =
            vec![("RUSTUP_TOOLCHAIN", OsString::from(name)), ("CARGO", programs.join("cargo").into())];
        // It fails only for a folder that PATH cannot name; the other two do then.
        variables.extend(path.ok().map(|path| ("PATH", path)));
        variables
    }

    /// Lets a command use it.
    pub(crate) fn apply<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        if let Self::Rustup { .. } = self {
            command.env_remove("LD_LIBRARY_PATH").envs(self.variables());
        }
        command
    }

    pub(crate) fn cargo(&self) -> Command {
        let mut command = match self {
            Self::Running => cargo(None),
            Self::Rustup { directory, .. } => cargo(Some(&directory.join("bin/cargo"))),
        };
        self.apply(&mut command);
        command
    }
}

/// Names and folders in `rustup toolchain list -v`.
pub(crate) fn toolchains(list: &str) -> Vec<(&str, &Path)> {
    let line = |line| -> Option<(&str, &Path)> {
        let (name, rest) = str::split_once(line, char::is_whitespace)?;
        Some((name, Path::new(rest[rest.find('/')?..].trim_end())))
    };
    list.lines().filter_map(line).collect()
}

/// A compiler without what the surrounding cargo and rustup tell theirs.
pub(crate) fn plain(rustc: &mut Command) -> &mut Command {
    rustc.env_remove("RUSTUP_TOOLCHAIN").env_remove("LD_LIBRARY_PATH")
}

/// What a person can do where no toolchain is found.
pub(crate) fn advice() -> String {
    format!("rustup toolchain install {CHANNEL} --profile minimal {}", COMPONENTS.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_compare_by_number() {
        let release = |text| Release::parse(text).unwrap();
        assert!(release("1.100.0-nightly") > release("1.96.0+dfsg1-1~deb12u2"));
        assert!(release("1.95.0") < OLDEST);
        assert!(release(CHANNEL) >= OLDEST);
        assert_eq!(Release::parse("(none)"), None);
    }

    #[test]
    fn toolchains_have_names_and_folders() {
        let list = "stable-x86_64-unknown-linux-gnu (active, default) /r/stable\n\
                    1.99.1-x86_64-unknown-linux-gnu /r/1.99.1\nno installed toolchains\n";
        let found = toolchains(list);
        assert_eq!(found[0], ("stable-x86_64-unknown-linux-gnu", Path::new("/r/stable")));
        assert_eq!(found[1], ("1.99.1-x86_64-unknown-linux-gnu", Path::new("/r/1.99.1")));
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn a_users_override_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let rust = Rust::Rustup { name: "1.99.1".into(), directory: "/r/1.99.1".into() };
        rust.choose(root.path()).unwrap();
        let path = root.path().join(OVERRIDE);
        assert!(fs::read_to_string(&path).unwrap().contains("channel = \"1.99.1\""));
        fs::write(&path, "[toolchain]\nchannel = \"mine\"\n").unwrap();
        rust.choose(root.path()).unwrap();
        assert!(fs::read_to_string(&path).unwrap().contains("mine"));
    }
}

//! Where the workspace and its build output lie, and who runs the task.

use std::{
    env,
    ffi::OsString,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::rust::Rust;

/// The workspace this task belongs to.
pub(crate) struct Workspace {
    /// The folder of the workspace's `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Cargo's target directory.
    pub(crate) target: PathBuf,
    /// What builds it.
    pub(crate) rust: Rust,
}

impl Workspace {
    /// Asks cargo where the workspace and its target directory are, and finds or provides the Rust for it.
    pub(crate) fn open() -> Result<Self> {
        let mut command = cargo(None);
        command.args(["metadata", "--no-deps", "--offline", "--format-version=1"]);
        if let Some(dir) = env::var_os("CARGO_MANIFEST_DIR") {
            command.current_dir(dir);
        }
        let output = command.output().context("cannot run `cargo metadata`")?;
        if !output.status.success() {
            bail!("`cargo metadata` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let json = String::from_utf8(output.stdout).context("`cargo metadata` is not UTF-8")?;
        let member = |key| {
            json_string(&json, key)
                .with_context(|| format!("`cargo metadata` names no {key}"))
                .map(PathBuf::from)
        };
        let (root, target) = (member("workspace_root")?, member("target_directory")?);
        let rust = Rust::provide(&root, &logs(&target))?;
        Ok(Self { root, target, rust })
    }

    /// A cargo command that runs at the workspace's root.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = self.rust.cargo();
        command.current_dir(&self.root);
        command
    }

    /// A program that `cargo build --release` made.
    pub(crate) fn release(&self, name: impl AsRef<Path>) -> PathBuf {
        self.target.join("release").join(name)
    }

    /// Where logs of installations go.
    pub(crate) fn logs(&self) -> PathBuf {
        logs(&self.target)
    }
}

fn logs(target: &Path) -> PathBuf {
    target.join("xtask")
}

/// This cargo, or the one that runs this task, without what that told this task about itself.
pub(crate) fn cargo(program: Option<&Path>) -> Command {
    let running = || env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program.map_or_else(running, OsString::from));
    for (name, _) in env::vars_os() {
        let own =
            name.to_str().is_some_and(|n| n.starts_with("CARGO_PKG_") || n.starts_with("CARGO_MANIFEST_"));
        if own {
            command.env_remove(name);
        }
    }
    command
}

/// The string value of the last `"key":"value"` in cargo's compact JSON.
pub(crate) fn json_string(json: &str, key: &str) -> Option<String> {
    let start = json.rfind(&format!("\"{key}\":\""))? + key.len() + 4;
    let mut value = String::new();
    let mut chars = json[start..].chars();
    loop {
        match chars.next()? {
            '"' => return Some(value),
            '\\' => value.push(chars.next()?),
            c => value.push(c),
        }
    }
}

/// Whether this task runs as root.
pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

/// The first file of this name that `PATH` leads to.
pub(crate) fn find_in_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_strings_are_unescaped_and_the_last_member_counts() {
        let json = r#"{"packages":[{"target_directory":"x"}],"target_directory":"/a \"b\"/t","workspace_root":"/w"}"#;
        assert_eq!(json_string(json, "target_directory").as_deref(), Some("/a \"b\"/t"));
        assert_eq!(json_string(json, "workspace_root").as_deref(), Some("/w"));
        assert_eq!(json_string(json, "nothing"), None);
    }
}

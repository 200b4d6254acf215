//! `.bpf-toolchain`: what setup found, for `leakscope/build.rs` and for the next setup.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// The file's name, at the workspace's root.
const FILE: &str = ".bpf-toolchain";

/// One finding. The file holds a `key=value` line for each member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// The cargo that builds the BPF programs.
    pub(crate) cargo: PathBuf,
    /// The rustc that compiles them.
    pub(crate) rustc: PathBuf,
    /// First line of `rustc -vV`; another one means that the record is out of date.
    pub(crate) rustc_version: String,
    /// Major version of rustc's LLVM.
    pub(crate) llvm: u32,
    /// The bpf-linker.
    pub(crate) linker: PathBuf,
    /// Major version of the linker's LLVM.
    pub(crate) linker_llvm: u32,
}

impl Record {
    /// The record of the workspace at `root`, if there is a whole one.
    pub(crate) fn read(root: &Path) -> Option<Self> {
        Self::parse(&fs::read_to_string(root.join(FILE)).ok()?)
    }

    /// Writes the record, unless it stands there already: a build depends on the file's time.
    pub(crate) fn write(&self, root: &Path) -> Result<()> {
        let path = root.join(FILE);
        let text = self.text();
        if fs::read_to_string(&path).is_ok_and(|old| old == text) {
            return Ok(());
        }
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// rustc's version number.
    pub(crate) fn release(&self) -> &str {
        self.rustc_version.split(' ').nth(1).unwrap_or("of unknown version")
    }

    fn text(&self) -> String {
        format!(
            "# Written by `cargo xtask setup`.\ncargo={}\nrustc={}\nrustc_version={}\nllvm={}\nlinker={}\nlinker_llvm={}\n",
            self.cargo.display(),
            self.rustc.display(),
            self.rustc_version,
            self.llvm,
            self.linker.display(),
            self.linker_llvm,
        )
    }

    fn parse(text: &str) -> Option<Self> {
        let value = |key: &str| {
            text.lines()
                .filter_map(|line| line.split_once('='))
                .find(|(k, _)| *k == key)
                .map(|(_, v)| v.to_owned())
        };
        Some(Self {
            cargo: value("cargo")?.into(),
            rustc: value("rustc")?.into(),
            rustc_version: value("rustc_version")?,
            llvm: value("llvm")?.parse().ok()?,
            linker: value("linker")?.into(),
            linker_llvm: value("linker_llvm")?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let record = Record {
            cargo: "/usr/bin/cargo".into(),
            rustc: "/usr/bin/rustc".into(),
            rustc_version: "rustc 1.96.0 (ac68faa20 2026-05-25)".into(),
            llvm: 22,
            linker: "/a=b/bpf-linker".into(),
            linker_llvm: 23,
        };
        assert_eq!(Record::parse(&record.text()), Some(record.clone()));
        assert_eq!(record.release(), "1.96.0");
        assert_eq!(Record::parse("cargo=/usr/bin/cargo\n"), None);
    }
}

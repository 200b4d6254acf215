//! What is distributed, and where it goes.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};

use crate::run;
use crate::workspace::Workspace;

/// A file.
pub(super) struct Entry {
    /// Where Debian wants it, from the root; empty if not at all.
    pub(super) installed: String,
    /// Where it lies in the tarball; empty if not at all.
    pub(super) packed: String,
    pub(super) bytes: Vec<u8>,
    pub(super) mode: u32,
}

/// Completions: the shell, Debian's place for them, and the place in the tarball.
const COMPLETIONS: [(&str, &str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/leakscope", "completions/leakscope.bash"),
    ("zsh", "usr/share/zsh/vendor-completions/_leakscope", "completions/_leakscope"),
    ("fish", "usr/share/fish/vendor_completions.d/leakscope.fish", "completions/leakscope.fish"),
];

/// Files of the repository that go along.
const DOCS: [&str; 6] = [
    "README.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "leakscope/schema/report.schema.json",
    "leakscope/schema/diff.schema.json",
    "leakscope/schema/top.schema.json",
];

/// Debian's file on rights.
const COPYRIGHT: &str = "\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: leakscope

Files: *
Copyright: the leakscope developers
License: MIT or Apache-2.0
 The texts are in LICENSE-MIT and LICENSE-APACHE beside this file.
";

/// Everything; manual pages and completions are made by the program itself.
pub(super) fn generate(workspace: &Workspace, binary: &Path) -> Result<Vec<Entry>> {
    let mut entries = vec![Entry {
        installed: "usr/bin/leakscope".to_owned(),
        packed: "leakscope".to_owned(),
        bytes: read(binary)?,
        mode: 0o755,
    }];
    let mut file = |installed: String, packed: String, bytes: Vec<u8>| {
        entries.push(Entry { installed, packed, bytes, mode: 0o644 });
    };
    for (shell, installed, packed) in COMPLETIONS {
        let text = run::quietly(Command::new(binary).args(["completions", shell]));
        let text = text.with_context(|| format!("`leakscope completions {shell}` failed"))?;
        file(installed.to_owned(), packed.to_owned(), text.into_bytes());
    }
    let pages = tempfile::tempdir().context("no place for manual pages")?;
    run::quietly(Command::new(binary).arg("man").arg(pages.path())).context("`leakscope man` failed")?;
    for (name, page) in directory(pages.path())? {
        let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
        gzip.write_all(&page)?;
        // Debian compresses them; in the tarball they can be read as they are.
        file(format!("usr/share/man/man1/{name}.gz"), String::new(), gzip.finish()?);
        file(String::new(), format!("man/man1/{name}"), page);
    }
    for name in DOCS {
        let bytes = read(&workspace.root.join(name))?;
        let short = name.rsplit('/').next().unwrap_or(name);
        file(format!("usr/share/doc/leakscope/{short}"), short.to_owned(), bytes);
    }
    file("usr/share/doc/leakscope/copyright".to_owned(), String::new(), COPYRIGHT.into());
    Ok(entries)
}

/// The files of a directory by name.
fn directory(path: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        files.push((entry.file_name().to_string_lossy().into_owned(), read(&entry.path())?));
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

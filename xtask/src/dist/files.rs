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

/// Files of the repository that go along. They lie as they lie there, so that links between them lead somewhere.
const DOCS: [&str; 9] = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "leakscope/schema/report.schema.json",
    "leakscope/schema/diff.schema.json",
    "leakscope/schema/top.schema.json",
];

/// The user documentation: every file in it goes along.
const GUIDES: &str = "leakscope/docs";

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
    for (name, bytes) in documents(&workspace.root)? {
        file(format!("usr/share/doc/leakscope/{name}"), name, bytes);
    }
    file("usr/share/doc/leakscope/copyright".to_owned(), String::new(), COPYRIGHT.into());
    Ok(entries)
}

/// What there is to read, by its path in the repository.
fn documents(root: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let single = DOCS.iter().map(|name| Ok(((*name).to_owned(), read(&root.join(name))?)));
    let mut files = single.collect::<Result<Vec<_>>>()?;
    let guides = directory(&root.join(GUIDES))?;
    files.extend(guides.into_iter().map(|(name, bytes)| (format!("{GUIDES}/{name}"), bytes)));
    Ok(files)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_readme_links_to_goes_along() -> Result<()> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the repository")?;
        let files = documents(root)?;
        let readme = String::from_utf8(read(&root.join("README.md"))?)?;
        let links = readme.split("](").skip(1).filter_map(|part| part.split([')', '#']).next());
        let links: Vec<&str> = links.filter(|link| !link.contains("://")).collect();
        assert!(links.len() > 8, "{links:?}");
        for link in links {
            assert!(files.iter().any(|(name, _)| name == link), "{link} does not go along");
        }
        Ok(())
    }
}

//! The tarball and the Debian package. Both are the same to the byte if their files are.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};
use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType, Header};

use super::files::Entry;

type Archive<W> = Builder<GzEncoder<W>>;

/// Writes the tarball: everything in one directory.
pub(super) fn tarball(path: &Path, directory: &str, entries: &[Entry]) -> Result<()> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut archive = archive(file);
    for entry in entries.iter().filter(|entry| !entry.packed.is_empty()) {
        add(&mut archive, &format!("{directory}/{}", entry.packed), &entry.bytes, entry.mode)?;
    }
    finish(archive)?.sync_all().with_context(|| format!("cannot write {}", path.display()))
}

/// Writes the Debian package: an `ar` archive of its format's version, what dpkg must know, and the files.
pub(super) fn package(path: &Path, version: &str, entries: &[Entry]) -> Result<()> {
    let installed: Vec<&Entry> = entries.iter().filter(|entry| !entry.installed.is_empty()).collect();
    let mut data = archive(Vec::new());
    let mut directories = BTreeSet::new();
    for entry in &installed {
        let parents = Path::new(&entry.installed).ancestors().skip(1).filter(|p| !p.as_os_str().is_empty());
        directories.extend(parents.map(|parent| parent.display().to_string()));
    }
    for directory in directories {
        let mut header = header(0o755, 0);
        header.set_entry_type(EntryType::Directory);
        data.append_data(&mut header, format!("./{directory}/"), io::empty())?;
    }
    for entry in &installed {
        add(&mut data, &format!("./{}", entry.installed), &entry.bytes, entry.mode)?;
    }
    let mut control = archive(Vec::new());
    add(&mut control, "./control", control_file(version, &installed).as_bytes(), 0o644)?;
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut whole = ar::Builder::new(file);
    for (name, bytes) in [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar.gz", finish(control)?),
        ("data.tar.gz", finish(data)?),
    ] {
        let mut header = ar::Header::new(name.into(), bytes.len() as u64);
        header.set_mode(0o100_644);
        whole.append(&header, bytes.as_slice())?;
    }
    whole.into_inner()?.sync_all().with_context(|| format!("cannot write {}", path.display()))
}

/// What dpkg must know. Nothing is needed: the program is static.
fn control_file(version: &str, entries: &[&Entry]) -> String {
    let size: u64 = entries.iter().map(|entry| (entry.bytes.len() as u64).div_ceil(1024)).sum();
    format!(
        "Package: leakscope\n\
         Version: {version}\n\
         Architecture: amd64\n\
         Maintainer: the leakscope developers <leakscope@localhost>\n\
         Installed-Size: {size}\n\
         Section: devel\n\
         Priority: optional\n\
         Description: finds what holds the memory of a running process, from outside\n \
         Traces any running process on x86_64 Linux with eBPF: which code holds its\n \
         memory, and which of its threads or goroutines are stuck where. No code\n \
         change, no restart, no pause. Needs Linux 5.18 or newer with BTF.\n"
    )
}

fn archive<W: Write>(to: W) -> Archive<W> {
    Builder::new(GzBuilder::new().mtime(0).write(to, Compression::best()))
}

fn finish<W: Write>(archive: Archive<W>) -> io::Result<W> {
    archive.into_inner()?.finish()
}

/// A header that belongs to root and to no time.
fn header(mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn add<W: Write>(archive: &mut Archive<W>, path: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
    archive.append_data(&mut header(mode, bytes.len() as u64), path, bytes)
}

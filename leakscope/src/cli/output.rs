//! Where reports go.
//!
//! A new or regular file is written beside itself and renamed, so that a reader never sees half a
//! report; a device, FIFO or symlink is opened and written; a directory gets a file for each
//! report, and keeps the newest ones only.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::Failure;

/// Reports that a directory keeps.
const SERIES: usize = 100;

/// What `-o` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Standard output.
    Stdout,
    /// A file; each report replaces the one before.
    File(PathBuf),
    /// A directory with a series of reports.
    Directory(PathBuf),
}

impl Destination {
    /// Reads a path: `-` is standard output; a trailing slash or an existing directory, a series.
    pub fn from_path(path: PathBuf) -> Self {
        if path.as_os_str() == "-" {
            Self::Stdout
        } else if path.as_os_str().as_encoded_bytes().ends_with(b"/") || path.is_dir() {
            Self::Directory(path)
        } else {
            Self::File(path)
        }
    }

    /// A name for messages.
    pub fn name(&self) -> String {
        match self {
            Self::Stdout => "standard output".to_owned(),
            Self::File(path) | Self::Directory(path) => path.display().to_string(),
        }
    }
}

/// An output that was found writable.
#[derive(Debug)]
pub struct Output {
    kind: Kind,
    name: String,
}

#[derive(Debug)]
enum Kind {
    Stdout,
    /// Replaced by renaming.
    Replace(PathBuf),
    /// Opened once and written through.
    Open(File),
    Series {
        directory: PathBuf,
        extension: &'static str,
        written: Vec<PathBuf>,
        next: u64,
    },
}

impl Output {
    /// Checks the destination before anything is attached. `extension` is for files of a series.
    /// With `appends` a file takes the reports one after another, as a pipe does.
    pub fn open(destination: &Destination, extension: &'static str, appends: bool) -> Result<Self, Failure> {
        let name = destination.name();
        let failed = |e| Failure::output(&name, e);
        let kind = match destination {
            Destination::Stdout => Kind::Stdout,
            Destination::File(path) => match std::fs::symlink_metadata(path) {
                Ok(metadata) if appends && !metadata.is_dir() => Kind::Open(create(path).map_err(failed)?),
                Err(_) if appends => Kind::Open(create(path).map_err(failed)?),
                Ok(metadata) if is_link_to_file(path, &metadata) => {
                    let real = std::fs::canonicalize(path).map_err(failed)?;
                    tempfile::tempfile_in(parent(&real)).map_err(failed)?;
                    Kind::Replace(real)
                }
                Ok(metadata) if is_special(&metadata) => Kind::Open(create(path).map_err(failed)?),
                Ok(metadata) if metadata.is_dir() => {
                    return Err(failed(io::Error::from(io::ErrorKind::IsADirectory)));
                }
                _ => {
                    // Made and removed again: the directory takes files from us.
                    tempfile::tempfile_in(parent(path)).map_err(failed)?;
                    Kind::Replace(path.clone())
                }
            },
            Destination::Directory(path) => {
                std::fs::create_dir_all(path).map_err(failed)?;
                tempfile::tempfile_in(path).map_err(failed)?;
                series(path.clone(), extension).map_err(failed)?
            }
        };
        Ok(Self { kind, name })
    }

    /// Whether tables written here are read on a terminal.
    pub fn is_terminal(&self) -> bool {
        match &self.kind {
            Kind::Stdout => io::stdout().is_terminal(),
            Kind::Open(file) => file.is_terminal(),
            Kind::Replace(_) | Kind::Series { .. } => false,
        }
    }

    /// Whether this is standard output.
    pub fn is_stdout(&self) -> bool {
        matches!(self.kind, Kind::Stdout)
    }

    /// Writes one report.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let written = match &mut self.kind {
            Kind::Stdout => write_stdout(bytes),
            Kind::Open(file) => file.write_all(bytes).and_then(|()| file.flush()),
            Kind::Replace(path) => replace(path, bytes),
            Kind::Series { directory, extension, written, next } => {
                let path = directory.join(format!("report-{:06}.{extension}", *next));
                *next += 1;
                let result = replace(&path, bytes);
                written.push(path);
                if written.len() > SERIES {
                    // The oldest of ours; if somebody moved it away, so much the better.
                    let _ = std::fs::remove_file(written.remove(0));
                }
                result
            }
        };
        written.map_err(|e| Failure::output(&self.name, e))
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).open(path)
}

fn write_stdout(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

fn is_link_to_file(path: &Path, metadata: &Metadata) -> bool {
    metadata.is_symlink() && std::fs::metadata(path).is_ok_and(|target| target.is_file())
}

/// Goes on after the reports that an earlier run has left.
fn series(directory: PathBuf, extension: &'static str) -> io::Result<Kind> {
    let number = |path: &Path| -> Option<u64> {
        let name = path.file_name()?.to_str()?;
        name.strip_prefix("report-")?.strip_suffix(extension)?.strip_suffix('.')?.parse().ok()
    };
    let mut found: Vec<(u64, PathBuf)> = std::fs::read_dir(&directory)?
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            Some((number(&path)?, path))
        })
        .collect();
    found.sort();
    let next = found.last().map_or(1, |(n, _)| n.saturating_add(1));
    let written = found.into_iter().map(|(_, path)| path).collect();
    Ok(Kind::Series { directory, extension, written, next })
}

fn is_special(metadata: &Metadata) -> bool {
    let kind = metadata.file_type();
    kind.is_symlink() || kind.is_char_device() || kind.is_block_device() || kind.is_fifo() || kind.is_socket()
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes beside `path`, then renames. The file keeps the mode of the one it replaces; a new one
/// gets what the umask leaves of 0666.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mode = std::fs::metadata(path).map(|m| m.permissions().mode() & 0o7777);
    let mut file = tempfile::Builder::new()
        .prefix(".leakscope-")
        .permissions(std::fs::Permissions::from_mode(0o666))
        .tempfile_in(parent(path))?;
    file.write_all(bytes)?;
    if let Ok(mode) = mode {
        file.as_file().set_permissions(std::fs::Permissions::from_mode(mode))?;
    }
    file.persist(path).map_err(|e| e.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_replaced_whole_and_keep_their_mode() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("report.json");
        std::fs::write(&path, "old").expect("write");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("chmod");
        let mut output = Output::open(&Destination::from_path(path.clone()), "json", false).expect("open");
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "old", "checking changes nothing");
        output.write(b"new").expect("write");
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "new");
        assert_eq!(std::fs::metadata(&path).expect("stat").permissions().mode() & 0o7777, 0o640);
        assert_eq!(std::fs::read_dir(directory.path()).expect("list").count(), 1, "nothing is left behind");
    }

    #[test]
    fn a_symlink_is_written_through() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        std::fs::write(&file, "old").expect("write");
        std::os::unix::fs::symlink(&file, &link).expect("symlink");
        Output::open(&Destination::from_path(link.clone()), "json", false)
            .expect("open")
            .write(b"new")
            .expect("write");
        assert!(std::fs::symlink_metadata(&link).expect("stat").file_type().is_symlink());
        assert_eq!(std::fs::read_to_string(&file).expect("read"), "new");
    }

    #[test]
    fn a_series_is_bounded() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("series/");
        let mut output = Output::open(&Destination::from_path(path.clone()), "json", false).expect("open");
        for _ in 0..SERIES + 5 {
            output.write(b"{}").expect("write");
        }
        assert_eq!(std::fs::read_dir(&path).expect("list").count(), SERIES);
        assert!(path.join(format!("report-{:06}.json", SERIES + 5)).exists());
        let mut next_run = Output::open(&Destination::from_path(path.clone()), "json", false).expect("open");
        next_run.write(b"{}").expect("write");
        assert!(path.join(format!("report-{:06}.json", SERIES + 6)).exists(), "a new run goes on counting");
        assert_eq!(std::fs::read_dir(&path).expect("list").count(), SERIES);
    }

    #[test]
    fn what_cannot_be_written_is_refused_early() {
        let bad = Output::open(&Destination::from_path("/nonexistent/x".into()), "json", false)
            .expect_err("refused");
        assert_eq!(bad.code, 1);
        assert!(bad.to_string().contains("/nonexistent/x"), "{bad}");
        let mut full =
            Output::open(&Destination::from_path("/dev/full".into()), "json", false).expect("opens");
        assert!(full.write(b"x").expect_err("full").to_string().contains("/dev/full"));
        assert_eq!(Destination::from_path("-".into()), Destination::Stdout);
    }
}

//! Where reports go.
//!
//! A new or regular file is written beside itself and renamed, so that a reader never sees half a
//! report; a device or FIFO is opened and written; a directory gets a file for each
//! report named by its time, and may keep the newest ones only: what is not named so, or was made by others,
//! is never removed. One leakscope at a time writes to it, so that none removes what another one makes.
//! What is written to a file whose name ends in `.zst` is compressed as Zstandard, each report a frame.
//! [`crate::files`] opens and makes them all, and says whose files are written to.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::path::PathBuf;

use time::OffsetDateTime;

use super::Failure;
use super::pager::Pager;
use super::progress::Progress;
use crate::files::{self, Directory, Fresh};
use crate::report::series;
use crate::zstandard;

/// Reports that a directory keeps if nothing else is said.
pub(super) const KEPT: u32 = 60;

/// What `-o` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Standard output.
    Stdout,
    /// A file; each report replaces the one before.
    File(PathBuf),
    /// A directory with a series of reports, and how many of them it keeps; all if `None`.
    Directory(PathBuf, Option<usize>),
}

impl Destination {
    /// Reads a path: `-` is standard output; a trailing slash or an existing directory, a series.
    pub fn from_path(path: PathBuf) -> Self {
        if path.as_os_str() == "-" {
            Self::Stdout
        } else if path.as_os_str().as_encoded_bytes().ends_with(b"/") || files::is_directory(&path) {
            Self::Directory(path, None)
        } else {
            Self::File(path)
        }
    }

    /// The same, for what is written once: a directory is refused.
    pub(super) fn of_one(path: PathBuf) -> Result<Self, Failure> {
        match Self::from_path(path) {
            Self::Directory(path, _) => Err(Failure::usage(format!(
                "-o {}: that is a directory, where `attach` and `dump` keep their reports; name a file in it",
                path.display()
            ))),
            one => Ok(one),
        }
    }

    /// The same; a directory keeps so many reports, or `usually` many.
    pub(super) fn keeping(self, most: Option<u32>, usually: Option<u32>) -> Result<Self, Failure> {
        match (self, most) {
            (Self::Directory(path, _), _) => {
                Ok(Self::Directory(path, most.or(usually).map(|most| most as usize)))
            }
            (_, Some(most)) => Err(Failure::usage(format!(
                "--keep {most}: only a directory keeps several reports; write to it with -o DIR/"
            ))),
            (any, None) => Ok(any),
        }
    }

    /// A name for messages.
    pub fn name(&self) -> String {
        match self {
            Self::Stdout => "standard output".to_owned(),
            Self::File(path) | Self::Directory(path, _) => path.display().to_string(),
        }
    }
}

/// An output that was found writable.
#[derive(Debug)]
pub struct Output {
    kind: Kind,
    name: String,
    compresses: bool,
    /// What shows the last text; it is waited for when this is dropped.
    pager: Option<Pager>,
}

#[derive(Debug)]
enum Kind {
    Stdout,
    /// Replaced by renaming.
    Replace(Fresh),
    /// Opened once and written through.
    Open(File),
    Series {
        directory: Directory,
        extension: &'static str,
        keep: Option<usize>,
        newest: Option<OffsetDateTime>,
        /// The directory, locked.
        _lock: File,
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
            Destination::File(path) => match files::output(path).map_err(failed)? {
                files::Output::Fresh(fresh) if appends => Kind::Open(fresh.begin().map_err(failed)?),
                files::Output::Fresh(fresh) => Kind::Replace(fresh),
                files::Output::Stream(file) => Kind::Open(file),
                files::Output::Waiting(fifo) => {
                    Progress::new(0).say(&format!("leakscope: waiting until somebody reads {name}"));
                    Kind::Open(fifo.open().map_err(failed)?)
                }
            },
            Destination::Directory(path, keep) => {
                let directory = Directory::for_reports(path).map_err(failed)?;
                directory.check().map_err(failed)?;
                let Some(lock) = directory.lock().map_err(failed)? else {
                    return Err(Failure::usage(format!(
                        "-o {name}: another leakscope writes its reports there, or another process has locked the \
                         directory (one that was killed may still be ending: try again); take a directory for each"
                    )));
                };
                // Goes on after the reports that an earlier run has left.
                let newest = directory.files(true).map_err(failed)?;
                let newest = series::reports(newest, extension).pop().map(|(at, _)| at);
                Kind::Series { directory, extension, keep: *keep, newest, _lock: lock }
            }
        };
        let compresses = matches!(destination, Destination::File(path) if path.as_os_str().as_encoded_bytes().ends_with(zstandard::ENDING.as_bytes()));
        Ok(Self { kind, name, compresses, pager: None })
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

    /// Shows a text on the terminal, through a pager if it has more lines than the screen.
    pub fn show(&mut self, text: &[u8]) -> Result<(), Failure> {
        if self.is_stdout() && exceeds_screen(text) {
            self.pager = Pager::show(text);
        }
        if self.pager.is_some() { Ok(()) } else { self.write(text) }
    }

    /// Writes one report.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.write_by(&mut |out| out.write_all(bytes))
    }

    /// Writes one report as it is made. It is not held in memory, and what it tells of its cost is with its writing.
    pub fn write_by(&mut self, write: Writing<'_>) -> Result<(), Failure> {
        if !self.compresses {
            return self.write_plain(write);
        }
        self.write_plain(&mut |out| zstandard::compress(out, write))
    }

    fn write_plain(&mut self, write: Writing<'_>) -> Result<(), Failure> {
        let written = match &mut self.kind {
            Kind::Stdout => buffered(&mut io::stdout().lock(), write),
            Kind::Open(file) => buffered(file, write),
            Kind::Replace(fresh) => fresh.write_by(&mut |file| buffered(file, write)),
            Kind::Series { directory, extension, keep, newest, .. } => {
                let at = series::next(OffsetDateTime::now_utc(), *newest);
                *newest = Some(at);
                let name = series::name(at, extension);
                let report = directory.report(name.as_ref());
                let written = report.and_then(|report| report.write_by(&mut |file| buffered(file, write)));
                written.and_then(|()| keep.map_or(Ok(()), |keep| prune(directory, extension, keep)))
            }
        };
        written.map_err(|e| Failure::output(&self.name, e))
    }
}

/// Writes something to where it is asked to.
pub(super) type Writing<'a> = &'a mut dyn FnMut(&mut dyn Write) -> io::Result<()>;

/// Bytes that are written at once.
const BUFFER: usize = 1 << 16;

fn buffered(out: &mut dyn Write, write: Writing<'_>) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(BUFFER, out);
    write(&mut out)?;
    out.flush()
}

/// Whether a text has more lines than the terminal.
pub(super) fn exceeds_screen(text: &[u8]) -> bool {
    let rows = terminal_size::terminal_size().map_or(usize::MAX, |(_, rows)| rows.0.into());
    text.iter().filter(|&&byte| byte == b'\n').count() >= rows
}

/// Removes the oldest of our reports in a series until so many are left. One that somebody else has removed in
/// the meantime is gone all the same.
fn prune(directory: &Directory, extension: &str, keep: usize) -> io::Result<()> {
    let reports = series::reports(directory.files(true)?, extension);
    reports[..reports.len().saturating_sub(keep)].iter().try_for_each(|(_, name)| directory.remove(name))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

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

    /// A pipe or a file of JSON lines takes one report after the other.
    #[test]
    fn what_is_named_so_is_compressed() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("reports.jsonl.zst");
        let mut output = Output::open(&Destination::File(path.clone()), "jsonl", true).expect("open");
        for text in ["one\n", "two\n"] {
            output.write(text.as_bytes()).expect("write");
        }
        let file = File::open(&path).expect("it is there");
        let text = io::read_to_string(zstandard::Decoder::new(io::BufReader::new(file))).expect("Zstandard");
        assert_eq!(text, "one\ntwo\n");
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
    fn a_series_is_bounded_and_removes_nothing_else() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("series/");
        std::fs::create_dir(&path).expect("directory");
        let others = ["report-000001.json", "report-20010101T000000.000Z.json.bak", "notes.txt"];
        others.iter().for_each(|name| std::fs::write(path.join(name), "mine").expect("write"));
        std::os::unix::fs::symlink("/etc/passwd", path.join("report-20010101T000000.000Z.json"))
            .expect("symlink");
        std::fs::write(path.join("report-20010101T000000.000Z.txt"), "another format").expect("write");
        let here = others.len() + 2;
        let destination = Destination::from_path(path.clone()).keeping(Some(5), None).expect("a directory");
        let files = || {
            let names = Directory::open(&path).and_then(|directory| directory.files(true)).expect("files");
            series::reports(names, "json")
        };
        for run in 0..2 {
            let mut output = Output::open(&destination, "json", false).expect("open");
            for n in 0..7 {
                output.write(format!("{run} {n}").as_bytes()).expect("write");
            }
        }
        let kept: Vec<String> =
            files().iter().map(|(_, name)| std::fs::read_to_string(path.join(name)).expect("read")).collect();
        assert_eq!(kept, ["1 2", "1 3", "1 4", "1 5", "1 6"], "the newest, in the order of their names");
        assert_eq!(std::fs::read_dir(&path).expect("list").count(), here + 5);
        let refused = Destination::from_path("file".into()).keeping(Some(5), None).expect_err("no directory");
        assert!(refused.to_string().contains("-o DIR/"), "{refused}");
        let refused = Destination::of_one(path.clone()).expect_err("a directory");
        assert!(refused.to_string().contains("name a file in it"), "{refused}");
        // Nothing is removed unless somebody says so.
        let all = Destination::from_path(path.clone()).keeping(None, None).expect("a directory");
        let mut output = Output::open(&all, "json", false).expect("open");
        output.write(b"one more").expect("write");
        assert_eq!(files().len(), 6);
        let second = Output::open(&all, "json", false).expect_err("another one writes there");
        assert!(second.to_string().contains("another leakscope"), "{second}");
        assert_eq!(
            Destination::from_path(path).keeping(None, Some(7)).ok(),
            Some(match all {
                Destination::Directory(path, None) => Destination::Directory(path, Some(7)),
                other => panic!("{other:?}"),
            })
        );
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

//! Sessions on recordings: neither root nor a target is needed.
//!
//! `recorded/grows` was made of `tests/programs/c/grows.c`, told to grow after some seconds:
//! `leakscope attach PID --duration 9 --record DIR`. When the format changes it is made anew so, and
//! LEAKSCOPE_BLESS=1 writes the text that its table is compared with.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;
use crate::export::table::{self, TableStyle};

/// Keeps the reports.
#[derive(Default)]
struct Kept {
    reports: Vec<Report>,
    warnings: Vec<String>,
}

impl Watcher for Kept {
    fn detail(&mut self, _line: &str) {}

    fn warn(&mut self, line: &str) {
        self.warnings.push(line.to_owned());
    }

    fn attached(&mut self, _pid: u32, _probes: usize) {
        panic!("nothing is attached to");
    }

    fn interrupted(&mut self, _removal: Duration) {
        panic!("nothing is to be removed");
    }

    fn report(&mut self, report: &Report) -> Result<bool, Failure> {
        self.reports.push(report.clone());
        Ok(true)
    }
}

fn recorded() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/session/recorded/grows")
}

fn replayed(directory: &Path) -> Result<Kept, Failure> {
    let mut kept = Kept::default();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(replay(directory, &Charging::default(), &mut kept))?;
    Ok(kept)
}

/// A copy of the recording with another tape.
fn with_tape(tape: &[u8]) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a directory");
    fs::copy(recorded().join("recording.json"), copy.path().join("recording.json")).expect("a copy");
    fs::write(copy.path().join("tape.gz"), tape).expect("it can be written");
    copy
}

#[test]
fn from_the_account_to_the_table() {
    let Kept { reports, warnings } = replayed(&recorded()).expect("it is replayed");
    assert_eq!(warnings, Vec::<String>::new());
    let [report] = reports.as_slice() else { panic!("{} reports", reports.len()) };
    assert!(report.heap.as_ref().is_some_and(|heap| heap.exact), "nothing was lost");
    let mut text = Vec::new();
    let style = TableStyle::plain(120);
    table::write(report, &style, &mut text).expect("a Vec takes everything");
    let text = String::from_utf8(text).expect("UTF-8");
    let path = recorded().join("table.txt");
    if std::env::var_os("LEAKSCOPE_BLESS").is_some() {
        fs::write(&path, &text).expect("the expected text can be written");
    }
    assert!(fs::read_to_string(&path).is_ok_and(|expected| expected == text), "otherwise than\n{text}");
}

#[test]
fn what_is_no_recording_is_told_so() {
    let told = |directory: &Path| match replayed(directory) {
        Ok(_) => panic!("it is replayed"),
        Err(failure) => failure.to_string(),
    };
    let empty = tempfile::tempdir().expect("a directory");
    assert!(told(empty.path()).contains("holds no recording: there is no recording.json"));
    assert!(told(&empty.path().join("missing")).contains("cannot read the recording"));
    let about = empty.path().join("recording.json");
    fs::write(&about, "{}").expect("it can be written");
    assert!(told(empty.path()).contains("missing field"));
    let later = r#"{"schema":"leakscope.recording","version":99,"leakscope_version":"9.1"}"#;
    fs::write(&about, later).expect("it can be written");
    assert!(told(empty.path()).contains("version 99 (leakscope 9.1)"), "{}", told(empty.path()));
    assert!(told(with_tape(b"").path()).contains("ends at line 1"));
    assert!(told(with_tape(b"this is no archive at all").path()).contains("damaged at line 1"));
}

#[test]
fn nothing_is_recorded_over() {
    let place = tempfile::tempdir().expect("a directory");
    fs::write(place.path().join("kept"), "").expect("it can be written");
    let error = Recorder::create(place.path()).expect_err("it is refused").to_string();
    assert!(error.contains("it is not empty"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What is cut off or damaged is an error that tells the line, or the rest was not needed.
    #[test]
    fn damaged_tapes(cut in 0usize..1 << 14, at in 0usize..1 << 14, bits in 0u8..) {
        let mut tape = fs::read(recorded().join("tape.gz")).expect("the tape");
        if let Some(byte) = tape.get_mut(at) {
            *byte ^= bits;
        }
        tape.truncate(cut);
        if let Err(failure) = replayed(with_tape(&tape).path()) {
            let told = failure.to_string();
            prop_assert!(told.contains("at line") || told.contains("not listed"), "{told}");
        }
    }

    /// The same for lines that are well compressed.
    #[test]
    fn damaged_lines(line in 0usize..50, at in 0usize..4000, byte in any::<u8>(), cut in any::<bool>()) {
        use std::io::{Read as _, Write as _};
        let tape = fs::File::open(recorded().join("tape.gz")).expect("the tape");
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(tape).read_to_end(&mut text).expect("it is whole");
        let mut lines: Vec<Vec<u8>> = text.split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
        let line = line % lines.len();
        let at = at % lines[line].len();
        lines[line][at] = byte;
        if cut {
            lines.truncate(line + 1);
        }
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(&lines.concat()).expect("a Vec takes everything");
        let copy = with_tape(&packed.finish().expect("a Vec takes everything"));
        if let Err(failure) = replayed(copy.path()) {
            let told = failure.to_string();
            prop_assert!(told.contains("at line") || told.contains("not listed"), "{told}");
        }
    }
}

//! Where the report goes and in what form.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use leakscope_tests::process::{poll, run_ok};
use leakscope_tests::programs::{CASES, PROCESSES, SITES_C};
use leakscope_tests::report::names;
use leakscope_tests::scope::{Finished, Invocation, read_report};
use leakscope_tests::{Fixture, Leakscope, Report};

const MINUTE: Duration = Duration::from_secs(60);

/// Attaches as the function says, to a fixture that leaves 30 KiB at one site.
fn with_one_site(attach: impl FnOnce(u32) -> Result<Invocation>) -> Result<Finished> {
    let mut fixture = Fixture::start(&CASES, &["one-site"])?;
    let scope = attach(fixture.pid())?.start()?;
    fixture.go()?;
    scope.finish()
}

#[track_caller]
fn assert_one_site(report: &Report) {
    assert_eq!(report.sites_through("site_malloc").map(|site| site.live().bytes).sum::<i64>(), 30720);
}

/// The file names in a directory.
fn listing(place: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(place)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// What goes to a pipe has no colours, is no wider than the text needs, and holds the answer first.
#[test]
fn table_in_a_pipe() -> Result<()> {
    let finished = with_one_site(|pid| Ok(Leakscope::attach_plain(pid).args(["--format", "table"])))?;
    finished.assert_done();
    assert!(!finished.stdout.contains('\x1b'), "{}", finished.stdout);
    assert!(finished.stdout.contains("site_malloc"), "{}", finished.stdout);
    assert!(finished.stdout.contains("cases.c:"), "the blame frame has its line: {}", finished.stdout);
    assert!(
        finished.stdout.contains("30.0 KiB") || finished.stdout.contains("30 KiB"),
        "{}",
        finished.stdout
    );
    assert!(finished.stdout.contains("RSS"), "{}", finished.stdout);
    assert!(!finished.stdout.contains("attached to PID"), "progress goes to stderr");
    Ok(())
}

#[test]
fn table_is_the_default() -> Result<()> {
    let finished = with_one_site(|pid| Ok(Leakscope::attach_plain(pid)))?;
    finished.assert_done();
    assert!(
        finished.stdout.contains("site_malloc") && !finished.stdout.starts_with('{'),
        "{}",
        finished.stdout
    );
    Ok(())
}

/// script(1) gives a terminal: colours there, except under NO_COLOR.
#[test]
fn no_color_is_obeyed() -> Result<()> {
    let on_terminal = |no_color: &str| -> Result<String> {
        let fixture = Fixture::start(&CASES, &["one-site"])?;
        let leakscope = leakscope_tests::scope::binary();
        let line = format!("{} attach {} --duration 100ms", leakscope.display(), fixture.pid());
        let mut script = Command::new("script");
        script.args(["-q", "-e", "-c", &line, "/dev/null"]).env("TERM", "xterm-256color");
        script.env("NO_COLOR", no_color).stdin(std::process::Stdio::null());
        run_ok(&mut script, 2 * MINUTE)
    };
    // An empty NO_COLOR counts as not set.
    let colours = |text: &str| {
        text.match_indices("\x1b[").any(|(at, _)| {
            text[at + 2..]
                .find(|c: char| c.is_ascii_alphabetic())
                .is_some_and(|end| text[at + 2 + end..].starts_with('m'))
        })
    };
    let plain = on_terminal("1")?;
    assert!(!colours(&plain), "{plain:?}");
    let coloured = on_terminal("")?;
    assert!(colours(&coloured), "{coloured:?}");
    Ok(())
}

/// The line that scripts wait for stands alone, without colour.
#[test]
fn attached_line() -> Result<()> {
    let fixture = Fixture::start(&CASES, &["one-site"])?;
    let scope = Leakscope::attach(fixture.pid()).start()?;
    let finished = scope.finish()?;
    let start = format!("attached to PID {}: ", fixture.pid());
    let line = finished.stderr.lines().find(|line| line.starts_with(&start)).context("the line")?;
    let probes = line[start.len()..].strip_suffix(" probes").context("the number of probes")?;
    assert!(probes.parse::<u32>()? >= 5, "{line}");
    Ok(())
}

#[test]
fn json_on_standard_output() -> Result<()> {
    for arguments in [&["--format", "json"][..], &["--format", "json", "-o", "-"]] {
        let finished = with_one_site(|pid| Ok(Leakscope::attach_plain(pid).args(arguments.iter().copied())))?;
        finished.assert_done();
        assert_one_site(&Report::parse(&finished.stdout)?);
    }
    Ok(())
}

/// The old file stays whole until the new one takes its place; nothing else is left beside it.
#[test]
fn file_is_replaced_as_a_whole() -> Result<()> {
    let mut fixture = Fixture::start(&CASES, &["one-site"])?;
    let invocation = Leakscope::attach(fixture.pid());
    let path = invocation.file("report.json");
    fs::write(&path, "old")?;
    let old = fs::metadata(&path)?.ino();
    let scope = invocation.start()?;
    fixture.go()?;
    assert_eq!(fs::read_to_string(&path)?, "old");
    let finished = scope.finish()?;
    assert_one_site(&finished.report()?);
    assert_ne!(fs::metadata(&path)?.ino(), old, "renamed, not written over");
    assert_eq!(listing(path.parent().context("a directory")?)?, ["report.json"]);
    Ok(())
}

/// A report may tell much of a process: a new one is for its owner alone.
#[test]
fn new_file_is_private() -> Result<()> {
    let finished = with_one_site(|pid| Ok(Leakscope::attach(pid)))?;
    finished.assert_done();
    assert_eq!(fs::metadata(finished.file("report.json"))?.mode() & 0o7777, 0o600);
    Ok(())
}

#[test]
fn symlink_is_written_through() -> Result<()> {
    let finished = with_one_site(|pid| {
        let invocation = Leakscope::attach_plain(pid);
        let (link, file) = (invocation.file("link"), invocation.file("file"));
        fs::write(&file, "old and longer than nothing")?;
        symlink("file", &link)?;
        Ok(invocation.args(["--format", "json", "-o"]).arg(link))
    })?;
    finished.assert_done();
    assert!(fs::symlink_metadata(finished.file("link"))?.is_symlink());
    assert_one_site(&read_report(&finished.file("file"))?);
    Ok(())
}

#[test]
fn device_stays_a_device() -> Result<()> {
    with_one_site(|pid| Ok(Leakscope::attach_plain(pid).args(["--format", "json", "-o", "/dev/null"])))?
        .assert_done();
    assert!(fs::metadata("/dev/null")?.file_type().is_char_device());
    Ok(())
}

#[test]
fn fifo_is_written() -> Result<()> {
    let mut reader = None;
    let finished = with_one_site(|pid| {
        let invocation = Leakscope::attach_plain(pid);
        let fifo = invocation.file("fifo");
        run_ok(Command::new("mkfifo").arg(&fifo), MINUTE)?;
        let reading = fifo.clone();
        // Opening waits for the writer, so the thread may outlive a test that fails.
        let (send, receive) = mpsc::channel();
        std::thread::spawn(move || {
            let mut text = String::new();
            let read = File::open(reading).and_then(|mut fifo| fifo.read_to_string(&mut text));
            send.send(read.map(|_| text))
        });
        reader = Some(receive);
        Ok(invocation.args(["--format", "json", "-o"]).arg(fifo))
    })?;
    finished.assert_done();
    let text = reader.context("the reader was started")?.recv_timeout(MINUTE)??;
    assert_one_site(&Report::parse(&text)?);
    assert!(fs::metadata(finished.file("fifo"))?.file_type().is_fifo());
    Ok(())
}

/// Each interval a whole new report takes the place of the one before.
#[test]
fn interval_replaces_the_file() -> Result<()> {
    let mut fixture = Fixture::start(&CASES, &["one-site"])?;
    let scope = Leakscope::attach(fixture.pid()).args(["--interval", "300ms"]).start()?;
    let path = scope.file("report.json");
    let truth = fixture.go()?;
    let mut seen = std::collections::BTreeSet::new();
    poll("three reports", MINUTE, || {
        if path.exists() {
            seen.insert(fs::metadata(&path)?.mtime_nsec());
            read_report(&path).context("a reader sees only whole reports")?;
        }
        Ok((seen.len() >= 3).then_some(()))
    })?;
    let report = scope.finish()?.report()?;
    report.assert_exact(&truth);
    assert_eq!(report.ended_by(), "interrupt");
    Ok(())
}

/// Limits are for tables: a file holds everything.
#[test]
fn limits_do_not_cut_files() -> Result<()> {
    let mut fixture = Fixture::start(&SITES_C, &["all"])?;
    let scope = Leakscope::attach(fixture.pid()).args(["--top", "1", "--frames", "2"]).start()?;
    let truth = fixture.go()?;
    let report = scope.finish()?.report()?;
    report.assert_exact(&truth);
    assert!(report.sites().count() > 5);
    Ok(())
}

#[test]
fn limits_cut_tables() -> Result<()> {
    let mut fixture = Fixture::start(&SITES_C, &["all"])?;
    let scope = Leakscope::attach_plain(fixture.pid()).args(["--top", "1"]).start()?;
    fixture.go()?;
    let finished = scope.finish()?;
    finished.assert_done();
    assert!(finished.stdout.contains("site_realloc"), "the largest is there: {}", finished.stdout);
    assert!(!finished.stdout.contains("site_valloc"), "no other is: {}", finished.stdout);
    Ok(())
}

/// The ranking of --sort is that of the file, too.
#[test]
fn sorted_by_objects() -> Result<()> {
    for (sort, field) in [("live-objects", "live_objects"), ("live-bytes", "live_bytes")] {
        let mut fixture = Fixture::start(&SITES_C, &["all"])?;
        let scope = Leakscope::attach(fixture.pid()).args(["--sort", sort]).start()?;
        fixture.go()?;
        let report = scope.finish()?.report()?;
        let figures: Vec<_> = report.sites().map(|site| site.number(field)).collect();
        assert!(figures.is_sorted_by(|a, b| a >= b), "{sort}: {figures:?}");
    }
    Ok(())
}

/// The blame frame is the first of the user's own.
#[test]
fn blame_is_the_users_frame() -> Result<()> {
    let mut fixture = Fixture::start(&PROCESSES, &["ended"])?;
    let scope = Leakscope::attach(fixture.pid()).start()?;
    fixture.go()?;
    let report = scope.finish()?.report()?;
    let site = report.at("/heap/sites/0");
    let blame = usize::try_from(site["blame"].as_u64().context("a blame frame")?)?;
    let function = site["frames"][blame]["function"].as_str().unwrap_or_default();
    assert!(names(function, "site_parent"), "{site}");
    Ok(())
}

//! What another user plants where root writes or reads reports.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use leakscope_tests::process::{Guard, poll, run_ok};
use leakscope_tests::programs::CASES;
use leakscope_tests::scope::{Finished, binary, read_report};
use leakscope_tests::tmux::Tmux;
use leakscope_tests::{Fixture, Leakscope, Report};
use tempfile::TempDir;

const MINUTE: Duration = Duration::from_secs(60);
const NOBODY: u32 = 65534;

/// A directory like /tmp, and a file of root's beside it that nobody may not touch.
struct Shared {
    place: TempDir,
}

impl Shared {
    fn new() -> Result<Self> {
        let place = tempfile::Builder::new().prefix("leakscope-shared-").tempdir()?;
        fs::set_permissions(place.path(), Permissions::from_mode(0o755))?;
        let shared = Self { place };
        fs::create_dir(shared.path(""))?;
        fs::set_permissions(shared.path(""), Permissions::from_mode(0o1777))?;
        fs::write(shared.victim(), "of root")?;
        fs::set_permissions(shared.victim(), Permissions::from_mode(0o644))?;
        Ok(shared)
    }

    /// A file of root's.
    fn victim(&self) -> PathBuf {
        self.place.path().join("victim")
    }

    /// A name in the directory that all may write to.
    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join("shared").join(name)
    }

    /// Does something as nobody, in the directory that all may write to.
    fn as_nobody(&self, script: &str) -> Result<()> {
        let mut command = nobody(&["sh", "-e", "-c", script]);
        run_ok(command.current_dir(self.path("")), MINUTE).map(drop)
    }

    #[track_caller]
    fn assert_untouched(&self) {
        assert_eq!(fs::read_to_string(self.victim()).expect("it is there"), "of root");
        let metadata = fs::metadata(self.victim()).expect("it is there");
        assert_eq!((metadata.mode() & 0o7777, metadata.uid()), (0o644, 0));
    }
}

fn nobody(arguments: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]).args(arguments);
    command
}

/// Root's dump of a fixture into `path`.
fn dump_to(path: &Path, format: &str) -> Result<Finished> {
    let fixture = Fixture::start(&CASES, &[])?;
    let pid = fixture.pid().to_string();
    Leakscope::bare().args(["dump", &pid, "--format", format, "-o"]).arg(path).run()
}

#[track_caller]
fn assert_private(path: &Path) {
    let metadata = fs::symlink_metadata(path).expect("a file");
    assert!(metadata.is_file());
    assert_eq!((format!("{:o}", metadata.mode() & 0o7777), metadata.uid()), ("600".to_owned(), 0));
}

/// The mode of a stranger's old file, set-user-ID and all, does not become that of root's report.
#[test]
fn old_file_of_a_stranger() -> Result<()> {
    for format in ["json", "jsonl"] {
        let shared = Shared::new()?;
        shared.as_nobody("umask 0; echo old > report; chmod 6777 report; ln report other")?;
        let theirs = fs::metadata(shared.path("report"))?.ino();
        dump_to(&shared.path("report"), format)?.assert_done();
        assert_private(&shared.path("report"));
        read_report(&shared.path("report"))?;
        let old = fs::metadata(shared.path("other"))?;
        assert_eq!((old.ino(), fs::read_to_string(shared.path("other"))?.as_str()), (theirs, "old\n"));
    }
    Ok(())
}

/// Of an own old file only the permissions are kept.
#[test]
fn old_file_of_our_own() -> Result<()> {
    let shared = Shared::new()?;
    fs::write(shared.path("report"), "old")?;
    fs::set_permissions(shared.path("report"), Permissions::from_mode(0o6754))?;
    dump_to(&shared.path("report"), "json")?.assert_done();
    assert_eq!(fs::metadata(shared.path("report"))?.mode() & 0o7777, 0o754);
    Ok(())
}

/// A stranger's link is not followed, wherever it stands in the path and whatever it leads to.
#[test]
fn links_of_a_stranger() -> Result<()> {
    let shared = Shared::new()?;
    let place = shared.place.path().display();
    shared.as_nobody(&format!("ln -s {place}/victim to-file; ln -s {place} to-directory"))?;
    shared.as_nobody(&format!("ln -s {place}/new to-nothing; ln -s to-file to-link"))?;
    for name in ["to-file", "to-nothing", "to-link", "to-directory/victim", "to-directory/new"] {
        for format in ["json", "jsonl"] {
            let finished = dump_to(&shared.path(name), format)?;
            finished.assert_fails(1, &["symbolic link of another user", "not followed"]);
            shared.assert_untouched();
        }
    }
    assert!(!shared.place.path().join("new").exists());
    let finished = dump_to(&shared.path("to-directory/series/"), "json")?;
    finished.assert_fails(1, &["symbolic link of another user"]);
    assert!(!shared.place.path().join("series").exists());
    Ok(())
}

/// Links are followed that root has made, or that stand where only root writes.
#[test]
fn links_that_are_followed() -> Result<()> {
    let shared = Shared::new()?;
    let own = shared.place.path().join("own");
    fs::write(&own, "old")?;
    symlink("../own", shared.path("link"))?;
    dump_to(&shared.path("link"), "json")?.assert_done();
    read_report(&own)?;
    assert!(fs::symlink_metadata(shared.path("link"))?.is_symlink());
    let given = shared.place.path().join("given");
    symlink("own", &given)?;
    std::os::unix::fs::lchown(&given, Some(NOBODY), Some(NOBODY))?;
    dump_to(&given, "json")?.assert_done();
    Ok(())
}

/// A hard link to a file of root's: neither is it written to, nor does its mode count.
#[test]
fn hard_link_to_a_file_of_roots() -> Result<()> {
    for format in ["json", "jsonl"] {
        let shared = Shared::new()?;
        // Where fs.protected_hardlinks is off, nobody can make it.
        fs::hard_link(shared.victim(), shared.path("report"))?;
        dump_to(&shared.path("report"), format)?.assert_done();
        shared.assert_untouched();
        assert_private(&shared.path("report"));
    }
    Ok(())
}

/// A stranger's FIFO is not opened: it would wait for him, or give him the report.
#[test]
fn fifo_of_a_stranger() -> Result<()> {
    let shared = Shared::new()?;
    shared.as_nobody("mkfifo report")?;
    for format in ["json", "jsonl"] {
        let finished = dump_to(&shared.path("report"), format)?;
        finished.assert_fails(1, &["fifo of another user", "not opened"]);
    }
    Leakscope::bare()
        .arg("report")
        .arg(shared.path("report"))
        .run()?
        .assert_fails(1, &["fifo of another user"]);
    Ok(())
}

/// A stranger takes the directory away and puts a link in its place: the reports stay where they went.
#[test]
fn directory_that_is_swapped() -> Result<()> {
    let shared = Shared::new()?;
    let aim = shared.place.path().join("aim");
    fs::create_dir(&aim)?;
    fs::write(aim.join("report"), "of root")?;
    shared.as_nobody("mkdir theirs")?;
    let fixture = Fixture::start(&CASES, &[])?;
    let pid = fixture.pid().to_string();
    let scope = Leakscope::bare()
        .args(["attach", &pid, "--only", "heap", "--interval", "200ms", "--format", "json", "-o"])
        .arg(shared.path("theirs/report"))
        .start()?;
    poll("a report", MINUTE, || Ok(shared.path("theirs/report").exists().then_some(())))?;
    shared.as_nobody(&format!("mv theirs moved; ln -s {} theirs", aim.display()))?;
    let before = fs::metadata(shared.path("moved/report"))?.ino();
    poll("another report", MINUTE, || {
        let now = fs::metadata(shared.path("moved/report"))?.ino();
        Ok((now != before).then_some(()))
    })?;
    scope.finish()?.assert_done();
    assert_eq!(fs::read_to_string(aim.join("report"))?, "of root");
    assert_eq!(fs::read_dir(&aim)?.count(), 1);
    assert_private(&shared.path("moved/report"));
    Ok(())
}

/// A series in a stranger's directory: what he has planted is neither followed, nor removed, nor counted.
#[test]
fn series_in_a_strangers_directory() -> Result<()> {
    let shared = Shared::new()?;
    let victim = shared.victim();
    shared.as_nobody("mkdir series; cd series; echo x > report-29991231T235959.000Z.json")?;
    shared.as_nobody(
        "cd series; echo x > report-20010101T000000.000Z.json; mkfifo report-20010101T000001.000Z.json",
    )?;
    shared.as_nobody(&format!("cd series; ln -s {} report-20010101T000002.000Z.json", victim.display()))?;
    let series = shared.path("series");
    let fixture = Fixture::start(&CASES, &[])?;
    let pid = fixture.pid().to_string();
    let scope = Leakscope::bare()
        .args(["attach", &pid, "--only", "heap", "--interval", "200ms", "--format", "json"])
        .args(["--keep", "2", "-o"])
        .arg(&series)
        .start()?;
    let ours = || -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&series)? {
            let path = entry?.path();
            if fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.uid() == 0) {
                found.push(path);
            }
        }
        found.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
        found.sort();
        Ok(found)
    };
    let first = poll("a report", MINUTE, || Ok(ours()?.into_iter().next()))?;
    assert!(first.display().to_string() < series.join("report-2999").display().to_string(), "{first:?}");
    poll("it is pruned", MINUTE, || Ok((!first.exists()).then_some(())))?;
    scope.finish()?.assert_done();
    let left = ours()?;
    assert_eq!(left.len(), 2, "{left:?}");
    left.iter().for_each(|path| assert_private(path));
    for planted in
        ["29991231T235959.000", "20010101T000000.000", "20010101T000001.000", "20010101T000002.000"]
    {
        fs::symlink_metadata(series.join(format!("report-{planted}Z.json"))).context(planted)?;
    }
    shared.assert_untouched();
    Ok(())
}

/// Whoever may read a directory may lock it; a new one of ours nobody else may read.
#[test]
fn lock_of_a_stranger() -> Result<()> {
    let shared = Shared::new()?;
    shared.as_nobody("mkdir series")?;
    let mut locked = Guard::spawn(
        nobody(&["flock", "series", "sh", "-c", "echo locked; read end"])
            .current_dir(shared.path(""))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped()),
    )?;
    let mut line = String::new();
    let stdout = locked.child().stdout.take().context("stdout is piped")?;
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line)?;
    ensure!(line == "locked\n", "{line}");
    let finished = dump_to(&shared.path("series/"), "json")?;
    finished.assert_fails(2, &["another process has locked the directory"]);
    dump_to(&shared.path("new/"), "json")?.assert_done();
    assert_eq!(fs::metadata(shared.path("new"))?.mode() & 0o7777, 0o700);
    Ok(())
}

/// `w` in top writes to the current directory, which may be another's.
#[test]
fn written_from_the_screen() -> Result<()> {
    let shared = Shared::new()?;
    let fixture = Fixture::start(&CASES, &[])?;
    let pid = fixture.pid();
    let victim = shared.victim();
    shared.as_nobody(&format!(
        "ln -s {} leakscope-{pid}-1.json; mkfifo leakscope-{pid}-2.json",
        victim.display()
    ))?;
    let line = format!("cd {}; {} top {pid} -i 0.5", shared.path("").display(), binary().display());
    let screen = Tmux::start(200, 24, &line)?;
    screen.wait_for("probes")?;
    let written = shared.path(&format!("leakscope-{pid}-3.json"));
    screen.until("the report is written", |shown| {
        // Until there is a report, the key only says so.
        let pressed = shown.contains("written to") || screen.keys(&["w"]).is_err();
        pressed && written.exists()
    })?;
    Report::parse(&fs::read_to_string(&written)?)?;
    assert_private(&written);
    shared.assert_untouched();
    screen.keys(&["q"])
}

/// Manual pages are for everybody to read, and never written through what is there.
#[test]
fn manual_pages() -> Result<()> {
    let shared = Shared::new()?;
    shared.as_nobody(&format!("mkdir man; ln -s {} man/leakscope.1", shared.victim().display()))?;
    Leakscope::bare().arg("man").arg(shared.path("man")).run()?.assert_done();
    shared.assert_untouched();
    let page = fs::symlink_metadata(shared.path("man/leakscope.1"))?;
    assert!(page.is_file() && page.mode() & 0o7777 == 0o644, "{:o}", page.mode());
    Ok(())
}

/// What root reads: no link of a stranger's, and no FIFO of a series.
#[test]
fn reports_that_are_read() -> Result<()> {
    let shared = Shared::new()?;
    let secret = shared.place.path().join("secret");
    dump_to(&secret, "json")?.assert_done();
    shared
        .as_nobody(&format!("ln -s {} link; mkdir series; mkfifo series/report-1.json", secret.display()))?;
    let read = |name: &str| Leakscope::bare().arg("report").arg(shared.path(name)).run();
    read("link")?.assert_fails(1, &["symbolic link of another user"]);
    read("series")?.assert_fails(1, &["without reports"]);
    symlink(&secret, shared.path("own"))?;
    read("own")?.assert_done();
    Ok(())
}

/// `sudo leakscope … -o FILE` in the directory of the user who calls it, through a link of that user's.
#[test]
fn under_sudo_the_users_own_links_are_followed() -> Result<()> {
    let shared = Shared::new()?;
    shared.as_nobody("mkdir home home/real; ln -s real home/reports")?;
    let fixture = Fixture::start(&CASES, &[])?;
    let pid = fixture.pid().to_string();
    let dump = |user: &str| {
        Leakscope::bare()
            .env("SUDO_UID", user)
            .args(["dump", &pid, "--format", "json", "-o"])
            .arg(shared.path("home/reports/report"))
            .run()
    };
    dump("1")?.assert_fails(1, &["symbolic link of another user"]);
    dump("65534")?.assert_done();
    assert_private(&shared.path("home/real/report"));
    Ok(())
}

/// Who owns a directory can give root's report another name, and so would choose the mode of the next one.
#[test]
fn modes_are_not_taken_from_renamed_reports() -> Result<()> {
    let shared = Shared::new()?;
    shared.as_nobody("mkdir own")?;
    let (public, private) = (shared.path("own/public.json"), shared.path("own/private.json"));
    ensure!(dump_to(&public, "json")?.code() == Some(0), "a report");
    fs::set_permissions(&public, Permissions::from_mode(0o666))?;
    shared.as_nobody("mv own/public.json own/private.json")?;
    ensure!(dump_to(&private, "json")?.code() == Some(0), "a second one");
    assert_private(&private);
    Ok(())
}

/// Files that the owner of the directory puts beside root's reports are no part of root's series, whatever
/// is in them; the report says that they were passed over.
#[test]
fn forged_reports_of_a_series() -> Result<()> {
    let shared = Shared::new()?;
    shared.as_nobody("mkdir own")?;
    let series = shared.path("own/");
    ensure!(dump_to(&series, "json")?.code() == Some(0), "a report");
    shared.as_nobody("echo '{}' > own/report-20991126T234714.104Z.json")?;
    shared.as_nobody("echo '{}' > own/report-20011126T234714.104Z.json")?;
    let shown = Leakscope::bare().arg("report").arg(&series).run()?;
    shown.assert_done();
    assert!(shown.stdout.contains("2 files of other users"), "{}", shown.stdout);
    assert!(shown.stdout.contains("cases (PID"), "root's own is shown: {}", shown.stdout);
    // A directory with a stranger's files alone is what the user has asked for.
    fs::remove_dir_all(&series)?;
    shared.as_nobody("mkdir own; echo '{}' > own/report-20011126T234714.104Z.json")?;
    Leakscope::bare().arg("report").arg(&series).run()?.assert_fails(1, &["names no schema"]);
    Ok(())
}

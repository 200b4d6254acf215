//! The command line of `dump`.

use super::*;

fn dump_plain(pid: u32) -> leakscope_tests::scope::Invocation {
    Leakscope::bare().args(["dump", &pid.to_string()])
}

#[test]
fn processes_that_cannot_be_dumped() -> Result<()> {
    let pid = vacant_pid()?;
    dump_plain(pid).run()?.assert_fails(5, &["no such process", &pid.to_string()]);
    dump_plain(2).run()?.assert_fails(1, &["kernel thread"]);
    let zombie = Fixture::start(&ZOMBIE, &[])?;
    dump_plain(zombie.pid()).run()?.assert_fails(5, &["zombie"]);
    let i386 = Fixture::start(&I386, &[])?;
    dump_plain(i386.pid()).run()?.assert_fails(1, &["32-bit"]);
    let itself = "exec \"$0\" dump $$";
    Leakscope::command("/bin/sh").args(["-c", itself]).arg(binary()).run()?.assert_fails(1, &["leakscope"]);
    Ok(())
}

#[test]
fn without_rights() -> Result<()> {
    let fixture = Fixture::start(&CASES, &[])?;
    let finished = as_nobody(&["dump", &fixture.pid().to_string()])?.run()?;
    finished.assert_fails(4, &["sudo"]);
    assert!(finished.stderr.contains("CAP_") || finished.stderr.contains("root"), "{}", finished.stderr);
    Ok(())
}

#[test]
fn wrong_usage() -> Result<()> {
    let own = std::process::id().to_string();
    let wrong: [&[&str]; 7] = [
        &["dump"],
        &["dump", "0"],
        &["dump", "-1"],
        &["dump", &own, "--format", "poem"],
        &["dump", &own, "--top", "many"],
        &["dump", &own, "--frames", "-3"],
        &["dump", &own, "--interval", "1s"],
    ];
    for arguments in wrong {
        let finished = Leakscope::bare().args(arguments.iter().copied()).run()?;
        assert_eq!(finished.code(), Some(2), "{arguments:?}: {}", finished.stderr);
    }
    let help = Leakscope::bare().args(["dump", "--help"]).run()?;
    help.assert_done();
    assert!(help.stdout.contains("--top") && help.stdout.contains("TARGET"), "{}", help.stdout);
    Ok(())
}

#[test]
fn output_goes_where_it_is_asked_to() -> Result<()> {
    let fixture = Fixture::start(&BLOCKED, &["mutex", "5"])?;
    for path in ["/nonexistent/report.json", "/proc/report.json"] {
        dump_plain(fixture.pid()).args(["--format", "json", "-o", path]).run()?.assert_fails(1, &[path]);
    }
    let full = dump_plain(fixture.pid()).args(["--format", "json", "-o", "/dev/full"]).run()?;
    full.assert_fails(1, &["/dev/full", "no space left"]);
    for format in ["table", "json"] {
        let finished = dump_plain(fixture.pid()).args(["--format", format]).broken_pipe().run()?;
        finished.assert_done();
        assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
    }
    let printed = dump_plain(fixture.pid()).args(["--format", "json"]).run()?;
    printed.assert_done();
    assert_eq!(Report::parse(&printed.stdout)?.number("/waits/threads"), 7);
    assert_eq!(printed.stderr, "", "nothing to complain about");
    let invocation = dump_plain(fixture.pid());
    let file: PathBuf = invocation.file("table.txt");
    let finished = invocation.arg("-o").arg(&file).run()?;
    finished.assert_done();
    assert_eq!(finished.stdout, "");
    assert!(fs::read_to_string(&file)?.contains("pthread_mutex_lock"));
    Ok(())
}

/// The first line answers the question; `--top` and `--frames` limit what follows.
#[test]
fn table() -> Result<()> {
    let fixture = Fixture::start(&BLOCKED, &["zoo", "5"])?;
    let table = |arguments: &[&str]| -> Result<String> {
        let finished = dump_plain(fixture.pid()).args(arguments.iter().copied()).run()?;
        finished.assert_done();
        Ok(finished.stdout)
    };
    let truth = fixture.blocked()?;
    Snapshot::with_headline(fixture.pid(), &["pthread_mutex_lock"])?;
    let whole = table(&["--top", "100", "--frames", "100"])?;
    let start: Vec<_> = whole.lines().take(3).collect();
    assert!(start.join("\n").contains("pthread_mutex_lock"), "{whole}");
    for group in truth.groups.values() {
        assert!(whole.contains(&group.function), "{} is missing:\n{whole}", group.function);
    }
    assert!(whole.contains("start_thread") || whole.contains("clone3"), "{whole}");
    let owner = truth.locks[0].owner.clone().context("the owner")?;
    assert!(
        whole.contains(&owner.0.to_string()) && whole.contains(&format!("{:#x}", truth.locks[0].address)),
        "{whole}"
    );
    let short = table(&["--top", "1", "--frames", "2"])?;
    assert!(short.lines().count() < whole.lines().count() / 2, "{short}");
    assert!(short.contains("at_mutex") && !short.contains("at_select"), "{short}");
    Ok(())
}

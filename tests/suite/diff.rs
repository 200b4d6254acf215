//! Differences of saved reports, thresholds, and series.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use leakscope_tests::go::{NEWEST, STORY};
use leakscope_tests::process::{Guard, copy_program, poll, run_ok};
use leakscope_tests::programs::{BLOCKED, CASES, GROWS, SITES_C};
use leakscope_tests::scope::Finished;
use leakscope_tests::{Fixture, Leakscope, workspace};
use serde_json::Value;

use super::golang::need;

const MINUTE: Duration = Duration::from_secs(60);

fn diff(arguments: &[&Path], more: &[&str]) -> Result<Finished> {
    let mut invocation = Leakscope::bare().arg("diff");
    for argument in arguments {
        invocation = invocation.arg(argument);
    }
    invocation.args(more.iter().copied()).run()
}

/// A difference in JSON, valid by its schema.
fn json(finished: &Finished) -> Result<Value> {
    let mut value: Value = serde_json::from_str(&finished.stdout).with_context(|| finished.stderr.clone())?;
    let schema = fs::read_to_string(workspace().join("leakscope/schema/diff.schema.json"))?;
    let validator = jsonschema::validator_for(&serde_json::from_str(&schema)?)?;
    let wrong: Vec<String> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
    ensure!(wrong.is_empty(), "not valid by the schema: {wrong:?}");
    leakscope_tests::tables::expand(&mut value);
    Ok(value)
}

/// A report of what a scenario of `cases` leaves.
fn cases(scenario: &str) -> Result<Finished> {
    let mut fixture = Fixture::start(&CASES, &[scenario])?;
    let scope = Leakscope::attach(fixture.pid()).start()?;
    fixture.go()?;
    let finished = scope.finish()?;
    finished.assert_done();
    Ok(finished)
}

/// Two runs at other addresses: every site matches, and nothing grew.
#[test]
fn a_program_started_again_matches() -> Result<()> {
    let (first, second) = (cases("one-site")?, cases("one-site")?);
    let (old, new) = (first.file("report.json"), second.file("report.json"));
    let finished = diff(&[&old, &new], &["--format", "json"])?;
    finished.assert_done();
    let value = json(&finished)?;
    let sites = value["heap"]["sites"].as_array().context("sites")?;
    ensure!(!sites.is_empty());
    for site in sites {
        assert_eq!(site["change"], "same", "{site}");
        assert_eq!((site["old_stacks"].as_u64(), site["new_stacks"].as_u64()), (Some(1), Some(1)), "{site}");
    }
    assert_eq!(value["heap"]["totals"]["growth_bytes"], 0);
    let kept = diff(&[&old, &new], &["--fail-on", "heap.totals.growth_bytes > 0"])?;
    kept.assert_done();
    assert!(kept.stdout.contains("Nothing grew"), "{}", kept.stdout);
    Ok(())
}

/// Built with another compiler setting, so at other places: the functions match.
#[test]
fn a_rebuilt_program_matches() -> Result<()> {
    let report = |program: &leakscope_tests::programs::Program| -> Result<Finished> {
        let mut fixture = Fixture::start(program, &["all"])?;
        let scope = Leakscope::attach(fixture.pid()).start()?;
        fixture.go()?;
        scope.finish()
    };
    let (first, second) = (report(&SITES_C)?, report(&SITES_C.debug(false))?);
    let finished = diff(
        &[&first.file("report.json"), &second.file("report.json")],
        &["--format", "json", "--any-program"],
    )?;
    finished.assert_done();
    let value = json(&finished)?;
    assert_eq!(value["heap"]["totals"]["growth_bytes"], 0, "{}", value["notes"]);
    for site in value["heap"]["sites"].as_array().context("sites")? {
        assert_eq!(site["growth_bytes"], 0, "{site}");
    }
    Ok(())
}

/// One account that grows: what grew is what was allocated in between.
#[test]
fn growth_in_a_series() -> Result<()> {
    let mut fixture = Fixture::start(&GROWS, &[])?;
    let invocation = Leakscope::attach_plain(fixture.pid()).args(["--only", "heap", "--interval", "300ms"]);
    let series = invocation.file("series");
    let listing = || -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(&series).into_iter().flatten();
        let mut files: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
        files.sort();
        Ok(files)
    };
    let scope = invocation.args(["--keep", "4", "-o"]).arg(format!("{}/", series.display())).start()?;
    fixture.say("grow 50")?;
    let first = poll("a report", MINUTE, || Ok(listing()?.first().cloned()))?;
    poll("the first is removed", MINUTE, || Ok((!first.exists()).then_some(())))?;
    let finished = scope.finish()?;
    finished.assert_done();
    let files = listing()?;
    assert_eq!(files.len(), 4, "{files:?}");
    let live = |path: &Path| -> Result<i64> {
        let value: Value = serde_json::from_str(&fs::read_to_string(path)?)?;
        value.pointer("/heap/totals/live_bytes").and_then(Value::as_i64).context("live bytes")
    };
    let grown = live(&files[3])? - live(&files[0])?;
    ensure!(grown > 0);
    let whole = diff(&[&series], &["--format", "json"])?;
    whole.assert_done();
    let value = json(&whole)?;
    assert_eq!(value.pointer("/heap/totals/growth_bytes"), Some(&grown.into()));
    let table = diff(&[&series], &["--fail-on", "heap.totals.growth_bytes>1B"])?;
    table.assert_fails(3, &["--fail-on: heap.totals.growth_bytes>1B"]);
    assert!(table.stdout.contains("site_grow"), "{}", table.stdout);
    let report = Leakscope::bare().arg("report").arg(&series).args(["--format", "json"]).run()?;
    report.assert_done();
    let value: Value = serde_json::from_str(&report.stdout)?;
    assert_eq!(value.pointer("/heap/totals/growth_bytes"), Some(&grown.into()));
    assert!(report.stdout.contains("since the first report of the series"));
    Ok(())
}

#[test]
fn different_programs() -> Result<()> {
    let blocked = Fixture::start(&BLOCKED, &["mutex", "3"])?;
    let dumped = Leakscope::dump(blocked.pid()).run()?;
    let (first, second) = (cases("one-site")?, dumped);
    let (old, new) = (first.file("report.json"), second.file("report.json"));
    diff(&[&old, &new], &[])?.assert_fails(1, &["different programs", "--any-program"]);
    let asked = diff(&[&old, &new], &["--any-program", "--format", "json"])?;
    asked.assert_done();
    let value = json(&asked)?;
    assert!(value["heap"].is_null());
    let notes = value["notes"].to_string();
    for part in ["different programs", "the heap: only in the old report", "waits: only in the new report"] {
        assert!(notes.contains(part), "{part}: {notes}");
    }
    Ok(())
}

/// What pprof makes of our difference is what it makes of our two profiles.
#[test]
fn as_pprof_tells_it() -> Result<()> {
    need!(NEWEST);
    let (first, second) = (cases("one-site")?, cases("nested")?);
    let (old, new) = (first.file("report.json"), second.file("report.json"));
    let place = tempfile::tempdir()?;
    let file = |name: &str| place.path().join(name);
    for (from, to) in [(&old, "old"), (&new, "new")] {
        let out = file(to);
        Leakscope::bare()
            .arg("report")
            .arg(from)
            .args(["--format", "pprof", "-o"])
            .arg(out)
            .run()?
            .assert_done();
    }
    let difference = file("diff");
    diff(&[&old, &new], &["--format", "pprof", "-o", &difference.display().to_string()])?.assert_done();
    for index in ["inuse_space", "inuse_objects", "alloc_space", "alloc_objects"] {
        let index = format!("-sample_index={index}");
        let base = format!("-diff_base={}", file("old").display());
        let rows = |text: &str| -> Vec<String> {
            let (_, rows) = text.split_once("flat%").unwrap_or_default();
            // Percentages are of another sum.
            let row = |line: &str| {
                let words: Vec<&str> = line.split_whitespace().filter(|word| !word.ends_with('%')).collect();
                words.join(" ")
            };
            let mut rows: Vec<String> =
                rows.lines().skip(1).map(row).filter(|row| !row.starts_with("0 0 ")).collect();
            rows.sort();
            rows
        };
        let ours = super::export::pprof(&["-top", "-nodefraction=0", &index], &difference)?;
        let theirs = super::export::pprof(&["-top", "-nodefraction=0", &index, &base], &file("new"))?;
        ensure!(!rows(&ours).is_empty(), "{ours}");
        assert_eq!(rows(&ours), rows(&theirs), "{ours}\n{theirs}");
    }
    Ok(())
}

#[test]
fn goroutines_that_came() -> Result<()> {
    need!(NEWEST);
    let mut fixture = STORY.start(&["-websockets", "500", "-total", "3000"])?;
    let first = Leakscope::dump(fixture.pid()).run()?;
    fixture.ask("connect 70", "connected ")?;
    let second = Leakscope::dump(fixture.pid()).run()?;
    let (old, new) = (first.file("report.json"), second.file("report.json"));
    let finished = diff(&[&old, &new], &["--format", "json"])?;
    finished.assert_done();
    let value = json(&finished)?;
    assert_eq!(value.pointer("/goroutines/growth"), Some(&70.into()), "{}", value["goroutines"]);
    let sites = value.pointer("/goroutines/sites").and_then(Value::as_array).context("sites")?;
    // The runtime's own come and go, and the main one may be on its way back to where it was.
    let grown = |site: &&Value| site["system"] == false && site["growth"].as_i64() > Some(1);
    let grown: Vec<&Value> = sites.iter().filter(grown).collect();
    let [came] = grown[..] else { bail!("not one site has grown: {grown:?}") };
    assert_eq!((&came["growth"], &came["change"]), (&70.into(), &"grown".into()));
    assert!(came["frames"].to_string().contains("main.(*WebSocket).notifyFxn"), "{came}");
    let headline = value.pointer("/summary/headline").and_then(Value::as_str).context("a headline")?;
    assert!(headline.starts_with("70 goroutines more, ") && headline.contains("notifyFxn"), "{headline}");
    Ok(())
}

/// Found before anything is attached: the process is not there.
#[test]
fn thresholds_are_checked_first() -> Result<()> {
    let threshold =
        |command: &str, text: &str| Leakscope::bare().args([command, "4194304", "--fail-on", text]).run();
    threshold("attach", "heap.totals.live_byte > 5")?
        .assert_fails(2, &["do you mean `heap.totals.live_bytes`"]);
    threshold("dump", "heap.totals.live_bytes > 5")?.assert_fails(2, &["leakscope attach"]);
    threshold("attach", "heap.totals.live_bytes > 5")?.assert_fails(5, &["4194304"]);
    Ok(())
}

#[test]
fn thresholds_end_with_3() -> Result<()> {
    let mut fixture = Fixture::start(&CASES, &["one-site"])?;
    let limits =
        ["--fail-on", "heap.totals.live_bytes >= 30KiB", "--fail-on", "heap.totals.live_bytes > 1GiB"];
    let scope = Leakscope::attach(fixture.pid()).args(limits).start()?;
    fixture.go()?;
    let finished = scope.finish()?;
    finished.assert_fails(3, &["leakscope: --fail-on: heap.totals.live_bytes >= 30KiB (30720)"]);
    assert!(!finished.stderr.contains("1GiB"), "{}", finished.stderr);
    let saved = finished.file("report.json");
    ensure!(saved.exists(), "the report is written all the same");
    let report = |text: &str| Leakscope::bare().arg("report").arg(&saved).args(["--fail-on", text]).run();
    let exceeded = report("any(heap.sites[*].live_objects) > 0")?;
    exceeded.assert_fails(3, &["--fail-on"]);
    assert!(exceeded.stdout.contains("site_malloc"), "{}", exceeded.stdout);
    report("max(heap.sites[*].live_bytes) > 1MB")?.assert_done();
    let unknown = report("goroutines.total > 5")?;
    unknown.assert_done();
    assert!(unknown.stderr.contains("goroutines.total is null"), "{}", unknown.stderr);
    let blocked = Fixture::start(&BLOCKED, &["mutex", "3"])?;
    let dump = Leakscope::dump(blocked.pid()).args(["--fail-on", "waits.blocked_now>=3"]).run()?;
    dump.assert_fails(3, &["waits.blocked_now>=3"]);
    Ok(())
}

/// The shells take what is made for them.
/// Bash offers names of processes, and runs nothing that they say.
fn names_of_processes(place: &Path) -> Result<()> {
    let offered = |typed: &str| -> Result<String> {
        let completions = Leakscope::bare().args(["completions", "bash"]).run()?;
        completions.assert_done();
        let script = "eval \"$1\"; COMP_WORDS=(leakscope attach \"$2\"); COMP_CWORD=2; \
                      _leakscope_and_processes leakscope \"$2\" attach; printf '%s\\n' \"${COMPREPLY[@]}\"";
        let mut bash = Command::new("bash");
        run_ok(bash.current_dir(place).args(["-c", script, "bash", &completions.stdout, typed]), MINUTE)
    };
    let mut running = Vec::new();
    for name in ["$(touch x)", "`touch x`", "lk-sleeper"] {
        let program = place.join(name);
        copy_program("/bin/sleep", &program)?;
        let guard = Guard::spawn(Command::new(&program).arg("600"))?;
        let comm = format!("/proc/{}/comm", guard.pid());
        poll("it runs", MINUTE, || Ok((fs::read_to_string(&comm)?.trim_end() == name).then_some(())))?;
        running.push(guard);
    }
    assert_eq!(offered("lk-sl")?.trim(), "lk-sleeper");
    let all = offered("")?;
    assert!(all.lines().any(|name| name == "lk-sleeper") && !all.contains("touch"), "{all}");
    assert!(offered("--dura")?.contains("--duration"));
    assert!(!place.join("x").exists(), "a process' name was run");
    Ok(())
}

#[test]
fn completions_and_manual_pages() -> Result<()> {
    for shell in ["bash", "zsh", "fish"] {
        let finished = Leakscope::bare().args(["completions", shell]).run()?;
        finished.assert_done();
        assert!(finished.stdout.contains("fail-on"), "{shell}");
        if shell == "bash" {
            let script = "eval \"$1\"; COMP_WORDS=(leakscope di); COMP_CWORD=1; _leakscope leakscope di leakscope; echo ${COMPREPLY[@]}";
            let mut bash = Command::new("bash");
            bash.args(["-c", script, "bash", &finished.stdout]);
            assert_eq!(run_ok(&mut bash, MINUTE)?.trim(), "diff");
        }
    }
    Leakscope::bare().args(["completions", "tcsh"]).run()?.assert_fails(2, &["tcsh"]);
    let place = tempfile::tempdir()?;
    names_of_processes(place.path())?;
    Leakscope::bare().arg("man").arg(place.path()).run()?.assert_done();
    let page = fs::read_to_string(place.path().join("leakscope-attach.1"))?;
    assert!(page.contains("fail") && page.contains(".SH EXAMPLES"), "{page}");
    for subcommand in ["attach", "dump", "top", "report", "diff", "doctor", "completions", "man"] {
        let help = Leakscope::bare().args([subcommand, "--help"]).run()?;
        help.assert_done();
        assert!(help.stdout.contains("Examples:"), "{subcommand}: {}", help.stdout);
    }
    Ok(())
}

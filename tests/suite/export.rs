//! Reports in other formats, as other programs read them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use leakscope_tests::go::{NEWEST, STORY};
use leakscope_tests::process::{Guard, poll, run, run_ok};
use leakscope_tests::programs::{BLOCKED, CASES, Program, SITES_C, SITES_CPP, SITES_RUST};
use leakscope_tests::scope::{Finished, read_report};
use leakscope_tests::server::find_program;
use leakscope_tests::{Fixture, Leakscope, Report, skip};

use super::golang::need;

/// The first start of `go tool pprof` compiles it.
const PPROF_TIMEOUT: Duration = Duration::from_secs(600);
const MINUTE: Duration = Duration::from_secs(60);

/// What `go tool pprof` prints of a profile.
pub(crate) fn pprof(arguments: &[&str], profile: &Path) -> Result<String> {
    let go = NEWEST.root().context("the newest Go is installed")?.join("bin/go");
    let mut command = Command::new(go);
    command.args(["tool", "pprof"]).args(arguments).arg(profile);
    run_ok(command.env("HOME", cache()).env("GOCACHE", cache()).env("PPROF_TMPDIR", cache()), PPROF_TIMEOUT)
}

pub(crate) fn cache() -> std::path::PathBuf {
    leakscope_tests::target_directory().join("go/cache")
}

/// Sums of the values of a profile: the decoder is Go's own.
fn sums(profile: &Path) -> Result<Vec<i64>> {
    let raw = pprof(&["-raw"], profile)?;
    let (_, samples) = raw.split_once("Samples:\n").context("samples")?;
    let (samples, _) = samples.split_once("Locations").context("locations")?;
    let types = samples.lines().next().context("types")?.split_whitespace().count();
    let mut sums = vec![0; types];
    for line in samples.lines().skip(1) {
        // Labels stand in lines of their own, without numbers before a colon.
        let Some((values, stack)) = line.split_once(": ") else { continue };
        let numbers: Option<Vec<i64>> = values.split_whitespace().map(|n| n.parse().ok()).collect();
        let stack = stack.split_whitespace().all(|id| id.parse::<u64>().is_ok());
        if let Some(numbers) = numbers.filter(|numbers| stack && numbers.len() == types) {
            sums.iter_mut().zip(numbers).for_each(|(sum, n)| *sum += n);
        }
    }
    Ok(sums)
}

/// Renders a saved report.
fn render(report: &Path, arguments: &[&str]) -> Result<Finished> {
    let invocation = Leakscope::bare().arg("report").arg(report).args(arguments.iter().copied());
    let out = invocation.file("out");
    let finished = invocation.arg("-o").arg(out).run()?;
    finished.assert_done();
    Ok(finished)
}

fn sum_of(report: &Report, sites: &str, fields: &[&str]) -> i64 {
    let sites = report.at(sites).as_array().into_iter().flatten();
    sites
        .map(|site| fields.iter().map(|f| site.pointer(f).and_then(|n| n.as_i64()).unwrap_or(0)).sum::<i64>())
        .sum()
}

/// Every profile that the report holds, in every format, has the report's totals.
fn assert_totals(finished: &Finished) -> Result<()> {
    let report = finished.report()?;
    let saved = finished.file("report.json");
    let total = |field: &str| report.number(&format!("/heap/totals/{field}"));
    let mut expected: Vec<(&str, Vec<i64>, i64)> = Vec::new();
    if !report.at("/heap").is_null() {
        let heap = ["alloc_objects", "alloc_bytes", "live_objects", "live_bytes"].map(total).to_vec();
        expected.push(("heap", heap.clone(), total("live_bytes")));
        expected.push(("allocs", heap, total("alloc_bytes")));
    }
    if !report.at("/waits").is_null() {
        let open: i64 = report
            .at("/waits/sites")
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|site| site["threads"].as_array().into_iter().flatten())
            .map(|thread| thread["blocked_ns"].as_i64().unwrap_or(0))
            .sum();
        let blocked = sum_of(&report, "/waits/sites", &["/blocked_now"]);
        let count = blocked + sum_of(&report, "/waits/sites", &["/waits"]);
        let ns = open + sum_of(&report, "/waits/sites", &["/wait_ns"]);
        expected.push(("block", vec![count, ns], blocked));
        let all = match report.at("/goroutines/total").as_i64() {
            Some(goroutines) => goroutines,
            None => report.number("/waits/threads"),
        };
        expected.push(("goroutine", vec![all], all));
    }
    ensure!(!expected.is_empty(), "nothing to compare");
    for (kind, values, weight) in expected {
        let rendered = render(&saved, &["--format", "pprof", "--profile", kind])?;
        let read = sums(&rendered.file("out")).with_context(|| kind.to_owned())?;
        assert_eq!(read, values, "{kind}");
        let rendered = render(&saved, &["--format", "folded", "--profile", kind])?;
        let folded = fs::read_to_string(rendered.file("out"))?;
        let folded: i64 = folded.lines().filter_map(|l| l.rsplit_once(' ')?.1.parse::<i64>().ok()).sum();
        assert_eq!(folded, weight, "{kind}");
        let rendered = render(&saved, &["--format", "flamegraph", "--profile", kind])?;
        let svg = fs::read_to_string(rendered.file("out"))?;
        assert!(svg.starts_with("<?xml") && svg.trim_end().ends_with("</svg>"), "{kind}");
        let rendered = render(&saved, &["--format", "text", "--profile", kind])?;
        assert!(fs::read_to_string(rendered.file("out"))?.contains("# leakscope "), "{kind}");
    }
    Ok(())
}

/// What people ask pprof for: each command knows the function; where there are sources, with its lines.
fn assert_pprof(profile: &Path, function: &str, source: Option<&str>) -> Result<()> {
    let top = ["-top", "-cum", "-nodefraction=0", "-nodecount=10000"];
    for arguments in [&top[..], &["-peek", function], &["-traces"]] {
        let said = pprof(arguments, profile)?;
        ensure!(said.contains(function), "{arguments:?}: {said}");
    }
    if let Some(line) = source {
        let said = pprof(&["-list", function], profile)?;
        ensure!(said.contains("ROUTINE ====") && said.contains(line), "-list: {said}");
    }
    // Against itself nothing is left.
    let nothing = pprof(&["-top", "-diff_base", &profile.display().to_string()], profile)?;
    let rows = nothing.split_once("flat%").context("rows")?.1.lines().skip(1);
    let left: Vec<&str> = rows.filter(|row| !row.trim_start().starts_with("0 ")).collect();
    ensure!(left.is_empty(), "{left:?}");
    Ok(())
}

/// The sites of a fixture: totals, and what pprof tells of them.
fn a_program_with_sites(program: &Program, function: &str, source: &str) -> Result<()> {
    need!(NEWEST);
    let mut fixture = Fixture::start(program, &["all"])?;
    let scope = Leakscope::attach_all(fixture.pid()).start()?;
    fixture.go()?;
    let finished = scope.finish()?;
    assert_totals(&finished)?;
    let rendered = render(&finished.file("report.json"), &["--format", "pprof", "--profile", "allocs"])?;
    assert_pprof(&rendered.file("out"), function, Some(source))
}

#[test]
fn a_program_in_cpp() -> Result<()> {
    a_program_with_sites(&SITES_CPP, "site_new", "site_new")
}

#[test]
fn a_program_in_rust() -> Result<()> {
    a_program_with_sites(&SITES_RUST, "keep_string", "fn keep_string")
}

#[test]
fn a_program_in_c() -> Result<()> {
    a_program_with_sites(&SITES_C, "site_realloc", "realloc(")?;
    let mut fixture = Fixture::start(&SITES_C, &["all"])?;
    let scope = Leakscope::attach_all(fixture.pid()).start()?;
    fixture.go()?;
    let finished = scope.finish()?;
    let rendered = render(&finished.file("report.json"), &["--format", "pprof"])?;
    let top = pprof(&["-top", "-sample_index=alloc_space"], &rendered.file("out"))?;
    assert!(top.contains("site_realloc") && top.contains("Build ID: "), "{top}");
    let lines = pprof(&["-traces", "-lines"], &rendered.file("out"))?;
    assert!(lines.contains("sites.c:"), "{lines}");
    Ok(())
}

#[test]
fn blocked_threads() -> Result<()> {
    need!(NEWEST);
    let fixture = Fixture::start(&BLOCKED, &["mutex", "50"])?;
    let finished = Leakscope::dump(fixture.pid()).run()?;
    assert_totals(&finished)?;
    let rendered = render(&finished.file("report.json"), &["--format", "pprof", "--profile", "mutex"])?;
    let tags = pprof(&["-tags"], &rendered.file("out"))?;
    assert!(tags.contains("lock:") && tags.contains("thread:"), "{tags}");
    Ok(())
}

#[test]
fn redis() -> Result<()> {
    need!(NEWEST);
    let (Some(server), Some(cli)) = (find_program("redis-server"), find_program("redis-cli")) else {
        skip!("redis is not installed")
    };
    let place = tempfile::tempdir()?;
    let socket = place.path().join("socket");
    let mut command = Command::new(server);
    command.args(["--port", "0", "--save", "", "--unixsocket"]).arg(&socket).arg("--dir").arg(place.path());
    let server = Guard::spawn(command.stdout(std::process::Stdio::null()))?;
    let ask = |words: &[&str]| run_ok(Command::new(&cli).arg("-s").arg(&socket).args(words), MINUTE);
    poll("redis answers", MINUTE, || Ok(ask(&["PING"]).ok()))?;
    let scope = Leakscope::attach_all(server.pid()).start()?;
    ask(&["DEBUG", "POPULATE", "1000"])?;
    let finished = scope.finish()?;
    assert_totals(&finished)?;
    let rendered = render(&finished.file("report.json"), &["--format", "pprof"])?;
    assert_pprof(&rendered.file("out"), "main", None)
}

#[test]
fn python() -> Result<()> {
    need!(NEWEST);
    let Some(python) = find_program("python3") else { skip!("python3 is not installed") };
    let script = "import sys; print('ready', flush=True)\nkept=[]\nfor line in sys.stdin: kept += [bytes(5000)]*1 + [bytearray(5000) for _ in range(200)]; print('done', flush=True)";
    let mut command = Command::new(python);
    command.args(["-c", script]).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut python = Guard::spawn(&mut command)?;
    let mut said = leakscope_tests::lines::Lines::drain(python.child().stdout.take().context("stdout")?);
    said.wait_for("ready", MINUTE, |line| line == "ready")?;
    let scope = Leakscope::attach_all(python.pid()).start()?;
    std::io::Write::write_all(python.child().stdin.as_mut().context("stdin")?, b"go\n")?;
    said.wait_for("done", MINUTE, |line| line == "done")?;
    let finished = scope.finish()?;
    assert_totals(&finished)?;
    let rendered = render(&finished.file("report.json"), &["--format", "pprof"])?;
    assert_pprof(&rendered.file("out"), "main", None)
}

/// How many goroutines of a profile go through each function. The main one is left out, as it writes Go's own
/// profile; so is the outermost frame, as Go does; and what a generic function was made for, which Go tells
/// in one format of two.
fn counts(profile: &Path) -> Result<BTreeMap<String, i64>> {
    let all = ["-top", "-cum", "-nodefraction=0", "-nodecount=10000", r"-ignore=^main\.main$"];
    let text = pprof(&all, profile)?;
    let mut counts = BTreeMap::new();
    for row in text.split_once("flat%").context("rows")?.1.lines().skip(1) {
        let words: Vec<&str> = row.split_whitespace().collect();
        let (numbers, name) = words.split_at_checked(5).context("a row")?;
        let name = name.join(" ");
        let name = match (name.find('['), name.rfind(']')) {
            (Some(open), Some(close)) => format!("{}[...]{}", &name[..open], &name[close + 1..]),
            _ => name,
        };
        if name != "runtime.goexit" {
            *counts.entry(name).or_default() += numbers[3].parse::<i64>()?;
        }
    }
    Ok(counts)
}

#[test]
fn a_program_in_go() -> Result<()> {
    need!(NEWEST);
    let mut fixture = STORY.start(&[])?;
    let finished = Leakscope::dump(fixture.pid()).run()?;
    assert_totals(&finished)?;
    let rendered = render(&finished.file("report.json"), &["--format", "pprof"])?;
    let profile = rendered.file("out");
    assert_pprof(&profile, "notifyFxn", None)?;
    // Beside the profile that Go makes of itself: the same functions with the same counts.
    let own = fixture.own_profile()?;
    let (ours, theirs) = (counts(&profile)?, counts(&own)?);
    ensure!(ours.len() > 20, "{ours:?}");
    assert_eq!(ours, theirs);
    // Go's tables tell where functions begin.
    let begins = |file: &Path| -> Result<usize> {
        let raw = pprof(&["-raw"], file)?;
        Ok(raw
            .lines()
            .filter(|line| line.contains("notifyFxn") && line.contains(" s=") && !line.contains(" s=0"))
            .count())
    };
    ensure!(begins(&profile)? > 0 && begins(&own)? > 0, "no start lines");
    let top = pprof(&["-top", "-cum"], &rendered.file("out"))?;
    assert!(top.contains("Type: goroutine") && top.contains("main.(*WebSocket).notifyFxn"), "{top}");
    Ok(())
}

/// Every line is there as soon as it is made.
#[test]
fn lines_of_json_while_attached() -> Result<()> {
    let mut fixture = Fixture::start(&CASES, &["one-site"])?;
    let invocation =
        Leakscope::attach_plain(fixture.pid()).args(["--format", "jsonl", "--interval", "200ms", "-o"]);
    let file = invocation.file("lines");
    let scope = invocation.arg(&file).start()?;
    fixture.go()?;
    poll("three lines", MINUTE, || {
        Ok(fs::read_to_string(&file).ok().filter(|text| text.lines().count() >= 3))
    })?;
    let attached = scope.finish()?;
    attached.assert_done();
    let text = fs::read_to_string(&file)?;
    let last = Report::parse(text.lines().last().context("a line")?)?;
    assert_eq!(last.ended_by(), "interrupt");
    // A growing account: the newest is the report.
    let finished = render(&file, &["--format", "json"])?;
    assert_eq!(read_report(&finished.file("out"))?.value(), last.value());
    Ok(())
}

#[test]
fn what_is_no_report() -> Result<()> {
    let place = tempfile::tempdir()?;
    let file = |name: &str, text: &[u8]| -> Result<std::path::PathBuf> {
        let path = place.path().join(name);
        fs::write(&path, text)?;
        Ok(path)
    };
    let long = file("long", b"")?;
    fs::File::options().write(true).open(&long)?.set_len(2 << 30)?;
    for (path, said) in [
        (file("cut", b"{\"schema\": \"leakscope.report/1\", \"lea")?, "ends in the middle"),
        (file("text", b"hello")?, "is not JSON"),
        (file("other", b"{\"schema\": \"leakscope.report/9\"}")?, "leakscope.report/1"),
        (file("empty", b"")?, "is empty"),
        (long, "longer than 1 GiB"),
        (place.path().to_owned(), "directory without reports"),
        (place.path().join("absent"), "cannot read"),
    ] {
        let parts = [said, &path.display().to_string()];
        Leakscope::bare().arg("report").arg(&path).run()?.assert_fails(1, &parts);
        Leakscope::bare().arg("diff").arg(&path).arg(&path).run()?.assert_fails(1, &parts);
        Leakscope::bare().arg("diff").arg(&path).run()?.assert_fails(1, &parts);
    }
    Leakscope::bare().arg("report").run()?.assert_fails(2, &["FILE"]);
    Leakscope::bare().arg("diff").run()?.assert_fails(2, &["OLD"]);
    Leakscope::bare().args(["diff", "-", "-"]).run()?.assert_fails(2, &["standard input"]);
    Ok(())
}

/// A stock flame graph tool reads what is folded.
#[test]
fn folded_stacks_for_others() -> Result<()> {
    let Some(perl) = find_program("perl") else { skip!("perl is not installed") };
    let mut fixture = Fixture::start(&SITES_C, &["all"])?;
    let scope = Leakscope::attach(fixture.pid()).start()?;
    fixture.go()?;
    let finished = scope.finish()?;
    let total = finished.report()?.number("/heap/totals/live_bytes");
    let rendered = render(&finished.file("report.json"), &["--format", "folded"])?;
    // How flamegraph.pl takes a line apart.
    let script = r#"while (<>) { chomp; my ($stack, $n) = (/^(.*)\s+?(\d+(?:\.\d*)?)$/) or die $_; die $_ if $stack =~ /^(.*)\s+?(\d+(?:\.\d*)?)$/; $sum += $n } print $sum"#;
    let output = run(Command::new(perl).args(["-e", script]).arg(rendered.file("out")), MINUTE)?;
    assert_eq!(String::from_utf8(output.stdout)?.trim(), total.to_string());
    Ok(())
}

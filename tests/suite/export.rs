//! Reports in other formats, as other programs read them.

use std::collections::{BTreeMap, BTreeSet};
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

/// The block profile of a program in Go: waits that have ended, and goroutines that wait still. With the latter's number.
fn goroutines_block(report: &Report) -> Option<(Vec<i64>, i64)> {
    let sites = report.at("/goroutines/sites").as_array()?;
    let waits = ["chan", "select", "sema", "sync."];
    let still = sites.iter().filter(|site| {
        let reason = site["wait_reason"].as_str().unwrap_or_default();
        site["system"] == false && waits.iter().any(|wait| reason.starts_with(wait))
    });
    let still: Vec<_> = still.collect();
    let number = |field: &str| still.iter().filter_map(|site| site[field].as_i64()).sum::<i64>();
    let ended = |field: &str| report.at(&format!("/goroutine_waits/{field}")).as_i64().unwrap_or(0);
    let count = number("count");
    Some((vec![count + ended("waits"), number("longest_blocked_ns") + ended("wait_ns")], count))
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
        let block = (vec![count, ns], blocked);
        let (values, weight) = goroutines_block(&report).unwrap_or(block);
        expected.push(("block", values, weight));
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

/// The lines that a profile says a function begins at.
fn begins(profile: &Path, function: &str) -> Result<BTreeSet<u64>> {
    let raw = pprof(&["-raw"], profile)?;
    let (_, locations) = raw.split_once("Locations").context("locations")?;
    // `  3: 0x55d0 M=1 site_new /src/sites.cpp:62:0 s=60`; of inlined functions without number and address.
    let of_function = locations.lines().filter_map(|line| {
        let (name, start) = line.rsplit_once(" s=")?;
        let (name, _) = name.rsplit_once(' ')?;
        let digits: String = start.chars().take_while(char::is_ascii_digit).collect();
        let is_it = |word: &str| {
            let last = word.split('(').next().unwrap_or(word).rsplit("::").next();
            word == function || last == Some(function)
        };
        name.split_whitespace().any(is_it).then(|| digits.parse().ok()).flatten()
    });
    Ok(of_function.collect())
}

/// The sites of a fixture: totals, and what pprof tells of them. `begin` is a text in the line that `function`
/// begins at, of which there is one in the file.
fn a_program_with_sites(
    program: &Program,
    file: &str,
    function: &str,
    source: &str,
    begin: &str,
) -> Result<()> {
    need!(NEWEST);
    let mut fixture = Fixture::start(program, &["all"])?;
    let scope = Leakscope::attach_all(fixture.pid()).start()?;
    fixture.go()?;
    let finished = scope.finish()?;
    assert_totals(&finished)?;
    let rendered = render(&finished.file("report.json"), &["--format", "pprof", "--profile", "allocs"])?;
    let text = fs::read_to_string(leakscope_tests::programs::directory().join(file))?;
    let line = text.lines().position(|line| line.contains(begin)).context("the function is in the file")?;
    let told: Vec<u64> = begins(&rendered.file("out"), function)?.into_iter().collect();
    assert_eq!(told, [line as u64 + 1], "where {function} begins");
    assert_pprof(&rendered.file("out"), function, Some(source))
}

#[test]
fn a_program_in_cpp() -> Result<()> {
    a_program_with_sites(&SITES_CPP, "cpp/sites.cpp", "site_new", "site_new", "NEW(plain, site_new,")
}

#[test]
fn a_program_in_rust() -> Result<()> {
    a_program_with_sites(&SITES_RUST, "rust/sites.rs", "keep_string", "fn keep_string", "fn keep_string(")
}

#[test]
fn a_program_in_c() -> Result<()> {
    a_program_with_sites(&SITES_C, "c/sites.c", "site_realloc", "realloc(", "SITE(site_realloc,")?;
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
/// profile; so is the outermost frame, as Go does.
fn counts(profile: &Path) -> Result<BTreeMap<String, i64>> {
    let all = ["-top", "-cum", "-nodefraction=0", "-nodecount=10000", r"-ignore=^main\.main$"];
    let text = pprof(&all, profile)?;
    let mut counts = BTreeMap::new();
    for row in text.split_once("flat%").context("rows")?.1.lines().skip(1) {
        let words: Vec<&str> = row.split_whitespace().collect();
        let (numbers, name) = words.split_at_checked(5).context("a row")?;
        let name = generic(&name.join(" "));
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
    assert_pprof(&profile, "notifyFxn", Some("notification, open := <-ws.notify"))?;
    // Beside the profile that Go makes of itself: the same functions with the same counts.
    let own = fixture.own_profile("goroutine")?;
    let (ours, theirs) = (counts(&profile)?, counts(&own)?);
    ensure!(ours.len() > 20, "{ours:?}");
    assert_eq!(ours, theirs);
    // The text has the very lines of Go's own.
    let rendered_text = render(&finished.file("report.json"), &["--format", "text"])?;
    let lines = |file: &Path, function: &str| -> Result<BTreeSet<String>> {
        let text = fs::read_to_string(file)?;
        let lines = text.lines().filter(|line| line.starts_with("#\t") && line.contains(function));
        Ok(lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect())
    };
    for function in ["main.(*WebSocket).notifyFxn+", "sync.(*Cond).Wait+"] {
        let theirs = lines(&own.with_extension("1"), function)?;
        ensure!(!theirs.is_empty(), "{function} is in Go's text");
        assert_eq!(lines(&rendered_text.file("out"), function)?, theirs);
    }
    // Go's tables tell where functions begin.
    let function = "main.(*WebSocket).notifyFxn";
    let start = begins(&profile, function)?;
    ensure!(start.len() == 1 && start == begins(&own, function)?, "{start:?}");
    let top = pprof(&["-top", "-cum"], &rendered.file("out"))?;
    assert!(top.contains("Type: goroutine") && top.contains("main.(*WebSocket).notifyFxn"), "{top}");
    Ok(())
}

/// What a program's functions hold, by `go tool pprof`.
fn held(profile: &Path, index: &str) -> Result<BTreeMap<String, (u64, u64)>> {
    let index = format!("-sample_index={index}");
    let arguments = ["-top", "-cum", "-nodefraction=0", "-nodecount=10000", "-unit=B", &index];
    let text = pprof(&arguments, profile)?;
    let mut held = BTreeMap::new();
    for row in text.split_once("flat%").context("rows")?.1.lines().skip(1) {
        let words: Vec<&str> = row.split_whitespace().collect();
        let (numbers, name) = words.split_at_checked(5).context("a row")?;
        let name = generic(&name.join(" "));
        let sums: &mut (u64, u64) = held.entry(name).or_default();
        let number = |text: &str| text.trim_end_matches('B').parse::<u64>();
        *sums = (sums.0 + number(numbers[0])?, sums.1 + number(numbers[3])?);
    }
    Ok(held)
}

/// A name without what a generic function was made for, which Go tells in one format of two.
fn generic(name: &str) -> String {
    match (name.find('['), name.rfind(']')) {
        (Some(open), Some(close)) => format!("{}[...]{}", &name[..open], &name[close + 1..]),
        _ => name.to_owned(),
    }
}

/// Beside the heap profile that Go makes of itself: the same functions with the same numbers, of all four
/// kinds, and nothing left of one less the other.
#[test]
fn the_heap_of_a_program_in_go() -> Result<()> {
    need!(NEWEST);
    let mut fixture = STORY.start(&["-rate", "1", "-gc-percent", "-1"])?;
    fixture.collect()?;
    let finished = Leakscope::attach_all(fixture.pid()).start()?.finish()?;
    assert_totals(&finished)?;
    let rendered = render(&finished.file("report.json"), &["--format", "pprof", "--profile", "heap"])?;
    let (ours, own) = (rendered.file("out"), fixture.own_profile("heap")?);
    for index in ["inuse_space", "inuse_objects", "alloc_space", "alloc_objects"] {
        let (held_by_ours, held_by_own) = (held(&ours, index)?, held(&own, index)?);
        ensure!(held_by_own.len() > 10, "{index}: {held_by_own:?}");
        assert_eq!(held_by_ours, held_by_own, "{index}");
    }
    for (base, profile) in [(&ours, &own), (&own, &ours)] {
        let base = base.display().to_string();
        let left = pprof(&["-top", "-nodefraction=0", "-unit=B", "-diff_base", &base], profile)?;
        let rows = left.split_once("flat%").context("rows")?.1.lines().skip(1);
        // Of generic functions the names differ.
        let left = rows.filter(|row| !row.trim_start().starts_with("0 ") && !row.contains('['));
        let left: Vec<&str> = left.collect();
        ensure!(left.is_empty(), "{left:?}");
    }
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
    let long = file("zeros", b"")?;
    fs::File::options().write(true).open(&long)?.set_len(2 << 30)?;
    for (path, said) in [
        (file("cut", b"{\"schema\": \"leakscope.report/1\", \"lea")?, "ends in the middle"),
        (file("text", b"hello")?, "is not JSON"),
        (file("other", b"{\"schema\": \"leakscope.report/9\"}")?, "leakscope.report/2"),
        (file("empty", b"")?, "is empty"),
        (long, "is empty"),
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

/// Brendan Gregg's flamegraph.pl draws what is folded: all of it.
#[test]
fn folded_stacks_for_others() -> Result<()> {
    // Where Debian has it.
    let tool = Path::new("/usr/share/perl5/Devel/NYTProf/flamegraph.pl");
    if !tool.exists() {
        skip!("flamegraph.pl is not installed");
    }
    let mut fixture = Fixture::start(&SITES_C, &["all"])?;
    let scope = Leakscope::attach(fixture.pid()).start()?;
    fixture.go()?;
    let finished = scope.finish()?;
    let report = finished.report()?;
    let rendered = render(&finished.file("report.json"), &["--format", "folded"])?;
    let output = run(Command::new(tool).args(["--countname", "bytes"]).arg(rendered.file("out")), MINUTE)?;
    let said = String::from_utf8(output.stderr)?;
    ensure!(said.is_empty(), "flamegraph.pl: {said}");
    let svg = String::from_utf8(output.stdout)?;
    let bytes_of = |title: &str| -> Result<i64> {
        let (_, rest) =
            svg.split_once(&format!("<title>{title} (")).with_context(|| format!("no {title}"))?;
        let digits = rest.chars().take_while(|c| *c != ' ').filter(char::is_ascii_digit);
        Ok(digits.collect::<String>().parse()?)
    };
    assert_eq!(bytes_of("all")?, report.number("/heap/totals/live_bytes"));
    let live = |function: &str| -> i64 {
        let sites = report.at("/heap/sites").as_array().into_iter().flatten();
        let here = sites.filter(|site| {
            site["frames"].as_array().into_iter().flatten().any(|frame| frame["function"] == function)
        });
        here.filter_map(|site| site["live_bytes"].as_i64()).sum()
    };
    ensure!(live("site_calloc") > 0);
    assert_eq!(bytes_of("site_calloc")?, live("site_calloc"));
    Ok(())
}

//! What is opened in a browser: flame graphs, and pprof's own pages.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use leakscope_tests::go::NEWEST;
use leakscope_tests::process::{Guard, run_ok};
use leakscope_tests::programs::SITES_C;
use leakscope_tests::server::find_program;
use leakscope_tests::{Fixture, Leakscope, skip};

use super::export::cache;
use super::golang::need;

const MINUTE: Duration = Duration::from_secs(60);

/// Renders a report of the C fixture.
fn rendered(place: &Path, format: &str) -> Result<PathBuf> {
    let report = reported(place)?;
    let out = place.join(format);
    Leakscope::bare()
        .arg("report")
        .arg(report)
        .args(["--format", format, "-o"])
        .arg(&out)
        .run()?
        .assert_done();
    Ok(out)
}

/// A report of the C fixture.
fn reported(place: &Path) -> Result<PathBuf> {
    let mut fixture = Fixture::start(&SITES_C, &["all"])?;
    let scope = Leakscope::attach(fixture.pid()).start()?;
    fixture.go()?;
    let finished = scope.finish()?;
    finished.assert_done();
    let report = place.join("report.json");
    fs::copy(finished.file("report.json"), &report)?;
    Ok(report)
}

/// Searches, zooms by a click and out again, and notes what is seen after each.
const SCRIPT: &str = r#"<script type="text/ecmascript"><![CDATA[
window.addEventListener("load", function () { setTimeout(function () {
    var seen = [];
    try {
        var frames = Array.from(document.getElementById("frames").children);
        var frame = frames.find(function (g) { return g.querySelector("title").textContent.startsWith("site_malloc"); });
        var width = function () { return parseFloat(frame.querySelector("rect").getAttribute("width")); };
        var shown = function (id) { return !document.getElementById(id).classList.contains("hide"); };
        var click = function (node) { node.dispatchEvent(new MouseEvent("click", { bubbles: true })); };
        search("site_malloc");
        seen.push(document.getElementById("matched").textContent, shown("matched"));
        seen.push(width() < 99, shown("unzoom"));
        click(frame.querySelector("rect"));
        seen.push(width() > 99, shown("unzoom"));
        click(document.getElementById("unzoom"));
        seen.push(width() < 99, shown("unzoom"));
    } catch (error) { seen.push("error: " + error); }
    var said = document.createElementNS("http://www.w3.org/2000/svg", "metadata");
    said.textContent = "SEEN " + JSON.stringify(seen) + " END";
    document.documentElement.appendChild(said);
}, 0); });
]]></script></svg>"#;

fn browser() -> Option<PathBuf> {
    ["chromium", "chromium-browser", "google-chrome"].iter().find_map(|name| find_program(name))
}

/// The page with a script at its end.
fn with_script(page: &str, script: &str) -> String {
    page.replacen("</body>", &format!("<script>\n{script}</script>\n</body>"), 1)
}

/// Opens a page whose script notes what is seen.
fn seen_in(browser: &Path, page: &Path, place: &Path) -> Result<Vec<serde_json::Value>> {
    let mut command = Command::new(browser);
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000", "--dump-dom"]);
    command.arg(format!("--user-data-dir={}", place.join("profile").display()));
    let page = run_ok(command.arg(format!("file://{}", page.display())), MINUTE)?;
    let seen = page
        .rsplit_once("SEEN ")
        .and_then(|(_, rest)| rest.split_once(" END"))
        .context("nothing was seen")?
        .0;
    Ok(serde_json::from_str(&seen.replace("&quot;", "\""))?)
}

/// Uses the page: searches, goes to a hit, zooms by a click and out again, takes another value and another profile.
const USE_PAGE: &str = include_str!("browser/page.js");

/// A page in a real browser: its flame graphs zoom, all of it can be searched.
#[test]
fn a_page_is_searched_and_zoomed() -> Result<()> {
    let Some(browser) = browser() else { skip!("chromium is not installed") };
    let place = tempfile::tempdir()?;
    let html = fs::read_to_string(rendered(place.path(), "html")?)?;
    let page = place.path().join("page.html");
    fs::write(&page, with_script(&html, USE_PAGE))?;
    let seen = serde_json::to_string(&seen_in(&browser, &page, place.path())?)?;
    assert_eq!(
        seen,
        r#"[true,true,100,false,true,true,true,true,true,true,true,1,0,"no line has it","in",true,true]"#
    );
    Ok(())
}

/// Notes how wide the picture is by what it shows, and the answer.
const USE_DIFF: &str = include_str!("browser/diff.js");

/// The page of a difference shows what is more and what is less, and both reports.
#[test]
fn a_page_of_a_difference() -> Result<()> {
    let Some(browser) = browser() else { skip!("chromium is not installed") };
    let place = tempfile::tempdir()?;
    let new = reported(place.path())?;
    // The old one is the same with half of each site.
    let mut report: serde_json::Value = serde_json::from_slice(&fs::read(&new)?)?;
    let mut live = 0;
    for site in report["heap"]["sites"].as_array_mut().context("sites")? {
        let bytes = site["live_bytes"].as_u64().context("bytes")?;
        live += bytes;
        site["live_bytes"] = (bytes / 2).into();
    }
    let old = place.path().join("old.json");
    fs::write(&old, report.to_string())?;
    let out = place.path().join("diff.html");
    Leakscope::bare()
        .arg("diff")
        .args([&old, &new])
        .args(["--format", "html", "-o"])
        .arg(&out)
        .run()?
        .assert_done();
    let html = fs::read_to_string(&out)?;
    let page = place.path().join("page.html");
    fs::write(&page, with_script(&html, USE_DIFF))?;
    let seen = seen_in(&browser, &page, place.path())?;
    assert_eq!(seen[0], false, "{seen:?}");
    let told = |at: usize| seen[at].as_str().unwrap_or_default().to_owned();
    assert_eq!((told(1), told(2).as_str()), (told(4), "there are none"), "{seen:?}");
    assert_ne!(told(1), told(3), "{seen:?}: of {live} bytes");
    Ok(())
}

/// A flame graph in a real browser: it searches, it zooms.
#[test]
fn a_flame_graph_searches_and_zooms() -> Result<()> {
    let Some(browser) = browser() else { skip!("chromium is not installed") };
    let place = tempfile::tempdir()?;
    let svg = fs::read_to_string(rendered(place.path(), "flamegraph")?)?;
    let (start, _) = svg.rsplit_once("</svg>").context("an SVG")?;
    let page = place.path().join("page.svg");
    fs::write(&page, format!("{start}{SCRIPT}"))?;
    let seen = seen_in(&browser, &page, place.path())?;
    let matched = seen[0].as_str().unwrap_or_default();
    ensure!(
        matched.starts_with("Matched: ") && matched.ends_with('%') && matched != "Matched: 0%",
        "{seen:?}"
    );
    assert_eq!(serde_json::to_string(&seen[1..])?, "[true,true,false,true,true,true,false]", "{seen:?}");
    Ok(())
}

/// `go tool pprof -http` of a profile.
struct Pages {
    port: String,
    _server: Group,
    /// Open to the end: what pprof says later must not end it by SIGPIPE.
    _errors: std::io::Lines<BufReader<ChildStderr>>,
}

impl Pages {
    fn of(place: &Path, profile: &Path) -> Result<Self> {
        // Compiles the tool where it was not before, so that what runs is the tool itself.
        super::export::pprof(&["-top"], profile)?;
        let go = NEWEST.root().context("the newest Go is installed")?.join("bin/go");
        let mut command = Command::new(go);
        let port = leakscope_tests::server::free_port()?.to_string();
        command.args(["tool", "pprof", "-no_browser", "-http", &format!("127.0.0.1:{port}")]).arg(profile);
        command.env("HOME", cache()).env("GOCACHE", cache()).env("PPROF_TMPDIR", place);
        // A group of its own: the tool is a child of `go`.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut server = Group(Guard::spawn(command.stderr(Stdio::piped()))?);
        let errors = server.0.child().stderr.take().context("stderr is piped")?;
        let mut errors = BufReader::new(errors).lines();
        let said = errors.by_ref().map_while(Result::ok).find(|line| line.contains("Serving web UI"));
        ensure!(said.is_some(), "pprof did not start");
        let _ = leakscope_tests::server::wait_for_port(port.parse()?);
        Ok(Self { port, _server: server, _errors: errors })
    }

    fn get(&self, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect(format!("127.0.0.1:{}", self.port))?;
        stream.set_read_timeout(Some(MINUTE))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.0 200"), "{path}: {}", answer.lines().next().unwrap_or_default());
        Ok(answer)
    }
}

/// The pages of `go tool pprof -http`.
#[test]
fn pages_of_pprof() -> Result<()> {
    need!(NEWEST);
    let place = tempfile::tempdir()?;
    let pages = Pages::of(place.path(), &rendered(place.path(), "pprof")?)?;
    for path in ["/ui/top", "/ui/flamegraph", "/ui/peek?f=site_malloc"] {
        let page = pages.get(path)?;
        ensure!(page.contains("site_malloc"), "{path}: {page}");
    }
    Ok(())
}

/// Its graph, which graphviz draws.
#[test]
fn the_graph_of_pprof() -> Result<()> {
    need!(NEWEST);
    if find_program("dot").is_none() {
        skip!("graphviz is not installed, without which pprof draws no graph");
    }
    let place = tempfile::tempdir()?;
    let graph = Pages::of(place.path(), &rendered(place.path(), "pprof")?)?.get("/ui/graph")?;
    ensure!(graph.contains("<svg") && graph.contains(">site_malloc<"), "{graph}");
    Ok(())
}

/// A process and its children; killed when dropped.
struct Group(Guard);

impl Drop for Group {
    fn drop(&mut self) {
        if let Ok(group) = i32::try_from(self.0.pid()) {
            // SAFETY: kill(2) touches no memory of ours; the group was made for this child, which is not waited for yet.
            unsafe { libc::kill(-group, libc::SIGKILL) };
        }
    }
}

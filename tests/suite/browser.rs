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
    let mut fixture = Fixture::start(&SITES_C, &["all"])?;
    let scope = Leakscope::attach(fixture.pid()).start()?;
    fixture.go()?;
    let finished = scope.finish()?;
    finished.assert_done();
    let out = place.join(format);
    let report = finished.file("report.json");
    Leakscope::bare()
        .arg("report")
        .arg(report)
        .args(["--format", format, "-o"])
        .arg(&out)
        .run()?
        .assert_done();
    Ok(out)
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

/// A flame graph in a real browser: it searches, it zooms.
#[test]
fn a_flame_graph_searches_and_zooms() -> Result<()> {
    let browser =
        ["chromium", "chromium-browser", "google-chrome"].iter().find_map(|name| find_program(name));
    let Some(browser) = browser else { skip!("chromium is not installed") };
    let place = tempfile::tempdir()?;
    let svg = fs::read_to_string(rendered(place.path(), "flamegraph")?)?;
    let (start, _) = svg.rsplit_once("</svg>").context("an SVG")?;
    let page = place.path().join("page.svg");
    fs::write(&page, format!("{start}{SCRIPT}"))?;
    let mut command = Command::new(browser);
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000", "--dump-dom"]);
    command.arg(format!("--user-data-dir={}", place.path().join("profile").display()));
    let page = run_ok(command.arg(format!("file://{}", page.display())), MINUTE)?;
    let seen = page
        .rsplit_once("SEEN ")
        .and_then(|(_, rest)| rest.split_once(" END"))
        .context("nothing was seen")?
        .0;
    let seen: Vec<serde_json::Value> = serde_json::from_str(&seen.replace("&quot;", "\""))?;
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

//! Real servers in Go, stripped and with cgo as Debian builds them: groups of goroutines that make sense
//! to those who know the program, and that are the same as in its own profile.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use leakscope_tests::go::compare::{compare_goroutines, compare_stacks};
use leakscope_tests::go::profile::{self, Frame};
use leakscope_tests::lines::Lines;
use leakscope_tests::process::{Guard, poll, run_ok};
use leakscope_tests::server::{find_program, free_port};
use leakscope_tests::{Leakscope, Report, skip};
use serde_json::Value;

const MINUTE: Duration = Duration::from_secs(60);
/// Connections that have nothing to do.
const IDLE: u64 = 120;
/// Requests that wait for the rest of themselves, and clients that wait for news.
const BLOCKED: u64 = 12;
/// Connections of the load: too few to pile up.
const BUSY: u64 = 8;
/// What creates a goroutine for each connection.
const SERVER: &str = "net/http.(*Server).Serve";

/// A server on ports and in a directory of its own.
struct Server {
    guard: Guard,
    port: u16,
    _place: tempfile::TempDir,
}

impl Server {
    /// Waits until `path` is answered.
    fn start(command: &mut Command, port: u16, path: &str, place: tempfile::TempDir) -> Result<Self> {
        let guard = Guard::spawn(command.stdout(Stdio::null()).stderr(Stdio::null()))?;
        let mut server = Self { guard, port, _place: place };
        poll("the server is ready", MINUTE, || {
            ensure!(server.guard.is_running()?, "the server has ended");
            Ok(server.get(path).ok())
        })?;
        Ok(server)
    }

    /// None where it is not installed.
    fn prometheus() -> Result<Option<Self>> {
        let Some(program) = find_program("prometheus") else { return Ok(None) };
        let (place, port) = (tempfile::tempdir()?, free_port()?);
        let settings = place.path().join("prometheus.yml");
        fs::write(&settings, "scrape_configs: []\n")?;
        let mut command = Command::new(program);
        command
            .arg(format!("--config.file={}", settings.display()))
            .arg(format!("--storage.tsdb.path={}", place.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"));
        Self::start(&mut command, port, "/-/ready", place).map(Some)
    }

    /// None where it is not installed.
    fn etcd() -> Result<Option<Self>> {
        let Some(program) = find_program("etcd") else { return Ok(None) };
        let (place, port, peers) = (tempfile::tempdir()?, free_port()?, free_port()?);
        let clients = format!("http://127.0.0.1:{port}");
        let peers = format!("http://127.0.0.1:{peers}");
        let mut command = Command::new(program);
        command.args(["--enable-pprof", "--initial-cluster", &format!("default={peers}")]);
        command.args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients]);
        command.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
        command.arg("--data-dir").arg(place.path().join("data"));
        Self::start(&mut command, port, "/health", place).map(Some)
    }

    fn pid(&self) -> u32 {
        self.guard.pid()
    }

    fn connect(&self) -> Result<Connection> {
        let stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(MINUTE))?;
        Ok(Connection(BufReader::new(stream)))
    }

    /// The answer to a request on a connection of its own.
    fn get(&self, path: &str) -> Result<String> {
        let mut connection = self.connect()?;
        connection.ask(path, "Connection: close\r\n")
    }

    /// Connections that were used once and are kept.
    fn keep_alive(&self, path: &str, n: u64) -> Result<Vec<Connection>> {
        let kept = (0..n).map(|_| {
            let mut connection = self.connect()?;
            connection.ask(path, "")?;
            Ok(connection)
        });
        kept.collect()
    }

    /// A dump for which `holds`: what a client was answered may still be going on in the server.
    fn dump_when(&self, what: &str, holds: impl Fn(&Report) -> bool) -> Result<Report> {
        let mut last = None;
        let found = poll(what, MINUTE, || {
            let report = Leakscope::dump(self.pid()).run()?.report()?;
            let found = holds(&report);
            last = Some(report.clone());
            Ok(found.then_some(report))
        });
        found.with_context(|| last.map(|report| shown(&report)).unwrap_or_default())
    }

    /// The groups are those of the program's own profile, but for the goroutines that serve it. The
    /// program is not always still: one look of some must agree.
    fn compare(&self) -> Result<()> {
        let mut difference = None;
        for _ in 0..20 {
            match self.compare_once() {
                Ok(()) => return Ok(()),
                Err(error) => difference = Some(error),
            }
        }
        Err(difference.context("it was compared")?)
    }

    fn compare_once(&self) -> Result<()> {
        let report = Leakscope::dump(self.pid()).run()?.report()?;
        let text = self.get("/debug/pprof/goroutine?debug=1")?;
        let mut own = profile::parse_groups(&text)?;
        own.total -=
            own.groups.iter().filter(|group| serves(&group.frames)).map(|group| group.count).sum::<u64>();
        own.groups.retain(|group| !serves(&group.frames));
        // A group without a frame does not say what it is of: the runtime's own goroutines are such ones, too, as they
        // begin to run a finalizer, and are not counted here.
        let nameless = |group: &profile::Group| group.frames.is_empty();
        own.total -= own.groups.iter().filter(|group| nameless(group)).map(|group| group.count).sum::<u64>();
        own.groups.retain(|group| !nameless(group));
        compare_goroutines(report.value(), &own).context("debug=1")?;
        let mut own = profile::parse_stacks(&self.get("/debug/pprof/goroutine?debug=2")?)?;
        own.retain(|goroutine| !serves(&goroutine.frames));
        compare_stacks(report.value(), &own).context("debug=2")?;
        ensure!(report.losses().iter().all(|(name, _)| !name.starts_with("go.")), "{:?}", report.losses());
        println!("{} goroutines in {} groups are as in its own profile", own.len(), sites(&report).count());
        Ok(())
    }
}

/// Whether these are frames of what answers the request for a profile.
fn serves(frames: &[Frame]) -> bool {
    let serving = ["runtime/pprof.writeGoroutine", "runtime/pprof.writeGoroutineStacks"];
    let watching = "net/http.(*connReader).backgroundRead";
    frames.iter().any(|frame| serving.contains(&frame.function.as_str()) || frame.function == watching)
}

/// A connection that stays open.
struct Connection(BufReader<TcpStream>);

impl Connection {
    /// Sends a request and reads the whole answer, which must be good.
    fn ask(&mut self, path: &str, headers: &str) -> Result<String> {
        write!(self.0.get_mut(), "GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")?;
        let (mut length, mut chunked, mut status) = (None, false, String::new());
        loop {
            let mut line = String::new();
            ensure!(self.0.read_line(&mut line)? > 0, "the connection was closed");
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if status.is_empty() {
                status.clone_from(&line);
            }
            if let Some(n) = line.strip_prefix("content-length: ") {
                length = Some(n.parse::<usize>()?);
            }
            chunked |= line == "transfer-encoding: chunked";
        }
        ensure!(status.contains(" 200 "), "{path}: {status}");
        let mut body = Vec::new();
        if chunked {
            loop {
                let mut line = String::new();
                self.0.read_line(&mut line)?;
                let size = usize::from_str_radix(line.trim(), 16)?;
                let mut chunk = vec![0; size + 2];
                self.0.read_exact(&mut chunk)?;
                body.extend_from_slice(&chunk[..size]);
                if size == 0 {
                    break;
                }
            }
        } else {
            body = vec![0; length.context("no length")?];
            self.0.read_exact(&mut body)?;
        }
        Ok(String::from_utf8(body)?)
    }
}

/// The sites that are not the runtime's own.
fn sites(report: &Report) -> impl Iterator<Item = &Value> {
    let all = report.at("/goroutines/sites").as_array();
    all.into_iter().flatten().filter(|site| site["system"] != true)
}

fn goes_through(site: &Value, function: &str) -> bool {
    site["frames"].as_array().into_iter().flatten().any(|frame| frame["function"] == function)
}

/// How many goroutines of the sites there are for which it holds.
fn count(report: &Report, holds: impl Fn(&Value) -> bool) -> u64 {
    sites(report).filter(|site| holds(site)).filter_map(|site| site["count"].as_u64()).sum()
}

/// Connections of clients that have nothing to do.
fn waiting_for_requests(site: &Value) -> bool {
    site["idle_rule"] == "waits for the next request of a connection"
}

fn shown(report: &Report) -> String {
    let lines = sites(report).map(|site| {
        let blamed = &site["frames"][site["blame"].as_u64().unwrap_or(0) as usize];
        let function = blamed["function"].as_str().unwrap_or("-");
        format!("{} × {} {function} {}", site["count"], site["wait_reason"], site["idle_rule"])
    });
    format!("{}\n{}", report.headline(), lines.collect::<Vec<_>>().join("\n"))
}

/// What a program says of its version of Go when asked for its own.
fn version(program: &str, says: &str) -> Result<String> {
    let program = find_program(program).context("it was looked for")?;
    let said = run_ok(Command::new(program).arg("--version"), MINUTE)?;
    let line = said.lines().find_map(|line| line.trim().strip_prefix(says));
    Ok(line.with_context(|| said.clone())?.trim().to_owned())
}

#[test]
fn prometheus_is_a_go_program() -> Result<()> {
    let Some(server) = Server::prometheus()? else { skip!("prometheus is not installed") };
    let report = Leakscope::dump(server.pid()).run()?.report()?;
    println!("{}", shown(&report));
    assert_eq!(report.at("/target/runtime"), "go");
    assert_eq!(report.at("/target/runtime_version"), &version("prometheus", "go version:")?);
    let module = report.at("/target/go/main_module").as_str().unwrap_or_default();
    assert!(module.starts_with("github.com/prometheus/prometheus"), "{module}");
    // Nothing is wrong with it, and that is what is said first.
    assert_eq!(report.answer(), "goroutines_calm", "{}", report.headline());
    let through = |function: &str| count(&report, |site| goes_through(site, function));
    assert_eq!(through("github.com/prometheus/prometheus/tsdb.(*DB).run"), 1);
    assert_eq!(through("github.com/prometheus/prometheus/rules.(*Manager).Run"), 1);
    assert_eq!(count(&report, |site| site["idle_rule"] == "waits for connections"), 1);
    assert_eq!(count(&report, |site| site["idle_rule"] == "waits for signals"), 1);
    assert_eq!(report.losses(), []);
    Ok(())
}

/// Connections with nothing to do are idle; requests that block are not, and their handler is named.
#[test]
fn prometheus_with_idle_connections_and_blocked_requests() -> Result<()> {
    let Some(server) = Server::prometheus()? else { skip!("prometheus is not installed") };
    let _kept = server.keep_alive("/-/healthy", IDLE)?;
    let report =
        server.dump_when("all connections wait", |report| count(report, waiting_for_requests) == IDLE)?;
    let of_connections = |site: &Value| site["created_by"]["function"] == SERVER;
    assert_eq!(count(&report, of_connections), IDLE);
    let site = sites(&report).find(|site| waiting_for_requests(site)).context("the site")?;
    assert_eq!((&site["wait_reason"], &site["state"]), (&"IO wait".into(), &"waiting".into()));
    let blamed = site["blame"].as_u64().context("blame")?;
    assert_eq!(site["frames"][usize::try_from(blamed)?]["function"], "net/http.(*conn).serve", "{site}");
    assert_eq!(report.answer(), "goroutines_calm", "{}", report.headline());

    // The handler reads a form of which only the beginning comes.
    let blocked: Result<Vec<_>> = (0..BLOCKED)
        .map(|_| {
            let mut connection = server.connect()?;
            connection.0.get_mut().write_all(
                b"POST /api/v1/query HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\
              Content-Type: application/x-www-form-urlencoded\r\n\r\nquery=",
            )?;
            Ok(connection)
        })
        .collect();
    let _blocked = blocked?;
    let query = "github.com/prometheus/prometheus/web/api/v1.(*API).query";
    let in_handler = |site: &Value| goes_through(site, query);
    let report = server.dump_when("all requests block", |report| {
        count(report, |site| in_handler(site) && site["wait_reason"] == "IO wait") == BLOCKED
    })?;
    println!("{}", shown(&report));
    assert_eq!(sites(&report).filter(|site| in_handler(site)).count(), 1);
    let site = sites(&report).find(|site| in_handler(site)).context("the site")?;
    assert_eq!((&site["idle"], &site["created_by"]["function"]), (&false.into(), &SERVER.into()));
    let blamed = site["blame"].as_u64().context("blame")?;
    let blamed = site["frames"][usize::try_from(blamed)?]["function"].as_str().unwrap_or_default();
    assert!(blamed.starts_with("github.com/prometheus/prometheus/"), "{blamed}");
    assert_eq!(count(&report, waiting_for_requests), IDLE);
    Ok(())
}

#[test]
fn prometheus_as_in_its_own_profile() -> Result<()> {
    let Some(server) = Server::prometheus()? else { skip!("prometheus is not installed") };
    let _kept = server.keep_alive("/-/healthy", IDLE)?;
    server.compare()
}

/// Under load every connection is found, whatever its goroutine does, and the server goes on.
#[test]
fn prometheus_under_load() -> Result<()> {
    let (Some(server), Some(wrk)) = (Server::prometheus()?, find_program("wrk")) else {
        skip!("prometheus or wrk is not installed")
    };
    let kept = server.keep_alive("/-/healthy", IDLE)?;
    let of_connections = |site: &Value| site["created_by"]["function"] == SERVER;
    server.dump_when("all connections are there", |report| count(report, of_connections) == IDLE)?;
    let mut load = Command::new(wrk);
    load.args(["-t", "1", "-c", &BUSY.to_string(), "-d", "120s"]);
    load.arg(format!("http://127.0.0.1:{}/api/v1/query?query=vector(1)", server.port));
    let scope = Leakscope::attach_all(server.pid()).start()?;
    let mut load = Guard::spawn(load.stdout(Stdio::null()))?;
    let all = |report: &Report| count(report, of_connections) == IDLE + BUSY;
    server.dump_when("the load has begun", all)?;
    let report = scope.finish()?.report()?;
    assert!(load.is_running()?);
    println!("{}", shown(&report));
    assert!(all(&report), "{}", shown(&report));
    let idle = count(&report, waiting_for_requests);
    assert!((IDLE..=IDLE + BUSY).contains(&idle), "{idle}");
    // Scratch goroutines of the requests aside, the growth is the load's connections.
    let grown: i64 = sites(&report)
        .filter(|site| of_connections(site))
        .filter_map(|site| site["growth_since_first"].as_i64())
        .sum();
    assert_eq!(grown, i64::try_from(BUSY)?);
    for (name, _) in report.losses() {
        assert!(name == "goroutines.missed" || !name.starts_with("go"), "{:?}", report.losses());
    }

    let scope = Leakscope::attach_all(server.pid()).args(["--duration", "1s"]).start()?;
    let report = scope.wait()?.report()?;
    assert_eq!(report.ended_by(), "duration");
    assert!(all(&report), "{}", shown(&report));
    drop(load);
    drop(kept);
    server.get("/-/healthy")?;
    Ok(())
}

/// Clients that watch keys are found in the handler of watches, both of its goroutines.
#[test]
fn etcd_with_clients_that_watch() -> Result<()> {
    let (Some(server), Some(etcdctl)) = (Server::etcd()?, find_program("etcdctl")) else {
        skip!("etcd is not installed")
    };
    let endpoint = format!("--endpoints=127.0.0.1:{}", server.port);
    let client = |arguments: &[&str]| {
        let mut command = Command::new(&etcdctl);
        command.env("ETCDCTL_API", "3").arg(&endpoint).args(arguments);
        command
    };
    let mut watching = Vec::new();
    for n in 0..BLOCKED {
        let mut command = client(&["watch", &format!("key{n}")]);
        watching.push(Guard::spawn(command.stdout(Stdio::piped()).stderr(Stdio::null()))?);
    }
    let stream = "go.etcd.io/etcd/etcdserver/api/v3rpc.(*watchServer).Watch";
    let sends = "go.etcd.io/etcd/etcdserver/api/v3rpc.(*serverWatchStream).sendLoop";
    let receives = "go.etcd.io/etcd/etcdserver/api/v3rpc.(*serverWatchStream).recvLoop";
    let loops = [stream, sends, receives];
    let all = |report: &Report| {
        loops.iter().all(|function| count(report, |site| goes_through(site, function)) == BLOCKED)
    };
    let report = server.dump_when("all clients watch", all)?;
    println!("{}", shown(&report));
    assert_eq!(report.at("/target/runtime"), "go");
    assert_eq!(report.at("/target/runtime_version"), &version("etcd", "Go Version:")?);
    assert_eq!(report.at("/target/go/main_module"), "go.etcd.io/etcd");
    for function in loops {
        let site = sites(&report).find(|site| goes_through(site, function)).context("the site")?;
        assert_eq!(site["wait_reason"], "select", "{site}");
        let blamed = site["blame"].as_u64().and_then(|at| usize::try_from(at).ok()).context("blame")?;
        let blamed = site["frames"][blamed]["function"].as_str().unwrap_or_default();
        assert!(blamed.starts_with("go.etcd.io/etcd/"), "{blamed}");
    }
    // One of them gets news, so they are what they look like.
    let mut first = Lines::drain(watching[0].child().stdout.take().context("stdout is piped")?);
    run_ok(&mut client(&["put", "key0", "news"]), MINUTE)?;
    first.wait_for("news", MINUTE, |line| line == "news")?;
    Ok(())
}

#[test]
fn etcd_as_in_its_own_profile() -> Result<()> {
    let Some(server) = Server::etcd()? else { skip!("etcd is not installed") };
    server.compare()
}

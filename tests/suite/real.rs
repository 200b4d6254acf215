//! Real programs under their own load tools.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use leakscope_tests::fixture::Amount;
use leakscope_tests::lines::Lines;
use leakscope_tests::process::{Guard, poll, run_ok};
use leakscope_tests::programs::{PYTHON_EXTENSION, directory};
use leakscope_tests::report::{Site, names};
use leakscope_tests::server::{find_program, free_port, start_nginx};
use leakscope_tests::{Expect, Fixture, Leakscope, Report, skip};

const MINUTE: Duration = Duration::from_secs(60);
const KEYS: usize = 100_000;

/// Nothing was lost, and practically every stack reached the root.
#[track_caller]
fn assert_complete(report: &Report, rooted: f64) {
    assert_eq!(report.losses(), []);
    assert!(report.heap_exact());
    let share = report.rooted_share();
    println!("{:.4} % of the stacks reached the root", share * 100.0);
    let cut: Vec<_> =
        report.sites().filter(|site| !site.is_rooted()).map(|site| site.stack()).take(5).collect();
    assert!(share >= rooted, "only {share} reached the root, not: {cut:#?}");
}

struct Redis {
    server: Guard,
    socket: String,
    cli: std::path::PathBuf,
    _place: tempfile::TempDir,
}

impl Redis {
    /// On a socket file, so it takes no port. None where it is not installed.
    fn start() -> Result<Option<Self>> {
        let (Some(server), Some(cli)) = (find_program("redis-server"), find_program("redis-cli")) else {
            return Ok(None);
        };
        let place = tempfile::tempdir()?;
        let socket = place.path().join("redis.sock").to_str().context("the path is UTF-8")?.to_owned();
        let mut command = Command::new(server);
        command.args(["--port", "0", "--unixsocket", &socket, "--save", "", "--appendonly", "no", "--dir"]);
        let server = Guard::spawn(command.arg(place.path()).stdout(Stdio::null()))?;
        let redis = Self { server, socket, cli, _place: place };
        poll("redis answers", MINUTE, || Ok(redis.ask(&["PING"]).ok()))?;
        Ok(Some(redis))
    }

    fn ask(&self, command: &[&str]) -> Result<String> {
        run_ok(Command::new(&self.cli).args(["-s", &self.socket]).args(command), MINUTE)
    }

    fn used_memory(&self) -> Result<i64> {
        let info = self.ask(&["INFO", "memory"])?;
        let line = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
        Ok(line.context("used_memory is in INFO")?.trim().parse()?)
    }

    /// Sets keys of 64 bytes to numbers. Redis shares small numbers, so what stays is the keys.
    fn load(&self) -> Result<()> {
        let mut commands = String::new();
        for key in 0..KEYS {
            write!(commands, "SET {key:064} 1\r\n")?;
        }
        let mut pipe = Command::new(&self.cli);
        pipe.args(["-s", &self.socket, "--pipe"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut cli = Guard::spawn(&mut pipe)?;
        let mut said = Lines::drain(cli.child().stdout.take().context("stdout is piped")?);
        cli.child().stdin.take().context("stdin is piped")?.write_all(commands.as_bytes())?;
        cli.wait(5 * MINUTE)?;
        said.wait_for("no errors", MINUTE, |line| line.contains("errors: 0"))?;
        Ok(())
    }
}

#[test]
fn redis_loaded_with_keys() -> Result<()> {
    let Some(redis) = Redis::start()? else { skip!("redis-server is not installed") };
    let before = redis.used_memory()?;
    let scope = Leakscope::attach(redis.server.pid()).start()?;
    redis.load()?;
    let used = redis.used_memory()? - before;
    let report = scope.finish()?.report()?;
    assert_complete(&report, 0.999);

    let top = report.sites().next().context("a site")?;
    // setCommand itself may have left by a tail call.
    let on_path = |function: &str| names(function, "setCommand") || names(function, "setGenericCommand");
    assert!(top.functions().any(on_path), "{}", top.stack());
    assert_eq!(top.live().objects, i64::try_from(KEYS)?, "{}", top.stack());
    // A key is a header of 3 bytes (its length is under 256), 64 characters and a NUL.
    assert_eq!(top.live().bytes, i64::try_from(KEYS)? * 68, "{}", top.stack());

    // INFO counts what jemalloc sets aside, at most a quarter more than what was asked for (its
    // size classes are that close), of everything. Blocks of before the attach that were freed
    // since, and the buffers of the connection that asks, make up far less than 1 MiB.
    let live = report.number("/heap/totals/live_bytes");
    println!("live {live} bytes, used_memory grew by {used}");
    assert!(live <= used + (1 << 20), "live {live}, used {used}");
    assert!(live * 5 / 4 >= used - (1 << 20), "live {live}, used {used}");
    Ok(())
}

/// Under redis-benchmark nothing fails, and what it leaves is little.
#[test]
fn redis_under_benchmark() -> Result<()> {
    let (Some(redis), Some(benchmark)) = (Redis::start()?, find_program("redis-benchmark")) else {
        skip!("redis is not installed")
    };
    let scope = Leakscope::attach(redis.server.pid()).start()?;
    let mut command = Command::new(benchmark);
    command.args(["-s", &redis.socket, "-t", "set,get,lpush", "-n", "20000", "-q"]);
    run_ok(&mut command, 5 * MINUTE)?;
    assert_complete(&scope.finish()?.report()?, 0.999);
    assert_eq!(redis.ask(&["PING"])?.trim(), "PONG");
    Ok(())
}

#[test]
fn python_leaking_through_ctypes_and_an_extension() -> Result<()> {
    let Some(python) = find_program("python3.11") else { skip!("python3.11 is not installed") };
    if !Path::new("/usr/include/python3.11/Python.h").exists() {
        skip!("python3-dev is not installed");
    }
    let extension = PYTHON_EXTENSION.build()?.path;
    let mut fixture =
        Fixture::start_command(Command::new(python).arg(directory().join("python/leak.py")).arg(extension))?;
    let scope = Leakscope::attach(fixture.pid()).start()?;
    let truth = fixture.go()?;
    let report = scope.finish()?.report()?;
    report.assert_matches(&truth, Expect::default());
    assert_complete(&report, 0.999);
    let in_ctypes = |site: &Site<'_>| {
        site.frames().any(|frame| frame["module"].as_str().is_some_and(|module| module.contains("_ctypes")))
    };
    let wanted = Amount { objects: 2000, bytes: 2_000_000 };
    let through_ctypes = report.sites().find(|site| site.live() == wanted && in_ctypes(site));
    assert!(through_ctypes.is_some(), "no site of 2000 blocks of 1000 bytes goes through ctypes");
    let leak = report.sites_through("extension_leak").next().context("the site")?;
    assert!(leak.functions().any(|function| names(function, "Py_BytesMain")), "{}", leak.stack());
    Ok(())
}

/// Requests with ApacheBench, none of which may fail.
fn apache_bench(port: u16, requests: usize) -> Result<()> {
    let mut ab = Command::new(find_program("ab").context("ab was looked for")?);
    ab.args(["-q", "-n", &requests.to_string(), "-c", "20", &format!("http://127.0.0.1:{port}/")]);
    let said = run_ok(&mut ab, 5 * MINUTE)?;
    let figure = |name: &str| -> Result<usize> {
        let line = said.lines().find_map(|line| line.strip_prefix(name)).with_context(|| said.clone())?;
        Ok(line.trim().parse()?)
    };
    assert_eq!(figure("Complete requests:")?, requests, "{said}");
    assert_eq!(figure("Failed requests:")?, 0, "{said}");
    assert!(!said.contains("Non-2xx"), "{said}");
    Ok(())
}

#[test]
fn nginx_under_load() -> Result<()> {
    let (Some(nginx), Some(_)) = (find_program("nginx"), find_program("ab")) else {
        skip!("nginx or ab is not installed")
    };
    let place = tempfile::tempdir()?;
    let port = free_port()?;
    fs::write(place.path().join("index.html"), "a page of text\n".repeat(100))?;
    let mut server = start_nginx(&nginx, place.path(), port)?;
    let scope = Leakscope::attach(server.pid()).start()?;
    apache_bench(port, 20_000)?;
    assert_complete(&scope.finish()?.report()?, 0.999);
    // After detaching, too.
    apache_bench(port, 1000)?;
    assert!(server.is_running()?);
    Ok(())
}

#[test]
fn node_under_load() -> Result<()> {
    let (Some(node), Some(_)) = (find_program("node"), find_program("ab")) else {
        skip!("node or ab is not installed")
    };
    let mut command = Command::new(node);
    command.arg(directory().join("js/server.js")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut server = Guard::spawn(&mut command)?;
    let mut said = Lines::drain(server.child().stdout.take().context("stdout is piped")?);
    let ready = said.wait_for("ready", MINUTE, |line| line.starts_with("ready "))?;
    let port = ready.split_whitespace().nth(2).context("the port")?.parse()?;
    let scope = Leakscope::attach(server.pid()).start()?;
    apache_bench(port, 10_000)?;
    let report = scope.finish()?.report()?;
    assert!(report.heap_exact());
    // Code that V8 makes at run time has no rows; frame pointers lead through it nearly always.
    println!("{:.4} % of the stacks reached the root", report.rooted_share() * 100.0);
    assert!(report.rooted_share() > 0.98, "{}", report.rooted_share());
    apache_bench(port, 1000)?;
    assert!(server.is_running()?);
    Ok(())
}

/// node copies its code to huge pages: its names, and the blame, stay node's.
#[test]
fn node_on_large_pages() -> Result<()> {
    const SCRIPT: &str = "const kept = []; console.log('ready 0'); process.stdin.once('data', () => {
        for (let i = 0; i < 300; i++) kept.push(Buffer.allocUnsafeSlow(20000));
        console.log('done'); });";
    let Some(node) = find_program("node") else { skip!("there is no node") };
    let mut fixture = Fixture::start_command(Command::new(node).args(["--use-largepages=on", "-e", SCRIPT]))?;
    let maps = fs::read_to_string(format!("/proc/{}/maps", fixture.pid()))?;
    let code: Vec<&str> = maps.lines().filter(|line| line.contains(" r-xp ")).collect();
    let in_node = |line: &str| line.ends_with("/node");
    if !code.windows(3).any(|w| in_node(w[0]) && w[1].contains(" 00:00 0") && in_node(w[2])) {
        skip!("this node does not move its code, or the kernel has no huge pages for it");
    }
    let scope = Leakscope::attach(fixture.pid()).start()?;
    fixture.go()?;
    let report = scope.finish()?.report()?;
    // V8 may map new code at any moment; the first stack through it is cut short then.
    assert!(report.heap_exact(), "{:?}", report.losses());
    assert!(report.rooted_share() > 0.9, "{}", report.rooted_share());
    let through = |site: &Site<'_>| {
        site.functions().any(|f| names(f, "NodeArrayBufferAllocator::AllocateUninitialized"))
    };
    // V8 compiles the loop anew as it gets hot, so there are several stacks.
    let sites: Vec<_> = report.sites().filter(through).collect();
    let live: i64 = sites.iter().map(|site| site.live().objects).sum();
    assert!(live >= 300, "{live} blocks");
    for site in sites {
        let named = site.functions().filter(|function| function.starts_with("v8::")).count();
        assert!(named >= 3, "V8's own code is in the moved part: {}", site.stack());
    }
    Ok(())
}

//! Real programs that are stuck, or idle: what a reader of `leakscope dump` sees at a glance.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use leakscope_tests::lines::Lines;
use leakscope_tests::process::{Guard, poll, run_ok};
use leakscope_tests::programs::directory;
use leakscope_tests::server::{find_program, free_port, start_nginx};
use leakscope_tests::snapshot::Snapshot;
use leakscope_tests::waits::WaitSite;
use leakscope_tests::{Report, skip};

const MINUTE: Duration = Duration::from_secs(60);

/// The dump of a process of which nothing may be lost.
fn dump(pid: u32) -> Result<Report> {
    Ok(show(Snapshot::of(pid)?))
}

/// The same, once its headline names what is stuck.
fn dump_stuck(pid: u32, headline: &[&str]) -> Result<Report> {
    Ok(show(Snapshot::with_headline(pid, headline)?))
}

fn show(snapshot: Snapshot) -> Report {
    let report = snapshot.report;
    assert_eq!(report.losses(), []);
    println!("{}", report.headline());
    for site in report.wait_sites() {
        println!("  {} x {}", site.at("blocked_now"), site.describe());
    }
    report
}

/// The only site of a process with one thread.
#[track_caller]
fn the_only_site(report: &Report) -> WaitSite<'_> {
    let sites: Vec<_> = report.wait_sites().collect();
    assert_eq!(sites.len(), 1, "{:#?}", sites.iter().map(WaitSite::describe).collect::<Vec<_>>());
    assert!(sites[0].is_rooted(), "{}", sites[0].describe());
    sites[0]
}

/// Waits until the main thread of a process sleeps in epoll_wait or epoll_pwait.
fn await_epoll(pid: u32) -> Result<()> {
    poll("the process waits for events", MINUTE, || {
        let syscall = fs::read_to_string(format!("/proc/{pid}/syscall"))?;
        Ok((syscall.starts_with("232 ") || syscall.starts_with("281 ")).then_some(()))
    })
}

// ---- PostgreSQL

struct Postgres {
    server: Guard,
    psql: PathBuf,
    place: tempfile::TempDir,
}

/// The directory of the newest installed server.
fn postgres_programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    versions
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|bin| bin.join("initdb").exists())
        .max()
}

impl Postgres {
    /// On a socket file, as the user postgres, since it does not run as root.
    fn start(programs: &Path, psql: PathBuf) -> Result<Self> {
        let place = tempfile::Builder::new().prefix("leakscope-test-").tempdir()?;
        run_ok(Command::new("chown").arg("postgres").arg(place.path()), MINUTE)?;
        let as_postgres = |program: &str| {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups", "--"]);
            command.arg(programs.join(program)).current_dir("/");
            command
        };
        let data = place.path().join("data");
        let mut initdb = as_postgres("initdb");
        run_ok(initdb.args(["-A", "trust", "-U", "postgres", "--no-sync", "-D"]).arg(&data), 2 * MINUTE)?;
        let mut server = as_postgres("postgres");
        server.args(["-h", "", "-c", "fsync=off", "-k"]).arg(place.path()).arg("-D").arg(&data);
        let server = Guard::spawn(server.stdout(Stdio::null()).stderr(Stdio::null()))?;
        let postgres = Self { server, psql, place };
        poll("postgres answers", MINUTE, || Ok(postgres.ask("SELECT 1").ok()))?;
        Ok(postgres)
    }

    fn psql(&self) -> Command {
        let mut psql = Command::new(&self.psql);
        psql.args(["-X", "-q", "-A", "-t", "-U", "postgres", "-h"]).arg(self.place.path());
        psql
    }

    fn ask(&self, question: &str) -> Result<String> {
        Ok(run_ok(self.psql().args(["-c", question]), MINUTE)?.trim().to_owned())
    }

    /// A connection that stays open, and the PID of its backend.
    fn connect(&self) -> Result<Connection> {
        let mut client = Guard::spawn(self.psql().stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let mut said = Lines::drain(client.child().stdout.take().context("stdout is piped")?);
        let mut connection = Connection { client, backend: 0 };
        connection.say("SELECT 'backend ' || pg_backend_pid();")?;
        let line = said.wait_for("its PID", MINUTE, |line| line.starts_with("backend "))?;
        connection.backend = line["backend ".len()..].parse()?;
        Ok(connection)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // In order, so that it takes its shared memory away. Its guard kills it where that fails.
        let _ = self.server.signal(libc::SIGQUIT);
        let _ = self.server.wait(MINUTE);
    }
}

struct Connection {
    client: Guard,
    backend: u32,
}

impl Connection {
    fn say(&mut self, statement: &str) -> Result<()> {
        writeln!(self.client.child().stdin.as_mut().context("stdin is piped")?, "{statement}")?;
        Ok(())
    }
}

/// One connection holds a table, two wait for it, one has nothing to do. All of them sleep in epoll.
#[test]
fn postgres_with_a_lock_wait() -> Result<()> {
    let (Some(programs), Some(psql)) = (postgres_programs(), find_program("psql")) else {
        skip!("postgresql is not installed")
    };
    let postgres = Postgres::start(&programs, psql)?;
    postgres.ask("CREATE TABLE accounts (balance int)")?;
    let mut holder = postgres.connect()?;
    holder.say("BEGIN; LOCK TABLE accounts;")?;
    let locks = |granted: bool| {
        let question = format!(
            "SELECT count(*) FROM pg_locks WHERE relation = 'accounts'::regclass AND granted = {granted}"
        );
        postgres.ask(&question)
    };
    poll("the table is locked", MINUTE, || Ok((locks(true)? == "1").then_some(())))?;
    let (mut first, mut second) = (postgres.connect()?, postgres.connect()?);
    first.say("SELECT * FROM accounts;")?;
    second.say("UPDATE accounts SET balance = 0;")?;
    poll("two wait", MINUTE, || Ok((locks(false)? == "2").then_some(())))?;
    let idle = postgres.connect()?;

    for waiting in [&first, &second] {
        await_epoll(waiting.backend)?;
        let report = dump_stuck(waiting.backend, &["blocked in ProcSleep"])?;
        let site = the_only_site(&report);
        assert_eq!(
            (site.text("kind"), site.text("operation")),
            ("mutex", "epoll_wait"),
            "{}",
            site.describe()
        );
        assert!(site.passes("ProcSleep") && site.passes("LockAcquireExtended"), "{}", site.describe());
        assert!(!site.is_idle(), "it waits for a lock: {}", site.describe());
    }
    for resting in [idle.backend, holder.backend] {
        await_epoll(resting)?;
        let report = dump(resting)?;
        let site = the_only_site(&report);
        assert!(site.passes("PostgresMain") && !site.passes("ProcSleep"), "{}", site.describe());
        assert!(
            site.is_idle() && site.at("idle_rule").is_string(),
            "it waits for a command: {}",
            site.describe()
        );
    }
    assert_eq!(postgres.ask("SELECT count(*) FROM pg_locks WHERE NOT granted")?, "2", "nobody was disturbed");
    holder.say("COMMIT;")?;
    poll("nobody waits any more", MINUTE, || Ok((locks(false)? == "0").then_some(())))?;
    Ok(())
}

// ---- nginx

#[test]
fn nginx_that_is_idle() -> Result<()> {
    let Some(nginx) = find_program("nginx") else { skip!("nginx is not installed") };
    let place = tempfile::tempdir()?;
    let port = free_port()?;
    let server = start_nginx(&nginx, place.path(), port)?;
    await_epoll(server.pid())?;
    let report = dump(server.pid())?;
    let site = the_only_site(&report);
    assert_eq!((site.text("kind"), site.text("operation")), ("poll", "epoll_wait"), "{}", site.describe());
    assert!(site.is_idle() && site.at("idle_rule").is_string(), "{}", site.describe());
    assert_eq!(report.deadlocks().len(), 0);
    assert!(report.answer().starts_with("threads_calm"), "{}", report.headline());
    Ok(())
}

// ---- Interpreters

/// Starts a script that names its blocked threads.
fn start_script(command: &mut Command) -> Result<(Guard, BTreeSet<u32>)> {
    let mut script = Guard::spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
    let mut said = Lines::drain(script.child().stdout.take().context("stdout is piped")?);
    let threads = said.wait_for("its threads", MINUTE, |line| line.starts_with("threads "))?;
    said.wait_for("ready", MINUTE, |line| line.starts_with("ready "))?;
    let tids = threads.split_whitespace().skip(1).map(str::parse).collect::<Result<_, _>>()?;
    Ok((script, tids))
}

/// Two threads, each with a `threading.Lock` that the other one wants.
#[test]
fn python_with_a_deadlock() -> Result<()> {
    let Some(python) = find_program("python3") else { skip!("python3 is not installed") };
    let mut command = Command::new(python);
    let (script, tids) = start_script(command.arg(directory().join("python/deadlock.py")))?;
    assert_eq!(tids.len(), 2);
    let report = dump_stuck(script.pid(), &["threading.Lock"])?;
    assert_eq!(report.number("/waits/threads"), 3);
    let first = report.wait_sites().next().context("a site")?;
    assert!(first.tids().is_subset(&tids) && !first.tids().is_empty(), "comes first: {}", first.describe());
    for tid in &tids {
        let site = report.wait_site_of(*tid).context("its site")?;
        assert_eq!((site.text("kind"), site.text("operation")), ("mutex", "futex"), "{}", site.describe());
        assert!(site.text("primitive").contains("threading.Lock"), "{}", site.describe());
        assert!(site.passes("PyThread_acquire_lock_timed"), "{}", site.describe());
        assert!(site.is_rooted(), "{}", site.describe());
        assert!(!site.is_idle(), "a lock of Python's is no queue: {}", site.describe());
    }
    // Such a lock does not say who holds it; what is inferred must be right.
    for deadlock in report.deadlocks() {
        let cycle: BTreeSet<_> = deadlock.iter().map(|thread| thread.tid).collect();
        assert_eq!(cycle, tids);
        assert_eq!(report.at("/waits/deadlocks/0/certain"), false);
    }
    let headline = report.headline();
    assert!(headline.contains("2 of 3 threads") || report.answer() == "deadlock", "{headline}");
    Ok(())
}

/// Every worker of libuv's pool hangs in an open; the event loop and V8's workers are idle.
#[test]
fn node_with_a_full_worker_pool() -> Result<()> {
    let Some(node) = find_program("node") else { skip!("node is not installed") };
    let place = tempfile::tempdir()?;
    let fifos: Vec<_> = (0..5).map(|number| place.path().join(format!("fifo{number}"))).collect();
    run_ok(Command::new("mkfifo").args(&fifos), MINUTE)?;
    let mut command = Command::new(node);
    command.arg(directory().join("js/pool.js")).args(&fifos).env_remove("UV_THREADPOOL_SIZE");
    let (script, tids) = start_script(&mut command)?;
    assert_eq!(tids.len(), 4);
    // The loop has said that it is ready from within itself; now it rests.
    await_epoll(script.pid())?;
    let report = dump_stuck(script.pid(), &["4 of ", " threads"])?;
    let first = report.wait_sites().next().context("a site")?;
    assert_eq!(first.tids(), tids, "the pool comes first: {}", first.describe());
    assert_eq!(first.text("operation"), "openat", "{}", first.describe());
    assert!(["file", "pipe"].contains(&first.text("kind")), "{}", first.describe());
    assert!(!first.is_idle() && first.is_rooted(), "{}", first.describe());
    // But for a thread that waits on a semaphore until a debugger is asked for.
    for site in report.wait_sites().skip(1).filter(|site| site.text("kind") != "semaphore") {
        assert!(site.is_idle(), "{}", site.describe());
    }
    let threads = report.number("/waits/threads");
    assert!(report.headline().contains(&format!("4 of {threads} threads")), "{}", report.headline());
    Ok(())
}

//! redis-server under redis-benchmark.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use super::{
    pairs::libc_of,
    stats::summary,
    tracer::{Allocator, Tracer},
};
use crate::workspace::Workspace;

const ROUNDS: usize = 5;
/// Requests of a turn.
pub(super) const REQUESTS: &str = "100000";

pub(super) fn run(workspace: &Workspace) -> Result<()> {
    let server = Server::start(workspace)?;
    let allocator = server.allocator()?;
    let mut rates: Vec<(Tracer, Vec<f64>)> = Tracer::all().into_iter().map(|t| (t, Vec::new())).collect();
    server.turn()?;
    for _ in 0..ROUNDS {
        for (tracer, rates) in &mut rates {
            let attached = tracer.attach(workspace, server.pid(), &allocator)?;
            rates.push(server.turn()?);
            drop(attached);
        }
    }
    println!(
        "redis-benchmark SET, {REQUESTS} requests, {ROUNDS} rounds: requests a second, median (least to most)"
    );
    let mut medians = Vec::new();
    for (tracer, rates) in &rates {
        let summary = summary(rates).context("no measurement")?;
        println!("  {:<22}{summary:.0}", tracer.name());
        medians.push(summary.median);
    }
    if let [base, ours, theirs] = medians[..] {
        println!("  ratio to no tracer: leakscope {:.2}, bpftrace {:.2}", ours / base, theirs / base);
    }
    Ok(())
}

/// A redis server of our own on a Unix socket.
pub(super) struct Server {
    child: Child,
    socket: String,
}

impl Server {
    pub(super) fn start(workspace: &Workspace) -> Result<Self> {
        let socket = workspace.logs().join("bench-redis.sock").display().to_string();
        let child = Command::new("redis-server")
            .args(["--port", "0", "--unixsocket", &socket, "--save", "", "--appendonly", "no"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("cannot start redis-server")?;
        let mut server = Self { child, socket };
        // redis-cli is the handshake: it answers once the server listens.
        for _ in 0..1000 {
            let ping = Command::new("redis-cli").args(["-s", &server.socket, "ping"]).output();
            if ping.is_ok_and(|o| o.stdout.starts_with(b"PONG")) {
                return Ok(server);
            }
            if server.child.try_wait()?.is_some() {
                bail!("redis-server ended at once");
            }
        }
        bail!("redis-server does not answer")
    }

    /// Its process ID.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it allocates: jemalloc if that is mapped, else libc.
    fn allocator(&self) -> Result<Allocator> {
        let pid = self.pid();
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).context("cannot read redis' maps")?;
        let jemalloc =
            maps.lines().filter_map(|l| l.split_whitespace().nth(5)).find(|p| p.contains("jemalloc"));
        let file = match jemalloc {
            Some(path) => path.to_owned(),
            None => libc_of(pid)?,
        };
        Ok(Allocator { file, allocate: &["malloc"], free: &["free"] })
    }

    /// One turn; requests a second.
    pub(super) fn turn(&self) -> Result<f64> {
        let output = Command::new("redis-benchmark")
            .args(["-s", &self.socket, "-n", REQUESTS, "-t", "set", "-r", "100000", "--csv"])
            .output()
            .context("cannot run redis-benchmark")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let row =
            text.lines().find(|l| l.starts_with("\"SET\"")).context("redis-benchmark gave no result")?;
        let rate = row.split(',').nth(1).context("redis-benchmark gave no rate")?;
        rate.trim_matches('"').parse().context("redis-benchmark gave no number")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only for a server that is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

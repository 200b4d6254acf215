//! What watching the goroutines of a server costs those who wait for its answers.
//!
//! Prometheus under wrk, four times a round: alone, with leakscope attached, with a snapshot of the
//! goroutines every second, and with `leakscope dump` once a second.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use super::{
    stats::summary,
    tracer::{Attached, attach_with},
};
use crate::workspace::Workspace;

const ROUNDS: usize = 7;
/// Seconds of a turn, and connections of the load.
const TURN: &str = "5s";
const CONNECTIONS: &str = "64";
/// Between two dumps.
const PAUSE: Duration = Duration::from_secs(1);

/// What watches the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watched {
    No,
    Attached,
    EverySecond,
    Dumped,
}

const CASES: [Watched; 4] = [Watched::No, Watched::Attached, Watched::EverySecond, Watched::Dumped];

impl Watched {
    /// The name in tables.
    fn name(self) -> &'static str {
        match self {
            Self::No => "no leakscope",
            Self::Attached => "attach",
            Self::EverySecond => "attach --interval 1s",
            Self::Dumped => "dump once a second",
        }
    }
}

/// What wrk measures.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Answers {
    a_second: f64,
    /// Milliseconds.
    half: f64,
    all_but_a_hundredth: f64,
}

pub(super) fn run(workspace: &Workspace) -> Result<()> {
    let server = Server::start(workspace)?;
    server.turn()?;
    println!("prometheus, wrk with {CONNECTIONS} connections, turns of {TURN}, {ROUNDS} rounds");
    let mut measured: [Vec<Answers>; CASES.len()] = Default::default();
    let mut dumps = 0;
    for round in 0..ROUNDS {
        // Each round begins with another one, so that none always comes after the same.
        for i in (0..CASES.len()).map(|i| (i + round) % CASES.len()) {
            let pid = server.child.id();
            let watcher: Option<Attached> = match CASES[i] {
                Watched::Attached => Some(attach_with(workspace, pid, &[])?),
                Watched::EverySecond => Some(attach_with(workspace, pid, &["--interval", "1s"])?),
                Watched::No | Watched::Dumped => None,
            };
            let dumper = (CASES[i] == Watched::Dumped).then(|| Dumper::start(workspace, pid));
            measured[i].push(server.turn()?);
            if let Some(report) = watcher.map(Attached::detach).transpose()?
                && !report.contains("\"goroutines\": {")
            {
                bail!("leakscope reported no goroutines");
            }
            dumps += dumper.map(Dumper::stop).transpose()?.unwrap_or(0);
        }
    }
    type Figure = fn(&Answers) -> f64;
    let figures: [(&str, usize, Figure); 3] = [
        ("requests a second", 0, |answers| answers.a_second),
        ("median latency, ms", 2, |answers| answers.half),
        ("99th percentile, ms", 2, |answers| answers.all_but_a_hundredth),
    ];
    for (what, digits, figure) in figures {
        println!("  {what:<24}{:<34}ratio to none in the same round", "median (least to most)");
        for (case, answers) in CASES.iter().zip(&measured) {
            let values: Vec<f64> = answers.iter().map(figure).collect();
            let ratios: Vec<f64> =
                answers.iter().zip(&measured[0]).map(|(one, base)| figure(one) / figure(base)).collect();
            let values = format!("{:.digits$}", summary(&values).context("no measurement")?);
            let ratios = summary(&ratios).context("no measurement")?;
            println!("    {:<22}{values:<34}{ratios:.3}", case.name());
        }
    }
    println!("  {dumps} dumps");
    Ok(())
}

/// prometheus with nothing to scrape.
struct Server {
    child: Child,
    port: u16,
    place: PathBuf,
}

impl Server {
    fn start(workspace: &Workspace) -> Result<Self> {
        let place = workspace.logs().join(format!("bench-prometheus-{}", std::process::id()));
        fs::create_dir_all(&place).context("cannot create the directory for prometheus")?;
        let settings = place.join("prometheus.yml");
        fs::write(&settings, "scrape_configs: []\n").context("cannot write the settings of prometheus")?;
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", settings.display()))
            .arg(format!("--storage.tsdb.path={}", place.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start prometheus")?;
        let mut server = Self { child, port, place };
        while !server.is_ready() {
            if server.child.try_wait()?.is_some() {
                bail!("prometheus ended at once");
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    fn is_ready(&self) -> bool {
        let ask = || -> Result<String> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.write_all(b"GET /-/ready HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().is_ok_and(|answer| answer.split(' ').nth(1) == Some("200"))
    }

    /// One turn of wrk.
    fn turn(&self) -> Result<Answers> {
        let url = format!("http://127.0.0.1:{}/api/v1/query?query=vector(1)", self.port);
        let output = Command::new("wrk")
            .args(["--latency", "-t", "1", "-c", CONNECTIONS, "-d", TURN, &url])
            .output()
            .context("cannot run wrk")?;
        answers(&String::from_utf8_lossy(&output.stdout))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // All fail only for what is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.place);
    }
}

/// Reads what wrk says.
fn answers(said: &str) -> Result<Answers> {
    if said.contains("Non-2xx") || said.contains("Socket errors") {
        bail!("requests failed: {said}");
    }
    let figure = |name: &str| {
        let mut lines = said.lines().filter_map(|line| line.trim().strip_prefix(name));
        lines.next_back().map(str::trim).with_context(|| format!("no {name} in: {said}"))
    };
    Ok(Answers {
        a_second: figure("Requests/sec:")?.parse()?,
        half: milliseconds(figure("50%")?)?,
        all_but_a_hundredth: milliseconds(figure("99%")?)?,
    })
}

/// Reads a time span of wrk: `1.23ms`.
fn milliseconds(text: &str) -> Result<f64> {
    let units = [("us", 1e-3), ("ms", 1.0), ("s", 1e3)];
    let found = units.iter().find_map(|(unit, ms)| Some((text.strip_suffix(unit)?, ms)));
    let (number, ms) = found.with_context(|| format!("{text} is no time span"))?;
    Ok(number.parse::<f64>().with_context(|| format!("{text} is no time span"))? * ms)
}

/// Dumps again and again until it is stopped.
struct Dumper {
    stop: Sender<()>,
    thread: JoinHandle<Result<u32>>,
}

impl Dumper {
    fn start(workspace: &Workspace, pid: u32) -> Self {
        let program = workspace.release("leakscope");
        let (stop, stopped) = mpsc::channel();
        let thread = thread::spawn(move || {
            for done in 0.. {
                let mut dump = Command::new(&program);
                dump.args(["dump", &pid.to_string(), "--format", "json"]);
                let status = dump.stdout(Stdio::null()).status().context("cannot run leakscope")?;
                if !status.success() {
                    bail!("leakscope dump failed: {status}");
                }
                if stopped.recv_timeout(PAUSE) != Err(RecvTimeoutError::Timeout) {
                    return Ok(done + 1);
                }
            }
            Ok(0)
        });
        Self { stop, thread }
    }

    /// How many there were.
    fn stop(self) -> Result<u32> {
        // It fails only if the thread has ended with an error, which comes next.
        let _ = self.stop.send(());
        self.thread.join().ok().context("the dumps failed")?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_says() {
        let said = "  Thread Stats   Avg      Stdev     Max   +/- Stdev\n    Latency     2.31ms    1.02ms  20.10ms   70.00%\n  \
                    Latency Distribution\n     50%  812.00us\n     75%    3.00ms\n     90%    4.00ms\n     99%    1.50s \n\
                    Requests/sec:  12345.60\nTransfer/sec:      1.00MB\n";
        let read = answers(said).unwrap();
        assert_eq!(read, Answers { a_second: 12345.6, half: 0.812, all_but_a_hundredth: 1500.0 });
        assert!(answers("  Non-2xx or 3xx responses: 3\n").is_err());
        assert!(milliseconds("3").is_err());
    }
}

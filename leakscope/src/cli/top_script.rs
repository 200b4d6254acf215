//! `leakscope top --format json|jsonl`: the list, or the reports of one process, for scripts.

use std::time::Duration;

use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use super::Failure;
use super::output::{Destination, Output};
use super::progress::Progress;
use super::top::{LIST_INTERVAL, REPORT_INTERVAL, TopConfig, TopFormat};
use crate::processes::model::matches;
use crate::processes::{Sampler, Scope};
use crate::report::Report;
use crate::section::tables;
use crate::session::{self, Watcher};

/// Values as an array at the end, or a line each at once.
struct Series {
    output: Output,
    lines: bool,
    text: Vec<u8>,
    /// Values taken.
    taken: u32,
    /// Values wanted.
    wanted: u32,
}

impl Series {
    fn open(config: &TopConfig) -> Result<Self, Failure> {
        Ok(Self {
            output: Output::open(&Destination::Stdout, "json", false)?,
            lines: config.format == TopFormat::JsonLines,
            text: Vec::new(),
            taken: 0,
            wanted: config.iterations.unwrap_or(u32::MAX),
        })
    }

    /// Takes one in; whether more are wanted.
    fn add(&mut self, value: &impl Serialize) -> Result<bool, Failure> {
        self.taken += 1;
        if self.lines {
            self.text.clear();
        } else {
            self.text.extend_from_slice(if self.taken == 1 { b"[\n" } else { b",\n" });
        }
        tables::writing(|| serde_json::to_writer(&mut self.text, value)).map_err(Failure::failed)?;
        if self.lines {
            self.text.push(b'\n');
            self.output.write(&self.text)?;
        }
        Ok(self.taken < self.wanted)
    }

    /// Writes the array.
    fn finish(mut self) -> Result<(), Failure> {
        if self.lines {
            return Ok(());
        }
        self.text.extend_from_slice(if self.taken == 0 { b"[]\n" } else { b"\n]\n" });
        self.output.write(&self.text)
    }
}

pub(super) fn list(config: &TopConfig) -> Result<u8, Failure> {
    let mut series = Series::open(config)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::failed)?;
    runtime.block_on(async {
        let mut ended = Ended::listen()?;
        let mut refreshes = tokio::time::interval(config.interval.unwrap_or(LIST_INTERVAL));
        refreshes.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut sampler = Sampler::default();
        loop {
            tokio::select! {
                biased;
                () = ended.next() => return Ok::<(), Failure>(()),
                _ = refreshes.tick() => {}
            }
            let mut snapshot = sampler
                .sample(&Scope::Everything)
                .map_err(|e| Failure::failed(anyhow::anyhow!("cannot read /proc: {e}; is it mounted?")))?;
            snapshot.processes.retain(|process| matches(process, &config.filter));
            snapshot.processes.sort_by(|a, b| config.order.compare(a, b));
            if !series.add(&snapshot)? {
                return Ok(());
            }
        }
    })?;
    series.finish()?;
    Ok(0)
}

/// The signals that ask for the end.
struct Ended([tokio::signal::unix::Signal; 3]);

impl Ended {
    fn listen() -> Result<Self, Failure> {
        let one = |kind| signal(kind).map_err(Failure::failed);
        Ok(Self([one(SignalKind::interrupt())?, one(SignalKind::terminate())?, one(SignalKind::hangup())?]))
    }

    async fn next(&mut self) {
        let [a, b, c] = &mut self.0;
        tokio::select! {
            _ = a.recv() => {}
            _ = b.recv() => {}
            _ = c.recv() => {}
        }
    }
}

/// The reports of one process.
pub(super) fn reports(config: &TopConfig, pid: u32) -> Result<u8, Failure> {
    let observe = session::Config {
        interval: Some(config.interval.unwrap_or(REPORT_INTERVAL)),
        rest: if config.interval.is_none() { session::REST_ON_SCREEN } else { 0 },
        charging: config.charging.clone(),
        ..session::Config::default()
    };
    let process = session::check(pid, observe.wishes.tracing)?;
    let mut watcher =
        Reports { series: Series::open(config)?, progress: Progress::new(0), reader_gone: false };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::failed)?;
    runtime.block_on(session::run(process, &observe, &mut watcher))?;
    if !watcher.reader_gone {
        watcher.series.finish()?;
    }
    Ok(0)
}

struct Reports {
    series: Series,
    progress: Progress,
    reader_gone: bool,
}

impl Watcher for Reports {
    fn detail(&mut self, line: &str) {
        self.progress.detail(line);
    }

    fn warn(&mut self, line: &str) {
        self.progress.warn(line);
    }

    fn attached(&mut self, pid: u32, probes: usize) {
        self.progress.say(&format!("attached to PID {pid}: {probes} probes"));
    }

    fn interrupted(&mut self, _: Duration) {}

    fn report(&mut self, report: &Report) -> Result<bool, Failure> {
        if self.reader_gone {
            return Ok(false);
        }
        match self.series.add(report) {
            Err(failure) if failure.broken_pipe => {
                self.reader_gone = true;
                Ok(false)
            }
            result => result,
        }
    }
}

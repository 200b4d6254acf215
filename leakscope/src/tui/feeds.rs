//! The threads that feed the screen: keys, signals, samples, one process' reports, lines of sources.

use std::io::{BufRead as _, BufReader, Read as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use crossterm::event::{Event, KeyEvent};
use tokio::signal::unix::{SignalKind, signal};

use super::terminal;
use crate::failure::Failure;
use crate::files::TargetFiles;
use crate::processes::{Sampler, Scope, Snapshot};
use crate::report::Report;
use crate::session::{self, Watcher};
use crate::symbol::Charging;

/// Something for the screen.
pub(super) enum Input {
    Key(KeyEvent),
    /// The terminal has another size, or must be drawn anew.
    Redraw,
    /// The terminal is gone.
    Closed,
    /// A signal asks for the end.
    Leave,
    /// A signal asks to stop.
    Suspend,
    /// Somebody has stopped this process and lets it go on.
    Resumed,
    Snapshot(Snapshot),
    /// The processes can't be listed.
    Failed(String),
    /// Of the observation with this number.
    Observed(u64, Observed),
    /// Lines of sources by file and line.
    Sources(Vec<((String, u32), String)>),
}

/// What an observation says.
pub(super) enum Observed {
    Attached(usize),
    Warning(String),
    Report(Box<Report>),
    /// It is over; why, where that is no ordinary end.
    Ended(Option<String>),
    /// Permission is missing, or the kernel's support.
    Denied(String),
}

/// How often it is checked whether the terminal is still there.
const CHECK: Duration = Duration::from_millis(500);

/// Starts a thread; that there can be none is an error.
fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
}

/// Reads keys until nobody listens.
pub(super) fn keys(inputs: Sender<Input>) -> std::io::Result<()> {
    spawn("keys", move || {
        loop {
            if terminal::is_closed() {
                let _ = inputs.send(Input::Closed);
                return;
            }
            let input = match crossterm::event::poll(CHECK) {
                Ok(false) => continue,
                Ok(true) => match crossterm::event::read() {
                    Ok(Event::Key(key)) => Input::Key(key),
                    Ok(Event::Resize(..)) => Input::Redraw,
                    Ok(_) => continue,
                    Err(_) => Input::Closed,
                },
                Err(_) => Input::Closed,
            };
            let closed = matches!(input, Input::Closed);
            if inputs.send(input).is_err() || closed {
                return;
            }
        }
    })
}

/// Listens to signals until nobody listens to it.
pub(super) fn signals(inputs: Sender<Input>) -> Result<(), Failure> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::failed)?;
    let listen = |kind| {
        let _entered = runtime.enter();
        signal(kind).map_err(Failure::failed)
    };
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hangup = listen(SignalKind::hangup())?;
    let mut stop = listen(SignalKind::from_raw(libc::SIGTSTP))?;
    let mut go_on = listen(SignalKind::from_raw(libc::SIGCONT))?;
    spawn("signals", move || {
        runtime.block_on(async move {
            loop {
                let input = tokio::select! {
                    _ = interrupt.recv() => Input::Leave,
                    _ = terminate.recv() => Input::Leave,
                    _ = hangup.recv() => Input::Closed,
                    _ = stop.recv() => Input::Suspend,
                    _ = go_on.recv() => Input::Resumed,
                };
                if inputs.send(input).is_err() {
                    return;
                }
            }
        });
    })
    .map_err(Failure::failed)
}

/// Samples processes. What is sent to the result says which ones are on the screen; it ends with that.
pub(super) fn samples(inputs: Sender<Input>, interval: Duration) -> std::io::Result<Sender<Vec<u32>>> {
    let (shown, wanted) = channel();
    spawn("samples", move || sample(&inputs, interval, &wanted))?;
    Ok(shown)
}

fn sample(inputs: &Sender<Input>, interval: Duration, wanted: &Receiver<Vec<u32>>) {
    let mut sampler = Sampler::default();
    let mut shown = Vec::new();
    let mut next = Instant::now();
    loop {
        let input = match sampler.sample(&Scope::Shown(shown.clone())) {
            Ok(snapshot) => Input::Snapshot(snapshot),
            Err(error) => Input::Failed(format!("cannot read /proc: {error}; is it mounted?")),
        };
        if inputs.send(input).is_err() {
            return;
        }
        // After a long stop it does not catch up.
        next = (next + interval).max(Instant::now());
        loop {
            match wanted.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(pids) => shown = pids,
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}

/// An observation; it ends, in the background, when this is dropped.
pub(super) struct Observation {
    pub(super) number: u64,
    /// The process' file system, where it may be looked at.
    pub(super) files: Option<Arc<TargetFiles>>,
    unwanted: Arc<AtomicBool>,
}

impl Drop for Observation {
    fn drop(&mut self) {
        self.unwanted.store(true, Ordering::Relaxed);
    }
}

/// Attaches to a process and sends what is learnt.
pub(super) fn observe(
    inputs: &Sender<Input>,
    pid: u32,
    number: u64,
    interval: Duration,
    charging: Charging,
) -> std::io::Result<Observation> {
    let unwanted = Arc::new(AtomicBool::new(false));
    // Now, while the PID is this process'.
    let files = TargetFiles::of(pid).ok().map(Arc::new);
    let mut reports = Reports { inputs: inputs.clone(), number, unwanted: unwanted.clone() };
    spawn("observation", move || {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let config = session::Config {
                interval: Some(interval),
                rest: session::REST_ON_SCREEN,
                naming: Some(interval / 2),
                holders: Some(session::MOST_HELD),
                charging,
                ..session::Config::default()
            };
            let process = session::check(pid, config.wishes.tracing)?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(Failure::failed)?.block_on(session::run(process, &config, &mut reports))
        }));
        let end = match result {
            Ok(Ok(())) => Observed::Ended(None),
            Ok(Err(failure)) if failure.code == Failure::UNSUPPORTED => Observed::Denied(failure.to_string()),
            Ok(Err(failure)) => Observed::Ended(Some(failure.to_string())),
            Err(_) => Observed::Ended(Some(terminal::panicked().unwrap_or_else(|| "it panicked".to_owned()))),
        };
        reports.send(end);
    })?;
    Ok(Observation { number, files, unwanted })
}

struct Reports {
    inputs: Sender<Input>,
    number: u64,
    unwanted: Arc<AtomicBool>,
}

impl Reports {
    fn send(&self, observed: Observed) -> bool {
        self.inputs.send(Input::Observed(self.number, observed)).is_ok()
            && !self.unwanted.load(Ordering::Relaxed)
    }
}

impl Watcher for Reports {
    fn detail(&mut self, _: &str) {}

    fn warn(&mut self, line: &str) {
        self.send(Observed::Warning(line.to_owned()));
    }

    fn attached(&mut self, _: u32, probes: usize) {
        self.send(Observed::Attached(probes));
    }

    fn interrupted(&mut self, _: Duration) {}

    fn leaves_at_second_signal(&self) -> bool {
        false
    }

    fn report(&mut self, report: &Report) -> Result<bool, Failure> {
        if self.unwanted.load(Ordering::Relaxed) {
            return Ok(false);
        }
        Ok(self.send(Observed::Report(Box::new(report.clone()))))
    }
}

/// Most bytes of a source file that are read, and columns of a line that are kept.
const MOST_SOURCE: u64 = 4 << 20;
const LONGEST_LINE: usize = 200;

/// Reads lines of sources in the file system of a process, as far as its user may read them: debug info may
/// name anything.
pub(super) fn sources(
    inputs: &Sender<Input>,
    files: Arc<TargetFiles>,
    wanted: Vec<(String, u32)>,
) -> std::io::Result<()> {
    let inputs = inputs.clone();
    spawn("sources", move || {
        let read = wanted.into_iter().filter_map(|(file, line)| {
            let text = source_line(&files, &file, line)?;
            Some(((file, line), text))
        });
        let _ = inputs.send(Input::Sources(read.collect()));
    })
}

fn source_line(files: &TargetFiles, path: &str, line: u32) -> Option<String> {
    if !path.starts_with('/') {
        return None;
    }
    let file = BufReader::new(files.open(path.as_ref()).ok()?.take(MOST_SOURCE));
    let text = file.split(b'\n').nth(usize::try_from(line).ok()?.checked_sub(1)?)?.ok()?;
    let text = String::from_utf8_lossy(&text).trim().chars().take(LONGEST_LINE).collect::<String>();
    (!text.is_empty()).then_some(text)
}

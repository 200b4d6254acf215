//! The loop: inputs to state, state to screen.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use super::app::{Action, App};
use super::draw::{Theme, draw, list_rows};
use super::feeds::{self, Input, Observation, Observed};
use super::terminal::{self, HeldTerminal};
use crate::failure::Failure;
use crate::files::Directory;
use crate::processes::Order;
use crate::report::Report;
use crate::symbol::Charging;

/// What to show.
#[derive(Clone, Debug)]
pub struct ScreenConfig {
    /// The process to begin with.
    pub pid: Option<u32>,
    /// Time between refreshes of the list.
    pub list_interval: Duration,
    /// Time between reports of one process.
    pub report_interval: Duration,
    /// Refreshes until the end; none if `None`.
    pub iterations: Option<u32>,
    /// Order of the list.
    pub order: Order,
    /// Whom stacks are charged to.
    pub charging: Charging,
    /// Text that listed processes hold.
    pub filter: String,
    /// Panic at the first refresh; for tests.
    pub break_screen: bool,
}

/// Shows the screen until the user leaves.
pub fn run(config: &ScreenConfig) -> Result<(), Failure> {
    if let Some(why) = terminal::refusal() {
        let pid = config.pid.map(|pid| format!(" {pid}")).unwrap_or_default();
        return Err(Failure::usage(format!(
            "no screen: {why}; for a script or a pipe use `leakscope top{pid} --format json --iterations 3`, or --format jsonl"
        )));
    }
    let (sender, inputs) = channel();
    feeds::signals(sender.clone())?;
    let mut screen = Screen {
        app: App {
            interval_s: (config.list_interval.as_secs_f64() * 100.0).round() / 100.0,
            unprivileged: !rustix::process::geteuid().is_root(),
            ..App::default()
        },
        theme: Theme { color: std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()) },
        taken: HeldTerminal::take().map_err(|e| Failure::output("the terminal", e))?,
        shown: feeds::samples(sender.clone(), config.list_interval).map_err(Failure::failed)?,
        inputs: sender,
        observation: None,
        observations: 0,
        report_interval: config.report_interval,
        charging: config.charging.clone(),
        left: config.iterations,
        as_root: None,
        broken: config.break_screen,
    };
    feeds::keys(screen.inputs.clone()).map_err(Failure::failed)?;
    screen.app.list.order = config.order;
    screen.app.list.filter.clone_from(&config.filter);
    if let Some(pid) = config.pid {
        let action = screen.app.open(pid);
        screen.act(action)?;
    }
    screen.draw()?;
    while let Ok(input) = inputs.recv() {
        let mut more = screen.take(input)?;
        // What has piled up is taken in before anything is drawn.
        while more && let Ok(input) = inputs.try_recv() {
            more = screen.take(input)?;
        }
        if !more {
            break;
        }
        if screen.draw().is_err() {
            // The terminal is gone.
            break;
        }
    }
    let (attached, as_root) = (screen.observation.is_some(), screen.as_root);
    drop(screen);
    if let Some(pid) = as_root {
        return Err(with_sudo(config, pid));
    }
    if attached {
        // After the terminal is as it was: the end of this process waits for the kernel.
        eprintln!("leakscope: leaving; the kernel removes the probes");
    }
    Ok(())
}

/// Begins anew as root, at this process; comes back only if that fails.
fn with_sudo(config: &ScreenConfig, pid: u32) -> Failure {
    let own = match std::env::current_exe() {
        Ok(own) => own,
        Err(error) => return Failure::failed(error),
    };
    let mut sudo = Command::new("sudo");
    sudo.arg("--").arg(&own).arg("top").arg(pid.to_string());
    sudo.arg("--interval").arg(config.report_interval.as_secs_f64().to_string());
    for expression in config.charging.expressions() {
        sudo.arg(format!("--wrapper={expression}"));
    }
    if !config.charging.finds() {
        sudo.arg("--no-wrappers");
    }
    eprintln!("leakscope: sudo -- {} top {pid}", own.display());
    let error = sudo.exec();
    Failure::unsupported(format!("cannot run sudo: {error}; run `leakscope top {pid}` as root"))
}

struct Screen {
    app: App,
    theme: Theme,
    taken: HeldTerminal,
    inputs: Sender<Input>,
    shown: Sender<Vec<u32>>,
    observation: Option<Observation>,
    observations: u64,
    report_interval: Duration,
    charging: Charging,
    left: Option<u32>,
    /// The process that is to be looked at as root, after this screen.
    as_root: Option<u32>,
    broken: bool,
}

impl Screen {
    fn draw(&mut self) -> Result<(), Failure> {
        let (app, theme) = (&mut self.app, self.theme);
        let drawn = self.taken.terminal.draw(|frame| draw(app, theme, frame));
        drawn.map(drop).map_err(|e| Failure::output("the terminal", e))
    }

    /// Takes an input in; whether to go on.
    fn take(&mut self, input: Input) -> Result<bool, Failure> {
        match input {
            Input::Key(key) => {
                let action = self.app.on_key(key);
                self.look();
                return action.map_or(Ok(true), |action| self.act(action));
            }
            Input::Redraw => {}
            Input::Closed | Input::Leave => return Ok(false),
            Input::Suspend => return self.act(Action::Suspend),
            Input::Resumed => self.taken.resume().map_err(|e| Failure::output("the terminal", e))?,
            Input::Snapshot(snapshot) => {
                assert!(!self.broken, "--break-screen");
                self.app.on_snapshot(snapshot);
                self.app.list.resize(list_rows(&self.app, self.app.size.1));
                self.look();
                if let Some(left) = &mut self.left {
                    *left = left.saturating_sub(1);
                    return Ok(*left > 0);
                }
            }
            Input::Failed(why) => self.app.message = Some(why),
            Input::Observed(number, observed) => {
                if self.observation.as_ref().is_some_and(|o| o.number == number) {
                    match observed {
                        Observed::Attached(probes) => self.app.on_attached(probes),
                        Observed::Warning(text) => self.app.on_warning(text),
                        Observed::Report(report) => self.app.on_report(*report),
                        Observed::Ended(why) => self.app.on_ended(why),
                        Observed::Denied(why) => self.app.on_denied(why),
                    }
                }
            }
            Input::Sources(lines) => self.app.on_sources(lines),
        }
        Ok(true)
    }

    /// Tells the sampler what is on the screen.
    fn look(&self) {
        // If it has gone, it has said why.
        let _ = self.shown.send(self.app.list.shown());
    }

    fn act(&mut self, action: Action) -> Result<bool, Failure> {
        match action {
            Action::Quit => return Ok(false),
            Action::Sudo(pid) => {
                self.as_root = Some(pid);
                return Ok(false);
            }
            Action::Suspend => self.taken.suspend().map_err(|e| Failure::output("the terminal", e))?,
            Action::Redraw => {
                self.taken.terminal.clear().map_err(|e| Failure::output("the terminal", e))?;
            }
            Action::Attach(pid) => {
                self.observations += 1;
                let number = self.observations;
                self.observation = match feeds::observe(
                    &self.inputs,
                    pid,
                    number,
                    self.report_interval,
                    self.charging.clone(),
                ) {
                    Ok(observation) => Some(observation),
                    Err(error) => {
                        self.app.on_ended(Some(format!("cannot start a thread: {error}")));
                        None
                    }
                };
            }
            Action::Detach => self.observation = None,
            Action::Read(wanted) => {
                let files = self.observation.as_ref().and_then(|observation| observation.files.clone());
                if let Some(files) = files
                    && let Err(error) = feeds::sources(&self.inputs, files, wanted)
                {
                    self.app.message = Some(format!("cannot read sources: {error}"));
                }
            }
            Action::Save => {
                let report = self.app.process.as_ref().and_then(|p| p.report.as_ref());
                self.app.message = report.map(|report| match save(report) {
                    Ok(path) => format!("written to {}", path.display()),
                    Err(error) => format!("cannot write the report here: {error}"),
                });
            }
        }
        Ok(true)
    }
}

/// Writes a report to a new file in the current directory.
fn save(report: &Report) -> std::io::Result<PathBuf> {
    let mut text = Vec::new();
    crate::export::json::write(report, &mut text)?;
    let here = Directory::open(Path::new("."))?;
    for number in 1..1000 {
        let name = format!("leakscope-{}-{number}.json", report.target.pid);
        match here.create(name.as_ref(), &text) {
            Ok(()) => return Ok(std::path::absolute(&name).unwrap_or(name.into())),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(std::io::Error::other("there are a thousand of them already"))
}

//! A running fixture and the truth that it prints.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::blocked::Blocked;
use crate::lines::Lines;
use crate::process::{Guard, poll};
use crate::programs::{PLUGIN, Program};

/// Long enough for the slowest scenario with single-stepped probes on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(240);

/// Objects and the bytes that were asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// How many.
    pub objects: i64,
    pub bytes: i64,
}

/// What a fixture says that it did after `go`.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    /// What is live, by function that allocated it.
    pub live: BTreeMap<String, Amount>,
    /// What was allocated, by function, if the fixture counts it.
    pub allocated: BTreeMap<String, Amount>,
    /// All that is live, where the fixture knows.
    pub total: Option<Amount>,
    /// Other figures, such as `unknown_frees`.
    pub numbers: BTreeMap<String, i64>,
}

impl Truth {
    /// Takes in one line.
    fn enter(&mut self, line: &str) -> Result<()> {
        let mut words = line.split_whitespace();
        let kind = words.next().context("an empty line")?;
        let amount = |words: &mut std::str::SplitWhitespace<'_>| -> Result<Amount> {
            let mut number = || -> Result<i64> { Ok(words.next().context("a number is missing")?.parse()?) };
            Ok(Amount { objects: number()?, bytes: number()? })
        };
        match kind {
            "site" => {
                let name = words.next().context("the site has no name")?;
                self.live.insert(name.to_owned(), amount(&mut words)?);
            }
            "alloc" => {
                let name = words.next().context("the site has no name")?;
                self.allocated.insert(name.to_owned(), amount(&mut words)?);
            }
            "total" => self.total = Some(amount(&mut words)?),
            "failed" => bail!("the fixture failed: {line}"),
            _ => {
                let number = words.next().context("the figure is missing")?.parse()?;
                self.numbers.insert(kind.to_owned(), number);
            }
        }
        Ok(())
    }
}

/// A fixture that waits for `go`, or has done its scenario and waits for its end.
pub struct Fixture {
    guard: Guard,
    input: Option<ChildStdin>,
    output: Lines,
    pid: u32,
    preamble: Vec<String>,
}

impl Fixture {
    /// Builds the program, starts it and waits until it is ready.
    ///
    /// # Errors
    /// If any of this fails.
    pub fn start(program: &Program, arguments: &[&str]) -> Result<Self> {
        Self::start_with(program, arguments, &[])
    }

    /// The same, with libraries preloaded beside what the variant preloads.
    ///
    /// # Errors
    /// If any of this fails.
    pub fn start_with(program: &Program, arguments: &[&str], preload: &[&str]) -> Result<Self> {
        let built = program.build()?;
        let mut command = Command::new(&built.path);
        command.args(arguments).env("FIXTURE_PLUGIN", PLUGIN.build()?.path);
        let preload: Vec<_> = built
            .preload
            .iter()
            .map(|path| path.display().to_string())
            .chain(preload.iter().map(|p| (*p).to_owned()))
            .collect();
        if !preload.is_empty() {
            command.env("LD_PRELOAD", preload.join(":"));
        }
        Self::start_command(&mut command)
    }

    /// Starts anything that speaks the protocol.
    ///
    /// # Errors
    /// If it cannot be started or does not become ready.
    pub fn start_command(command: &mut Command) -> Result<Self> {
        let mut guard = Guard::spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let input = guard.child().stdin.take();
        let mut output = Lines::drain(guard.child().stdout.take().context("stdout is piped")?);
        let mut preamble = Vec::new();
        let ready = output.wait_for("ready", TIMEOUT, |line| {
            preamble.push(line.to_owned());
            line.starts_with("ready ")
        })?;
        let pid = match ready["ready ".len()..].trim().parse()? {
            0 => guard.pid(),
            pid => pid,
        };
        Ok(Self { guard, input, output, pid, preamble })
    }

    /// The process to attach to.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The rest of the first line before it was ready that begins so.
    ///
    /// # Errors
    /// If there is none.
    pub fn said(&self, start: &str) -> Result<&str> {
        let found = self.preamble.iter().find_map(|line| line.strip_prefix(start));
        found.map(str::trim).with_context(|| format!("no line begins with {start:?}: {:?}", self.preamble))
    }

    /// What is true of its blocked threads since before it was ready. Its main thread is blocked then,
    /// too: it waits for input.
    ///
    /// # Errors
    /// If it said something else.
    pub fn blocked(&self) -> Result<Blocked> {
        let pid = self.pid;
        // In a PID namespace of its own it knows no other ID of itself than 1.
        if pid == self.guard.pid() {
            poll("the main thread waits for input", TIMEOUT, || {
                let syscall = std::fs::read_to_string(format!("/proc/{pid}/syscall"))?;
                Ok(syscall.starts_with("0 0x0 ").then_some(()))
            })?;
        }
        Blocked::parse(&self.preamble)
    }

    /// Lets it do its scenario and returns the truth about that.
    ///
    /// # Errors
    /// If it ends or fails before it has done it.
    pub fn go(&mut self) -> Result<Truth> {
        self.say("go")?;
        let mut truth = Truth::default();
        let mut wrong = Ok(());
        self.output.wait_for("done", TIMEOUT, |line| {
            if line != "done" && wrong.is_ok() {
                wrong = truth.enter(line).with_context(|| line.to_owned());
            }
            line == "done"
        })?;
        wrong?;
        Ok(truth)
    }

    /// Sends a line.
    ///
    /// # Errors
    /// If it does not read any more.
    pub fn say(&mut self, line: &str) -> Result<()> {
        writeln!(self.input.as_mut().context("its input is closed")?, "{line}")?;
        Ok(())
    }

    /// Waits for a line that begins so, and returns it.
    ///
    /// # Errors
    /// If it ends before.
    pub fn expect(&mut self, start: &str) -> Result<String> {
        self.output.wait_for(start, TIMEOUT, |line| line.starts_with(start))
    }

    /// Asks a running load how many rounds it has made.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn rounds(&mut self) -> Result<u64> {
        self.say("rounds")?;
        Ok(self.expect("rounds ")?["rounds ".len()..].trim().parse()?)
    }

    /// Closes its input and waits for its end.
    ///
    /// # Errors
    /// If it does not end.
    pub fn end(&mut self) -> Result<ExitStatus> {
        self.input = None;
        self.guard.wait(TIMEOUT)
    }

    /// The process, to signal it.
    pub fn guard(&mut self) -> &mut Guard {
        &mut self.guard
    }
}

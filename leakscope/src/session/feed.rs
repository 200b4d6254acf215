//! What a session waits for while it watches.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags};
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until};

use super::Config;
use super::signals::Signals;
use crate::bpf::events::{Events, Record};
use crate::failure::Failure;
use crate::recording::hex;
use crate::report::model::EndedBy;

/// How often the resident set is looked at, so that its last size is known if the target ends.
const TICK: Duration = Duration::from_secs(1);

/// How long the other threads may take to end after the main one, in the ordinary end of a process.
const LEADER_GRACE: Duration = Duration::from_millis(500);

/// What a session does next.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Step {
    /// Takes events in.
    Events(Records),
    /// Looks at what it looks at now and then.
    Tick,
    /// Reports, and goes on.
    Report,
    /// Reports for the last time.
    End(EndedBy),
    /// Ends without a report: nobody reads them any more.
    Abandoned,
}

/// Records of the ring buffer, in their order. On a tape they are digits of bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub(super) struct Records(pub(super) Vec<Record>);

impl TryFrom<Vec<String>> for Records {
    type Error = &'static str;

    fn try_from(all: Vec<String>) -> Result<Self, Self::Error> {
        let record = |digits: &String| Record::new(hex::decode(digits)?);
        all.iter().map(record).collect::<Option<_>>().map(Self).ok_or("a record is not whole")
    }
}

impl From<Records> for Vec<String> {
    fn from(Records(all): Records) -> Self {
        all.iter().map(|record| hex::encode(record.bytes())).collect()
    }
}

/// Everything that can happen next.
pub(super) struct Feed {
    pub(super) events: Events,
    signals: Signals,
    /// Readable once the process has ended.
    pidfd: Option<AsyncFd<OwnedFd>>,
    deadline: Instant,
    /// So far away that it is never.
    never: Instant,
    every: Duration,
    reports: Interval,
    ticks: Interval,
    /// When the main thread was seen to end.
    leader_gone: Option<Instant>,
}

impl Feed {
    /// Begins now.
    pub(super) fn begin(pid: u32, events: Events, signals: Signals, config: &Config) -> Self {
        let begun = Instant::now();
        let never = begun + Duration::from_secs(3_000_000_000);
        let every = config.interval.unwrap_or(Duration::from_secs(1_000_000_000));
        let interval = |every| {
            let mut interval = interval_at(begun + every, every);
            interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
            interval
        };
        Self {
            events,
            signals,
            pidfd: pidfd(pid),
            deadline: config.duration.map_or(never, |d| begun + d),
            never,
            every,
            reports: interval(every),
            ticks: interval(TICK),
            leader_gone: None,
        }
    }

    /// Waits for what comes next.
    pub(super) async fn next(&mut self) -> Result<Step, Failure> {
        tokio::select! {
            biased;
            () = self.signals.next() => Ok(Step::End(EndedBy::Interrupt)),
            () = exited(self.pidfd.as_ref()) => Ok(Step::End(EndedBy::TargetExit)),
            () = sleep_until(self.deadline) => Ok(Step::End(EndedBy::Duration)),
            _ = self.reports.tick() => Ok(Step::Report),
            () = sleep_until(self.leader_gone.map_or(self.never, |at| at + LEADER_GRACE)) => {
                Ok(Step::End(EndedBy::TargetExit))
            }
            _ = self.ticks.tick() => Ok(Step::Tick),
            events = self.events.next() => Ok(Step::Events(Records(events.map_err(Failure::failed)?))),
        }
    }

    /// The main thread has ended: the others have some time to follow.
    pub(super) fn leader_is_gone(&mut self) {
        self.leader_gone = self.leader_gone.or(Some(Instant::now()));
    }

    /// A report took so long to make; the next one is at least `rest` times as far away.
    pub(super) fn reported(&mut self, took: Duration, rest: u32) {
        let rest = took * rest;
        if took + rest > self.every {
            self.reports.reset_after(rest);
        }
    }
}

/// A descriptor that becomes readable when the process ends.
fn pidfd(pid: u32) -> Option<AsyncFd<OwnedFd>> {
    let fd = rustix::process::pidfd_open(Pid::from_raw(pid.cast_signed())?, PidfdFlags::empty()).ok()?;
    // SAFETY: an owned descriptor gives the same one for as long as it lives.
    unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.ok()
}

/// Waits for the end of the process; without a descriptor (it has just ended) not at all.
async fn exited(pidfd: Option<&AsyncFd<OwnedFd>>) {
    if let Some(pidfd) = pidfd {
        // An error of the poll ends the watch too: it cannot be told apart from the end.
        let _ = pidfd.readable().await;
    }
}

//! What the target's runtimes know.

use std::time::Duration;

use super::subject::Subject;
use super::{Told, Watcher, clock};
use crate::bpf::BpfError;
use crate::collect::Source;
use crate::failure::Failure;
use crate::process::AddressSpace;
use crate::report::model::EndedBy;
use crate::runtime::{HoldersLimits, Runtimes};
use crate::symbol::Names;

/// How long a look at what holds a heap may take, for which the target's end or a signal waits.
const LONGEST: Duration = Duration::from_secs(5);

/// When the target is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// For a report that others follow.
    Between,
    /// At the end of what is watched, or at its beginning.
    Last,
    /// It has ended: it cannot be.
    Gone,
}

impl When {
    pub(super) const fn of(ended_by: Option<EndedBy>) -> Self {
        match ended_by {
            None => Self::Between,
            Some(EndedBy::TargetExit | EndedBy::Exec) => Self::Gone,
            Some(_) => Self::Last,
        }
    }
}

/// Reads what only the runtimes of the target know; what holds their heaps at the last, or when its time has come.
pub(super) fn read_runtimes(
    runtimes: &mut Runtimes,
    when: When,
    target: (&Subject, &AddressSpace),
    source: &mut Source,
    names: &mut Names,
    watcher: &mut dyn Watcher,
) -> Result<(), Failure> {
    meet_runtimes(runtimes, target, source, names, watcher)?;
    let tracing = target.0.wishes.tracing;
    if let Some(most_bytes) = runtimes.most_held() {
        let limits =
            HoldersLimits { longest: LONGEST, most_bytes, go_on: &|| true, anew: when == When::Last };
        runtimes.opened_mut().for_each(|opened| opened.read_holders(&limits, &mut Told(watcher)));
    }
    source.act(|live| {
        for opened in runtimes.opened_mut() {
            opened.read_tasks(clock::monotonic_ns(), &mut Told(watcher));
            opened.read_heap(&live.object, tracing, &mut Told(watcher));
        }
        Ok(())
    })
}

/// Takes in what the target has loaded since: code of its runtimes is unwound and named by their tables.
pub(super) fn meet_runtimes(
    runtimes: &mut Runtimes,
    (subject, space): (&Subject, &AddressSpace),
    source: &mut Source,
    names: &mut Names,
    watcher: &mut dyn Watcher,
) -> Result<(), Failure> {
    if !runtimes.look_again(&subject.process, space, &mut Told(watcher)) {
        return Ok(());
    }
    runtimes.name(names);
    let rows = runtimes.rows().collect();
    match source.act(|live| live.unwinding.take_own(&mut live.object, space, rows)) {
        // Its end is noticed elsewhere.
        Ok(()) | Err(BpfError::TargetGone) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

//! A look at what holds the memory of a process: nothing is traced.

use std::time::{Duration, Instant};

use super::modules::{self, address_space};
use super::{Told, Watcher, clock, usage};
use crate::failure::Failure;
use crate::process::resident::resident;
use crate::process::{Process, ProcessError};
use crate::report::build::{Code, Costs, Inputs, build};
use crate::report::model::Window;
use crate::report::naming::Naming;
use crate::report::own_cost::Meter;
use crate::runtime::{HoldersLimits, Options, Runtimes};
use crate::stack::Stacks;
use crate::symbol::Names;

/// How long one look may take: somebody waits for it, and can end it.
const LONGEST: Duration = Duration::from_secs(600);

/// Looks at what holds the memory of `process`, which [`super::check_memory`] has passed, and reports once; twice with
/// `apart`, and reports what has grown.
pub fn memory(process: &Process, apart: Option<Duration>, watcher: &mut dyn Watcher) -> Result<(), Failure> {
    let space = address_space(process)?;
    let mut runtimes = Runtimes::find(process, &space, Options::default(), &mut Told(watcher));
    let started_at = clock::rfc3339_now();
    let rss_start = process.rss_bytes();
    let begun = Instant::now();
    let mut look = |watcher: &mut dyn Watcher| {
        let limits = HoldersLimits { longest: LONGEST, most_bytes: u64::MAX, go_on: &|| true, anew: true };
        runtimes.opened_mut().for_each(|opened| opened.read_holders(&limits, &mut Told(watcher)));
    };
    look(watcher);
    if let Some(apart) = apart {
        std::thread::sleep(apart.saturating_sub(begun.elapsed()));
        look(watcher);
    }
    let duration_ns = apart.map_or(0, |_| u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX));
    let stacks = Stacks::default();
    let mut naming = Naming::new(Names::new(modules::debug_search(process.through, &mut Told(watcher))));
    let resident = resident(process.through);
    if !process.is_alive() {
        return Err(ProcessError::NoSuchProcess(process.pid).into());
    }
    let code = Code { stacks: &stacks, space: &space, naming: &mut naming };
    let mut report = build(Inputs {
        window: Window { started_at: started_at.clone(), duration_ns, ended_by: None },
        memory: usage::memory(rss_start, process.rss_bytes()),
        resident: Some(resident.as_deref().unwrap_or_default()),
        costs: Costs { own: usage::own(0), ..Costs::default() },
        ..Inputs::new(process, runtimes.observed(), &started_at, code)
    });
    report.overhead.meter = Meter::new(|| usage::own(0));
    watcher.report(&report)?;
    Ok(())
}

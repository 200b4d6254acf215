//! Attaches: frees first, then returns, then entries; then one switch starts recording.

use super::attach::Probes;
use super::clock;
use super::glances::Glances;
use super::links::Choice;
use super::prepare::Prepared;
use super::signals::Signals;
use super::subject::Subject;
use super::{Config, Told, Watcher};
use crate::bpf::BpfError;
use crate::bpf::events::Events;
use crate::bpf::object::{Load, Object, Tracepoint};
use crate::collect::{Collectors, Live};
use crate::failure::Failure;
use crate::process::mapped::Followed;
use crate::process::{AddressSpace, ModuleId};
use crate::runtime::{Probing, Runtimes};
use leakscope_common::config::RunState;

/// Everything that is active.
pub(super) struct Armed {
    pub(super) subject: Subject,
    pub(super) live: Live,
    pub(super) events: Events,
    pub(super) glances: Glances,
    pub(super) signals: Signals,
    pub(super) probes: Probes,
    pub(super) collectors: Collectors,
    pub(super) space: AddressSpace,
    /// The target's runtimes.
    pub(super) runtimes: Runtimes,
}

/// The session's own tracepoint: the target replaces its program.
const EXEC: Tracepoint = Tracepoint { program: "exec", event: "sched_process_exec" };

/// Loads, attaches, and starts recording.
pub(super) fn arm(prepared: Prepared, config: &Config, watcher: &mut dyn Watcher) -> Result<Armed, Failure> {
    let Prepared { process, mut space, mut runtimes, mut collectors, host, unwinding } = prepared;
    let probing = host.is_none_or(|host| host.probes);
    let choice = Choice::of(&process, &space);
    watcher.detail(&format!("probes by {choice}"));
    let mut load = Load { tracepoints: vec![EXEC], ..Load::default() };
    load.add(Probes::load());
    load.add(collectors.load());
    load.maps.extend(unwinding.maps());
    runtimes.opened().for_each(|opened| load.add(opened.load(config.wishes.tracing)));
    let object = Object::load(process.pid, &load, choice.links(), config.kernel_log)?;
    if let Some(why) = &object.no_return_probes {
        watcher.warn(&format!("stacks end where another tracer's return probe is pending: {why}"));
    }
    let mut live = Live { object, unwinding };
    if config.kernel_log {
        live.object.follow_log()?;
    }
    watcher.detail("BPF programs loaded");
    collectors.iter_mut().try_for_each(|collector| collector.loaded(&mut live.object, &space))?;
    live.unwinding.upload(&mut live.object, &space)?;
    watcher.detail("unwind rows uploaded");
    // Between the two looks at the mappings: what comes now is in the second one, too.
    let followed = Followed::begin(process.pid).unwrap_or_else(|error| {
        watcher.detail(&format!("code that is mapped for a moment may have no name: {error}"));
        Followed::default()
    });
    let glances = Glances::new(followed);
    let events = Events::open(&mut live.object, Box::new(glances.looking(process.through)))?;
    let mut probes = Probes::new(&choice, probing);
    probes.tracepoints = live.object.attach_tracepoints()?;
    let modules: Vec<ModuleId> = space.modules().map(|(id, _)| id).collect();
    let target = (process.pid, &space, &*modules);
    probes.attach(&mut live.object, target, &mut collectors, false, watcher)?;
    for opened in runtimes.opened_mut().filter(|_| probing) {
        let mut probing = Probing {
            object: &mut live.object,
            attached: &mut probes.attached,
            process: &process,
            space: &space,
            tracing: config.wishes.tracing,
        };
        opened.attach(&mut probing, &mut Told(watcher))?;
    }
    // A library may have come while we read; from now on the linker's probe tells.
    probes.refresh(&mut live, (process.pid, &mut space), &mut collectors, false, watcher)?;
    if !process.is_alive() {
        return Err(BpfError::TargetGone.into());
    }
    let rss_start = process.rss_bytes();
    let started_at = clock::rfc3339_now();
    // Until here a signal ends us, and the kernel takes the probes away. From here on it is answered
    // with a report; before anybody is told that we are attached.
    let signals = Signals::listen(watcher.leaves_at_second_signal()).map_err(Failure::failed)?;
    let started_ns = clock::monotonic_ns();
    live.object.set_run_state(RunState::Recording)?;
    if live.object.execed()? {
        // It came before the switch, which has undone the freeze.
        live.object.set_run_state(RunState::Frozen)?;
        return Err(BpfError::TargetGone.into());
    }
    let host = host.map(|host| host.name.to_owned());
    let runtime = runtimes.runtime().name().to_owned();
    let subject =
        Subject { process, host, runtime, wishes: config.wishes, started_ns, started_at, rss_start };
    Ok(Armed { subject, live, events, glances, signals, probes, collectors, space, runtimes })
}

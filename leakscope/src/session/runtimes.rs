//! What the target's runtimes know.

use super::{Told, Watcher, clock};
use crate::collect::{Source, Tracing};
use crate::failure::Failure;
use crate::runtime::Runtimes;

/// Reads what only the runtimes of the target know.
pub(super) fn read_runtimes(
    runtimes: &mut Runtimes,
    source: &mut Source,
    tracing: Tracing,
    watcher: &mut dyn Watcher,
) -> Result<(), Failure> {
    source.act(|live| {
        for opened in runtimes.opened_mut() {
            opened.read_tasks(clock::monotonic_ns(), &mut Told(watcher));
            opened.read_heap(&live.object, tracing, &mut Told(watcher));
        }
        Ok(())
    })
}

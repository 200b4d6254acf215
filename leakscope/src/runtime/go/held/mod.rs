//! What holds the heap of a Go program now, read from outside: by holder and by type.
//!
//! The runtime's descriptions of types survive in every program (`types`, `flat`). From package variables (`variables`,
//! by symbols, debug info or code) and from frames of goroutines (`holders`) pointers are followed (`walk`, `scan`),
//! and each object that is reached gets the type that the pointer says (`kind`), which tells where its own pointers
//! lie. Maps are read by the layout of their version (`entries`). How an object is held is kept as a way from its holder
//! through members of types (`paths`), which many objects share: a number for each object is all that is kept, and
//! nothing of the heap is copied. From Go 1.22 on large objects say their type themselves.
//!
//! The program goes on meanwhile. What has come since the objects were counted is counted, too, as soon as something
//! points to it (`Walk::catch_up`). A part is not reached: garbage, and what moved from what was yet to be read to what was
//! read. It is told as what was not reached, and no more.

mod cells;
mod code_use;
mod debug_types;
mod entries;
mod flat;
mod holders;
mod kind;
mod name;
mod paths;
mod pools;
mod samples;
mod scan;
mod scheduling;
pub(super) mod sizes;
mod tell;
#[cfg(test)]
mod tests;
mod types;
mod variables;
mod walk;
mod watch;

pub use crate::runtime::HoldersLimits as Limits;
pub use holders::HolderKind;
pub use tell::{Allocated, Container, GoHeld, HeldBy, HeldType, Way};
pub(super) use watch::HeldWatch;

use std::time::Instant;

use self::cells::{Cells, NoCells};
use self::holders::Holders;
use self::pools::Pools;
use self::samples::Samples;
use self::scheduling::Scheduling;
use self::types::Types;
use self::variables::VariableKind;
use self::walk::{Stop, Walk};
use super::frames::Frames;
use super::heap::areas::Areas;
use super::heap::spans;
use super::program::Program;
use crate::human;

/// Looks at what holds the heap. Why not, if it comes to nothing.
pub fn look(program: &Program, frames: &mut Frames, limits: &Limits<'_>) -> Result<GoHeld, String> {
    let begun = Instant::now();
    if !program.offsets_known {
        return Err("the layout of this version of Go is not known".to_owned());
    }
    let mut types = Types::of(program).ok_or("the layout of this version of Go is not known")?;
    let heap = spans::find(program).map_err(|error| error.to_string())?;
    let totals = heap.totals(program).map_err(|error| error.to_string())?;
    if totals.in_use_bytes > limits.most_bytes {
        let [all, most] = [totals.in_use_bytes, limits.most_bytes].map(human::bytes);
        return Err(format!(
            "there is {all} on the Go heap, and up to {most} is looked at here; `leakscope memory` looks at all of it"
        ));
    }
    let variables = variables::find(program, &mut types);
    let mut areas = Areas::default();
    let cells = Cells::read(program, &heap, &mut areas).map_err(|why| match why {
        NoCells::Unreadable => "its spans could not be read",
        NoCells::TooMany => "it has too many objects",
        NoCells::Unsound => "its spans do not fit what it counts",
    })?;
    let until = begun + limits.longest;
    let mut walk = Walk::new(program, types, (heap, areas, cells), (until, limits.go_on));
    walk.named = variables::holders(&variables);
    let mut holders = Holders::of(variables);
    let mut samples = Samples::default();
    let goroutines = follow(&mut walk, &mut holders, &mut samples, frames).map_err(|why| match why {
        Stop::Asked => "it was interrupted".to_owned(),
        Stop::Late => format!("it takes longer than {} s", limits.longest.as_secs()),
    })?;
    let mut held = tell::tell(&mut walk, &holders, &samples, frames);
    held.goroutines = goroutines;
    held.in_use_bytes = totals.in_use_bytes;
    held.took_ns = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
    Ok(held)
}

/// Follows all holders; returns how many goroutines there are. Variables of the program count before frames, which
/// often point to what these hold for good; the runtime's come last, and pools: they hold what others have freed.
fn follow(
    walk: &mut Walk<'_>,
    holders: &mut Holders,
    samples: &mut Samples,
    frames: &mut Frames,
) -> Result<u64, Stop> {
    let mut pools = Pools::hide(walk.program, &walk.areas, &mut walk.cells);
    let own = Scheduling::hide(walk.program, &holders.variables, &walk.areas, &mut walk.cells);
    holders.variables(walk, VariableKind::Named)?;
    holders.variables(walk, VariableKind::Made)?;
    let goroutines = holders.stacks(walk, frames)?;
    own.show(&mut walk.cells);
    holders.variables(walk, VariableKind::Runtime)?;
    holders.unnamed(walk)?;
    let kept = pools.show(&mut walk.cells);
    holders.pools(walk, &kept)?;
    holders.specials(walk, &mut |object, bucket| samples.add(object, bucket))?;
    Ok(goroutines)
}

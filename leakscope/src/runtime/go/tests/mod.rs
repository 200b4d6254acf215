//! The whole reader, on a program that is made of bytes: sound, damaged in one way, damaged in any way.

mod damaged;

mod heap;
mod labels;
mod mem_stats;
mod reading_goroutines;
mod refused;
mod whole;

use super::error::GoError;
use super::goroutine::{Goroutine, GoroutineSnapshot};
use super::goroutine_reader::GoroutineReader;
use super::program::Program;
use super::synthetic::Synthetic;

fn take(program: &Program) -> Result<GoroutineSnapshot, GoError> {
    GoroutineReader::default().read(program, 9_000)
}

fn snapshot(program: &Synthetic) -> Result<GoroutineSnapshot, GoError> {
    take(&program.open()?)
}

fn loss(snapshot: &GoroutineSnapshot, name: &str) -> u64 {
    snapshot.losses.iter().find(|(n, _)| *n == name).map_or(0, |(_, count)| *count)
}

fn goroutine(snapshot: &GoroutineSnapshot, id: u64) -> &Goroutine {
    snapshot.goroutines.iter().find(|g| g.id == id).unwrap_or_else(|| panic!("no goroutine {id}"))
}

fn nth(program: &Synthetic, what: &str, n: usize) -> u64 {
    program.addresses_of(what).nth(n).unwrap_or_else(|| panic!("no {what} {n}"))
}

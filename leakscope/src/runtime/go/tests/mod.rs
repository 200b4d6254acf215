//! The whole reader, on a program that is made of bytes: sound, damaged in one way, damaged in any way.

mod damaged;
mod goroutines;
mod heap;
mod labels;
mod refused;
mod whole;

use super::census::{GoCensus, Goroutine};
use super::error::GoError;
use super::goroutines::Reader;
use super::program::Program;
use super::synthetic::Synthetic;

fn take(program: &Program) -> Result<GoCensus, GoError> {
    Reader::default().take(program, 9_000)
}

fn census(program: &Synthetic) -> Result<GoCensus, GoError> {
    take(&program.open()?)
}

fn loss(census: &GoCensus, name: &str) -> u64 {
    census.losses.iter().find(|(n, _)| *n == name).map_or(0, |(_, count)| *count)
}

fn goroutine(census: &GoCensus, id: u64) -> &Goroutine {
    census.goroutines.iter().find(|g| g.id == id).unwrap_or_else(|| panic!("no goroutine {id}"))
}

fn nth(program: &Synthetic, what: &str, n: usize) -> u64 {
    program.addresses_of(what).nth(n).unwrap_or_else(|| panic!("no {what} {n}"))
}

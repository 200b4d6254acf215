//! Looks at what holds the heap, and keeps the first and the last one.

use std::time::{Duration, Instant};

use super::{GoHeld, Limits, look};
use crate::runtime::Log;
use crate::runtime::go::frames::Frames;
use crate::runtime::go::program::Program;

/// The next look is so many times as far away as this one took: events wait meanwhile.
const APART: u32 = 40;
/// Nor do they follow each other faster than this.
const LEAST_APART: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(in super::super) struct HeldWatch {
    first: Option<GoHeld>,
    last: Option<GoHeld>,
    refused: Option<String>,
    /// When the last one ended, and how long it took.
    ended: Option<(Instant, Duration)>,
}

impl HeldWatch {
    /// Whether a look is due that need not be.
    fn is_due(&self) -> bool {
        self.ended.is_none_or(|(ended, took)| ended.elapsed() >= (took * APART).max(LEAST_APART))
    }

    /// Looks, if it is time for that, and tells how long that took.
    pub(in super::super) fn look(
        &mut self,
        program: &Program,
        frames: &mut Frames,
        limits: &Limits<'_>,
        log: &mut dyn Log,
    ) {
        if let (Some((ended, _)), false) = (self.ended, limits.anew || self.is_due()) {
            if let Some(last) = &mut self.last {
                last.age_ns = u64::try_from(ended.elapsed().as_nanos()).unwrap_or(u64::MAX);
            }
            return;
        }
        let begun = Instant::now();
        match look(program, frames, limits) {
            Ok(held) => {
                log.detail(&format!(
                    "what holds the Go heap in {:.1} ms: {} holders, {} types, {} ways",
                    held.took_ns as f64 / 1e6,
                    held.holders.len(),
                    held.types.len(),
                    held.ways.len()
                ));
                let before = self.last.replace(held);
                self.first = self.first.take().or(before);
                self.refused = None;
            }
            Err(why) => self.refused = Some(why),
        }
        self.ended = Some((Instant::now(), begun.elapsed()));
    }

    /// The process has ended: what it held before is not what it holds.
    pub(in super::super) fn ended(&mut self) {
        if self.last.is_some() {
            self.refused = Some("the process has ended".to_owned());
        }
    }

    /// The first look, if there were several.
    pub(in super::super) fn first(&self) -> Option<&GoHeld> {
        self.first.as_ref()
    }

    /// The last one.
    pub(in super::super) fn last(&self) -> Option<&GoHeld> {
        self.last.as_ref().filter(|_| self.refused.is_none())
    }

    /// Why there is none.
    pub(in super::super) fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }
}

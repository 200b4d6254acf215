//! The code that no row covers.

use leakscope_common::unwind::{Row, cfa};

use super::code::Code;

/// Ranges of addresses, sorted.
#[derive(Debug, Default)]
pub(super) struct Gaps(Vec<(u32, u32)>);

impl Gaps {
    /// The parts of `ranges` for which `rows` have no rule, outside of `skipped`.
    pub(super) fn find(ranges: &[(u32, u32)], rows: &[Row], skipped: Option<(u32, u32)>) -> Self {
        let mut gaps = Vec::new();
        for &(start, end) in ranges {
            let first = rows.partition_point(|row| row.pc <= start).saturating_sub(1);
            for at in first..rows.len() {
                let (from, to) =
                    (rows[at].pc.max(start), rows.get(at + 1).map_or(end, |next| next.pc.min(end)));
                if rows[at].pc >= end {
                    break;
                }
                if from >= to || rows[at].cfa_kind() != cfa::NO_INFO {
                    continue;
                }
                match skipped {
                    Some(skipped) if skipped.0 < to && from < skipped.1 => {
                        gaps.extend([(from, skipped.0), (skipped.1, to)].into_iter().filter(|(a, b)| a < b));
                    }
                    _ => gaps.push((from, to)),
                }
            }
        }
        Self(gaps)
    }

    /// From start to end.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.0.iter().copied()
    }

    /// How many bytes they are.
    pub(super) fn bytes(&self) -> u32 {
        self.0.iter().fold(0, |sum: u32, (start, end)| sum.saturating_add(end - start))
    }

    pub(super) fn contains(&self, at: u32) -> bool {
        self.end_of(at).is_some()
    }

    /// Where the gap ends that holds `at`.
    pub(super) fn end_of(&self, at: u32) -> Option<u32> {
        let (_, end) = self.0[..self.0.partition_point(|(start, _)| *start <= at)].last()?;
        (at < *end).then_some(*end)
    }

    /// The code between the gaps.
    pub(super) fn between(&self, code: &Code) -> Vec<(u32, u32)> {
        let mut between = Vec::new();
        for (start, end) in code.ranges() {
            let mut at = start;
            for &(from, to) in self.0.iter().filter(|(from, _)| (start..end).contains(from)) {
                between.push((at, from));
                at = to;
            }
            between.push((at, end));
        }
        between.retain(|(from, to)| from < to);
        between
    }
}

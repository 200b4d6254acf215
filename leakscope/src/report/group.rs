//! The sites of all sections added up by something shorter than their stacks.

pub use crate::section::by::By;

use super::Report;
use crate::section::finding::Finding;

/// Adds up the sites of all sections.
pub fn by(report: &mut Report, by: By) {
    if by == By::Stack {
        return;
    }
    report.sections_mut().into_iter().for_each(|section| section.group(by));
    report.say_again();
}

impl Report {
    /// Says of the rows as they are now what was said of those before.
    pub(crate) fn say_again(&mut self) {
        let again = |said: &Finding| self.sections().into_iter().find_map(|section| section.again(said));
        let answer = self.summary.answer.as_ref().and_then(again);
        // Who calls what is charged no more is not said any more.
        let gone = |said: &Finding, again: &Option<Finding>| said.code == "heap_callers" && again.is_none();
        let details: Vec<Option<Finding>> = self.summary.details.iter().map(again).collect();
        let kept: Vec<bool> =
            self.summary.details.iter().zip(&details).map(|(said, again)| !gone(said, again)).collect();
        if answer.is_some() {
            self.summary.answer = answer;
        }
        for (said, again) in self.summary.details.iter_mut().zip(details) {
            if let Some(again) = again {
                *said = again;
            }
        }
        let mut kept = kept.into_iter();
        self.summary.details.retain(|_| kept.next().unwrap_or(true));
    }
}

#[cfg(test)]
mod tests;

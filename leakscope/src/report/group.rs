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
    // What was said of the rows before is said of these.
    let again = |said: &Finding| report.sections().into_iter().find_map(|section| section.again(said));
    let answer = report.summary.answer.as_ref().and_then(again);
    let details: Vec<Option<Finding>> = report.summary.details.iter().map(again).collect();
    if answer.is_some() {
        report.summary.answer = answer;
    }
    for (said, again) in report.summary.details.iter_mut().zip(details) {
        *said = again.unwrap_or_else(|| said.clone());
    }
}

#[cfg(test)]
mod tests;

//! The sites of all sections added up by something shorter than their stacks.

pub use crate::section::by::By;

use super::Report;

/// Adds up the sites of all sections.
pub fn by(report: &mut Report, by: By) {
    if by != By::Site {
        report.sections_mut().into_iter().for_each(|section| section.group(by));
    }
}

#[cfg(test)]
mod tests;

//! The part of a report whose stacks are asked for.

use regex::Regex;

use super::Report;
use super::summary::NO_ALLOCATOR;
use super::words::ReportSaid;
use crate::section::finding::Finding;
use crate::section::focus::Focus;

/// Which stacks.
#[derive(Clone, Debug, Default)]
pub struct Selection(Focus);

/// An expression that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("--{option}: {why}")]
pub struct BadExpression {
    option: &'static str,
    why: String,
}

impl Selection {
    /// Stacks that match `focus`, and do not match `ignore`.
    pub fn new(focus: Option<&str>, ignore: Option<&str>) -> Result<Self, BadExpression> {
        let compile = |option, text: Option<&str>| {
            let compiled = text.map(Regex::new).transpose();
            compiled.map_err(|e| BadExpression { option, why: e.to_string() })
        };
        Ok(Self(Focus { focus: compile("focus", focus)?, ignore: compile("ignore", ignore)? }))
    }

    /// Leaves the asked-for sites in `report`; sums are those of what is left.
    pub fn apply(&self, report: &mut Report) {
        let focus = &self.0;
        if focus.is_all() {
            return;
        }
        let parts = report.sections_mut().into_iter().filter_map(|section| section.select(focus));
        let parts = parts.map(|left| left.text).collect();
        let pattern = |regex: &Option<Regex>| regex.as_ref().map(|regex| regex.as_str().to_owned());
        let selected =
            ReportSaid::Selected { focus: pattern(&focus.focus), ignore: pattern(&focus.ignore), parts };
        let whole = report.summary.answer.replace(selected.into());
        let whole = whole.unwrap_or_else(|| Finding::unnamed(""));
        let blind = report.summary.details.iter().find(|said| said.code == NO_ALLOCATOR).cloned();
        report.summary.details =
            vec![ReportSaid::Whole { code: whole.code.clone(), text: whole.text.clone() }.into()];
        // That nothing can be known holds for any part.
        report.summary.details.extend(blind.or_else(|| (whole.code == NO_ALLOCATOR).then_some(whole)));
    }
}

#[cfg(test)]
mod tests;

//! Which stacks are asked for (`--focus`, `--ignore`).

use regex::Regex;

use super::stack::Stack;

/// Stacks that match one expression, and do not match another.
#[derive(Clone, Debug, Default)]
pub struct Focus {
    /// What they must match.
    pub focus: Option<Regex>,
    /// What they must not.
    pub ignore: Option<Regex>,
}

impl Focus {
    /// Whether `stack` is one of them: functions, files and modules are looked at.
    pub fn keeps(&self, stack: &Stack) -> bool {
        let matches = |regex: &Regex| {
            let texts = stack.frames.iter().flat_map(|frame| [&frame.function, &frame.file, &frame.module]);
            texts.flatten().any(|text| regex.is_match(text))
        };
        self.focus.as_ref().is_none_or(matches) && !self.ignore.as_ref().is_some_and(matches)
    }

    /// Whether that is every stack.
    pub const fn is_all(&self) -> bool {
        self.focus.is_none() && self.ignore.is_none()
    }
}

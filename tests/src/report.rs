//! A report in JSON, valid by its schema.

use std::fs;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::fixture::Amount;
use crate::workspace;

/// Functions in which a stack may end: where a process, a thread or a coroutine begins.
const ROOTS: [&str; 9] = [
    "_start",
    "__libc_start_main",
    "__libc_start_call_main",
    "start_thread",
    "clone3",
    "__clone3",
    "clone",
    "__clone",
    "__start_context",
];

/// A report whose form was checked.
#[derive(Clone, Debug)]
pub struct Report(Value);

/// A site of the heap section.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a>(&'a Value);

impl Report {
    /// Takes a report if it is valid by the schema in the repository.
    ///
    /// # Errors
    /// If it is no JSON or not valid; with everything that is wrong.
    pub fn parse(text: &str) -> Result<Self> {
        let mut value: Value = serde_json::from_str(text).with_context(|| format!("not JSON:\n{text}"))?;
        let wrong: Vec<_> = validator()?
            .iter_errors(&value)
            .map(|error| format!("{} at {}", error, error.instance_path()))
            .collect();
        if !wrong.is_empty() {
            bail!("the report is not valid by its schema:\n{}", wrong.join("\n"));
        }
        crate::tables::expand(&mut value);
        Ok(Self(value))
    }

    /// Takes a part of a report, to test the comparison itself.
    #[cfg(test)]
    pub(crate) fn unchecked(value: Value) -> Self {
        Self(value)
    }

    /// The value at a JSON pointer; null where there is none.
    pub fn at(&self, pointer: &str) -> &Value {
        self.0.pointer(pointer).unwrap_or(&Value::Null)
    }

    /// A number at a JSON pointer.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub fn number(&self, pointer: &str) -> i64 {
        self.at(pointer).as_i64().unwrap_or_else(|| panic!("no number at {pointer}: {}", self.at(pointer)))
    }

    /// How the window ended.
    pub fn ended_by(&self) -> &str {
        self.at("/window/ended_by").as_str().unwrap_or_default()
    }

    /// Whether the heap section calls itself exact.
    pub fn heap_exact(&self) -> bool {
        self.at("/heap/exact").as_bool().unwrap_or(false)
    }

    /// What was lost: names and numbers that are not zero.
    pub fn losses(&self) -> Vec<(&str, i64)> {
        let losses = self.at("/losses").as_object();
        losses
            .into_iter()
            .flatten()
            .map(|(name, number)| (name.as_str(), number.as_i64().unwrap_or(-1)))
            .filter(|(_, number)| *number != 0)
            .collect()
    }

    /// The sites of the heap, as ranked.
    pub fn sites(&self) -> impl Iterator<Item = Site<'_>> {
        self.at("/heap/sites").as_array().into_iter().flatten().map(Site)
    }

    /// The sites that have a frame of that name.
    pub fn sites_through<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Site<'a>> {
        self.sites().filter(move |site| site.functions().any(|function| names(function, name)))
    }

    /// The share of allocations whose stack reached the root.
    pub fn rooted_share(&self) -> f64 {
        let (mut all, mut rooted) = (0, 0);
        for site in self.sites() {
            let number = site.number("alloc_objects");
            all += number;
            rooted += if site.is_rooted() { number } else { 0 };
        }
        // Object counts of a test lie far below 2^52.
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let share = rooted as f64 / all as f64;
        share
    }

    /// The whole report, to look into.
    pub fn value(&self) -> &Value {
        &self.0
    }
}

impl<'a> Site<'a> {
    /// An integer field.
    ///
    /// # Panics
    /// If the site lacks it.
    #[track_caller]
    pub fn number(&self, field: &str) -> i64 {
        self.0[field].as_i64().unwrap_or_else(|| panic!("the site has no {field}: {}", self.0))
    }

    /// A field that is text; empty where it is null.
    pub fn text(&self, field: &str) -> &'a str {
        self.0[field].as_str().unwrap_or_default()
    }

    /// What is live of it.
    pub fn live(&self) -> Amount {
        Amount { objects: self.number("live_objects"), bytes: self.number("live_bytes") }
    }

    /// What was allocated at it.
    pub fn allocated(&self) -> Amount {
        Amount { objects: self.number("alloc_objects"), bytes: self.number("alloc_bytes") }
    }

    /// Its frames, innermost first.
    pub fn frames(&self) -> impl DoubleEndedIterator<Item = &'a Value> + ExactSizeIterator {
        self.0["frames"].as_array().map_or(&[][..], Vec::as_slice).iter()
    }

    /// The functions of its frames, innermost first; `?` for one without a name.
    pub fn functions(&self) -> impl DoubleEndedIterator<Item = &'a str> {
        self.frames().map(|frame| frame["function"].as_str().unwrap_or("?"))
    }

    /// The function that it is charged to; `nobody` if there is none.
    pub fn blamed(&self) -> &'a str {
        let at = self.0["blame"].as_u64().and_then(|at| usize::try_from(at).ok());
        at.and_then(|at| self.functions().nth(at)).unwrap_or("nobody")
    }

    /// Whether its stack ends where a process, a thread or a coroutine begins.
    pub fn is_rooted(&self) -> bool {
        self.functions().next_back().is_some_and(ends_at_root)
    }

    /// The stack in one line.
    pub fn stack(&self) -> String {
        self.functions().collect::<Vec<_>>().join(" < ")
    }
}

/// Whether a process, a thread or a coroutine begins in that function.
pub(crate) fn ends_at_root(function: &str) -> bool {
    ROOTS.iter().any(|root| names(function, root))
}

/// Whether a demangled function is the one of that name: the name stands in it as a whole word.
pub fn names(function: &str, name: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    function
        .match_indices(name)
        .any(|(at, _)| !function[..at].ends_with(word) && !function[at + name.len()..].starts_with(word))
}

/// The compiled schema.
fn validator() -> Result<&'static jsonschema::Validator> {
    static VALIDATOR: OnceLock<jsonschema::Validator> = OnceLock::new();
    if let Some(validator) = VALIDATOR.get() {
        return Ok(validator);
    }
    let path = workspace().join("leakscope/schema/report.schema.json");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let validator = jsonschema::validator_for(&serde_json::from_str(&text)?)?;
    Ok(VALIDATOR.get_or_init(|| validator))
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn a_name_is_a_whole_word() {
        assert!(names("site_a", "site_a"));
        assert!(names("(anonymous namespace)::Pool::grow(int)", "Pool::grow"));
        assert!(names("rust_sites::keep_box", "keep_box"));
        assert!(names("rust_sites::keep_box::h0123456789abcdef", "keep_box"));
        assert!(!names("site_new_array", "site_new"));
        assert!(!names("my_site_new", "site_new"));
    }
}

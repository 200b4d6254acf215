//! Thresholds: expressions over the fields of a report or a difference, which `--fail-on` takes.
//!
//! ```text
//! EXPR   := VALUE OP LIMIT
//! VALUE  := PATH | FUNC "(" PATH ")"
//! FUNC   := "any" | "all" | "max" | "min" | "sum" | "count"        ("len" is "count")
//! PATH   := NAME { "." NAME | "[" NUMBER "]" | "[*]" | "[" STRING "]" }
//! OP     := ">" | ">=" | "<" | "<=" | "==" | "!="
//! LIMIT  := NUMBER [UNIT] | "true" | "false" | STRING
//! UNIT   := "B" "kB" "MB" "GB" "TB" "KiB" "MiB" "GiB" "TiB"        of a field named …bytes
//!         | "ns" "us" "ms" "s" "m" "h" "d"                         of a field named …_ns
//!         | "k" "M" "G"                                            of any
//! STRING := '"' … '"'
//! ```
//!
//! A path is that of the JSON. `[*]` stands for every element, and then a function says what is made of
//! them. `count` counts the elements of a list or map, and of a path with `[*]` the values that are not
//! null. A value that is null exceeds nothing, and [`Outcome::Unknown`] tells so.
//!
//! `parse` reads the text, `names` checks it against the JSON Schema of what will be asked, so that a
//! mistake is found before anything is traced, and `values` finds the values without building the JSON.

mod names;
mod parse;
mod values;

use std::fmt;

use serde::Serialize;

use values::Value;

/// What thresholds are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Report,
    /// A difference of reports.
    Diff,
}

/// A threshold whose fields exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Threshold {
    text: String,
    function: Option<Function>,
    path: Vec<Step>,
    comparison: Comparison,
    limit: Limit,
}

/// What is made of several values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Function {
    Any,
    All,
    Max,
    Min,
    Sum,
    Count,
}

/// A part of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// A field, or a key of a map.
    Name(String),
    /// An element, from 0.
    Index(usize),
    /// Every element.
    Each,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Greater,
    AtLeast,
    Less,
    AtMost,
    Equal,
    NotEqual,
}

/// What a value is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Limit {
    Number { value: i128, unit: Unit },
    Bool(bool),
    Text(String),
}

/// What the unit of a number measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    None,
    Bytes,
    Time,
}

/// A threshold that cannot be used: where it goes wrong, why, and what could be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--fail-on '{text}': {why}")]
pub struct BadThreshold {
    text: String,
    why: String,
}

/// What a threshold says of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It holds: the reason.
    Exceeded(String),
    /// It does not.
    Kept,
    /// The values are null: which.
    Unknown(String),
}

/// The longest text that is read.
const LONGEST: usize = 1000;

impl Threshold {
    /// Reads a threshold, and checks that what it names is there.
    pub fn new(text: &str, subject: Subject) -> Result<Self, BadThreshold> {
        let bad = |why: String| BadThreshold { text: crate::human::cut(text, 200), why };
        if text.len() > LONGEST {
            return Err(bad(format!("it is longer than {LONGEST} bytes")));
        }
        let threshold = parse::threshold(text).map_err(bad)?;
        names::check(&threshold, subject).map_err(bad)?;
        Ok(threshold)
    }

    /// The first field of the path: a section of a report, such as `heap`.
    pub fn section(&self) -> &str {
        match self.path.first() {
            Some(Step::Name(name)) => name,
            _ => "",
        }
    }

    /// What it says of `subject`, a report or a difference.
    pub fn check(&self, subject: &impl Serialize) -> Outcome {
        let mut values = values::at(subject, &self.path, self.function == Some(Function::Count));
        if values.is_empty() && matches!(&self.path[..], [Step::Name(of), Step::Name(_)] if of == "losses") {
            // What was not lost is not listed.
            values.push(Value::Number(0));
        }
        let known = || values.iter().filter(|value| **value != Value::Null);
        let several = self.path.contains(&Step::Each);
        let holds = |value: &Value| self.comparison.holds(value, &self.limit);
        let told = match self.function {
            Some(Function::Count) if several => Some(Value::Number(known().count() as i128)).filter(holds),
            // No element is no reason.
            Some(Function::All) => known().next().filter(|_| known().all(holds)).cloned(),
            Some(Function::Max | Function::Min | Function::Sum) => self.folded(known()).filter(holds),
            Some(Function::Any | Function::Count) | None => known().find(|value| holds(value)).cloned(),
        };
        match told {
            Some(value) => Outcome::Exceeded(format!("{} ({value})", self.text)),
            None if !values.is_empty() && known().next().is_none() => Outcome::Unknown(self.path()),
            None if values.is_empty() && !several => Outcome::Unknown(self.path()),
            None => Outcome::Kept,
        }
    }

    /// The largest, the smallest or the sum; none of nothing.
    fn folded<'a>(&self, values: impl Iterator<Item = &'a Value>) -> Option<Value> {
        let numbers = values.filter_map(|value| match value {
            Value::Number(n) => Some(*n),
            _ => None,
        });
        let folded = match self.function {
            Some(Function::Max) => numbers.max(),
            Some(Function::Min) => numbers.min(),
            _ => numbers.reduce(i128::saturating_add),
        };
        folded.map(Value::Number)
    }

    fn path(&self) -> String {
        let mut text = String::new();
        for step in &self.path {
            match step {
                Step::Name(name) if text.is_empty() => text.push_str(name),
                Step::Name(name) => text.extend([".", name]),
                Step::Index(at) => text.push_str(&format!("[{at}]")),
                Step::Each => text.push_str("[*]"),
            }
        }
        text
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Comparison {
    fn holds(self, value: &Value, limit: &Limit) -> bool {
        let order = match (value, limit) {
            (Value::Number(value), Limit::Number { value: limit, .. }) => value.cmp(limit),
            (Value::Bool(value), Limit::Bool(limit)) => value.cmp(limit),
            (Value::Text(value), Limit::Text(limit)) => value.cmp(limit),
            _ => return false,
        };
        match self {
            Self::Greater => order.is_gt(),
            Self::AtLeast => order.is_ge(),
            Self::Less => order.is_lt(),
            Self::AtMost => order.is_le(),
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
        }
    }
}

#[cfg(test)]
mod tests;

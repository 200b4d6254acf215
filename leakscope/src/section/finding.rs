//! What a report has to say: facts with a code and arguments. The sentence is made of these, in one place.
//!
//! Each section lists what it can say by `findings!`, beside the function that finds the words for
//! each. Findings are told apart by their codes; their text is for people alone.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It is not known: the report is of a version that did not tell.
    Unknown,
    /// It is so, and nothing is wrong with it.
    Note,
    /// Something may be wrong, or the report tells less than it could.
    Warning,
    /// Something cannot go on.
    Alarm,
}

/// The name of a kind of finding, in snake_case. Names never change their meaning.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Code(Cow<'static, str>);

impl Code {
    /// That of sentences in reports of leakscope before findings had codes.
    pub const UNNAMED: Self = Self(Cow::Borrowed("unnamed"));

    /// The name.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// Whether it is one of what `Said` lists.
    pub fn is_of<S: Said>(&self) -> bool {
        S::CODES.contains(&self.name())
    }
}

impl PartialEq<str> for Code {
    fn eq(&self, name: &str) -> bool {
        self.0 == name
    }
}

impl PartialEq<&str> for Code {
    fn eq(&self, name: &&str) -> bool {
        self.0 == *name
    }
}

/// A fact that answers a question, or that a reader must know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// What is said, by name: `deadlock`, `heap_live`, …; `unnamed` where a report of an older version has only
    /// the text.
    pub code: Code,
    /// How much it matters.
    pub severity: Severity,
    /// What the text is made of, by name.
    #[serde(default)]
    pub args: BTreeMap<String, Value>,
    /// The sentence.
    pub text: String,
}

impl Finding {
    /// A sentence of which nothing else is known.
    pub fn unnamed(text: impl Into<String>) -> Self {
        Self { code: Code::UNNAMED, severity: Severity::Unknown, args: BTreeMap::new(), text: text.into() }
    }
}

impl<S: Said> From<S> for Finding {
    fn from(said: S) -> Self {
        Self {
            code: Code(Cow::Borrowed(said.code())),
            severity: said.severity(),
            args: said.args(),
            text: said.text(),
        }
    }
}

/// What some part of leakscope can say.
pub trait Said {
    /// The codes of all of it.
    const CODES: &'static [&'static str];

    /// The code of this.
    fn code(&self) -> &'static str;

    /// How much it matters.
    fn severity(&self) -> Severity;

    /// What the text is made of.
    fn args(&self) -> BTreeMap<String, Value>;

    /// The sentence.
    fn text(&self) -> String;
}

/// An argument as JSON; what cannot be is null.
pub(crate) fn arg(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// Lists findings: severity, name, code and arguments of each, and the function that finds the words. That one
/// matches on the name, so that none is left out.
macro_rules! findings {
    (
        $(#[doc = $doc:literal])*
        pub enum $name:ident, in the words of $words:path {
            $(
                $(#[doc = $variant_doc:literal])*
                $severity:ident $variant:ident = $code:literal {
                    $($field:ident: $type:ty,)*
                },
            )*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub enum $name {
            $($(#[doc = $variant_doc])* $variant { $($field: $type,)* },)*
        }

        impl $crate::section::finding::Said for $name {
            const CODES: &'static [&'static str] = &[$($code),*];

            fn code(&self) -> &'static str {
                match self {
                    $(Self::$variant { .. } => $code,)*
                }
            }

            fn severity(&self) -> $crate::section::finding::Severity {
                match self {
                    $(Self::$variant { .. } => $crate::section::finding::Severity::$severity,)*
                }
            }

            fn args(&self) -> std::collections::BTreeMap<String, serde_json::Value> {
                match self {
                    $(Self::$variant { $($field),* } => std::collections::BTreeMap::from([
                        $((stringify!($field).to_owned(), $crate::section::finding::arg($field)),)*
                    ]),)*
                }
            }

            fn text(&self) -> String {
                $words(self)
            }
        }
    };
}
pub(crate) use findings;

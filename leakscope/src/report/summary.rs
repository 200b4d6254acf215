//! The answer in short: findings here, and in JSON their sentences, too.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Report;
use crate::section::finding::Finding;

/// The answer in short.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// The answer; none where there is nothing to say.
    pub answer: Option<Finding>,
    /// What else there is to say, most important first.
    pub details: Vec<Finding>,
}

impl Summary {
    /// The sentence that answers.
    pub fn headline(&self) -> &str {
        self.answer.as_ref().map_or("", |answer| &answer.text)
    }

    /// The other sentences.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.details.iter().map(|finding| finding.text.as_str())
    }

    /// Everything, the answer first.
    pub fn all(&self) -> impl Iterator<Item = &Finding> {
        self.answer.iter().chain(&self.details)
    }

    /// Says something before all but the answer.
    pub(crate) fn first(&mut self, findings: impl IntoIterator<Item = Finding>) {
        self.details.splice(0..0, findings);
    }

    /// Says something last.
    pub(crate) fn last(&mut self, finding: impl Into<Finding>) {
        self.details.push(finding.into());
    }
}

/// The code of what is said where a heap cannot be traced.
pub(super) const NO_ALLOCATOR: &str = "heap_no_allocator";

impl Report {
    /// Why nothing can be known of the heap; none if something is.
    pub fn heap_untraceable(&self) -> Option<&str> {
        let seen = self.heap.as_ref().is_some_and(|heap| heap.totals.alloc_objects > 0);
        let why = self.summary.all().find(|said| said.code == NO_ALLOCATOR);
        why.filter(|_| !seen).map(|said| said.text.as_str())
    }
}

/// As it is in JSON.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "Summary", description = "The answer in short.")]
struct Json {
    /// One sentence.
    headline: String,
    /// Further sentences, most important first.
    findings: Vec<String>,
    /// What the headline says, as data; null where it is empty, and in reports of before findings had codes.
    #[serde(default)]
    answer: Option<Finding>,
    /// What `findings` say, as data, in the same order.
    #[serde(default)]
    details: Option<Vec<Finding>>,
}

impl Serialize for Summary {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut fields = to.serialize_struct("Summary", 4)?;
        fields.serialize_field("headline", self.headline())?;
        fields.serialize_field("findings", &self.texts().collect::<Vec<_>>())?;
        fields.serialize_field("answer", &self.answer)?;
        fields.serialize_field("details", &self.details)?;
        fields.end()
    }
}

impl<'de> Deserialize<'de> for Summary {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Json { headline, findings, answer, details } = Json::deserialize(from)?;
        // What is told as data must be what is told in sentences, whoever wrote it.
        let answer = answer.filter(|answer| answer.text == headline);
        let named = details.unwrap_or_default();
        let same = named.iter().map(|finding| &finding.text).eq(&findings);
        Ok(Self {
            answer: answer.or_else(|| (!headline.is_empty()).then(|| Finding::unnamed(headline))),
            details: if same { named } else { findings.into_iter().map(Finding::unnamed).collect() },
        })
    }
}

impl JsonSchema for Summary {
    fn schema_name() -> Cow<'static, str> {
        "Summary".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Json::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::words::ReportSaid;

    #[test]
    fn findings_come_back() {
        let answer = Some(ReportSaid::StacksNotWhole { stacks: 4, stacks_root: 3 }.into());
        let details = vec![Finding::unnamed("As it was."), ReportSaid::Exec {}.into()];
        let summary = Summary { answer, details };
        let json = serde_json::to_value(&summary).expect("JSON");
        assert_eq!(json["headline"], "75.00 % of the stacks reached the thread's first function.");
        assert_eq!(json["findings"][1], json["details"][1]["text"]);
        assert_eq!(json["answer"]["code"], "stacks_not_whole");
        assert_eq!(json["answer"]["args"]["stacks"], 4);
        assert_eq!(json["answer"]["severity"], "warning");
        assert_eq!(serde_json::from_value::<Summary>(json).expect("a summary"), summary);
        let nothing = serde_json::to_value(Summary::default()).expect("JSON");
        assert_eq!(serde_json::from_value::<Summary>(nothing).expect("a summary"), Summary::default());
    }

    /// Reports of before have sentences alone, and somebody may have changed them.
    #[test]
    fn sentences_without_codes() {
        let old = r#"{"headline": "A.", "findings": ["B.", "C."]}"#;
        let summary: Summary = serde_json::from_str(old).expect("a summary");
        assert_eq!((summary.headline(), summary.texts().collect::<Vec<_>>()), ("A.", vec!["B.", "C."]));
        assert!(summary.details.iter().chain(&summary.answer).all(|said| said.code == "unnamed"));
        let mut json = serde_json::to_value(&summary).expect("JSON");
        json["headline"] = "Z.".into();
        json["findings"][0] = "Y.".into();
        let changed: Summary = serde_json::from_value(json).expect("a summary");
        assert_eq!((changed.headline(), changed.texts().next()), ("Z.", Some("Y.")));
    }
}

//! Checks a threshold against the JSON Schema of what it is about.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::{Function, Limit, Step, Subject, Threshold, Unit};
use crate::losses;
use crate::{diff, report};

/// Names that an error lists.
const MOST_TOLD: usize = 12;
/// How alike a name is that could be meant.
const ALIKE: f64 = 0.7;

static REPORT: LazyLock<Value> =
    LazyLock::new(|| without_tables(schemars::schema_for!(report::model::Report)));
static DIFF: LazyLock<Value> = LazyLock::new(|| without_tables(schemars::schema_for!(diff::model::Diff)));

/// A path leads to the frames at a site, not into tables.
fn without_tables(schema: schemars::Schema) -> Value {
    let mut schema = schema.to_value();
    if let Some(fields) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        fields.remove("tables");
    }
    schema
}

/// What stands at the end of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Number,
    Bool,
    Text,
    List,
    Map,
    Object,
}

/// Finds the field and what it can be compared with.
pub(super) fn check(threshold: &Threshold, subject: Subject) -> Result<(), String> {
    let (schema, called) = match subject {
        Subject::Report => (&*REPORT, "the report"),
        Subject::Diff => (&*DIFF, "the difference"),
    };
    let mut here = schema;
    let mut so_far = String::new();
    let mut name = "";
    for step in &threshold.path {
        let place = if so_far.is_empty() { called.to_owned() } else { format!("`{so_far}`") };
        match step {
            Step::Name(field) => {
                if so_far == "losses" {
                    loss(field)?;
                }
                here = self::field(schema, here, field)
                    .map_err(|known| unknown(schema, field, &so_far, &place, &known))?;
                name = field;
                if !so_far.is_empty() {
                    so_far.push('.');
                }
                so_far.push_str(field);
            }
            Step::Index(_) | Step::Each => {
                let text = match step {
                    Step::Index(at) => format!("[{at}]"),
                    _ => "[*]".to_owned(),
                };
                let element =
                    |at: &Value| at.get("items").cloned().or_else(|| at.get("additionalProperties").cloned());
                let resolved = resolved(schema, here);
                let is_map = kind(schema, here) == Kind::Map;
                if element(resolved).is_none() || is_map && matches!(step, Step::Index(_)) {
                    return Err(format!("{place} is no list, so it has no {text}"));
                }
                here = resolved
                    .get("items")
                    .or_else(|| resolved.get("additionalProperties"))
                    .unwrap_or(resolved);
                so_far.push_str(&text);
            }
        }
    }
    let what = compared_kind(threshold, kind(schema, here), &so_far)?;
    let hint = match what {
        Kind::List => format!("count({so_far}), or a field of its elements, as in any({so_far}[*].…)"),
        Kind::Map => format!("count({so_far}), or one of its values, {so_far}[\"…\"]"),
        Kind::Object => format!("one of its fields: {}", list(&fields(resolved(schema, here)))),
        Kind::Number | Kind::Bool | Kind::Text => return compared(threshold, what, name, &so_far),
    };
    Err(format!("`{so_far}` is no value to compare; compare {hint}"))
}

/// Of what kind it is that is compared: the field, or what the function makes of it.
fn compared_kind(threshold: &Threshold, kind: Kind, so_far: &str) -> Result<Kind, String> {
    let several = threshold.path.contains(&Step::Each);
    match (threshold.function, several) {
        (Some(Function::Count), _) if several || matches!(kind, Kind::List | Kind::Map) => Ok(Kind::Number),
        (Some(Function::Count), _) => Err(format!("`{so_far}` is no list, so there is nothing to count")),
        (Some(_), false) => {
            Err(format!("`{so_far}` is one value: leave the function out, or name all of a list with [*]"))
        }
        (None, true) => {
            Err(format!("`{so_far}` are many values: say any(…), all(…), max(…), min(…), sum(…) or count(…)"))
        }
        (Some(Function::Max | Function::Min | Function::Sum), true) if kind != Kind::Number => {
            Err(format!("`{so_far}` are no numbers; any(…), all(…) and count(…) take them"))
        }
        _ => Ok(kind),
    }
}

/// Whether the limit is of the field's kind, and its unit fits the field's.
fn compared(threshold: &Threshold, kind: Kind, name: &str, so_far: &str) -> Result<(), String> {
    use super::Comparison::{Equal, NotEqual};
    let equality = matches!(threshold.comparison, Equal | NotEqual);
    // `live_bytes`, `live_bytes_low`.
    let is_in = |unit: &str| name.split('_').any(|word| word == unit);
    match (&threshold.limit, kind) {
        (Limit::Number { unit, .. }, Kind::Number) => {
            let counted = threshold.function == Some(Function::Count);
            match unit {
                Unit::Bytes if counted || !is_in("bytes") => {
                    Err(format!("`{so_far}` is not in bytes; leave the unit out"))
                }
                Unit::Time if counted || !is_in("ns") => {
                    Err(format!("`{so_far}` is no time; leave the unit out"))
                }
                _ => Ok(()),
            }
        }
        (Limit::Bool(_), Kind::Bool) | (Limit::Text(_), Kind::Text) if equality => Ok(()),
        (_, Kind::Bool) => Err(format!("`{so_far}` is true or false: compare it with == true or == false")),
        (_, Kind::Text) => Err(format!("`{so_far}` is a text: compare it with == \"…\" or != \"…\"")),
        _ => Err(format!("`{so_far}` is a number: compare it with one")),
    }
}

/// The schema of a field; or the fields that there are.
fn field<'a>(schema: &'a Value, at: &'a Value, name: &str) -> Result<&'a Value, Vec<String>> {
    let at = resolved(schema, at);
    if let Some(found) = at.get("properties").and_then(|fields| fields.get(name)) {
        return Ok(found);
    }
    // A map takes any key.
    at.get("additionalProperties").filter(|of| of.is_object()).ok_or_else(|| fields(at))
}

/// Whether a loss of that name can be: a misspelt one would never be exceeded.
fn loss(name: &str) -> Result<(), String> {
    if losses::names().any(|known| known == name) {
        return Ok(());
    }
    let like = |known: &&str| strsim::jaro_winkler(known, name);
    let mut alike: Vec<&str> =
        losses::names().filter(|known| like(known) > ALIKE || known.starts_with(name)).collect();
    alike.sort_by(|a, b| like(b).total_cmp(&like(a)));
    let near =
        alike.iter().take(3).map(|known| format!("`losses[\"{known}\"]`")).collect::<Vec<_>>().join(" or ");
    let near = if near.is_empty() { "`count(losses) > 0`".to_owned() } else { near };
    Err(format!("there is no loss `{name}`; do you mean {near}?"))
}

fn fields(at: &Value) -> Vec<String> {
    at.get("properties")
        .and_then(Value::as_object)
        .map(|fields| fields.keys().cloned().collect())
        .unwrap_or_default()
}

fn list(names: &[String]) -> String {
    let more = if names.len() > MOST_TOLD { ", …" } else { "" };
    format!(
        "{}{more}",
        names.iter().take(MOST_TOLD).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    )
}

/// What to say of a name that is not there: those like it here, or where the name is elsewhere.
fn unknown(schema: &Value, name: &str, so_far: &str, place: &str, known: &[String]) -> String {
    if known.is_empty() {
        return format!("{place} has no fields, so no `{name}`; a list's elements are [0], [1], … or [*]");
    }
    let full = |name: &str| if so_far.is_empty() { name.to_owned() } else { format!("{so_far}.{name}") };
    let mut alike: Vec<(f64, String)> = known
        .iter()
        .map(|of| (strsim::jaro_winkler(of, name), full(of)))
        .filter(|(like, _)| *like > ALIKE)
        .collect();
    alike.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut near: Vec<String> = alike.into_iter().take(3).map(|(_, name)| name).collect();
    elsewhere(schema, schema, name, String::new(), &mut near);
    if near.is_empty() {
        return format!("{place} has no field `{name}`; it has {}", list(known));
    }
    near.truncate(4);
    format!(
        "{place} has no field `{name}`; do you mean {}?",
        near.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(" or ")
    )
}

/// Paths that end in the name.
fn elsewhere(schema: &Value, at: &Value, name: &str, path: String, near: &mut Vec<String>) {
    // A report is not deeper; nothing in it holds itself.
    if path.matches('.').count() > 4 {
        return;
    }
    let at = resolved(schema, at);
    if let Some(items) = at.get("items") {
        return elsewhere(schema, items, name, format!("{path}[*]"), near);
    }
    for (field, of) in at.get("properties").and_then(Value::as_object).unwrap_or(&Map::new()) {
        let full = if path.is_empty() { field.clone() } else { format!("{path}.{field}") };
        if field == name && !near.contains(&full) {
            near.push(full.clone());
        }
        elsewhere(schema, of, name, full, near);
    }
}

/// What a schema refers to; of what may be null, the other.
fn resolved<'a>(schema: &'a Value, mut at: &'a Value) -> &'a Value {
    // References are never longer than this.
    for _ in 0..8 {
        if let Some(name) = at.get("$ref").and_then(Value::as_str) {
            let Some(found) = name.strip_prefix('#').and_then(|pointer| schema.pointer(pointer)) else {
                return at;
            };
            at = found;
        } else if let Some(some) = at.get("anyOf").and_then(Value::as_array) {
            let null = |of: &&Value| of.get("type").and_then(Value::as_str) != Some("null");
            let Some(found) = some.iter().find(null) else { return at };
            at = found;
        } else {
            break;
        }
    }
    at
}

fn kind(schema: &Value, at: &Value) -> Kind {
    let at = resolved(schema, at);
    let is = |name: &str| match at.get("type") {
        Some(Value::String(one)) => one == name,
        Some(Value::Array(some)) => some.iter().any(|of| of == name),
        _ => false,
    };
    if is("integer") || is("number") {
        Kind::Number
    } else if is("boolean") {
        Kind::Bool
    } else if is("array") {
        Kind::List
    } else if is("object") && at.get("properties").is_none() {
        Kind::Map
    } else if is("object") {
        Kind::Object
    } else {
        // Texts; choices of texts have no type of their own.
        Kind::Text
    }
}

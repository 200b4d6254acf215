//! Reports as they are read by hand: each site with its frames.

use serde_json::Value;

/// Puts the frames of each stack in the place of its number, as reports of version 1 have them.
pub fn expand(report: &mut Value) {
    let Some(tables) = report.as_object_mut().and_then(|fields| fields.remove("tables")) else { return };
    let list = |name: &str| tables[name].as_array().cloned().unwrap_or_default();
    let (strings, mut frames) = (list("strings"), list("frames"));
    for frame in &mut frames {
        for text in ["module", "build_id", "function", "file", "why_unknown"] {
            let number = frame[text].as_u64().and_then(|number| usize::try_from(number).ok());
            frame[text] = number.map_or(Value::Null, |number| strings[number].clone());
        }
    }
    let place = |number: &Value| usize::try_from(number.as_u64().unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
    let stack = |numbers: &Value| {
        numbers.as_array().into_iter().flatten().map(|n| frames[place(n)].clone()).collect()
    };
    let stacks: Vec<Value> = list("stacks").iter().map(stack).collect();
    put(report, &stacks);
}

fn put(value: &mut Value, stacks: &[Value]) {
    match value {
        Value::Array(all) => all.iter_mut().for_each(|value| put(value, stacks)),
        Value::Object(fields) => {
            for (number, frames) in [("stack", "frames"), ("owner_stack", "owner_frames")] {
                if let Some(number) = fields.remove(number) {
                    let number = number.as_u64().and_then(|number| usize::try_from(number).ok());
                    let stack = number.map_or(Value::Null, |number| stacks[number].clone());
                    fields.insert(frames.to_owned(), stack);
                }
            }
            fields.values_mut().for_each(|value| put(value, stacks));
        }
        _ => {}
    }
}

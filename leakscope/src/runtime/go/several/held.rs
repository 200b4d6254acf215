//! What holds the heaps of several runtimes.

use std::collections::HashMap;

use super::merge::name;
use crate::runtime::go::held::{GoHeld, HeldType};

/// The heaps of all: holders and ways tell whose they are, types are the same wherever they are.
pub(super) fn held<'a>(all: impl Iterator<Item = (&'a str, &'a GoHeld)>) -> Option<GoHeld> {
    let all: Vec<(&str, &GoHeld)> = all.collect();
    let [_, _, ..] = all[..] else { return all.first().map(|(_, only)| (*only).clone()) };
    let mut merged = GoHeld { named: all.iter().all(|(_, one)| one.named), ..GoHeld::default() };
    let mut types: HashMap<(String, bool), HeldType> = HashMap::new();
    for (file, one) in all {
        add(&mut merged, one);
        for of in &one.types {
            let sum = types.entry((of.name.clone(), of.pointers)).or_insert_with(|| HeldType {
                bytes: 0,
                objects: 0,
                ..of.clone()
            });
            (sum.bytes, sum.objects) = (sum.bytes.saturating_add(of.bytes), sum.objects + of.objects);
        }
        let whose = |holder: &str| format!("{holder} of {}", name(file));
        for mut holder in one.holders.iter().cloned() {
            if !holder.name.is_empty() {
                holder.name = whose(&holder.name);
            }
            merged.holders.push(holder);
        }
        for mut way in one.ways.iter().cloned() {
            if let Some(last) = way.steps.last_mut() {
                *last = whose(last);
            }
            merged.ways.push(way);
        }
    }
    merged.types = types.into_values().collect();
    merged.holders.sort_by_key(|holder| std::cmp::Reverse(holder.bytes));
    merged.types.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
    merged.ways.sort_by_key(|way| std::cmp::Reverse(way.bytes));
    Some(merged)
}

/// Adds one's sums.
fn add(sum: &mut GoHeld, one: &GoHeld) {
    for (sum, more) in [
        (&mut sum.bytes, one.bytes),
        (&mut sum.objects, one.objects),
        (&mut sum.typed_bytes, one.typed_bytes),
        (&mut sum.untyped_bytes, one.untyped_bytes),
        (&mut sum.unreached_bytes, one.unreached_bytes),
        (&mut sum.unreached_objects, one.unreached_objects),
        (&mut sum.in_use_bytes, one.in_use_bytes),
        (&mut sum.unread_bytes, one.unread_bytes),
        (&mut sum.goroutines, one.goroutines),
        (&mut sum.took_ns, one.took_ns),
    ] {
        *sum = sum.saturating_add(more);
    }
    sum.age_ns = sum.age_ns.max(one.age_ns);
    sum.simplified |= one.simplified;
    if let Some(more) = one.samples {
        sum.samples = Some(sum.samples.unwrap_or(0).saturating_add(more));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::go::held::{HeldBy, HolderKind, Way};

    fn one(bytes: u64) -> GoHeld {
        GoHeld {
            bytes,
            typed_bytes: bytes,
            named: true,
            holders: vec![HeldBy {
                kind: HolderKind::Variable,
                name: "main.cache".to_owned(),
                users: Vec::new(),
                address: None,
                file: None,
                line: None,
                goroutines: None,
                type_name: None,
                bytes,
                objects: 1,
                container: None,
                path: "main.cache".to_owned(),
                allocated: Vec::new(),
            }],
            types: vec![HeldType { name: "main.entry".to_owned(), pointers: true, bytes, objects: 1 }],
            ways: vec![Way { steps: vec!["main.cache".to_owned()], bytes, objects: 1 }],
            ..GoHeld::default()
        }
    }

    #[test]
    fn holders_of_one_name_tell_whose_they_are() {
        let (small, large) = (one(10), one(30));
        let all = held([("/lib/a.so", &small), ("/lib/b.so", &large)].into_iter()).expect("two");
        assert_eq!((all.bytes, all.typed_bytes, all.types.len()), (40, 40, 1));
        assert_eq!((all.types[0].bytes, all.types[0].objects), (40, 2));
        let names: Vec<&str> = all.holders.iter().map(|holder| holder.name.as_str()).collect();
        assert_eq!(names, ["main.cache of b.so", "main.cache of a.so"]);
        assert_eq!(all.ways[1].steps, ["main.cache of a.so"]);
        assert_eq!(held([("/lib/a.so", &small)].into_iter()), Some(small));
        assert_eq!(held(std::iter::empty()), None);
    }
}

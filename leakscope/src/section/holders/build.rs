//! How the section is made.

use std::collections::HashMap;

use super::model::{
    AllocatedAt, Container, HeldHeap, HeldWay, HolderKind, HolderSite, Holders, Resident, TypeSite,
};
use crate::runtime::go::held::{self, GoHeld, HeldBy};
use crate::section::frame::{Address, Frame};
use crate::section::growth::growth;
use crate::section::made::{Facts, Made};
use crate::section::model::StackEnd;
use crate::section::site::rank;
use crate::section::stack::Stack;

impl Made for Holders {
    fn make(facts: &mut Facts<'_, '_>) -> Option<Self> {
        let resident = facts.resident.map(<[Resident]>::to_vec);
        let go = facts.runtime.go;
        let held = go.and_then(|go| go.held);
        let unknown = go.and_then(|go| go.held_refused).map(ToOwned::to_owned);
        if resident.is_none() && held.is_none() && unknown.is_none() {
            return None;
        }
        let mut made = held.map(of_go).unwrap_or_default();
        let other = || (go.is_none()).then(|| "that is known of Go programs only, so far".to_owned());
        made.unknown = if held.is_some() { None } else { unknown.or_else(other) };
        made.resident = resident.unwrap_or_default();
        if let (Some(before), true) = (go.and_then(|go| go.held_before), held.is_some()) {
            let before = of_go(before);
            super::diff::grown(&mut made, &before);
        }
        Some(made)
    }
}

/// What is held in a Go program.
pub(super) fn of_go(held: &GoHeld) -> Holders {
    let mut holders = Holders {
        heap: Some(HeldHeap {
            live_bytes: held.bytes,
            live_objects: held.objects,
            runtime_bytes: held.in_use_bytes,
            typed_bytes: held.typed_bytes,
            untyped_bytes: held.untyped_bytes,
            unreached_bytes: held.unreached_bytes,
            unreached_objects: held.unreached_objects,
            unread_bytes: held.unread_bytes,
            samples: held.samples,
            named: held.named,
            took_ns: held.took_ns,
            age_ns: held.age_ns,
            growth_bytes: None,
        }),
        sites: held.holders.iter().map(site).collect(),
        ..Holders::default()
    };
    let told = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let of_type = |of: &held::HeldType| TypeSite {
        rank: 0,
        name: told(&of.name),
        pointers: of.pointers,
        bytes: of.bytes,
        objects: of.objects,
        growth_bytes: None,
    };
    holders.types = held.types.iter().map(of_type).collect();
    holders.ways = held.ways.iter().zip(1..).map(|(way, n)| self::way(way, n)).collect();
    rank(&mut holders.sites);
    rank(&mut holders.types);
    rank(&mut holders.ways);
    holders
}

fn site(by: &HeldBy) -> HolderSite {
    let container = |of: &held::Container| Container {
        path: of.path.clone(),
        type_name: of.type_name.clone(),
        objects: of.objects,
        entries: of.entries,
        held_bytes: of.bytes,
    };
    let allocated = |at: &held::Allocated| AllocatedAt {
        function: at.function.clone(),
        file: at.file.clone(),
        line: at.line,
        samples: at.samples,
        estimated_bytes: at.bytes,
    };
    HolderSite {
        rank: 0,
        kind: match by.kind {
            held::HolderKind::Variable => HolderKind::Variable,
            held::HolderKind::Frame => HolderKind::Frame,
            held::HolderKind::Runtime => HolderKind::Runtime,
            held::HolderKind::Pool => HolderKind::Pool,
            held::HolderKind::Special => HolderKind::Special,
        },
        name: (!by.name.is_empty()).then(|| by.name.clone()),
        used_by: by.users.clone(),
        address: by.address.map(Address),
        file: by.file.clone(),
        line: by.line,
        tasks: by.goroutines,
        type_name: by.type_name.clone(),
        held_bytes: by.bytes,
        held_objects: by.objects,
        growth_bytes: None,
        path: by.path.clone(),
        container: by.container.as_ref().map(container),
        allocated: by.allocated.iter().map(allocated).collect(),
    }
}

fn way(way: &held::Way, number: u64) -> HeldWay {
    let frame = |step: &String| Frame { function: Some(step.as_str().into()), ..Frame::default() };
    HeldWay {
        site_id: format!("w{number}"),
        rank: 0,
        bytes: way.bytes,
        objects: way.objects,
        stack: Stack {
            frames: way.steps.iter().map(frame).collect(),
            blame: None,
            end: Some(StackEnd::Root),
            ..Stack::default()
        },
    }
}

/// The growth of each by its key; what was not there has grown by all that it is.
pub(super) fn growths<K: std::hash::Hash + Eq>(
    old: impl Iterator<Item = (K, u64)>,
    new: impl Iterator<Item = (K, u64)>,
) -> Vec<i64> {
    let mut before: HashMap<K, u64> = HashMap::new();
    for (key, bytes) in old {
        let sum = before.entry(key).or_default();
        *sum = sum.saturating_add(bytes);
    }
    new.map(|(key, bytes)| growth(before.get(&key).copied().unwrap_or(0), bytes)).collect()
}

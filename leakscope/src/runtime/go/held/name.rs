//! How what was found is named: holders, ways, types.

use std::collections::HashMap;

use super::flat::What;
use super::holders::{Holder, HolderKind, Holders};
use super::kind::{Kind, Role};
use super::paths::{Path, PathId, SOMEWHERE};
use super::tell::{Container, HeldBy, Way};
use super::types::Types;
use super::variables::{LeafType, Variable};
use super::walk::Walk;

/// Most ways that are told, and steps of the one that leads to most of what a holder has.
const MOST_WAYS: usize = 4000;
const MOST_STEPS: usize = 24;
/// A container with fewer entries is not worth being named.
const FEW: u64 = 8;

/// What an object of a kind is called; empty if that is not known.
pub(super) fn called(walk: &Walk<'_>, kind: Kind) -> String {
    let name = &walk.types.at(kind.id()).name;
    match kind.role() {
        Role::Unknown => String::new(),
        Role::Text => "string".to_owned(),
        Role::Several => several(name),
        Role::Closure => match kind.id().checked_sub(1) {
            Some(number) => format!("func {}", super::code_use::name(walk.program, number)),
            None => "func".to_owned(),
        },
        _ => name.to_string(),
    }
}

/// Values behind each other. Those of maps' tables are the map's.
fn several(name: &str) -> String {
    let table = ["map.group[", "map.bucket["].iter().find_map(|prefix| name.strip_prefix(prefix));
    table.map_or_else(|| format!("[]{name}"), |rest| format!("map[{rest}"))
}

/// Names ways.
pub(super) struct Teller<'w, 'a> {
    walk: &'w mut Walk<'a>,
    holders: &'w Holders,
    /// The way with most that goes on from each.
    children: HashMap<PathId, PathId>,
    sums: &'w [(u64, u64)],
}

impl<'w, 'a> Teller<'w, 'a> {
    /// `sums`: bytes and objects of each way.
    pub(super) fn of(walk: &'w mut Walk<'a>, holders: &'w Holders, sums: &'w [(u64, u64)]) -> Self {
        let mut teller = Self { walk, holders, children: HashMap::new(), sums };
        teller.find_children();
        teller
    }

    fn find_children(&mut self) {
        for (at, path) in self.walk.paths.all().iter().enumerate() {
            if path.parent as usize == at {
                continue;
            }
            let heaviest = self.children.entry(path.parent).or_insert(at as PathId);
            if self.sums[at].0 > self.sums[*heaviest as usize].0 {
                *heaviest = at as PathId;
            }
        }
    }

    fn path(&self, id: PathId) -> Option<Path> {
        self.walk.paths.all().get(id as usize).copied()
    }

    fn variable(&self, holder: &Holder) -> Option<&Variable> {
        self.holders.variables.get(holder.variable?)
    }

    /// What a holder is called.
    fn name(&self, holder: &Holder) -> String {
        match (&holder.frame, self.variable(holder)) {
            (Some(frame), _) => frame.function.to_string(),
            (None, Some(variable)) => variable.name.clone(),
            (None, None) => String::new(),
        }
    }

    /// What a holder holds, but where that was allocated.
    pub(super) fn holder(&mut self, holder: &Holder) -> HeldBy {
        let (bytes, objects) = self.sums[holder.path as usize];
        let variable = self.variable(holder);
        let (users, address) = match variable {
            Some(variable) if variable.name.is_empty() => (variable.users.clone(), Some(variable.address)),
            _ => (Vec::new(), None),
        };
        let type_name = variable.and_then(|variable| type_of(&self.walk.types, variable));
        let heavy = self.heavy(holder.path);
        let mut told = self.name(holder);
        let mut container: Option<(u64, Container)> = None;
        for id in heavy {
            told.push_str(&self.step(id));
            if let Some((fan, found)) = self.container(id, &told)
                && container.as_ref().is_none_or(|(most, _)| fan > *most)
            {
                container = Some((fan, found));
            }
        }
        let frame = holder.frame.as_ref();
        HeldBy {
            kind: holder.kind,
            name: self.name(holder),
            users,
            address,
            file: frame.map(|frame| frame.file.to_string()),
            line: frame.map(|frame| frame.line),
            goroutines: frame.map(|_| holder.goroutines),
            type_name,
            bytes,
            objects,
            container: container.map(|(_, container)| container),
            path: told,
            allocated: Vec::new(),
        }
    }

    /// The way from a holder on as long as one step leads to at least half of all.
    fn heavy(&self, from: PathId) -> Vec<PathId> {
        let (mut at, all, mut steps) = (from, self.sums[from as usize].0, Vec::new());
        while let Some(next) = self.children.get(&at).copied()
            && self.sums[next as usize].0 >= all.div_ceil(2)
            && steps.len() < MOST_STEPS
        {
            steps.push(next);
            at = next;
        }
        steps
    }

    /// What a way leads to, if these are maps, slices or channels: with the entries that one has on average. What leads
    /// to other objects counts for more than numbers.
    fn container(&self, id: PathId, told: &str) -> Option<(u64, Container)> {
        let path = self.path(id)?;
        let types = &self.walk.types;
        let leads_on = match path.kind.role() {
            Role::Map | Role::Channel => true,
            Role::Several => types.at(path.kind.id()).pointers > 0,
            _ => return None,
        };
        let mut entries = path.entries;
        if path.kind.role() == Role::Channel && path.objects == 1 && entries == 0 {
            entries = self.first_word(path.example).unwrap_or(0);
        }
        if path.kind.role() == Role::Several && entries == 0 {
            return None;
        }
        let fan = (entries / path.objects.max(1)).saturating_add(1);
        let few = entries < FEW.saturating_mul(path.objects) && path.objects > 0;
        let fan = if few {
            0
        } else if leads_on {
            fan.saturating_mul(1 << 20)
        } else {
            u64::from(path.objects == 1)
        };
        let container = Container {
            path: told.to_owned(),
            type_name: called(self.walk, path.kind),
            objects: path.objects,
            entries,
            bytes: self.sums[id as usize].0,
        };
        (fan > 0).then_some((fan, container))
    }

    fn first_word(&self, number: u64) -> Option<u64> {
        let (area, index) = self.walk.areas.object(number);
        let area = self.walk.areas.all().get(area)?;
        self.walk.program.memory().u64(area.start + index * area.size)
    }

    /// A step as code would write it.
    fn step(&mut self, id: PathId) -> String {
        let Some(path) = self.path(id) else { return String::new() };
        let Some(parent) = self.path(path.parent) else { return String::new() };
        if parent.parent == path.parent {
            return self.member_of_holder(parent.step as usize, path.step);
        }
        let (kind, step) = (parent.kind, path.step);
        let types = &mut self.walk.types;
        match kind.role() {
            _ if step == SOMEWHERE && kind.role() != Role::Closure => " → …".to_owned(),
            Role::Unknown => " → …".to_owned(),
            Role::One => types.member(kind.id(), step.into()),
            Role::Several => format!("[…]{}", types.member(kind.id(), step.into())),
            Role::Buffer => {
                let element = self.walk.element(kind.id());
                format!("[…]{}", self.walk.types.member(element, step.into()))
            }
            Role::Entries => self.entry(kind, step),
            Role::Closure => " (captured)".to_owned(),
            _ => String::new(),
        }
    }

    fn entry(&mut self, kind: Kind, step: u32) -> String {
        let Some(layout) = self.walk.entries(kind.id()) else { return "[…]".to_owned() };
        match step.checked_sub(layout.value.0) {
            // The bucket that follows, or a value.
            Some(inside) if layout.slots.iter().any(|slot| slot.step == step && slot.entry.is_some()) => {
                format!("[…]{}", self.walk.types.member(layout.value.1, inside.into()))
            }
            Some(_) => String::new(),
            None => " (keys)".to_owned(),
        }
    }

    fn member_of_holder(&mut self, holder: usize, step: u32) -> String {
        let Some(variable) = self.holders.all.get(holder).and_then(|holder| self.variable(holder)) else {
            return String::new();
        };
        let leaf = variable.leaves.iter().rev().find(|leaf| leaf.offset <= u64::from(step)).cloned();
        match leaf {
            Some(leaf) => match leaf.of {
                LeafType::Value(id) => {
                    leaf.member + &self.walk.types.member(id, u64::from(step) - leaf.offset)
                }
                LeafType::Slot(_) => leaf.member,
            },
            None if step == 0 || step == SOMEWHERE || variable.name.is_empty() => String::new(),
            None => format!("+{step:#x}"),
        }
    }

    /// The ways with most in them, from the objects to the holder.
    pub(super) fn ways(&mut self, roots: &[PathId]) -> Vec<Way> {
        let all = self.walk.paths.all();
        let mut order: Vec<usize> = (0..all.len()).filter(|at| all[*at].bytes > 0).collect();
        order.sort_by_key(|at| std::cmp::Reverse(all[*at].bytes));
        order.truncate(MOST_WAYS);
        let mut named: HashMap<PathId, String> = HashMap::new();
        let mut ways = Vec::with_capacity(order.len());
        for at in order {
            let Some(path) = self.path(at as PathId) else { continue };
            let (mut steps, mut id) = (Vec::new(), at as PathId);
            while id != roots[at] {
                let step = match named.get(&id) {
                    Some(known) => known.clone(),
                    None => {
                        let step = self.labelled(id);
                        named.insert(id, step.clone());
                        step
                    }
                };
                // The parts of a map are one step.
                if steps.last() != Some(&step) && !step.is_empty() {
                    steps.push(step);
                }
                let Some(path) = self.path(id) else { break };
                id = path.parent;
            }
            let root = self.path(id).and_then(|path| self.holders.all.get(path.step as usize));
            steps.push(root.map(|holder| self.label(holder)).unwrap_or_default());
            ways.push(Way { steps, bytes: path.bytes, objects: path.objects });
        }
        ways
    }

    /// A step with the type of what it leads to.
    fn labelled(&mut self, id: PathId) -> String {
        let Some(path) = self.path(id) else { return String::new() };
        let inner =
            self.path(path.parent).is_some_and(|parent| path.kind.is_of_map() && parent.kind.is_of_map());
        if inner {
            return String::new();
        }
        let step = self.step(id);
        let name = match called(self.walk, path.kind) {
            name if name.is_empty() => "(type unknown)".to_owned(),
            name => name,
        };
        format!("{} {name}", step.trim()).trim().to_owned()
    }

    /// A holder in a word or two.
    fn label(&self, holder: &Holder) -> String {
        match (holder.kind, self.variable(holder)) {
            (HolderKind::Pool, _) => "sync.Pool".to_owned(),
            (HolderKind::Special, _) => "finalizers, cleanups and weak pointers".to_owned(),
            (_, Some(variable)) if variable.name.is_empty() => {
                format!("a variable used by {}", variable.users.first().map_or("nobody", String::as_str))
            }
            (_, None) if holder.frame.is_none() => "variables without a name".to_owned(),
            _ => self.name(holder),
        }
    }
}

/// The type of a variable, if it is known as a whole.
fn type_of(types: &Types<'_>, variable: &Variable) -> Option<String> {
    let leaf = variable.leaves.first().filter(|leaf| leaf.offset == 0 && leaf.member.is_empty())?;
    let name = |id| types.at(id).name.to_string();
    Some(match leaf.of {
        LeafType::Value(id) => name(id),
        LeafType::Slot(What::Pointer(id)) => format!("*{}", name(id)),
        LeafType::Slot(What::Slice(id)) => format!("[]{}", name(id)),
        LeafType::Slot(What::Text) => "string".to_owned(),
        LeafType::Slot(_) => return None,
    })
}

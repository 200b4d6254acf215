//! Who uses which variable, and of what type it is, by the program's code: for programs without symbols or debug info.
//!
//! A function that refers to a variable's address uses it. The compiler loads a type and calls the runtime with it
//! before the result is stored in a variable, or a map is used that one holds (`cmd/compile/internal/walk`).

use std::collections::{BTreeMap, HashMap};

use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};

use super::flat::What;
use super::types::{Shape, TypeId, Types};
use super::variables::LeafType;
use crate::runtime::go::program::Program;

/// Most bytes of code that are decoded, and bytes of one function.
const MOST_CODE: u64 = 1 << 28;
const LONGEST: u64 = 1 << 20;
/// Most places, and functions that are kept of one.
const MOST_PLACES: usize = 1 << 19;
const MOST_USERS: usize = 6;
/// Instructions between a type and the call that takes it, and between that and where the result is stored.
const NEAR: u64 = 12;
const STORED: u64 = 20;

/// A place among the variables that code refers to.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    /// Numbers of functions.
    pub functions: Vec<u32>,
    /// Whether its address is taken.
    pub taken: bool,
}

#[derive(Debug, Default)]
pub(super) struct Uses {
    pub places: BTreeMap<u64, Place>,
    pub types: BTreeMap<u64, LeafType>,
}

/// What a function of the runtime does with the type that it is called with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    /// Uses a map of this type.
    UsesMap,
    /// Makes a map or a channel of this type.
    Makes,
    /// Makes a value of this type.
    New,
    /// Makes the array of a slice of this type.
    Array,
}

fn call(name: &str) -> Option<Call> {
    let bare = name.strip_prefix("runtime.")?;
    let uses = ["mapaccess", "mapassign", "mapdelete", "mapiter", "mapclear", "mapIter"];
    Some(match bare {
        _ if uses.iter().any(|prefix| bare.starts_with(prefix)) => Call::UsesMap,
        _ if bare.starts_with("makemap") => Call::Makes,
        "makechan" => Call::Makes,
        "newobject" => Call::New,
        "growslice" | "makeslice" => Call::Array,
        _ => return None,
    })
}

/// The name of a function of the program's own by its number.
pub(super) fn name(program: &Program, function: u32) -> String {
    let named = || {
        let table = &program.parts.first()?.pclntab;
        Some(table.name(table.function(function as usize)?))
    };
    named().unwrap_or_default()
}

pub(super) fn find(program: &Program, types: &mut Types<'_>) -> Uses {
    let Some(part) = program.parts.first() else { return Uses::default() };
    let table = &part.pclntab;
    let functions = || (0..table.functions()).filter_map(|n| table.function(n));
    let calls: HashMap<u64, Call> =
        functions().filter_map(|function| Some((function.entry, call(&table.name(function))?))).collect();
    let ranges = part.pointer_variables();
    let mut reader =
        Reader { types, calls, ranges, uses: Uses::default(), votes: BTreeMap::new(), seen: Seen::default() };
    let mut left = MOST_CODE;
    for function in functions() {
        let length = (table.end(function) - function.entry).min(LONGEST);
        let Some(rest) = left.checked_sub(length) else { break };
        left = rest;
        if let Some(code) = program.constant(function.entry, length as usize) {
            reader.function(function.index as u32, function.entry, &code);
        }
    }
    reader.done()
}

/// What was met last in a function, and by which instruction.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    now: u64,
    loaded: Option<(u64, TypeId)>,
    variable: Option<(u64, u64)>,
    made: Option<(u64, LeafType)>,
}

struct Reader<'a, 'b> {
    types: &'a mut Types<'b>,
    calls: HashMap<u64, Call>,
    ranges: Vec<(u64, u64)>,
    uses: Uses,
    votes: BTreeMap<u64, HashMap<LeafType, u32>>,
    seen: Seen,
}

impl Reader<'_, '_> {
    fn is_variable(&self, address: u64) -> bool {
        self.ranges.iter().any(|(low, high)| (*low..*high).contains(&address))
    }

    fn function(&mut self, number: u32, entry: u64, code: &[u8]) {
        let mut decoder = Decoder::with_ip(64, code, entry, DecoderOptions::NONE);
        let mut instruction = Instruction::default();
        self.seen = Seen::default();
        while decoder.can_decode() {
            decoder.decode_out(&mut instruction);
            self.seen.now += 1;
            if instruction.is_ip_rel_memory_operand() {
                self.refers(number, &instruction);
            } else if instruction.is_call_near() {
                self.calls(instruction.near_branch_target());
            } else if instruction.mnemonic() == Mnemonic::Ret {
                self.seen = Seen { now: self.seen.now, ..Seen::default() };
            }
        }
    }

    fn refers(&mut self, number: u32, instruction: &Instruction) {
        let (address, now) = (instruction.ip_rel_memory_address(), self.seen.now);
        let loads_address = instruction.mnemonic() == Mnemonic::Lea;
        if !self.is_variable(address) {
            if loads_address && self.types.is_static(address) {
                self.seen.loaded = Some((now, self.types.find(address)));
            }
            return;
        }
        if self.uses.places.len() < MOST_PLACES || self.uses.places.contains_key(&address) {
            let place = self.uses.places.entry(address).or_default();
            place.taken |= loads_address;
            if place.functions.len() < MOST_USERS && place.functions.last() != Some(&number) {
                place.functions.push(number);
            }
        }
        if instruction.mnemonic() != Mnemonic::Mov {
            return;
        }
        if instruction.op0_kind() != OpKind::Memory {
            self.seen.variable = Some((now, address));
        } else if instruction.op1_kind() == OpKind::Register
            && instruction.op1_register() == Register::RAX
            && let Some((_, made)) = self.seen.made.take().filter(|(at, _)| now - at < STORED)
        {
            self.vote(address, made);
        }
    }

    fn calls(&mut self, target: u64) {
        let now = self.seen.now;
        let loaded = self.seen.loaded.filter(|(at, id)| now - at < NEAR && *id != 0).map(|(_, id)| id);
        let (Some(call), Some(id)) = (self.calls.get(&target).copied(), loaded) else {
            self.seen.made = None;
            return;
        };
        let shape = &self.types.at(id).shape;
        let (map, made) =
            (matches!(shape, Shape::Map { .. }), matches!(shape, Shape::Map { .. } | Shape::Channel(_)));
        match call {
            Call::UsesMap => {
                if let Some((_, address)) = self.seen.variable.filter(|(at, _)| map && now - at < NEAR) {
                    self.vote(address, LeafType::Value(id));
                }
            }
            Call::Makes => self.seen.made = made.then_some((now, LeafType::Value(id))),
            Call::New => self.seen.made = Some((now, LeafType::Slot(What::Pointer(id)))),
            Call::Array => self.seen.made = Some((now, LeafType::Slot(What::Slice(id)))),
        }
    }

    fn vote(&mut self, address: u64, of: LeafType) {
        if self.votes.len() >= MOST_PLACES && !self.votes.contains_key(&address) {
            return;
        }
        *self.votes.entry(address).or_default().entry(of).or_default() += 1;
    }

    /// What most of the code agrees in.
    fn done(self) -> Uses {
        let mut uses = self.uses;
        for (address, votes) in self.votes {
            let all: u32 = votes.values().sum();
            let most = votes.into_iter().max_by_key(|(_, n)| *n);
            if let Some((of, _)) = most.filter(|(_, n)| 2 * n > all) {
                uses.types.insert(address, of);
            }
        }
        uses
    }
}

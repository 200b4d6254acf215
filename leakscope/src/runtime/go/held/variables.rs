//! Package variables: where they lie, what they are called, and of what type each of their parts is. Names are those of
//! the symbol table, types those of the debug info; of a stripped program the code tells who uses what.

use std::collections::HashMap;

use object::{Object as _, ObjectSymbol as _, SymbolKind};

use super::code_use::{self, Uses};
use super::debug_types;
use super::flat::What;
use super::types::{TypeId, Types};
use crate::runtime::go::program::Program;
use crate::symbol::name::bounded;

/// In the names of variables that the compiler made.
const MADE: &str = "..stmp_";
/// Most variables, and most symbols that are looked at.
const MOST: usize = 1 << 18;
const MOST_SYMBOLS: usize = 1 << 22;
/// Most functions that are named of those that use a variable.
const USERS: usize = 3;

/// A part of a variable whose type is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leaf {
    pub offset: u64,
    /// As code would name it, behind the variable's name: `.users`.
    pub member: String,
    pub of: LeafType,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum LeafType {
    /// A value of a type.
    Value(TypeId),
    /// What lies there, whose own type the program does not have at run time.
    Slot(What),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Variable {
    pub address: u64,
    pub size: u64,
    /// `main.locks`; empty if nothing names it.
    pub name: String,
    /// Functions that use it, where it has no name.
    pub users: Vec<String>,
    pub leaves: Vec<Leaf>,
}

/// Whose a variable is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum VariableKind {
    /// The program's, with a name of its own or none.
    Named,
    /// What the compiler made for the value of another (`main..stmp_0`, `cmd/compile/internal/staticinit`).
    Made,
    /// The runtime's.
    Runtime,
}

impl Variable {
    pub(super) fn kind(&self) -> VariableKind {
        match self.is_of_runtime() {
            true => VariableKind::Runtime,
            false if self.name.contains(MADE) => VariableKind::Made,
            false => VariableKind::Named,
        }
    }

    /// Whether it is of the runtime, whose own lists and caches hold what others hold, too.
    pub(super) fn is_of_runtime(&self) -> bool {
        match self.name.as_str() {
            "" => self.users.iter().all(|user| is_of_runtime(user)),
            name => is_of_runtime(name),
        }
    }
}

/// Whether a function or variable belongs to the runtime, by its package.
pub(super) fn is_of_runtime(name: &str) -> bool {
    const PACKAGES: [&str; 8] =
        ["runtime.", "runtime/", "internal/", "sync.", "go:", "go.", "type:", "type."];
    PACKAGES.iter().any(|package| name.starts_with(package))
}

/// The variables with pointers, by their addresses.
pub(super) fn find(program: &Program, types: &mut Types<'_>) -> Vec<Variable> {
    let mut all = symbols(program);
    if all.is_empty() {
        let uses = code_use::find(program, types);
        return by_use(program, types, &uses);
    }
    let told = debug_types::read(program, types);
    for variable in &mut all {
        if let Some(leaves) = told.get(&variable.address) {
            variable.leaves.clone_from(leaves);
        }
    }
    if told.is_empty() {
        let uses = code_use::find(program, types);
        for variable in &mut all {
            let end = variable.address.saturating_add(variable.size);
            let voted = uses.types.range(variable.address..end);
            variable.leaves = voted.map(|(at, of)| leaf(at - variable.address, *of)).collect();
        }
    }
    all
}

fn leaf(offset: u64, of: LeafType) -> Leaf {
    Leaf { offset, member: String::new(), of }
}

fn is_pointer_variable(program: &Program, address: u64) -> bool {
    let ranges = program.parts.iter().flat_map(|part| part.pointer_variables());
    ranges.into_iter().any(|(low, high)| (low..high).contains(&address))
}

/// What the symbol table tells.
fn symbols(program: &Program) -> Vec<Variable> {
    let Some(Ok(file)) = program.elf().map(|elf| elf.parsed()) else { return Vec::new() };
    let mut all: Vec<Variable> = Vec::new();
    for symbol in file.symbols().take(MOST_SYMBOLS) {
        if symbol.kind() != SymbolKind::Data || symbol.size() == 0 || all.len() >= MOST {
            continue;
        }
        let address = symbol.address().wrapping_add(program.bias);
        if let Ok(name) = symbol.name()
            && is_pointer_variable(program, address)
        {
            all.push(Variable {
                address,
                size: symbol.size(),
                name: bounded(name).into_owned(),
                ..Variable::default()
            });
        }
    }
    all.sort_by_key(|variable| variable.address);
    all.dedup_by_key(|variable| variable.address);
    // They do not overlap, whatever the table says.
    for at in 1..all.len() {
        let next = all[at].address;
        all[at - 1].size = all[at - 1].size.min(next - all[at - 1].address);
    }
    all
}

/// Where those lie that are holders by themselves: not what the compiler made for the value of another.
pub(super) fn holders(all: &[Variable]) -> Vec<(u64, u64)> {
    let own = all.iter().filter(|variable| !variable.name.contains(MADE));
    own.map(|variable| (variable.address, variable.address.saturating_add(variable.size))).collect()
}

/// What code refers to: a variable, or a member of one, ends where the next one begins.
fn by_use(program: &Program, types: &mut Types<'_>, uses: &Uses) -> Vec<Variable> {
    let mut named: HashMap<u32, String> = HashMap::new();
    let mut all: Vec<Variable> = Vec::new();
    let mut used = uses.places.iter().peekable();
    while let Some((address, place)) = used.next() {
        if all.len() >= MOST || !is_pointer_variable(program, *address) {
            continue;
        }
        // What is behind a place whose address is not taken may be another variable.
        let next = used.peek().map_or(address + 8, |(next, _)| **next);
        let size = if place.taken { next - address } else { 8.min(next - address) };
        let mut users: Vec<String> = Vec::new();
        for function in &place.functions {
            let name = named.entry(*function).or_insert_with(|| code_use::name(program, *function));
            users.push(name.clone());
        }
        users.sort_by_key(|user| (is_of_runtime(user), user.contains(".init")));
        users.truncate(USERS);
        let leaves = uses.types.get(address).map(|of| leaf(0, *of)).into_iter().collect();
        all.push(Variable { address: *address, size, users, leaves, ..Variable::default() });
    }
    let _ = types;
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_a_variable_is() {
        let named = |name: &str| Variable { name: name.to_owned(), ..Variable::default() };
        assert!(named("runtime.allp").is_of_runtime() && named("sync.allPools").is_of_runtime());
        assert!(!named("main.locks").is_of_runtime() && !named("runtimes.all").is_of_runtime());
        let used = |by: &[&str]| Variable {
            users: by.iter().map(|user| (*user).to_owned()).collect(),
            ..Variable::default()
        };
        assert!(used(&["runtime.gcStart"]).is_of_runtime() && used(&[]).is_of_runtime());
        assert!(!used(&["main.getLock", "runtime.gcStart"]).is_of_runtime());
    }
}

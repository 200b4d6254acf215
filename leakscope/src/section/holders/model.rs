//! What a report says of what holds the memory now.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::process::resident::{Resident, ResidentKind};
use crate::section::frame::Address;
use crate::section::json::with_stack;
use crate::section::model::{Stack, StackEnd};
use crate::section::shared::SharedFrames;

/// What holds the memory of a process, from a look at it from outside.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Holders {
    /// Where resident memory is, by mappings; empty where that was not looked at.
    pub resident: Vec<Resident>,
    /// What was found on the heap; null where it could not be read.
    pub heap: Option<HeldHeap>,
    /// Why there are no holders; null if there are.
    pub unknown: Option<String>,
    /// Holders, the largest first.
    pub sites: Vec<HolderSite>,
    /// Types, those with most bytes first.
    pub types: Vec<TypeSite>,
    /// By which ways objects are held, those with most bytes first.
    pub ways: Vec<HeldWay>,
}

/// The account of the heap: typed, untyped and unreached bytes add up to `live_bytes`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeldHeap {
    /// Objects, dead ones included that no collection has found yet.
    pub live_bytes: u64,
    /// How many.
    pub live_objects: u64,
    /// What the runtime itself counts (HeapAlloc of `runtime.MemStats`).
    pub runtime_bytes: u64,
    /// Reached from a holder, and of a type that is known.
    pub typed_bytes: u64,
    /// Reached from a holder, and of an unknown type.
    pub untyped_bytes: u64,
    /// Not reached: garbage, or moved while it was read.
    pub unreached_bytes: u64,
    /// How many.
    pub unreached_objects: u64,
    /// Could not be read.
    pub unread_bytes: u64,
    /// Objects of which the runtime's memory profile tells where they were allocated; null where it keeps none.
    pub samples: Option<u64>,
    /// Whether the program's symbols name its variables; else the functions that use them do.
    pub named: bool,
    /// How long the look took.
    pub took_ns: u64,
    /// How long before the report it ended.
    #[serde(default)]
    pub age_ns: u64,
    /// How many bytes more than at the look before; null if there was none.
    pub growth_bytes: Option<i64>,
}

/// What a holder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HolderKind {
    /// A variable of a package.
    Variable,
    /// A function on stacks.
    Frame,
    /// A variable of the language's runtime.
    Runtime,
    /// A pool of what is to be used again.
    Pool,
    /// A finalizer, a cleanup or a weak pointer.
    Special,
}

/// What one holder holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HolderSite {
    /// Place, from 1: by bytes held.
    pub rank: u64,
    /// What it is.
    pub kind: HolderKind,
    /// The variable, or the function; null if it has no name.
    pub name: Option<String>,
    /// Functions that use the variable, where it has no name.
    pub used_by: Vec<String>,
    /// Where it lies, where it has no name.
    pub address: Option<Address>,
    /// Source file of the function.
    pub file: Option<String>,
    /// Line in it.
    pub line: Option<u32>,
    /// Tasks that have the function on their stacks.
    pub tasks: Option<u64>,
    /// The type of the variable; null if it is not known.
    pub type_name: Option<String>,
    /// What it holds.
    pub held_bytes: u64,
    /// How many objects.
    pub held_objects: u64,
    /// How many bytes more than at the look before; null if there was none.
    pub growth_bytes: Option<i64>,
    /// Where at least half of it is, as code would name it.
    pub path: String,
    /// The map, slice or channel that most of it is in; null if there is none.
    pub container: Option<Container>,
    /// Where it was allocated, by samples of the runtime's memory profile.
    pub allocated: Vec<AllocatedAt>,
}

/// Maps, slices or channels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Container {
    /// As code would name it.
    pub path: String,
    /// The type.
    pub type_name: String,
    /// How many there are.
    pub objects: u64,
    /// Entries of all of them.
    pub entries: u64,
    /// What they hold.
    pub held_bytes: u64,
}

/// A place in code that allocated some of what is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AllocatedAt {
    /// Function.
    pub function: String,
    /// Source file.
    pub file: String,
    /// Line in it.
    pub line: u32,
    /// Sampled objects of it that are held.
    pub samples: u64,
    /// What these stand for: an estimate.
    pub estimated_bytes: u64,
}

/// Objects of a type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TypeSite {
    /// Place, from 1: by bytes.
    pub rank: u64,
    /// The type; null: not known.
    pub name: Option<String>,
    /// Of an unknown type: whether it may hold pointers.
    pub pointers: bool,
    /// Bytes of objects that were reached.
    pub bytes: u64,
    /// How many.
    pub objects: u64,
    /// How many bytes more than at the look before; null if there was none.
    pub growth_bytes: Option<i64>,
}

with_stack! {
    /// Objects that are held in the same way. Frames are not of code here: the first one is what holds the objects, the
    /// last one the holder.
    pub struct HeldWay {
        /// Identifies the way within the report.
        pub site_id: String,
        /// Place, from 1: by bytes.
        pub rank: u64,
        /// Bytes of the objects.
        pub bytes: u64,
        /// How many.
        pub objects: u64,
        @
        /// The steps.
        pub stack: Stack {
            /// Always null.
            blame: Option<u64>,
            /// Steps from the objects to the holder.
            #[serde(alias = "stack")]
            frames: SharedFrames,
            /// Always root.
            stack_end: Option<StackEnd>,
        },
    }
}

crate::section::site::sites!(HeldWay);
crate::section::site::ranked!(HolderSite, TypeSite);

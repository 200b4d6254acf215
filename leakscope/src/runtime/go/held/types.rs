//! The types that the program has at run time: `abi.Type` and what begins with one (`internal/abi/type.go`, Go 1.21 on;
//! `runtime/type.go` before, with the same layout). They are there in stripped programs, too.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::flat::{Flat, flatten};
use crate::runtime::go::bytes::{u32_at, u64_at, varint};
use crate::runtime::go::memory::Memory;
use crate::runtime::go::program::Program;

/// Bytes of an `abi.Type`.
const HEADER: usize = 48;
/// Offsets in it: the bytes that hold pointers, the hash, flags, alignment, kind, name.
const POINTERS: usize = 8;
const HASH: usize = 16;
const FLAGS: usize = 20;
const ALIGNMENT: usize = 21;
const KIND: usize = 23;
const NAME: usize = 40;
/// `tflagExtraStar`: the name is that of the pointer to it.
const EXTRA_STAR: u8 = 2;
/// `kindMask`
const KIND_MASK: u8 = 31;
/// Largest size that is believed.
const LARGEST: u64 = 1 << 40;
/// Most fields of a structure, and bytes of a name.
const MOST_FIELDS: u64 = 1 << 12;
const LONGEST_NAME: usize = 512;
/// Most types, addresses that are none included.
const MOST_TYPES: usize = 1 << 18;
/// Most interface tables.
const MOST_TABLES: usize = 1 << 17;
/// Addresses of types that are made: no process has them.
const MADE: u64 = 1 << 63;
/// Bytes that are read at once, and most of such pieces that are kept.
const PAGE: u64 = 4096;
const MOST_PAGES: usize = 1 << 15;

/// The number of a type; 0: none.
pub(super) type TypeId = u32;

/// What is made of a type's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// It has no parts that matter here: numbers.
    Plain,
    /// The address of what it points to.
    Pointer(u64),
    Slice(u64),
    Text,
    Interface {
        /// Whether it has no methods: then its first word is a type, else an interface table.
        empty: bool,
    },
    /// Values, and what lies in the table: buckets up to Go 1.23, groups since.
    Map {
        value: u64,
        table: u64,
    },
    Channel(u64),
    Function,
    /// `unsafe.Pointer`
    Raw,
    Array {
        element: u64,
        count: u64,
    },
    Structure(Vec<Field>),
}

/// A member of a structure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub name: String,
    pub of: u64,
    pub offset: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Type {
    pub size: u64,
    /// Bytes from the first one that may hold pointers.
    pub pointers: u64,
    pub name: Arc<str>,
    pub shape: Shape,
}

/// The types that were met.
pub(super) struct Types<'a> {
    memory: &'a dyn Memory,
    /// Where types lie, by part of the program.
    ranges: Vec<(u64, u64)>,
    /// Where all that the linker made lies: interface tables are among it.
    image: (u64, u64),
    pages: HashMap<u64, Option<Vec<u8>>>,
    all: Vec<Type>,
    by_address: HashMap<u64, TypeId, foldhash::fast::RandomState>,
    flat: HashMap<TypeId, Rc<Flat>, foldhash::fast::RandomState>,
    tables: HashMap<u64, TypeId, foldhash::fast::RandomState>,
}

impl<'a> Types<'a> {
    /// `None` where the version's layout is not known.
    pub(super) fn of(program: &'a Program) -> Option<Self> {
        let member = |name| program.offsets.find("moduledata", name);
        let (low, high, end) = (member("types")?, member("etypes")?, member("end")?);
        let range = |(low, high)| {
            program.parts.iter().filter_map(move |part| Some((part.word(low)?, part.word(high)?)))
        };
        let ranges: Vec<(u64, u64)> = range((low, high)).filter(|(low, high)| low < high).collect();
        let first = program.parts.first()?;
        let image = (first.text.0.min(first.word(low)?), first.word(end)?.max(first.word(high)?));
        Some(Self::new(program.memory(), ranges, image))
    }

    pub(super) fn new(memory: &'a dyn Memory, ranges: Vec<(u64, u64)>, image: (u64, u64)) -> Self {
        let none = Type { size: 0, pointers: 0, name: "".into(), shape: Shape::Plain };
        Self {
            memory,
            ranges,
            image,
            pages: HashMap::new(),
            all: vec![none],
            by_address: HashMap::default(),
            flat: HashMap::default(),
            tables: HashMap::default(),
        }
    }

    /// The address of a type that is made, which is none until it is filled in.
    pub(super) fn reserve(&mut self) -> u64 {
        self.all.push(self.all[0].clone());
        let id = (self.all.len() - 1) as TypeId;
        let address = MADE + 8 * u64::from(id);
        self.by_address.insert(address, id);
        address
    }

    /// Makes it.
    pub(super) fn fill(&mut self, address: u64, made: Type) {
        let id = self.by_address.get(&address).copied().unwrap_or(0);
        if let Some(of) = self.all.get_mut(id as usize).filter(|_| id != 0) {
            *of = made;
        }
    }

    pub(super) fn at(&self, id: TypeId) -> &Type {
        self.all.get(id as usize).unwrap_or(&self.all[0])
    }

    /// Whether types of the linker's lie at an address.
    pub(super) fn is_static(&self, address: u64) -> bool {
        self.ranges.iter().any(|(low, high)| (*low..*high).contains(&address))
    }

    /// Whether the linker put anything there.
    pub(super) fn is_in_image(&self, address: u64) -> bool {
        (self.image.0..self.image.1).contains(&address)
    }

    /// An address that debug info tells: an offset among the types of the program itself from Go 1.27 on.
    pub(super) fn placed(&self, told: u64, bias: u64) -> u64 {
        match self.ranges.first() {
            Some((low, high)) if told < high - low => low + told,
            _ => told.wrapping_add(bias),
        }
    }

    fn bytes(&mut self, address: u64, length: usize) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let at = address.checked_add(bytes.len() as u64)?;
            let page = at & !(PAGE - 1);
            if self.pages.len() >= MOST_PAGES {
                self.pages.clear();
            }
            let memory = self.memory;
            let whole = self.pages.entry(page).or_insert_with(|| memory.bytes(page, PAGE as usize));
            let from = (at - page) as usize;
            let rest = whole.as_ref()?.get(from..)?;
            bytes.extend_from_slice(&rest[..rest.len().min(length - bytes.len())]);
        }
        Some(bytes)
    }

    /// The type at an address; 0 if there is none.
    pub(super) fn find(&mut self, address: u64) -> TypeId {
        if let Some(known) = self.by_address.get(&address) {
            return *known;
        }
        if address < PAGE || !address.is_multiple_of(4) || self.by_address.len() >= MOST_TYPES {
            return 0;
        }
        let id = match self.read(address) {
            Some(found) => {
                self.all.push(found);
                (self.all.len() - 1) as TypeId
            }
            None => 0,
        };
        self.by_address.insert(address, id);
        id
    }

    fn read(&mut self, address: u64) -> Option<Type> {
        let range = self.ranges.iter().copied().find(|(low, high)| (*low..*high).contains(&address));
        let header = self.bytes(address, HEADER)?;
        let (size, pointers) = (u64_at(&header, 0)?, u64_at(&header, POINTERS)?);
        let kind = header[KIND] & KIND_MASK;
        let name = i64::from(u32_at(&header, NAME)?.cast_signed());
        let sound = pointers <= size
            && size <= LARGEST
            && pointers.is_multiple_of(8)
            && (1..=26).contains(&kind)
            && header[ALIGNMENT].is_power_of_two()
            && header[ALIGNMENT] <= 64;
        if !sound {
            return None;
        }
        let name = match range {
            Some((low, high)) => {
                let at = low.checked_add_signed(name).filter(|at| name > 0 && *at < high)?;
                let name = self.name(at).filter(|name| !name.is_empty())?;
                match name.strip_prefix('*') {
                    Some(bare) if header[FLAGS] & EXTRA_STAR != 0 => bare.to_owned(),
                    _ => name,
                }
            }
            // Made while the program runs: its name is kept elsewhere.
            None => "(a type made by reflection)".to_owned(),
        };
        let shape = self.shape(address, kind)?;
        Some(Type { size, pointers, name: name.into(), shape })
    }

    fn shape(&mut self, address: u64, kind: u8) -> Option<Shape> {
        let more = match kind {
            17 | 18 | 20..=23 | 25 => self.bytes(address + HEADER as u64, 24)?,
            _ => Vec::new(),
        };
        let word = |at: usize| u64_at(&more, 8 * at);
        Some(match kind {
            17 => Shape::Array { element: word(0)?, count: word(2)? },
            18 => Shape::Channel(word(0)?),
            19 => Shape::Function,
            20 => Shape::Interface { empty: word(2)? == 0 },
            21 => Shape::Map { value: word(1)?, table: word(2)? },
            22 => Shape::Pointer(word(0)?),
            23 => Shape::Slice(word(0)?),
            24 => Shape::Text,
            25 => Shape::Structure(self.fields(word(1)?, word(2)?)?),
            26 => Shape::Raw,
            _ => Shape::Plain,
        })
    }

    fn fields(&mut self, at: u64, count: u64) -> Option<Vec<Field>> {
        if count > MOST_FIELDS {
            return None;
        }
        let bytes = self.bytes(at, 24 * count as usize)?;
        let mut fields = Vec::with_capacity(count as usize);
        for field in bytes.as_chunks::<24>().0 {
            let name = self.name(u64_at(field, 0)?).unwrap_or_default();
            fields.push(Field { name, of: u64_at(field, 8)?, offset: u64_at(field, 16)? });
        }
        Some(fields)
    }

    /// A name: flags, length, text (`abi.Name`).
    fn name(&mut self, at: u64) -> Option<String> {
        let start = self.bytes(at.checked_add(1)?, 5).or_else(|| self.bytes(at.checked_add(1)?, 2))?;
        let (length, after) = varint(&start, 0)?;
        let length = (length as usize).min(LONGEST_NAME);
        let text = self.bytes(at.checked_add(1 + after as u64)?, length)?;
        Some(String::from_utf8_lossy(&text).into_owned())
    }

    /// The type that an interface table is of, which repeats that one's hash (`abi.ITab`).
    pub(super) fn of_table(&mut self, address: u64) -> TypeId {
        if let Some(known) = self.tables.get(&address) {
            return *known;
        }
        if address < PAGE || !address.is_multiple_of(8) || self.tables.len() >= MOST_TABLES {
            return 0;
        }
        let mut read = || -> Option<TypeId> {
            let table = self.bytes(address, 24)?;
            let (of, hash) = (u64_at(&table, 8)?, u32_at(&table, 16)?);
            let own = u32_at(&self.bytes(of, HEADER)?, HASH)?;
            (own == hash && hash != 0).then(|| self.find(of))
        };
        let id = read().unwrap_or(0);
        self.tables.insert(address, id);
        id
    }

    /// Where the pointers of a type lie.
    pub(super) fn flat(&mut self, id: TypeId) -> Rc<Flat> {
        if let Some(known) = self.flat.get(&id) {
            return Rc::clone(known);
        }
        let flat = Rc::new(flatten(self, id));
        self.flat.insert(id, Rc::clone(&flat));
        flat
    }

    /// The member at an offset, as code would name it: `.users[…].name`.
    pub(super) fn member(&mut self, id: TypeId, offset: u64) -> String {
        let (mut id, mut offset, mut told) = (id, offset, String::new());
        for _ in 0..16 {
            let shape = self.at(id).shape.clone();
            match shape {
                Shape::Structure(fields) => {
                    let Some(field) = fields.iter().rev().find(|field| field.offset <= offset) else { break };
                    told.push('.');
                    told.push_str(&field.name);
                    offset -= field.offset;
                    id = self.find(field.of);
                }
                Shape::Array { element, .. } => {
                    id = self.find(element);
                    told.push_str("[…]");
                    offset %= self.at(id).size.max(1);
                }
                _ => break,
            }
        }
        told
    }
}

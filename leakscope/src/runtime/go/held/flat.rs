//! Where the pointers of a type lie, and of what kind each is.

use super::types::{Shape, TypeId, Types};

/// Most pointers of a type; of what has more, the rest is read word by word.
const MOST: usize = 1 << 12;
/// Most types that are gone through for one.
const MOST_STEPS: u32 = 1 << 14;
/// Most types inside each other.
const DEEPEST: u32 = 32;

/// What lies at an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum What {
    /// A pointer to a type.
    Pointer(TypeId),
    /// Start, length, capacity of elements of a type.
    Slice(TypeId),
    /// Start and length.
    Text,
    /// A type, or an interface table, and a value's address.
    Interface { empty: bool },
    /// The address of a map of this type.
    Map(TypeId),
    /// The address of a channel of this type.
    Channel(TypeId),
    /// The address of a closure.
    Function,
    /// A pointer to nobody knows what.
    Raw,
}

/// A pointer in a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub offset: u32,
    /// The offset of the same pointer in the first element of the arrays that it is in.
    pub step: u32,
    pub what: What,
}

/// The pointers of a type.
#[derive(Clone, Debug, Default)]
pub(super) struct Flat {
    /// Bytes of the type.
    pub size: u64,
    pub slots: Vec<Slot>,
    /// Whether these are all.
    pub whole: bool,
    /// Types that may still be gone through.
    left: u32,
}

pub(super) fn flatten(types: &mut Types<'_>, id: TypeId) -> Flat {
    let mut flat = Flat { size: types.at(id).size, slots: Vec::new(), whole: id != 0, left: MOST_STEPS };
    add(types, id, (0, 0), &mut flat, 0);
    flat
}

/// `atomic.Pointer[T]` keeps what it points to as an `unsafe.Pointer`; an array of no elements of `*T` tells the type
/// (`sync/atomic/type.go`).
const ATOMIC: &str = "atomic.Pointer[";

/// Adds the pointers of a type that lies at an offset and counts as lying at another.
fn add(types: &mut Types<'_>, id: TypeId, (at, step): (u64, u64), flat: &mut Flat, depth: u32) {
    let found = types.at(id);
    if found.pointers == 0 {
        return;
    }
    let (shape, atomic) = (found.shape.clone(), found.name.starts_with(ATOMIC));
    let (Ok(offset), Ok(first)) = (u32::try_from(at), u32::try_from(step)) else { return flat.whole = false };
    if flat.slots.len() >= MOST || flat.left == 0 || depth >= DEEPEST {
        return flat.whole = false;
    }
    flat.left -= 1;
    let what = match shape {
        Shape::Plain => return,
        Shape::Pointer(of) => What::Pointer(types.find(of)),
        Shape::Slice(of) => What::Slice(types.find(of)),
        Shape::Text => What::Text,
        Shape::Interface { empty } => What::Interface { empty },
        Shape::Map { .. } => What::Map(id),
        Shape::Channel(_) => What::Channel(id),
        Shape::Function => What::Function,
        Shape::Raw => What::Raw,
        Shape::Array { element, count } => {
            let element = types.find(element);
            let size = types.at(element).size;
            if element == 0 || size == 0 {
                return flat.whole = false;
            }
            if types.at(element).pointers == 0 {
                return;
            }
            for n in 0..count {
                if flat.slots.len() >= MOST || flat.left == 0 {
                    return flat.whole = false;
                }
                add(types, element, (at.saturating_add(n.saturating_mul(size)), step), flat, depth + 1);
            }
            return;
        }
        Shape::Structure(fields) => {
            let pointer = fields.first().filter(|_| atomic && fields.len() > 1).map(|field| field.of);
            if let Some(of) = pointer.and_then(|first| pointed(types, first))
                && let Some(last) = fields.last()
            {
                let behind = |at: u64| u32::try_from(at.saturating_add(last.offset)).unwrap_or(u32::MAX);
                flat.slots.push(Slot { offset: behind(at), step: behind(step), what: What::Pointer(of) });
                return;
            }
            for field in fields {
                let of = types.find(field.of);
                flat.whole &= of != 0;
                let [at, step] = [at, step].map(|at| at.saturating_add(field.offset));
                add(types, of, (at, step), flat, depth + 1);
            }
            return;
        }
    };
    flat.slots.push(Slot { offset, step: first, what });
}

/// What the elements of `[0]*T` point to.
fn pointed(types: &mut Types<'_>, array: u64) -> Option<TypeId> {
    let array = types.find(array);
    let Shape::Array { element, count: 0 } = types.at(array).shape else { return None };
    let element = types.find(element);
    let Shape::Pointer(of) = types.at(element).shape else { return None };
    Some(types.find(of)).filter(|of| *of != 0)
}

//! What an object is taken for.

use super::types::TypeId;

/// What an object holds of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Role {
    /// Nobody knows.
    Unknown = 0,
    /// One value.
    One,
    /// Values behind each other: the array of a slice.
    Several,
    /// The bytes of a string.
    Text,
    /// The description of a map (`hmap`, `maps.Map`), and its parts.
    Map,
    Directory,
    Table,
    /// Buckets or groups: entries.
    Entries,
    Extra,
    OverflowList,
    Overflow,
    /// A channel, and its buffer.
    Channel,
    Buffer,
    /// A function's captured variables; the number is the function's.
    Closure,
}

const ROLES: [Role; 14] = [
    Role::Unknown,
    Role::One,
    Role::Several,
    Role::Text,
    Role::Map,
    Role::Directory,
    Role::Table,
    Role::Entries,
    Role::Extra,
    Role::OverflowList,
    Role::Overflow,
    Role::Channel,
    Role::Buffer,
    Role::Closure,
];

/// Bits of a number.
const NUMBER: u32 = 27;

/// Role and type of an object in 32 bits: there are many objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Kind(u32);

impl Kind {
    pub(super) const UNKNOWN: Self = Self(0);

    pub(super) fn new(role: Role, id: TypeId) -> Self {
        Self((role as u32) << NUMBER | id & ((1 << NUMBER) - 1))
    }

    pub(super) fn role(self) -> Role {
        ROLES.get((self.0 >> NUMBER) as usize).copied().unwrap_or(Role::Unknown)
    }

    /// The type, or the function of a closure.
    pub(super) fn id(self) -> u32 {
        self.0 & ((1 << NUMBER) - 1)
    }

    pub(super) fn is_known(self) -> bool {
        self.0 != 0
    }

    /// Whether it is a part of a map.
    pub(super) fn is_of_map(self) -> bool {
        (Role::Map..=Role::Overflow).contains(&self.role())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_and_types() {
        for role in ROLES {
            let kind = Kind::new(role, 12345);
            assert_eq!((kind.role(), kind.id()), (role, 12345));
        }
        assert!(!Kind::UNKNOWN.is_known() && Kind::new(Role::Text, 0).is_known());
    }
}

//! What sites can be added up by.

/// What sites are added up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum By {
    /// The whole stack: as they are.
    Stack,
    /// The line that is charged.
    Place,
    /// The function that is charged.
    Function,
    /// The file that the charged code is in.
    Module,
}

impl By {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Stack, Self::Place, Self::Function, Self::Module];

    /// As `--by` and JSON have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stack => "stack",
            Self::Place => "place",
            Self::Function => "function",
            Self::Module => "module",
        }
    }
}

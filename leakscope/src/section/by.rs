//! What sites can be added up by.

/// What sites are added up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum By {
    /// The whole stack: as they are.
    Site,
    /// The line to blame.
    Blame,
    /// The function to blame.
    Function,
    /// The file that the code to blame is in.
    Module,
}

impl By {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Site, Self::Blame, Self::Function, Self::Module];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Site => "site",
            Self::Blame => "blame",
            Self::Function => "function",
            Self::Module => "module",
        }
    }
}

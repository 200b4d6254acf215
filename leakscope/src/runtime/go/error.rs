//! Why a Go program's goroutines cannot be read.

/// A refusal: better no answer than a wrong one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GoError {
    /// A version whose tables have another form.
    #[error("{0}: goroutines are read from Go 1.18 on")]
    TooOld(String),
    /// The version cannot be told.
    #[error("its version of Go ({0:?}) is not known")]
    UnknownVersion(String),
    /// A structure that is needed was not found.
    #[error("{0} was not found in the program; it may be packed or damaged")]
    NotFound(&'static str),
    /// What was read does not look like what it should be.
    #[error(
        "the check that {check} failed for {failed} of {of}; this Go may lay out its memory in another way"
    )]
    SelfCheck {
        /// What should hold of all, and does not of too many.
        check: &'static str,
        /// How often it did not.
        failed: u64,
        /// How many were checked.
        of: u64,
    },
    /// More than is taken.
    #[error("it has {0} goroutines; at most {1} are read")]
    TooMany(u64, u64),
    /// Memory of the target that must be there could not be read: it is going away.
    #[error("the memory of the process cannot be read (any more)")]
    Gone,
}

//! How long the name of a function may be, wherever it comes from.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize as _, Deserializer};

/// Most bytes of a function's name. Templates and closures of real programs have names of some hundred; what
/// is longer is not read by anybody, and would fill reports.
pub const MAX_NAME: usize = 4 << 10;
/// Stands for what was cut off.
const MARK: char = '…';

/// `name`, cut with a mark where it is longer than [`MAX_NAME`].
pub fn bounded(name: &str) -> Cow<'_, str> {
    if name.len() <= MAX_NAME { Cow::Borrowed(name) } else { Cow::Owned(cut(name.to_owned())) }
}

/// Puts the mark at the end of a name that goes on, within [`MAX_NAME`].
pub(super) fn cut(mut name: String) -> String {
    name.truncate(name.floor_char_boundary(MAX_NAME - MARK.len_utf8()));
    name.push(MARK);
    name
}

/// The name in a saved report.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Arc<str>>, D::Error> {
    let name = Option::<Cow<'_, str>>::deserialize(from)?;
    Ok(name.map(|name| bounded(&name).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_between_characters() {
        let fits = "é".repeat(MAX_NAME / 2);
        assert_eq!(bounded(&fits), fits);
        let long = format!("{fits}!");
        let cut = bounded(&long);
        // The mark has three bytes, and what is before it ends with a whole character.
        assert_eq!(cut.len(), MAX_NAME - 1);
        assert!(cut.ends_with("é…"));
    }
}

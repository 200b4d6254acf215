//! What is said of a difference as a whole, and in what words.

use crate::human::{bytes, signed_bytes};
use crate::section::finding::{Said as _, findings};

findings! {
    /// What is said of a difference as a whole.
    pub enum DiffSaid, in the words of text {
        /// Memory grew, and no heap tells what of it.
        Warning RssGrew = "rss_grew" { growth_bytes: u64, old_bytes: u64, new_bytes: u64, in_both: bool, },
        /// How large the process was.
        Note Rss = "rss" { growth_bytes: i64, old_bytes: u64, new_bytes: u64, },
        /// Nothing did.
        Note NothingGrew = "nothing_grew" { compared: Vec<String>, },
        /// Nothing is in both reports.
        Warning NothingInCommon = "nothing_in_common" {},
    }
}

/// The codes of all of it.
pub const fn codes() -> &'static [&'static str] {
    DiffSaid::CODES
}

fn text(said: &DiffSaid) -> String {
    match said {
        DiffSaid::RssGrew { growth_bytes, old_bytes, new_bytes, in_both } => format!(
            "RSS grew by {}, from {} to {}; {}.",
            bytes(*growth_bytes),
            bytes(*old_bytes),
            bytes(*new_bytes),
            match in_both {
                true => "no allocation was seen in either report",
                false => "the heap is not in both reports: `leakscope attach` records it",
            }
        ),
        DiffSaid::Rss { growth_bytes, old_bytes, new_bytes } => format!(
            "RSS was {} at the end of the old report and {} at the end of the new one ({}).",
            bytes(*old_bytes),
            bytes(*new_bytes),
            signed_bytes(*growth_bytes)
        ),
        DiffSaid::NothingGrew { compared } => format!("Nothing grew: {}.", compared.join(", ")),
        DiffSaid::NothingInCommon {} => {
            "Nothing to compare: the reports have no section in common.".to_owned()
        }
    }
}

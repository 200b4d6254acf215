//! Goroutines that can never run again: what is known of all of them together.

use super::model::Goroutines;
use crate::runtime::go::leaked::GoLeaks;

/// Tells what was found out; `None` if nobody looked.
pub(super) fn tell(all: &mut Goroutines, found: Option<&GoLeaks>) {
    let sites = all.sites.iter().filter(|site| !site.system);
    let leaked = sites.fold(0u64, |sum, site| sum.saturating_add(site.leaked));
    // Of some, the program's own collector may know.
    all.leaked = (leaked > 0).then_some(leaked);
    match found {
        None => all.leaked_unknown = (leaked == 0).then(|| "it was not looked for".to_owned()),
        Some(GoLeaks { unknown: Some(why), .. }) => all.leaked_unknown = (leaked == 0).then(|| why.clone()),
        Some(GoLeaks { held_bytes, .. }) => {
            all.leaked = Some(leaked);
            all.leaked_heap_bytes = Some(if leaked > 0 { *held_bytes } else { 0 });
        }
    }
}

//! Saved reports, charged anew where a user names wrappers.

use super::Report;
use crate::runtime::rules;
use crate::section::{Section as _, heap};
use crate::symbol::Charging;

/// Charges sites of the heap that are charged to one of these wrappers to what called it.
pub fn charge(report: &mut Report, charging: &Charging) {
    let charging = charging.of(report.target.exe.as_deref().map(std::path::Path::new));
    let Some(heap) = report.heap.as_mut().filter(|_| !charging.expressions().is_empty()) else { return };
    heap::wrappers::recharge_all(&mut heap.sites, &rules().owners, &charging);
    heap.complete();
    report.say_again();
}

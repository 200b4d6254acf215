//! Saved reports, charged anew where a user names wrappers.

use super::Report;
use crate::runtime::rules;
use crate::section::heap;
use crate::symbol::Charging;

/// Charges sites of the heap that are charged to one of these wrappers to what called it.
pub fn charge(report: &mut Report, charging: &Charging) {
    let charging = charging.of(report.target.exe.as_deref().map(std::path::Path::new));
    let Some(heap) = report.heap.as_mut().filter(|_| !charging.expressions().is_empty()) else { return };
    heap::wrappers::recharge_all(&mut heap.sites, &rules().owners, &charging);
    if let Some(answer) = report.summary.answer.as_mut().filter(|answer| answer.code == "heap_live") {
        let min_age_ns = answer.args.get("min_age_ns").and_then(serde_json::Value::as_u64);
        *answer = heap::answer::heap(heap, min_age_ns.unwrap_or(0)).into();
    }
}

//! What leakscope itself has used, measured as late as it can be told: by whoever writes it, when all else is written.

use std::fmt;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

/// What leakscope itself has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnCost {
    /// CPU time.
    pub cpu_ns: u64,
    /// Resident memory and the kernel side's maps.
    pub memory_bytes: Option<u64>,
    /// The most resident memory that it has had.
    pub max_rss_bytes: Option<u64>,
}

/// Resident memory of this process, bytes.
pub fn rss_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(statm.split(' ').nth(1)?.parse::<u64>().ok()? * 4096)
}

/// Measures once, when it is first asked; copies of it tell the same from then on. Empty, it measures nothing.
#[derive(Clone, Default)]
pub struct Meter(Option<Arc<Measured>>);

struct Measured {
    measure: Box<dyn Fn() -> OwnCost + Send + Sync>,
    found: OnceLock<OwnCost>,
}

impl Meter {
    /// Measures so.
    pub fn new(measure: impl Fn() -> OwnCost + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(Measured { measure: Box::new(measure), found: OnceLock::new() })))
    }

    /// What was used up to the first time that somebody asked.
    pub fn read(&self) -> Option<OwnCost> {
        self.0.as_ref().map(|meter| *meter.found.get_or_init(|| (meter.measure)()))
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meter")
    }
}

/// A meter is no part of what a report says.
impl PartialEq for Meter {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Meter {}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::export::table::tests::samples;

    /// The JSON of a report tells what was used until its last field was written, and all copies tell the same later.
    #[test]
    fn it_is_measured_last() {
        let calls = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&calls);
        let mut report = samples::heap();
        report.overhead.meter = Meter::new(move || OwnCost {
            cpu_ns: 1000 + count.fetch_add(1, Ordering::Relaxed),
            memory_bytes: Some(7),
            max_rss_bytes: Some(9),
        });
        let copy = report.clone();
        assert_eq!(calls.load(Ordering::Relaxed), 0, "nobody has asked yet");
        let json = serde_json::to_value(&report).expect("JSON");
        let told = |what: &str| json["overhead"][what].as_u64();
        assert_eq!(told("leakscope_cpu_ns"), Some(1000));
        assert_eq!((told("leakscope_memory_bytes"), told("leakscope_max_rss_bytes")), (Some(7), Some(9)));
        assert_eq!(serde_json::to_value(&copy).expect("JSON"), json);
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        let text = serde_json::to_string(&report).expect("JSON");
        assert!(text.rfind("\"overhead\"") > text.rfind("\"losses\""), "the cost stands last");
    }

    #[test]
    fn without_a_meter_it_is_what_was_read() {
        let report = samples::heap();
        assert_eq!(report.overhead.told(), report.overhead);
        assert_eq!(Meter::default().read(), None);
    }
}

//! Names of the files of a series in a directory: `report-20261123T161624.123Z.json`, in the order of time.

use std::ffi::OsString;

use time::format_description::FormatItem;
use time::macros::format_description;
use time::{Duration, OffsetDateTime, PrimitiveDateTime, UtcOffset};

const PREFIX: &str = "report-";
const MOMENT: &[FormatItem<'_>] =
    format_description!("[year][month][day]T[hour][minute][second].[subsecond digits:3]Z");

/// The name of a report that is made at `at`.
pub fn name(at: OffsetDateTime, extension: &str) -> String {
    let moment = at.to_offset(UtcOffset::UTC).format(MOMENT).unwrap_or_default();
    format!("{PREFIX}{moment}.{extension}")
}

/// When the report of that name was made; none for what leakscope does not name so.
pub fn moment(file_name: &str, extension: &str) -> Option<OffsetDateTime> {
    let moment = file_name.strip_prefix(PREFIX)?.strip_suffix(extension)?.strip_suffix('.')?;
    let at = PrimitiveDateTime::parse(moment, MOMENT).ok()?.assume_utc();
    // Other ways to write the same do not count.
    (name(at, extension) == file_name).then_some(at)
}

/// The reports among these names of files, oldest first.
pub fn reports(names: Vec<OsString>, extension: &str) -> Vec<(OffsetDateTime, OsString)> {
    let moment = |name: &OsString| moment(name.to_str()?, extension);
    let mut found: Vec<_> = names.into_iter().filter_map(|name| Some((moment(&name)?, name))).collect();
    found.sort();
    found
}

/// The moment to name the next report by: now, but after the newest one whatever the clock says.
pub fn next(now: OffsetDateTime, newest: Option<OffsetDateTime>) -> OffsetDateTime {
    let after = newest.and_then(|at| at.checked_add(Duration::MILLISECOND));
    after.map_or(now, |after| after.max(now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn names() {
        let at = datetime!(2026-11-23 16:16:24.1234 +1);
        assert_eq!(name(at, "json"), "report-20261123T151624.123Z.json");
        assert_eq!(name(moment(&name(at, "pb.gz"), "pb.gz").expect("a name"), "json"), name(at, "json"));
        for other in [
            "report-000001.json",
            "report-20261123T151624.123Z.json.bak",
            "report-20261123T151624.123Z.txt",
            "report-20261323T151624.123Z.json",
            "report-20261123T151624.1234Z.json",
            "my-report-20261123T151624.123Z.json",
            "report-.json",
            "",
        ] {
            assert_eq!(moment(other, "json"), None, "{other}");
        }
    }

    #[test]
    fn time_goes_on_though_the_clock_does_not() {
        let (early, late) = (datetime!(2026-01-01 0:00 UTC), datetime!(2027-01-01 0:00 UTC));
        assert_eq!(next(late, Some(early)), late);
        assert_eq!(next(early, Some(late)), late + Duration::MILLISECOND);
        assert_eq!(next(early, None), early);
    }
}

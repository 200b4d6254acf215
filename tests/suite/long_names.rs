//! Names over 4 KiB are cut, with a mark, in every format.

use std::process::Command;

use anyhow::Result;
use leakscope_tests::process::run_ok;
use leakscope_tests::programs::LONG_NAMES;
use leakscope_tests::report::Site;
use leakscope_tests::scope::binary;
use leakscope_tests::{Fixture, Leakscope};

/// Most bytes of a name.
const MOST: usize = 4096;
const MARK: &str = "…";

/// The longest run of the letter that fills the fixture's names.
fn longest_run(text: &[u8]) -> usize {
    text.split(|byte| *byte != b'a').map(<[u8]>::len).max().unwrap_or(0)
}

#[test]
fn names_over_the_bound_are_cut_in_every_format() -> Result<()> {
    let mut fixture = Fixture::start(&LONG_NAMES.debug(false), &["long"])?;
    let scope = Leakscope::attach(fixture.pid()).start()?;
    fixture.go()?;
    let finished = scope.finish()?;
    let report = finished.report()?;
    assert_eq!(report.number("/heap/totals/live_objects"), 20);
    let named = |start: &str| {
        let is = |site: &Site<'_>| site.functions().any(|name| name.starts_with(start));
        report.sites().find(is).and_then(|site| site.functions().find(|name| name.starts_with(start)))
    };
    for start in ["site_plainaaa", "app::make<aaa"] {
        let name = named(start).unwrap_or_else(|| panic!("{start} is missing: {}", report.at("/heap/sites")));
        assert_eq!((name.len(), name.ends_with(MARK)), (MOST, true), "{}", &name[..40]);
    }
    let json = finished.file("report.json");
    for format in ["json", "jsonl", "table", "pprof", "text", "folded", "flamegraph"] {
        let mut command = Command::new("sh");
        // A profile is gzipped, the others pass as they are.
        let read = if format == "pprof" { "gzip -dc" } else { "cat" };
        let script = format!("\"$0\" report \"$1\" --format {format} | {read}");
        let text = run_ok(
            command.arg("-c").arg(format!("{script} | tr -c 'a-zA-Z_:<>… \\n' .")).arg(binary()).arg(&json),
            std::time::Duration::from_secs(60),
        )?;
        let run = longest_run(text.as_bytes());
        assert!((100..MOST).contains(&run) || format == "table", "{format}: {run} letters in a row");
        assert!(run < MOST, "{format}: {run} letters in a row");
    }
    Ok(())
}

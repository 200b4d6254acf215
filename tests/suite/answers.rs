//! What is said of a heap follows from the truth.

use anyhow::Result;
use leakscope_tests::programs::{ANSWERS, UNSEEN};
use leakscope_tests::{Fixture, Leakscope, Report};

use crate::check;

fn said(report: &Report) -> String {
    let findings = report.at("/summary/findings").as_array().into_iter().flatten();
    let findings = findings.filter_map(|said| said.as_str()).collect::<Vec<_>>().join("\n");
    format!("{}\n{findings}", report.headline())
}

/// A full ring that goes on is not told in the words of a leak alone.
#[test]
fn older_blocks_that_were_freed_meanwhile() -> Result<()> {
    let report = check(&ANSWERS, "ring")?;
    let said = said(&report);
    assert!(said.contains("100 % of that from site_ring"), "{said}");
    assert!(
        said.contains("Meanwhile 2000 blocks were freed that leakscope had not seen allocated."),
        "{said}"
    );
    Ok(())
}

#[test]
fn a_function_of_many_lines() -> Result<()> {
    let report = check(&ANSWERS, "lines")?;
    let headline = report.headline();
    assert!(headline.contains("100 % of that from 8 lines of many_lines"), "{headline}");
    assert!(headline.contains("the largest part 22 % at answers.c:"), "{headline}");
    Ok(())
}

#[test]
fn callers_of_what_is_charged() -> Result<()> {
    let said = said(&check(&ANSWERS, "callers")?);
    let callers = "make allocated it for for_orders (answers.c) (60 %), for_users (answers.c) (40 %).";
    assert!(said.contains(callers), "{said}");
    assert!(said.contains("--wrapper '^make$'"), "{said}");
    Ok(())
}

/// A threshold that nothing can exceed is no success.
#[test]
fn a_heap_that_cannot_be_traced() -> Result<()> {
    let run = |arguments: &[&str]| {
        let mut fixture = Fixture::start(&UNSEEN, &["callers"])?;
        let scope = Leakscope::attach_all(fixture.pid()).args(arguments.iter().copied()).start()?;
        fixture.go()?;
        scope.finish()
    };
    let heap_alone = run(&["--only", "heap"])?;
    heap_alone.assert_fails(1, &["nothing could be traced: No allocator function was found"]);
    let report = heap_alone.report_with(1)?;
    assert_eq!(report.answer(), "heap_no_allocator", "{}", report.headline());
    run(&[])?.assert_done();
    let limit = ["--fail-on", "heap.totals.live_bytes > 1MB"];
    run(&limit)?.assert_fails(1, &["could not be checked: No allocator function was found"]);
    Ok(())
}

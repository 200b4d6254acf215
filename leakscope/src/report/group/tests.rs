use super::*;
use crate::export::table::tests::samples;
use crate::export::{folded, profile};
use crate::report::model::{Site, StackEnd};

fn grouped(report: &Report, way: By) -> Report {
    let mut report = report.clone();
    by(&mut report, way);
    report
}

/// The heap, with a second stack through the function of the first, another line.
fn heap() -> Report {
    let mut report = samples::heap();
    let sites = &mut report.heap.as_mut().expect("heap").sites;
    let mut other = sites[0].clone();
    other.site_id = "4".to_owned();
    other.stack.frames[1].line = Some(99);
    other.stack.frames[1].function_offset = Some(0x77);
    let mut again = sites[0].clone();
    again.site_id = "5".to_owned();
    again.stack.frames.edit(|frames| frames.remove(2));
    sites.extend([other, again]);
    report
}

fn sites(report: &Report) -> Vec<(String, u64)> {
    let sites = &report.heap.as_ref().expect("heap").sites;
    let name = |site: &Site| match (&site.stack.frames[0].function, site.stack.frames[0].line) {
        (Some(name), Some(line)) => format!("{}:{line}", &name[..9]),
        (name, _) => name.as_deref().unwrap_or("?").chars().take(9).collect(),
    };
    sites.iter().map(|site| (name(site), site.live_bytes)).collect()
}

#[test]
fn the_whole_stack_is_as_it_was() {
    assert_eq!(grouped(&heap(), By::Stack), heap());
}

#[test]
fn of_a_heap() {
    let list = |sites: &[(&str, u64)]| -> Vec<(String, u64)> {
        sites.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect()
    };
    let blame = grouped(&heap(), By::Place);
    assert_eq!(
        sites(&blame),
        list(&[
            ("cache_ses:31", 2_000_000),
            ("cache_ses:99", 1_000_000),
            ("a_functio:7", 40_000),
            ("all_freed:7", 10)
        ])
    );
    let first = &blame.heap.as_ref().expect("heap").sites[0];
    assert_eq!((first.rank, first.stack.blame), (1, Some(0)));
    assert_eq!(first.stack.end, Some(StackEnd::Grouped { stacks: 2, by: By::Place }));
    let function = grouped(&heap(), By::Function);
    assert_eq!(sites(&function), list(&[("cache_ses", 3_000_000), ("a_functio", 40_000), ("all_freed", 10)]));
    let module = grouped(&heap(), By::Module);
    assert_eq!(sites(&module), list(&[("bank", 3_040_010)]));
}

/// What is summed up stays the sum.
#[test]
fn totals_stay() {
    for way in [By::Place, By::Function, By::Module] {
        for kind in
            [profile::ProfileKind::Block, profile::ProfileKind::Goroutine, profile::ProfileKind::Threadcreate]
        {
            let (before, after) = (samples::attached(), grouped(&samples::attached(), way));
            let totals = |report: &Report| profile::Profile::of(report, kind).expect("a profile").totals();
            assert_eq!(totals(&before), totals(&after), "{way:?} {kind:?}");
        }
    }
}

/// Deadlocks and long waits still name sites that exist.
#[test]
fn references_follow() {
    for way in [By::Place, By::Function, By::Module] {
        for report in [samples::deadlock(), samples::attached()] {
            let waits = grouped(&report, way).waits.expect("waits");
            let known = |id: &str| waits.sites.iter().any(|site| site.site_id == id);
            assert!(waits.deadlocks.iter().flat_map(|d| &d.cycle).all(|t| known(&t.site_id)));
            assert!(waits.long_waits.iter().all(|wait| known(&wait.site_id)));
            assert!(waits.wakers.iter().flat_map(|waker| &waker.sites).all(|id| known(id)));
        }
    }
}

#[test]
fn a_grouped_report_is_still_exported() {
    let report = grouped(&heap(), By::Function);
    let mut out = Vec::new();
    let profile = profile::Profile::of(&report, profile::ProfileKind::Heap).expect("a profile");
    folded::write(&profile, &mut out).expect("memory takes all");
    let text = String::from_utf8(out).expect("UTF-8");
    assert!(text.starts_with("cache_session 3000000\n"), "{text}");
}

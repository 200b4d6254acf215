//! Differences of reports made by hand.

use super::model::Change;
use super::*;
use crate::export::table::tests::samples;
use crate::export::table::{self, TableStyle};
use crate::report::model::{Address, Finding, Frame, Goroutines};
use crate::section::goroutines::answer;
use crate::section::goroutines::words::Since;
use crate::section::shared::SharedFrames;

/// Another build, run again: everything moves but the functions.
fn rebuilt(frames: &mut SharedFrames) {
    for (frame, n) in frames.iter_mut().zip(7_u32..) {
        frame.address = Some(Address(0x7000 + u64::from(n)));
        frame.offset = Some(Address(0x100 + u64::from(n)));
        frame.build_id = Some("ffff".into());
        frame.line = frame.line.map(|line| line + n);
        frame.function_offset = Some(n.into());
    }
}

/// A report whose sites are all that there is.
fn earlier() -> Report {
    let mut report = samples::heap();
    add_up(&mut report);
    report
}

fn add_up(report: &mut Report) {
    let heap = report.heap.as_mut().expect("heap");
    heap.totals.live_bytes = heap.sites.iter().map(|site| site.live_bytes).sum();
    heap.totals.live_objects = heap.sites.iter().map(|site| site.live_objects).sum();
}

/// The same program later, built anew: its largest site has grown, one is gone and one is new.
fn later() -> Report {
    let mut report = samples::heap();
    report.target.pid += 1;
    report.window.started_at = "2026-11-24T03:00:00Z".to_owned();
    let heap = report.heap.as_mut().expect("heap");
    heap.sites.iter_mut().for_each(|site| rebuilt(&mut site.stack.frames));
    heap.sites[0].live_bytes += 5000;
    heap.sites[0].live_objects += 50;
    let mut new = heap.sites.remove(1);
    new.stack.frames[0].function = Some("calloc".into());
    (new.live_bytes, new.live_objects) = (7000, 1);
    heap.sites.push(new);
    add_up(&mut report);
    report
}

#[test]
fn a_rebuilt_program_matches_by_function() {
    let (old, new) = (earlier(), later());
    let diff = compare(&old, &new, Options::default()).expect("the same program");
    let heap = diff.heap.expect("heap");
    let (was, is) = (old.heap.expect("heap"), new.heap.expect("heap"));
    assert_eq!(heap.sites.len(), was.sites.len() + 1, "none but the new one is added");
    let told: Vec<_> =
        heap.sites.iter().map(|site| (site.change, site.growth_bytes.unwrap_or_default())).collect();
    assert_eq!(told[..2], [(Change::New, 7000), (Change::Grown, 5000)]);
    assert_eq!(told.last(), Some(&(Change::Gone, -was.sites[1].live_bytes.cast_signed())));
    let growth: i64 = heap.sites.iter().filter_map(|site| site.growth_bytes).sum();
    assert_eq!(Some(growth), heap.totals.growth_bytes);
    assert_eq!(
        heap.totals.growth_bytes,
        Some(is.totals.live_bytes.cast_signed() - was.totals.live_bytes.cast_signed())
    );
}

#[test]
fn a_report_has_not_grown_from_itself() {
    for report in [samples::heap(), samples::attached(), samples::deadlock(), samples::hot_mutex()] {
        let diff = compare(&report, &report, Options::default()).expect("the same program");
        assert!(diff.summary.headline().starts_with("Nothing grew"), "{}", diff.summary.headline());
        let heap = diff.heap.iter().flat_map(|heap| &heap.sites).filter_map(|site| site.growth_bytes);
        let waits = diff.waits.iter().flat_map(|waits| &waits.sites).map(|site| site.growth_blocked);
        assert!(heap.chain(waits).all(|growth| growth == 0));
    }
}

/// A build without debug info tells of no inlined frames.
#[test]
fn inlined_frames_match_what_has_none() {
    let (old, mut new) = (earlier(), earlier());
    let site = &mut new.heap.as_mut().expect("heap").sites[0];
    let helper = Frame { inlined: true, ..samples::frame("helper", Some(("bank.c", 3))) };
    site.stack.frames.edit(|frames| frames.insert(1, helper.into()));
    let heap = compare(&old, &new, Options::default()).expect("the same program").heap.expect("heap");
    assert!(heap.sites.iter().all(|site| site.change == Change::Same), "{:?}", heap.sites);
    assert_eq!(heap.sites.len(), 3);
}

/// In pprof files, too.
#[test]
fn inlined_frames_match_in_profiles() {
    use crate::export::profile::{Profile, ProfileKind};
    let (old, mut new) = (earlier(), earlier());
    let site = &mut new.heap.as_mut().expect("heap").sites[0];
    let helper = Frame { inlined: true, ..samples::frame("helper", Some(("bank.c", 3))) };
    site.stack.frames.edit(|frames| frames.insert(1, helper.into()));
    site.live_bytes += 5000;
    let profile = Profile::difference(&old, &new, ProfileKind::Heap).expect("a profile");
    let growth = |sample: &crate::export::profile::Sample<'_>| {
        sample.values[3].cast_signed() - sample.base[3].cast_signed()
    };
    let mut told: Vec<i64> = profile.samples.iter().map(growth).collect();
    told.sort_unstable();
    assert_eq!(told, [0, 0, 5000]);
}

#[test]
fn what_could_not_be_read_is_noted() {
    let (old, mut new) = (earlier(), later());
    new.unread.push("report-3.json is left out".to_owned());
    let diff = compare(&old, &new, Options::default()).expect("the same program");
    assert_eq!(diff.notes.iter().filter(|note| **note == new.unread[0]).count(), 1);
}

#[test]
fn threads_that_block() {
    let (old, new) = (samples::idle(), samples::hot_mutex());
    let diff = compare(&old, &new, Options::default()).expect("the same program");
    let waits = diff.waits.expect("waits");
    assert!(waits.growth_stuck > 0 && !waits.sites[0].idle && waits.sites[0].growth_blocked > 0);
    assert!(diff.summary.headline().contains("more blocked at append_log"), "{}", diff.summary.headline());
}

#[test]
fn ranked_by_objects_where_asked() {
    let diff = compare(&earlier(), &later(), Options { by_objects: true, ..Options::default() });
    let heap = diff.expect("the same program").heap.expect("heap");
    assert_eq!((heap.sites[0].growth_objects, heap.sites[1].growth_objects), (Some(50), Some(1)));
}

#[test]
fn different_programs_are_refused() {
    let (mut old, mut new) = (samples::heap(), samples::heap());
    old.target.exe = Some("/srv/1/bank".to_owned());
    new.target.exe = Some("/srv/2/bank (deleted)".to_owned());
    assert!(compare(&old, &new, Options::default()).is_ok(), "a path is no program");
    new.target.exe = Some("/srv/2/shop".to_owned());
    let refused = compare(&old, &new, Options::default()).expect_err("refused").to_string();
    assert!(refused.contains("bank (PID 4711) and shop (PID 4711)"), "{refused}");
    assert!(refused.contains("--any-program"), "{refused}");
    let diff = compare(&old, &new, Options { any_program: true, ..Options::default() }).expect("asked for");
    assert!(diff.notes[0].contains("different programs"), "{:?}", diff.notes);
}

#[test]
fn what_cannot_be_compared_is_noted() {
    let notes = |old: &Report, new: &Report| compare(old, new, Options::default()).expect("comparable").notes;
    let (mut old, mut new) = (samples::heap(), samples::attached());
    new.heap = None;
    let said = notes(&old, &new);
    assert!(said.iter().any(|note| note.starts_with("the heap: only in the old report")), "{said:?}");
    assert!(said.iter().any(|note| note.starts_with("waits: only in the new report")), "{said:?}");
    let mut new = samples::heap();
    new.target.cmdline = vec!["bank".to_owned(), "--fast".to_owned()];
    new.window.started_at = "2026-11-22T03:00:00Z".to_owned();
    new.window.duration_ns *= 30;
    let said = notes(&old, &new).join("\n");
    for part in
        ["the command lines differ: `` and `bank --fast`", "is the newer one", "10.0 s and 5 m 0 s long"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    for report in [&mut old, &mut new] {
        let frame = &mut report.heap.as_mut().expect("heap").sites[0].stack.frames[1];
        (frame.function, frame.why_unknown) = (None, Some("no symbols".into()));
    }
    assert!(notes(&old, &new).join("\n").contains("bank: not the same build"));
    for report in [&mut old, &mut new] {
        report.heap.as_mut().expect("heap").sites[0].stack.frames[1].build_id = Some("ab".into());
    }
    assert!(!notes(&old, &new).join("\n").contains("not the same build"), "its place tells");
}

#[test]
fn the_largest_numbers() {
    let (mut old, mut new) = (samples::heap(), samples::heap());
    for site in &mut old.heap.as_mut().expect("heap").sites {
        site.live_bytes = u64::MAX;
    }
    new.heap.as_mut().expect("heap").sites.clear();
    let diff = compare(&old, &new, Options::default()).expect("the same program");
    assert_eq!(diff.heap.expect("heap").sites[0].growth_bytes, Some(i64::MIN));
}

#[test]
fn a_table() {
    let diff = compare(&earlier(), &later(), Options::default()).expect("the same program");
    let mut out = Vec::new();
    let style = TableStyle { top: 3, ..TableStyle::plain(100) };
    table::write_diff(&diff, &style, &mut out).expect("memory takes all");
    let text = String::from_utf8(out).expect("UTF-8");
    assert!(text.contains("+4.9 KiB") && text.contains("place"), "{text}");
    assert!(text.contains("▶ cache_session"), "{text}");
}

#[test]
fn a_series_tells_growth_since_its_first() {
    let (first, mut last) = (earlier(), later());
    series::grow_since(&first, &mut last);
    let heap = last.heap.as_ref().expect("heap");
    assert_eq!(heap.sites[0].growth_bytes, 5000);
    let sum: i64 = heap.sites.iter().map(|site| site.growth_bytes).sum();
    assert!(sum >= 12_000, "{sum}");
    let said = last.summary.details.last().expect("a finding");
    assert!(said.code == "growth_since" && said.text.contains("series: PID 4711"), "{said:?}");
}

/// Two sites that differ in no more than a line, as they were a while later and unchanged.
#[test]
fn sites_of_the_same_functions_do_not_grow_by_being_two() {
    for one_account in [true, false] {
        let mut first = earlier();
        let heap = first.heap.as_mut().expect("heap");
        let mut other = heap.sites[0].clone();
        other.site_id.push('2');
        other.stack.frames[0].line = Some(99);
        other.live_bytes = 100 << 20;
        heap.sites.push(other);
        let mut last = first.clone();
        last.window.duration_ns *= 2;
        if !one_account {
            last.target.pid += 1;
        }
        series::grow_since(&first, &mut last);
        let growth: Vec<i64> = last.heap.expect("heap").sites.iter().map(|site| site.growth_bytes).collect();
        assert_eq!(growth, [0; 4], "one account: {one_account}");
    }
}

/// What is told of goroutines is their growth since the first report, and since when.
#[test]
fn goroutines_of_a_series() {
    use crate::section::goroutines::build::tests::{look, section};
    let s = samples::S;
    let report = |looks: &[_], duration_ns| {
        let mut report = samples::empty(duration_ns);
        let all = section(looks);
        let mut told: Vec<Finding> =
            answer::all(&all, Since::FirstLook).into_iter().map(Finding::from).collect();
        report.summary = model::Summary { answer: Some(told.remove(0)), details: told };
        report.goroutines = Some(all);
        report
    };
    let first = report(&[look(0, &[(1_000, "chan receive")])], 10 * s);
    let mut last =
        report(&[look(0, &[(1_100, "chan receive")]), look(20, &[(1_200, "chan receive")])], 3610 * s);
    assert!(last.summary.headline().contains("100 more since leakscope came"), "{}", last.summary.headline());
    series::grow_since(&first, &mut last);
    let all = last.goroutines.as_ref().expect("goroutines");
    assert_eq!((all.growth_since_first, all.since_first_ns), (Some(200), Some(3600 * s)));
    let told = last.summary.headline();
    assert!(told.contains("200 more since the first report (3 a minute)"), "{told}");
}

/// A finding on goroutines between others.
fn first_calm_last(all: &Goroutines) -> Vec<Finding> {
    let calm = answer::calm(all, Since::FirstLook).into();
    vec![Finding::unnamed("First."), calm, Finding::unnamed("Last.")]
}

/// A saved report says of its goroutines what another version of leakscope said, in other words. What is said
/// anew stands in its place, and not beside it.
#[test]
fn goroutines_in_the_words_of_another_version() {
    use crate::section::goroutines::build::tests::{look, section};
    let report = |count, has_codes: bool| {
        let mut report = samples::empty(samples::S);
        let all = section(&[look(0, &[(count, "chan receive"), (500, "select"), (5, "IO wait")])]);
        let mut told: Vec<Finding> =
            answer::all(&all, Since::FirstLook).into_iter().map(Finding::from).collect();
        for said in &mut told {
            said.text = said.text.replace(" goroutines ", " routines ");
            if !has_codes {
                *said = Finding::unnamed(said.text.clone());
            }
        }
        let other = Finding::unnamed("Nothing was allocated while leakscope watched.");
        report.summary = model::Summary { answer: Some(told.remove(0)), details: vec![other] };
        report.summary.details.extend(told);
        report.goroutines = Some(all);
        report
    };
    for has_codes in [true, false] {
        let (first, mut last) = (report(1_000, has_codes), report(1_200, has_codes));
        assert!(last.summary.headline().contains("routines are blocked in chan receive"));
        series::grow_since(&first, &mut last);
        let told: Vec<&str> = std::iter::once(last.summary.headline()).chain(last.summary.texts()).collect();
        assert!(told[0].starts_with("1,200 of 1,705 goroutines are blocked in chan receive"), "{told:?}");
        assert!(told.iter().all(|text| !text.contains(" routines ")), "{told:?}");
        let of = |what: &str| told.iter().filter(|text| text.contains(what)).count();
        assert_eq!([of("chan receive"), of("Nothing was allocated")], [1, 1], "{told:?}");
    }
}

/// Looks at one moment each tell of no growth; taken together they do, also where the program was built anew
/// between them and where a rule would call its goroutines idle.
#[test]
fn goroutines_pile_up_from_report_to_report() {
    use crate::section::goroutines::build::tests::{look, section};
    for reason in ["chan receive", "sleep"] {
        for anew in [false, true] {
            let report = |count, at: &str, anew: bool| {
                let mut report = samples::heap();
                report.window.started_at = at.to_owned();
                report.target.build_id = Some(if anew { "ffff" } else { "eeee" }.to_owned());
                let mut all = section(&[look(0, &[(count, reason), (5, "IO wait")])]);
                for site in all.sites.iter_mut().filter(|_| anew) {
                    rebuilt(&mut site.stack.frames);
                    site.site_id.push('2');
                }
                report.summary.details = first_calm_last(&all);
                let more = answer::findings(&all, Since::FirstLook);
                report.summary.details.extend(more.into_iter().map(Finding::from));
                report.goroutines = Some(all);
                report
            };
            let first = report(20, "2026-11-23T03:00:00Z", false);
            let mut last = report(50, "2026-11-23T04:00:00Z", anew);
            let heap = last.summary.headline().to_owned();
            series::grow_since(&first, &mut last);
            let all = last.goroutines.as_ref().expect("goroutines");
            let told: Vec<_> =
                all.sites.iter().map(|site| (site.growth, site.piling_up, site.idle)).collect();
            assert_eq!(told, [(Some(30), true, false), (Some(0), false, false)], "{reason}, anew: {anew}");
            let headline = last.summary.headline();
            let findings: Vec<&str> = last.summary.texts().collect();
            assert!(headline.starts_with("50 of 55 goroutines are blocked in"), "{headline}");
            assert!(headline.ends_with("30 more since the first report (30 an hour)."), "{headline}");
            assert_eq!(findings[..3], [heap.as_str(), "First.", "Last."], "the calm is gone");
        }
    }
}

/// Where they still do not, that is said in the same place.
#[test]
fn calm_goroutines_of_a_series() {
    use crate::section::goroutines::build::tests::{look, section};
    let report = || {
        let mut report = samples::heap();
        let all = section(&[look(0, &[(20, "chan receive")])]);
        report.summary.details = first_calm_last(&all);
        report.goroutines = Some(all);
        report
    };
    let (first, mut last) = (report(), report());
    series::grow_since(&first, &mut last);
    let findings: Vec<&str> = last.summary.texts().collect();
    assert_eq!((findings[0], findings[2]), ("First.", "Last."));
    assert!(
        findings[1].starts_with("At the last look, all 20 goroutines are blocked in chan receive"),
        "{findings:?}"
    );
    assert_eq!(last.summary.answer, first.summary.answer);
}

#[test]
fn threads_of_a_series() {
    let (first, mut last) = (samples::attached(), samples::attached());
    let threads = last.threads.as_mut().expect("threads");
    threads.alive = first.threads.as_ref().and_then(|threads| threads.alive).map(|alive| alive + 7);
    assert!(threads.alive.is_some());
    threads.sites[0].alive += 7;
    series::grow_since(&first, &mut last);
    let threads = last.threads.expect("threads");
    assert_eq!(threads.growth, 7);
    let sites: Vec<i64> = threads.sites.iter().map(|site| site.growth).collect();
    assert_eq!((sites[0], sites.iter().sum::<i64>()), (7, 7));
}

/// Nothing is said of what was not compared.
#[test]
fn what_did_not_grow() {
    let headline = |old: &Report, new: &Report| {
        compare(old, new, Options::default()).expect("the same program").summary.headline().to_owned()
    };
    let mut old = samples::idle();
    old.heap = None;
    old.memory.rss_end_bytes = Some(100 << 20);
    let mut new = old.clone();
    assert_eq!(headline(&old, &new), "Nothing grew: no more threads that are stuck.");
    new.memory.rss_end_bytes = Some(1124 << 20);
    assert!(
        headline(&old, &new).starts_with("RSS grew by 1.0 GiB, from 100.0 MiB to 1.1 GiB; the heap is not")
    );
    new.memory.rss_end_bytes = Some(101 << 20);
    assert!(headline(&old, &new).starts_with("Nothing grew"));
}

/// Frames that nothing names are told apart by their addresses while these stay, else taken as one.
#[test]
fn code_made_at_run_time() {
    let mut old = earlier();
    let sites = &mut old.heap.as_mut().expect("heap").sites;
    for (site, address) in sites.iter_mut().zip([0x7f10, 0x7f20]) {
        let frame = Frame { address: Some(Address(address)), ..samples::frame("", None) };
        site.stack.frames = vec![Frame { function: None, module: None, offset: None, ..frame }].into();
    }
    let mut new = old.clone();
    let told = |old: &Report, new: &Report| {
        let diff = compare(old, new, Options::default()).expect("the same program");
        (diff.heap.expect("heap").sites.len(), diff.notes.join("\n").contains("code made at run time"))
    };
    assert_eq!(told(&old, &new), (3, false));
    new.target.pid += 1;
    assert_eq!(told(&old, &new), (2, true));
}

/// A build that only frames with functions tell is the same build all the same.
#[test]
fn builds_of_named_frames_count() {
    let (mut old, mut new) = (earlier(), earlier());
    new.target.pid += 1;
    for report in [&mut old, &mut new] {
        let sites = &mut report.heap.as_mut().expect("heap").sites;
        sites
            .iter_mut()
            .flat_map(|site| site.stack.frames.iter_mut())
            .for_each(|frame| frame.build_id = Some("ab".into()));
    }
    old.heap.as_mut().expect("heap").sites[0].stack.frames[1].function = None;
    let notes = compare(&old, &new, Options::default()).expect("the same program").notes.join("\n");
    assert!(!notes.contains("not the same build"), "{notes}");
}

/// A site that a report lacks was waited at for no time, if that report knows times.
#[test]
fn new_sites_of_waits_rank_by_their_time() {
    let growth = |old: &Report, new: &Report| -> Vec<Option<i64>> {
        let diff = compare(old, new, Options::default()).expect("the same program");
        diff.waits.expect("waits").sites.iter().map(|site| site.growth_wait_ns).collect()
    };
    let mut new = samples::hot_mutex();
    let sites = &mut new.waits.as_mut().expect("waits").sites;
    sites.truncate(2);
    for (site, time) in sites.iter_mut().zip([100, 900]) {
        (site.idle, site.blocked_now, site.wait_ns) = (false, 0, Some(time));
    }
    let mut old = new.clone();
    let sites = &mut old.waits.as_mut().expect("waits").sites;
    sites.pop();
    sites[0].wait_ns = Some(300);
    assert_eq!(growth(&old, &new), [Some(900), Some(-200)]);
    assert_eq!(growth(&new, &old), [Some(200), Some(-900)]);
    old.waits.as_mut().expect("waits").sites[0].wait_ns = None;
    assert_eq!(growth(&old, &new), [None, None], "a dump");
}

/// Two windows of one process tell nothing of growth: not that there was some, and not that there was none.
#[test]
fn two_windows_of_one_process_are_no_difference() {
    let old = earlier();
    let mut new = earlier();
    new.window.started_at = "2026-11-24T03:00:00Z".to_owned();
    new.window.duration_ns *= 2;
    (new.memory.rss_end_bytes, new.summary) = (Some(112 << 20), model::Summary::default());
    let diff = compare(&old, &new, Options::default()).expect("the same program");
    let heap = diff.heap.as_ref().expect("heap");
    assert!(heap.separate_windows);
    assert_eq!((heap.totals.growth_bytes, heap.totals.growth_objects), (None, None));
    assert!(heap.places.iter().all(|place| place.growth_bytes.is_none()));
    // As much in twice the time.
    let live = heap.totals.new_live_bytes;
    assert_eq!(heap.totals.old_bytes_per_s, Some(live / 10));
    assert_eq!(heap.totals.new_bytes_per_s, Some(live / 20));
    let said = format!("{}{}", diff.summary.headline(), diff.summary.texts().collect::<Vec<_>>().join(" "));
    for part in ["kept in the old window", "cache_session", "RSS was 12.0 MiB at the end of the old report"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains("grew") && diff.notes.join(" ").contains("--interval"), "{said}");
    for report in [&old, &new] {
        let mut empty = report.clone();
        let heap = empty.heap.as_mut().expect("heap");
        heap.sites.clear();
        (heap.totals.live_bytes, heap.totals.live_objects) = (0, 0);
        let mut other = empty.clone();
        other.window.started_at.push('1');
        let told = compare(&empty, &other, Options::default()).expect("the same program");
        assert!(
            told.summary.headline().contains("nothing is known to have been kept"),
            "{}",
            told.summary.headline()
        );
    }
    let mut series = new.clone();
    series.heap.as_mut().expect("heap").sites[0].growth_bytes = 77;
    series::grow_since(&old, &mut series);
    assert_eq!(series.heap.as_ref().map(|heap| heap.sites[0].growth_bytes), Some(77));
    let last = series.summary.details.last().expect("a finding");
    assert!(last.text.contains("The heap is that of the last window alone"), "{}", last.text);
}

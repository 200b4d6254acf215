use super::*;
use crate::diff::{Options, compare};
use crate::export::table::tests::samples::{attached, frame, heap, whole};
use crate::report::Report;

/// A report with a heap and with waits.
fn both() -> Report {
    Report { heap: heap().heap, ..attached() }
}

fn page(report: &Report) -> String {
    let mut out = Vec::new();
    let job = Job { reports: &[report], profile: None, style: TableStyle::plain(80) };
    Html.write(&job, &mut out).expect("a page");
    String::from_utf8(out).expect("UTF-8")
}

/// What the script is given.
fn data(page: &str) -> serde_json::Value {
    let (_, rest) = page.split_once("<script id=\"data\" type=\"application/json\">").expect("data");
    serde_json::from_str(rest.split_once("</script>").expect("an end").0).expect("JSON")
}

/// The sum of one of the values over all frames of a flame graph.
fn total(flames: &serde_json::Value, value: usize) -> u64 {
    let columns = flames["values"].as_array().expect("values").len();
    let frames = flames["frames"].as_array().expect("frames");
    frames.chunks(columns + 2).filter_map(|frame| frame[2 + value].as_u64()).sum()
}

#[test]
fn a_page_has_the_answer_the_tables_and_all_profiles() {
    let report = both();
    let page = page(&report);
    assert!(page.contains(&format!("<h1>{}</h1>", escaped(report.summary.headline()))), "{page}");
    for text in report.summary.texts() {
        assert!(page.contains(&format!("<p>{}</p>", escaped(text))), "{text}");
    }
    assert!(page.contains("<table><thead><tr>") && page.ends_with("</html>\n"));
    assert!(!page.contains("http:") && !page.contains("https:"), "it loads nothing");
    let data = data(&page);
    let kinds: Vec<&str> =
        data["flames"].as_array().expect("flames").iter().filter_map(|one| one["kind"].as_str()).collect();
    let held: Vec<&str> =
        SHOWN.into_iter().filter(|kind| kind.is_in(&report)).map(ProfileKind::name).collect();
    assert_eq!(kinds.len(), held.len());
    assert!(held.iter().all(|kind| kinds.contains(kind)), "{kinds:?}");
    assert_eq!(kinds[0], ProfileKind::of(&report).expect("one").name());
    // Nothing is lost on the way from the profile to the picture.
    for flames in data["flames"].as_array().expect("flames") {
        let kind = ProfileKind::ALL.into_iter().find(|kind| flames["kind"] == kind.name()).expect("a kind");
        let totals = Profile::of(&report, kind).expect("a profile").totals();
        for (value, expected) in totals.iter().enumerate().take(kind.value_types().len()) {
            assert_eq!(total(flames, value), *expected, "{} {value}", kind.name());
        }
    }
}

#[test]
fn text_of_the_target_is_text() {
    let hostile = "</script><script>alert(1)</script><!--";
    let mut report = both();
    report.target.comm = hostile.to_owned();
    let heap = report.heap.as_mut().expect("a heap");
    for site in &mut heap.sites {
        site.stack.frames = whole(vec![frame("malloc", None), frame(hostile, Some((hostile, 7)))]).frames;
    }
    crate::report::charge::charge(&mut report, &crate::symbol::Charging::default());
    let page = page(&report);
    assert_eq!(page.matches("<script").count(), 2, "the data and our own");
    assert_eq!(page.matches("<!--").count(), 0);
    let data = data(&page);
    let names = data["flames"][0]["names"].as_array().expect("names");
    assert!(names.iter().any(|name| name == hostile), "{names:?}");
}

#[test]
fn a_page_of_what_changed() {
    let (old, mut new) = (both(), both());
    let heap = new.heap.as_mut().expect("a heap");
    heap.sites[0].live_bytes += 1000;
    heap.sites[0].alloc_bytes += 1000;
    heap.totals.live_bytes += 1000;
    let diff = compare(&old, &new, Options::default()).expect("a difference");
    let mut out = Vec::new();
    write_diff(&diff, (&old, &new), TableStyle::plain(80), &mut out).expect("a page");
    let page = String::from_utf8(out).expect("UTF-8");
    let data = data(&page);
    assert_eq!(data["compared"], true);
    let heap =
        data["flames"].as_array().expect("flames").iter().find(|one| one["kind"] == "heap").expect("heap");
    let columns = heap["values"].as_array().expect("values").len();
    let frames = heap["frames"].as_array().expect("frames");
    let sum = |at: usize| frames.chunks(2 * columns + 2).filter_map(|frame| frame[at].as_u64()).sum::<u64>();
    // In-use bytes are the last value.
    assert_eq!(sum(1 + columns), sum(1 + 2 * columns) + 1000);
}

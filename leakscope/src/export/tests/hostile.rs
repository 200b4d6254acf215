//! Names that try to be something else.

use super::*;
use crate::export::profile::ProfileKind;
use crate::export::{json, jsonl, table};
use crate::report::model::{Address, StackEnd};
use crate::section::Section as _;
use crate::symbol::name::bounded;

/// What a name may be made of. Bytes that are no UTF-8 are `\u{fffd}` in a report.
fn names() -> Vec<String> {
    let mut names: Vec<String> = [
        "\"quoted\" 'name'",
        "<script>alert(1)</script>",
        "]]>--><![CDATA[&amp;&",
        "a\nb 12\nc",
        "a;b;c;",
        ";",
        "operator 12",
        "x 1.5",
        " 7",
        "7",
        "",
        "  ",
        "# comment",
        "\u{1b}[2J\u{7}\u{0}\t\r",
        "\u{202e}backwards\u{2028}",
        "\u{fffe}\u{ffff}\u{fffd}",
        "std::map<std::string, std::vector<int>>::operator[](int&&)",
        "${jndi:x} $(reboot) `x` %s %n {{x}} \\u0041 \\",
        "😀 漢字",
    ]
    .map(str::to_owned)
    .into();
    names.push(format!("std::tuple<{}>", "std::pair<int, char>, ".repeat(500)));
    names
}

/// Every text of a report is one of the names.
fn hostile() -> Report {
    let mut report = samples::attached();
    let heap = samples::heap();
    report.heap = heap.heap;
    report.losses = heap.losses;
    let names = names();
    let mut next = names.iter().cycle().cloned();
    let mut name = || next.next().expect("a cycle never ends");
    report.target.comm = name();
    report.target.exe = Some(name());
    report.summary.answer = Some(crate::report::model::Finding::unnamed(name()));
    report.losses.insert(name(), 1);
    let sites = &mut report.heap.as_mut().expect("heap").sites;
    let template = sites[0].clone();
    sites.extend(names.iter().flat_map(|_| [template.clone(), template.clone()]));
    let waits = report.waits.as_mut().expect("waits");
    let template = waits.sites[0].clone();
    waits.sites.extend(names.iter().map(|_| template.clone()));
    let mut frames: Vec<&mut crate::report::model::Frame> = Vec::new();
    for site in sites {
        site.source = name();
        site.stack.end = Some(StackEnd::Other(name()));
        frames.extend(site.stack.frames.iter_mut());
    }
    for site in &mut waits.sites {
        site.operation = Some(name());
        site.primitive = Some(name());
        for thread in &mut site.threads {
            thread.name = name();
        }
        frames.extend(site.stack.frames.iter_mut());
    }
    let threads = report.threads.as_mut().expect("threads");
    frames.extend(threads.sites.iter_mut().flat_map(|site| site.stack.frames.iter_mut()));
    for (i, frame) in frames.into_iter().enumerate() {
        // Longer ones are cut before they come into a report.
        frame.function = (i % 7 != 0).then(|| bounded(&name()).into());
        frame.file = (i % 3 != 0).then(|| name().into());
        frame.module = (i % 5 != 0).then(|| name().into());
        frame.build_id = Some(name().into());
        frame.why_unknown = Some(name().into());
        frame.offset = (i % 4 != 0).then_some(Address(u64::MAX - i as u64));
        frame.address = (i % 6 != 0).then_some(Address(i as u64));
    }
    report.waits.iter_mut().for_each(crate::report::model::Waits::count_stuck);
    report.heap.as_mut().expect("heap").complete();
    report
}

/// Those that the report has.
const KINDS: [ProfileKind; 6] = [
    ProfileKind::Heap,
    ProfileKind::Allocs,
    ProfileKind::Block,
    ProfileKind::Mutex,
    ProfileKind::Goroutine,
    ProfileKind::Threadcreate,
];

/// Nothing steers a terminal; lines end where the format ends them.
#[track_caller]
fn assert_calm(text: &str) {
    let steering = |c: char| c.is_control() && c != '\n' && c != '\t';
    assert_eq!(text.find(steering), None);
    assert!(!text.contains(['\u{202e}', '\u{2028}']));
}

#[test]
fn folded_lines_stay_whole() {
    for kind in KINDS {
        let report = hostile();
        let profile = Profile::of(&report, kind).expect("a profile");
        let folded = export(&report, kind, folded::write);
        assert_calm(&folded);
        let stacks: Vec<_> = profile.stacks().filter(|stack| stack.weight > 0).collect();
        assert_eq!(folded.lines().count(), stacks.len(), "{kind:?}");
        for (line, stack) in folded.lines().zip(stacks) {
            let (path, weight) = line.rsplit_once(' ').expect("a weight");
            assert_eq!(weight.parse::<u64>().expect("a number"), stack.weight);
            let before = path.rsplit_once(' ').map_or("", |(_, last)| last);
            assert!(before.is_empty() || before.parse::<f64>().is_err(), "two numbers: {line}");
            let sample = stack.sample;
            let roots = usize::from(sample.idle)
                + usize::from(sample.cut.is_some())
                + usize::from(sample.note.is_some());
            assert_eq!(path.split(';').count(), sample.frames.len() + roots, "{line}");
            assert!(path.split(';').all(|frame| !frame.is_empty()), "{line}");
        }
    }
}

/// A stock reader of folded stacks sees the same sum.
#[test]
fn folded_lines_are_read_by_inferno() {
    let report = hostile();
    for kind in KINDS {
        let folded = export(&report, kind, folded::write);
        let sum: u64 =
            folded.lines().map(|l| l.rsplit_once(' ').expect("a weight").1.parse::<u64>().expect("n")).sum();
        let mut options = inferno::flamegraph::Options::default();
        let mut svg = Vec::new();
        inferno::flamegraph::from_lines(&mut options, folded.lines(), &mut svg).expect("it is read");
        let svg = String::from_utf8(svg).expect("UTF-8");
        let (_, all) = svg.split_once("<title>all (").expect("the whole");
        let (all, _) = all.split_once(" samples").expect("its number");
        assert_eq!(all, crate::human::count(sum), "{kind:?}: {folded}");
    }
}

#[test]
fn svg_is_well_formed() {
    for kind in KINDS {
        let svg = export(&hostile(), kind, flamegraph::write);
        assert_calm(&svg.replace('\r', ""));
        assert!(!svg.contains("<script>alert"), "no script of the target's");
        assert!(!svg.contains(['\u{fffe}', '\u{ffff}']));
        let mut reader = quick_xml::Reader::from_str(&svg);
        let mut scripts = 0;
        loop {
            match reader.read_event().expect("well-formed") {
                quick_xml::events::Event::Eof => break,
                quick_xml::events::Event::Start(e) => {
                    scripts += u32::from(e.name().as_ref() == b"script");
                    assert!(e.attributes().all(|a| a.is_ok()));
                }
                _ => {}
            }
        }
        assert_eq!(scripts, 1, "inferno's own");
    }
}

#[test]
fn pprof_is_sound() {
    for kind in KINDS {
        let profile = pprof::decoded(&hostile(), kind);
        pprof::assert_sound(&profile);
        profile.string_table.iter().for_each(|text| {
            assert_calm(text);
            assert!(!text.contains(['\n', '\t']));
        });
        let longest = profile.string_table.iter().map(String::len).max();
        assert!(longest >= Some(10_000), "long names are whole");
    }
}

/// Every line is a header, a count, a comment or empty.
#[test]
fn text_lines_stay_whole() {
    for kind in KINDS {
        let text = export(&hostile(), kind, text::write);
        assert_calm(&text);
        for line in text.lines().skip(3) {
            let count = line.split_once(" @").is_some_and(|(counts, addresses)| {
                counts.chars().all(|c| "0123456789: []".contains(c))
                    && addresses.split_whitespace().all(|a| a.starts_with("0x"))
            });
            assert!(line.is_empty() || line.starts_with('#') || count, "{line:?}");
        }
    }
}

#[test]
fn json_comes_back() {
    let report = hostile();
    for (write, lines) in
        [(json::write as fn(&Report, &mut dyn std::io::Write) -> _, None), (jsonl::write, Some(1))]
    {
        let mut out = Vec::new();
        write(&report, &mut out).expect("memory takes all");
        let text = String::from_utf8(out).expect("UTF-8");
        assert!(lines.is_none_or(|lines| text.lines().count() == lines));
        assert_eq!(
            crate::report::read::parse("it", text.as_bytes()).expect("a report"),
            std::slice::from_ref(&report)
        );
    }
}

#[test]
fn tables_are_calm() {
    let style = table::TableStyle { top: 99, ..table::TableStyle::plain(100) };
    let mut out = Vec::new();
    table::write(&hostile(), &style, &mut out).expect("memory takes all");
    assert_calm(&String::from_utf8(out).expect("UTF-8"));
}

#[test]
fn differences_are_calm() {
    let options = crate::diff::Options { any_program: true, ..Default::default() };
    let (plain, hostile) = (samples::attached(), hostile());
    for (old, new) in [(&plain, &hostile), (&hostile, &plain), (&hostile, &hostile)] {
        let diff = crate::diff::compare(old, new, options).expect("any program");
        let style = table::TableStyle { top: 99, ..table::TableStyle::plain(100) };
        let mut out = Vec::new();
        table::write_diff(&diff, &style, &mut out).expect("memory takes all");
        assert_calm(&String::from_utf8(out).expect("UTF-8"));
        let mut out = Vec::new();
        json::write(&diff, &mut out).expect("memory takes all");
        serde_json::from_slice::<serde_json::Value>(&out).expect("JSON");
        let out = serde_json::to_vec(&diff).expect("memory takes all");
        assert_eq!(serde_json::from_slice::<crate::diff::Diff>(&out).expect("a difference"), diff);
        let profile = Profile::difference(old, new, ProfileKind::Block).expect("a profile");
        let message = crate::export::pprof::message(&profile);
        message.string_table.iter().for_each(|text| assert_calm(text));
    }
    let refused =
        crate::diff::compare(&plain, &hostile, crate::diff::Options::default()).expect_err("refused");
    assert_calm(&refused.to_string());
}

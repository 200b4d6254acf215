use std::io::Read as _;

use prost::Message as _;

use super::*;
use crate::export::pprof::{self, proto};

pub(super) fn decoded(report: &Report, kind: ProfileKind) -> proto::Profile {
    let mut out = Vec::new();
    pprof::write(&Profile::of(report, kind).expect("a profile"), &mut out).expect("memory takes all");
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(out.as_slice()).read_to_end(&mut plain).expect("gzip");
    proto::Profile::decode(plain.as_slice()).expect("a profile")
}

fn text(profile: &proto::Profile, index: i64) -> &str {
    &profile.string_table[usize::try_from(index).expect("an index")]
}

/// Ids run from 1, and everything that is named is there.
#[track_caller]
pub(super) fn assert_sound(profile: &proto::Profile) {
    let ids = |ids: Vec<u64>| assert!(ids.iter().copied().eq(1..=ids.len() as u64), "{ids:?}");
    ids(profile.mapping.iter().map(|m| m.id).collect());
    ids(profile.location.iter().map(|l| l.id).collect());
    ids(profile.function.iter().map(|f| f.id).collect());
    assert_eq!(profile.string_table[0], "");
    assert!(profile.period_type.is_some());
    let functions = 1..=profile.function.len() as u64;
    for location in &profile.location {
        assert!(location.mapping_id <= profile.mapping.len() as u64);
        assert!(!location.line.is_empty());
        assert!(location.line.iter().all(|line| functions.contains(&line.function_id)));
    }
    for (i, mapping) in profile.mapping.iter().enumerate() {
        // Of the program, of which no frame may tell where it lies, the name comes first all the same.
        let unknown = i == 0 && (mapping.memory_start, mapping.memory_limit) == (0, 0);
        assert!(unknown || mapping.memory_start < mapping.memory_limit, "{mapping:?}");
    }
    for sample in &profile.sample {
        assert_eq!(sample.value.len(), profile.sample_type.len());
        assert!(!sample.location_id.is_empty());
        assert!(sample.location_id.iter().all(|id| (1..=profile.location.len() as u64).contains(id)));
        assert!(sample.value.iter().all(|value| *value >= 0));
    }
    let strings = profile.function.iter().flat_map(|f| [f.name, f.system_name, f.filename]);
    let strings = strings.chain(profile.mapping.iter().flat_map(|m| [m.filename, m.build_id]));
    let strings = strings.chain(profile.comment.iter().copied());
    let strings = strings.chain(profile.sample.iter().flat_map(|s| &s.label).flat_map(|l| [l.key, l.str]));
    for index in strings {
        text(profile, index);
    }
}

fn types(profile: &proto::Profile) -> String {
    let types = profile.sample_type.iter();
    types.map(|t| format!("{}/{} ", text(profile, t.r#type), text(profile, t.unit))).collect()
}

#[test]
fn value_types_are_those_of_go() {
    let heap = decoded(&samples::heap(), ProfileKind::Heap);
    assert_sound(&heap);
    assert_eq!(types(&heap), "alloc_objects/count alloc_space/bytes inuse_objects/count inuse_space/bytes ");
    assert_eq!(text(&heap, heap.default_sample_type), "inuse_space");
    let allocs = decoded(&samples::heap(), ProfileKind::Allocs);
    assert_eq!(text(&allocs, allocs.default_sample_type), "alloc_space");
    for (kind, expected) in [
        (ProfileKind::Block, "contentions/count delay/nanoseconds "),
        (ProfileKind::Mutex, "contentions/count delay/nanoseconds "),
        (ProfileKind::Goroutine, "goroutine/count "),
        (ProfileKind::Threadcreate, "threadcreate/count "),
    ] {
        let profile = decoded(&samples::attached(), kind);
        assert_sound(&profile);
        assert_eq!(types(&profile), expected);
    }
}

#[test]
fn a_heap_in_full() {
    let mut report = samples::heap();
    report.target.exe = Some("/srv/bin/bank".to_owned());
    let site = &mut report.heap.as_mut().expect("heap").sites[0];
    site.stack.frames[0].inlined = true;
    site.stack.frames[0].address = site.stack.frames[1].address;
    site.stack.frames[1].build_id = Some("abcd".into());
    let profile = decoded(&report, ProfileKind::Heap);
    assert_sound(&profile);
    assert_eq!(profile.sample[0].value, [20_000, 2_000_000, 10_000, 1_000_000]);
    assert_eq!(profile.sample[0].location_id, [1, 2, 3]);
    let lines: Vec<(&str, i64)> = profile.location[0]
        .line
        .iter()
        .map(|line| (text(&profile, profile.function[line.function_id as usize - 1].name), line.line))
        .collect();
    assert_eq!(lines, [("malloc", 0), ("cache_session", 31)], "innermost first");
    assert_eq!(profile.location[0].address, 0x100d, "it runs");
    assert_eq!(profile.location[1].address, 0x1005, "it has called");
    assert_eq!(text(&profile, profile.mapping[0].filename), "/srv/bin/bank", "the program comes first");
    assert_eq!((profile.time_nanos, profile.duration_nanos), (1_795_402_800_887_914_000, 10_000_000_000));
    let comments: Vec<&str> = profile.comment.iter().map(|index| text(&profile, *index)).collect();
    assert_eq!(comments[2], "malloc: not exact, every call was counted");
}

/// What is counted without a stack has a place that says why.
#[test]
fn notes_are_places() {
    let profile = decoded(&samples::hot_mutex(), ProfileKind::Goroutine);
    assert_sound(&profile);
    let total: i64 = profile.sample.iter().map(|sample| sample.value[0]).sum();
    assert_eq!(total, 18);
    let last = profile.location.last().expect("a place");
    let name = profile.function[last.line[0].function_id as usize - 1].name;
    assert_eq!(text(&profile, name), "[running, or about to]");
    assert_eq!(profile.sample.last().expect("a sample").location_id, [last.id]);
}

#[test]
fn several_reports_are_one_profile() {
    let (a, b) = (samples::heap(), samples::heap());
    let profile = Profile::of_all(&[&a, &b], ProfileKind::Heap).expect("a profile");
    let message = pprof::message(&profile);
    assert_sound(&message);
    assert_eq!(message.sample.len(), 6);
    let once = pprof::message(&Profile::of(&a, ProfileKind::Heap).expect("a profile"));
    assert_eq!(message.location, once.location);
}

//! Stacks that go on as others do, and reports that would be too long.

use super::{samples, styled};
use crate::layout::TableStyle;
use crate::report::Report;
use crate::section::Section as _;
use crate::section::model::{Frame, Stack, StackEnd};

/// So many places, all called from the same line.
fn alike(places: u64) -> Report {
    let mut report = samples::heap();
    let heap = report.heap.as_mut().expect("a heap");
    let like = heap.sites.swap_remove(0);
    (heap.sites, heap.places) = (Vec::new(), Vec::new());
    for n in 1..=places {
        let mut site = like.clone();
        let own = format!("place_{n}");
        let names = ["malloc", &own, "handle", "serve", "run", "main"];
        let frames: Vec<Frame> = names.iter().map(|name| samples::frame(name, None)).collect();
        (site.rank, site.site_id) = (n, n.to_string());
        site.live_bytes = 1_000_000 - n;
        site.stack =
            Stack { frames: frames.into(), blame: Some(1), end: Some(StackEnd::Root), ..Stack::default() };
        heap.sites.push(site);
    }
    heap.complete();
    report
}

fn style(most_lines: Option<usize>) -> TableStyle {
    TableStyle { most_lines, ..TableStyle::plain(100) }
}

#[test]
fn what_two_stacks_share_is_told_once() {
    let text = styled(&alike(3), &style(None));
    assert_eq!(text.matches("▶ place_").count(), 3, "{text}");
    assert_eq!(text.matches("    serve").count(), 1, "{text}");
    assert_eq!(text.matches("… and on as #1, from handle").count(), 2, "{text}");
}

#[test]
fn few_lines_are_told_again() {
    let mut report = alike(2);
    let heap = report.heap.as_mut().expect("a heap");
    for site in &mut heap.sites {
        let frames: Vec<Frame> = site.stack.frames.iter().take(4).map(|frame| (**frame).clone()).collect();
        site.stack.frames = frames.into();
    }
    let text = styled(&report, &style(None));
    assert_eq!((text.matches("    serve").count(), text.matches("and on as").count()), (2, 0), "{text}");
}

#[test]
fn what_has_no_room_is_counted() {
    let lines = |text: &str| text.lines().count();
    let whole = styled(&alike(10), &style(None));
    let short = styled(&alike(10), &style(Some(30)));
    let shown = short.matches("▶ place_").count();
    assert!((1..10).contains(&shown) && lines(&short) < lines(&whole), "{short}");
    assert!(
        short.contains(&format!("… {} more stacks (--top 10, or --format json for all)", 10 - shown)),
        "{short}"
    );
    // The first is shown whatever the room.
    let least = styled(&alike(10), &style(Some(0)));
    assert_eq!(least.matches("▶ place_").count(), 1, "{least}");
}

/// A stack of so many frames below its own, whose names are long.
fn deep(frames: usize, own: &str) -> Vec<Frame> {
    let outer = (0..frames).map(|n| samples::frame(&format!("{}_{n}", "outer".repeat(30)), None));
    ["malloc", own].iter().map(|name| samples::frame(name, None)).chain(outer).collect()
}

/// What was not printed, nobody is sent to.
#[test]
fn hidden_frames_are_told() {
    let mut report = alike(2);
    let heap = report.heap.as_mut().expect("a heap");
    let whole = deep(40, "place_1");
    let last: Vec<Frame> = deep(0, "place_2").into_iter().chain(whole[34..].iter().cloned()).collect();
    heap.sites[0].stack.frames = whole.into();
    heap.sites[1].stack.frames = last.into();
    let text = styled(&report, &style(None));
    assert!(!text.contains("and on as"), "{text}");
    assert_eq!(text.matches("more frame").count(), 1, "{text}");
}

/// Names that differ beyond the terminal's edge are different, and so are stacks that end in other ways.
#[test]
fn what_looks_alike_is_not_the_same() {
    let mut report = alike(2);
    let heap = report.heap.as_mut().expect("a heap");
    for (site, n) in heap.sites.iter_mut().zip(0..) {
        let own = format!("place_{n}");
        let frames = deep(6, &own).into_iter().enumerate().map(|(i, frame)| match i {
            0..=1 => frame,
            _ => samples::frame(&format!("{}{n}", frame.function.as_deref().unwrap_or_default()), None),
        });
        site.stack.frames = frames.collect::<Vec<_>>().into();
    }
    let text = styled(&report, &style(None));
    assert!(!text.contains("and on as"), "{text}");
    let mut report = alike(2);
    report.heap.as_mut().expect("a heap").sites[1].stack.end = None;
    let text = styled(&report, &style(None));
    assert!(!text.contains("and on as"), "{text}");
}

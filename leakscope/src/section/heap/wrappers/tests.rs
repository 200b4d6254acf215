use super::*;
use crate::runtime::rules;
use crate::section::frame::Address;
use crate::section::model::Stack;

/// A site: the functions, innermost first, each with an address, after those of the allocator.
fn site(stack: &[(&str, u64)], size: u64, objects: u64) -> Site {
    let bytes = size * objects;
    varied(stack, bytes, objects)
}

fn varied(stack: &[(&str, u64)], bytes: u64, objects: u64) -> Site {
    let all =
        std::iter::once(&("malloc", 1)).chain(stack).chain([&("main", 2), &("__libc_start_call_main", 3)]);
    let frames: Vec<Frame> = all
        .map(|&(function, address)| Frame {
            address: Some(Address(address)),
            module: Some("/srv/app".into()),
            function: Some(function.into()),
            ..Frame::default()
        })
        .collect();
    let inputs: Vec<_> = frames.iter().map(|frame| frame.blame_input()).collect();
    let blame = rules().owners.blame(&inputs).map(|at| at as u64);
    Site {
        label: "".into(),
        place: 0,
        site_id: String::new(),
        rank: 0,
        source: super::super::MALLOC.to_owned(),
        live_bytes: bytes,
        live_objects: objects,
        alloc_bytes: bytes,
        alloc_objects: objects,
        growth_bytes: 0,
        oldest_age_ns: None,
        older_blocks: 0,
        older_bytes: 0,
        youngest_age_ns: None,
        live_bytes_low: None,
        live_bytes_high: None,
        samples: None,
        goroutine: None,
        stack: Stack { frames: frames.into(), blame, end: None, ..Stack::default() },
    }
}

/// The wrappers, and whom the sites are charged to.
fn charged(sites: &mut [Site]) -> (Vec<String>, Vec<String>) {
    let wrappers = charge_callers(sites, &rules().owners, &Charging::default());
    let blamed = sites.iter().map(|site| site.stack.blamed().and_then(|frame| frame.function.clone()));
    (wrappers, blamed.map(|name| name.map(|name| name.to_string()).unwrap_or_default()).collect())
}

#[track_caller]
fn none(mut sites: Vec<Site>) {
    let (wrappers, _) = charged(&mut sites);
    assert!(wrappers.is_empty(), "{wrappers:?}");
}

#[test]
fn what_gives_each_caller_its_size_is_a_wrapper() {
    let mut sites = [
        site(&[("qget", 10), ("new_session", 20)], 400, 100),
        site(&[("qget.part.0", 10), ("new_user", 30)], 128, 50),
        site(&[("qget", 10), ("new_token", 40), ("login", 41)], 24, 7),
        varied(&[("qget", 10), ("read_body", 50)], 12_345, 9),
        site(&[("other", 60), ("login", 61)], 400, 100),
    ];
    let (wrappers, blamed) = charged(&mut sites);
    assert_eq!(wrappers, ["qget"]);
    assert_eq!(blamed, ["new_session", "new_user", "new_token", "read_body", "other"]);
}

#[test]
fn a_wrapper_of_wrappers() {
    let outer = |caller, at, size| site(&[("qget", 10), ("qzero", 11), (caller, at)], size, 10);
    let other =
        |caller, at, size| site(&[("qget", 10), ("qarray", 12), ("qlist", 13), (caller, at)], size, 10);
    let mut sites = [
        outer("a", 20, 48),
        outer("b", 21, 64),
        outer("c", 22, 96),
        other("d", 23, 160),
        other("e", 24, 320),
        other("f", 25, 48),
    ];
    let (wrappers, blamed) = charged(&mut sites);
    assert_eq!(wrappers, ["qarray", "qget", "qlist", "qzero"]);
    assert_eq!(blamed, ["a", "b", "c", "d", "e", "f"]);
}

#[test]
fn what_makes_one_thing_is_none() {
    // One type, whoever calls.
    let callers = ["a", "b", "c", "d", "e", "f"];
    none(
        callers
            .iter()
            .zip(20..)
            .map(|(&caller, at)| site(&[("new_node", 10), (caller, at)], 96, 5))
            .collect(),
    );
    // A parser that calls itself.
    none(vec![
        site(&[("new_node", 10), ("parse_a", 20)], 96, 5),
        site(&[("new_node", 10), ("parse_b", 21)], 96, 5),
        site(&[("new_node", 10), ("parse_a", 20), ("parse_b", 22)], 96, 5),
        site(&[("parse_a", 30), ("parse_a", 22), ("parse_a", 23)], 48, 5),
    ]);
    // Copies of strings.
    let lengths = [(1_003, 50), (871, 40), (2_207, 100), (77, 5), (640, 43), (90, 7)];
    let copies = callers.iter().zip(20..).zip(lengths);
    none(copies.map(|((&caller, at), (b, n))| varied(&[("copy_text", 10), (caller, at)], b, n)).collect());
    // Copies of texts in the program.
    let lengths = [6, 9, 14, 5, 27, 11].into_iter().zip(callers).zip(20..);
    none(lengths.map(|((size, caller), at)| site(&[("copy_text", 10), (caller, at)], size, 30)).collect());
    let lengths = [7, 16, 8, 30, 12, 5].into_iter().zip(callers).zip(20..);
    none(lengths.map(|((size, caller), at)| site(&[("copy_text", 10), (caller, at)], size, 30)).collect());
    // A server's one function for all requests.
    none(vec![
        site(&[("handle_request", 10), ("worker", 20)], 400, 100),
        varied(&[("handle_request", 11), ("worker", 20)], 33_333, 100),
        site(&[("handle_request", 12), ("worker", 20)], 24, 100),
    ]);
}

#[test]
fn what_keeps_something_of_its_own_is_none() {
    let put = |caller, at, size| {
        [site(&[("cache_put", 10), (caller, at)], 48, 20), site(&[("cache_put", 11), (caller, at)], size, 20)]
    };
    none([put("a", 20, 400), put("b", 21, 128), put("c", 22, 64)].into_iter().flatten().collect());
    // Something that differs by what is asked for in another place is no wrapper either.
    let make = |at, caller, from, size| site(&[("make", at), (caller, from)], size, 20);
    none(vec![make(10, "a", 20, 400), make(11, "b", 21, 128), make(12, "c", 22, 64), make(13, "d", 23, 24)]);
}

#[test]
fn what_was_found_stays_found() {
    let mut known = Charging::default();
    known.learn(["qget".to_owned()]);
    let stack = [("qget", 10), ("qzero", 11), ("new_session", 20)];
    let frames = site(&stack, 400, 100).stack.frames;
    let inputs: Vec<_> = frames.iter().map(|frame| frame.blame_input()).collect();
    assert_eq!(rules().owners.charge(&inputs, &known), Some(2));
    assert_eq!(charge_callers(&mut [], &rules().owners, &known), ["qget"]);
    assert!(
        charge_callers(&mut [site(&stack, 400, 100)], &rules().owners, &known.never_finding()).is_empty()
    );
}

#[test]
fn any_sites_are_safe() {
    let mut sites = vec![site(&[], 0, 0), site(&[("", 0)], 8, 1), site(&[("f", 5)], 8, u64::MAX / 8)];
    for blame in [None, Some(0), Some(u64::MAX)] {
        sites[1].stack.blame = blame;
        charged(&mut sites);
    }
    sites[0].stack = Stack::default();
    charged(&mut sites);
}

/// Deep stacks that differ at their outer ends.
#[test]
fn work_grows_with_the_number_of_sites() {
    let names: Vec<String> = (0..60).map(|n| format!("f{n}")).collect();
    let sites = |count: u64| -> Vec<Site> {
        let stack = |n: u64| -> Vec<(&str, u64)> {
            names.iter().zip(10..).map(|(name, at)| (name.as_str(), at * 1000 + n % (at * 7))).collect()
        };
        (0..count).map(|n| site(&stack(n), 8 + n % 5, 3)).collect()
    };
    let mut many = sites(5_000);
    let begun = std::time::Instant::now();
    charged(&mut many);
    assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
}

/// A container that doubles asks for other sizes where more is put in.
#[test]
fn what_grows_a_container_is_none() {
    let callers = [("a", 20, 96), ("b", 21, 192), ("c", 22, 384), ("d", 23, 768)];
    none(callers.into_iter().map(|(name, at, size)| site(&[("push", 10), (name, at)], size, 5)).collect());
    let grown = [("a", 20, 96, 1), ("b", 21, 160, 1), ("c", 22, 224, 2), ("d", 23, 480, 1)];
    none(grown.into_iter().map(|(name, at, size, n)| site(&[("push", 10), (name, at)], size, n)).collect());
}

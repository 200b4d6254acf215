//! What is told of holders.

use super::answer::{answer, findings};
use super::build::of_go;
use super::diff::grown;
use super::model::{Container, HolderKind, HolderSite, Holders, Resident, ResidentKind};
use super::table::{sentences, subject};
use super::words::HoldersSaid;
use crate::runtime::go::held::{self, Allocated, GoHeld, HeldBy, HeldType, Way};
use crate::section::finding::Said as _;

fn held() -> GoHeld {
    let by = HeldBy {
        kind: held::HolderKind::Variable,
        name: "main.locks".to_owned(),
        users: Vec::new(),
        address: None,
        file: None,
        line: None,
        goroutines: None,
        type_name: Some("map[string]*sync.Mutex".to_owned()),
        bytes: 240 << 20,
        objects: 6_080_001,
        container: Some(held::Container {
            path: "main.locks".to_owned(),
            type_name: "map[string]*sync.Mutex".to_owned(),
            objects: 1,
            entries: 3_040_000,
            bytes: 240 << 20,
        }),
        path: "main.locks".to_owned(),
        allocated: vec![
            Allocated {
                function: "main.getLock".into(),
                file: "/src/main.go".into(),
                line: 73,
                samples: 30,
                bytes: 3 << 26,
            },
            Allocated {
                function: "main.main".into(),
                file: "/src/main.go".into(),
                line: 9,
                samples: 10,
                bytes: 1 << 26,
            },
        ],
    };
    let frame = HeldBy {
        kind: held::HolderKind::Frame,
        name: "main.keep".to_owned(),
        file: Some("/src/main.go".to_owned()),
        line: Some(20),
        goroutines: Some(2),
        type_name: None,
        container: None,
        bytes: 4 << 20,
        path: "main.keep".to_owned(),
        allocated: Vec::new(),
        ..by.clone()
    };
    GoHeld {
        bytes: 250 << 20,
        objects: 6_090_000,
        typed_bytes: 240 << 20,
        untyped_bytes: 4 << 20,
        unreached_bytes: 6 << 20,
        in_use_bytes: 250 << 20,
        named: true,
        holders: vec![by, frame],
        types: vec![HeldType { name: String::new(), pointers: true, bytes: 4 << 20, objects: 9 }],
        ways: vec![Way {
            steps: vec!["[…] sync.Mutex".into(), "main.locks".into()],
            bytes: 24 << 20,
            objects: 3,
        }],
        ..GoHeld::default()
    }
}

#[test]
fn the_holder_of_most_is_the_answer() {
    let holders = of_go(&held());
    assert_eq!(
        answer(&holders).text(),
        "main.locks is a map[string]*sync.Mutex with 3,040,000 entries and holds 240.0 MiB of the 250.0 MiB on the heap; \
         allocated at main.getLock main.go:73 (75 % by samples)."
    );
    assert!(findings(&holders).is_empty(), "a little is not reached: nobody need know");
    assert_eq!(subject(&holders.sites[1]), "main.keep main.go:20 on the stack of 2 goroutines");
    assert_eq!((holders.sites[1].rank, holders.ways[0].stack.frames.len()), (2, 2));
}

#[test]
fn what_is_not_known_is_not_told() {
    let mut made = held();
    made.unreached_bytes = 100 << 20;
    let by = &mut made.holders[0];
    (by.name, by.users) = (String::new(), vec!["main.getLock".to_owned()]);
    by.allocated.truncate(1);
    by.allocated[0].samples = 1;
    by.container.as_mut().expect("it has one").path = String::new();
    let holders = of_go(&made);
    let told = answer(&holders).text();
    assert!(
        told.starts_with("A variable used by main.getLock is a map[string]*sync.Mutex with 3,040,000"),
        "{told}"
    );
    assert!(!told.contains("allocated"), "one sample tells nothing: {told}");
    let said = findings(&holders);
    assert_eq!(said.iter().map(HoldersSaid::code).collect::<Vec<_>>(), ["memory_unreached"]);
    assert!(said[0].text().starts_with("100.0 MiB of the 250.0 MiB on the heap was not reached"), "{said:?}");
    let none = Holders { unknown: Some("nobody looked".to_owned()), ..Holders::default() };
    assert_eq!(answer(&none).text(), "What holds the memory is not known: nobody looked.");
}

#[test]
fn a_part_of_a_holder() {
    let mut made = held();
    let by = &mut made.holders[0];
    let container = by.container.as_mut().expect("it has one");
    (container.path, container.objects, container.bytes) =
        ("main.cache.shards[…].items".into(), 16, 200 << 20);
    by.name = "main.cache".to_owned();
    by.allocated.clear();
    assert_eq!(
        answer(&of_go(&made)).text(),
        "main.cache.shards[…].items is 16 values of map[string]*sync.Mutex with 3,040,000 entries in all, which hold 200.0 MiB of \
         the 250.0 MiB on the heap (main.cache in all 240.0 MiB)."
    );
}

#[test]
fn growth_by_holder() {
    let before = of_go(&held());
    let mut made = held();
    made.bytes += 30 << 20;
    made.holders[0].bytes += 29 << 20;
    made.holders[1].name = "main.other".to_owned();
    let mut now = of_go(&made);
    grown(&mut now, &before);
    let growth: Vec<Option<i64>> = now.sites.iter().map(|site| site.growth_bytes).collect();
    assert_eq!(growth, [Some(29 << 20), Some(4 << 20)]);
    let said = findings(&now);
    assert_eq!(
        said[0].text(),
        "main.locks holds 29.0 MiB more than at the first look. The heap has 30.0 MiB more in all, garbage included."
    );
}

#[test]
fn where_resident_memory_is() {
    let resident = vec![
        Resident { kind: ResidentKind::Brk, rss_bytes: 8 << 20, swap_bytes: 1 << 20 },
        Resident { kind: ResidentKind::File, rss_bytes: 9 << 20, swap_bytes: 0 },
    ];
    let why = Some("that is known of Go programs only, so far".to_owned());
    let holders = Holders { resident, unknown: why, ..Holders::default() };
    assert_eq!(
        answer(&holders).text(),
        "Resident memory: 9.0 MiB of files (code and data), 8.0 MiB of brk (the heap of C)."
    );
    assert_eq!(findings(&holders).len(), 1);
    assert!(sentences(&holders)[0].ends_with("; 1.0 MiB swapped out"), "{:?}", sentences(&holders));
}

#[test]
fn holders_without_names() {
    let site = HolderSite {
        rank: 1,
        kind: HolderKind::Runtime,
        name: None,
        used_by: Vec::new(),
        address: None,
        file: None,
        line: None,
        tasks: None,
        type_name: None,
        held_bytes: 1,
        held_objects: 1,
        growth_bytes: None,
        path: String::new(),
        container: None::<Container>,
        allocated: Vec::new(),
    };
    assert_eq!(subject(&site), "variables that no name is known of");
    assert_eq!(
        subject(&HolderSite { kind: HolderKind::Special, ..site }),
        "finalizers, cleanups and weak pointers"
    );
}

use super::merge::Part;
use super::*;
use crate::runtime::go::aggregate::{GoHeapAggregate, GoroutineSites, number_in};
use crate::runtime::go::heap_account::{GoHeap, PROFILE_METHOD, SAMPLED_METHOD};
use crate::runtime::go::synthetic::{Kind, Spec, Synthetic};
use crate::section::goroutines::build::tests::{look, seen};

fn of_two(one: &GoroutineSites, other: (bool, &GoroutineSites)) -> GoroutineSites {
    let part = |file, (late, sites)| Part { file, late, sites };
    let both = [part("/lib/one.so", (false, one)), part("/lib/other.so", other)];
    merge::goroutines(both.into_iter()).expect("two")
}

#[test]
fn equal_sites_of_two_runtimes_stay_apart() {
    let one = seen(&[look(0, &[(3, "chan receive")])]);
    let both = of_two(&one, (false, &one));
    assert_eq!((both.total, both.sites.len()), (6, 2));
    assert_ne!(both.sites[0].id, both.sites[1].id);
    assert_ne!(both.sites[0].place, both.sites[1].place);
    assert_eq!(both.growth_since_first, None, "a first look at both");
}

#[test]
fn what_came_later_has_grown_by_all_that_it_has() {
    let grown = seen(&[look(0, &[(3, "chan receive")]), look(5, &[(4, "chan receive")])]);
    let first = seen(&[look(5, &[(10, "select")])]);
    let both = of_two(&grown, (true, &first));
    assert_eq!(both.growth_since_first, Some(11));
    assert_eq!(
        both.sites.iter().map(|site| site.growth_since_first).collect::<Vec<_>>(),
        [Some(10), Some(1)]
    );
    assert_eq!(of_two(&grown, (false, &first)).growth_since_first, None, "it was not read before");
}

#[test]
fn heaps_are_told_with_how_each_was_known() {
    let heap = |method: &str, in_use| {
        let account = GoHeap { method: method.to_owned(), heap_in_use_bytes: in_use, ..GoHeap::default() };
        GoHeapAggregate::default().snapshot(account)
    };
    let (profiled, sampled) = (heap(PROFILE_METHOD, 1000), heap(SAMPLED_METHOD, 200));
    let both = merge::heap([("/lib/one.so", &profiled), ("/lib/other.so", &sampled)].into_iter());
    let both = both.expect("two").heap;
    assert_eq!((both.heap_in_use_bytes, both.unsampled_bytes), (1200, 1000));
    assert!(both.method.starts_with(SAMPLED_METHOD), "{}", both.method);
    assert!(both.method.contains("of other.so") && both.method.contains("; of one.so: "), "{}", both.method);
    let same = merge::heap([("a", &profiled), ("b", &profiled)].into_iter()).expect("two").heap;
    assert_eq!(same.method, PROFILE_METHOD);
    assert_eq!(number_in("a", 1), number_in("a", 1));
}

/// The main goroutine may have ended, and another one have taken its place.
#[test]
fn a_list_that_does_not_begin_with_the_main_goroutine() {
    let spec = |id, kind| Spec { id, kind, labels: &[] };
    let mut program = Synthetic::with(
        27,
        &[spec(40, Kind::Waits("main.worker")), spec(2, Kind::System), spec(41, Kind::Waits("main.worker"))],
    );
    assert!(program.open().expect("a program").all_goroutines().is_err(), "none is the runtime's first");
    let second = program.addresses_of("g").nth(1).expect("three");
    let start = second + program.layout.start as u64;
    program.set(start, crate::runtime::go::synthetic::code("runtime.main", 0));
    program.open().expect("a program").all_goroutines().expect("the list");
}

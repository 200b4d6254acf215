use super::*;
use crate::export::table::tests::samples;
use crate::report::model::*;

fn profile(report: &Report, kind: ProfileKind) -> Profile<'_> {
    Profile::of(report, kind).expect("a profile")
}

#[test]
fn a_heap_adds_up() {
    let report = samples::heap();
    for kind in [ProfileKind::Heap, ProfileKind::Allocs] {
        let profile = profile(&report, kind);
        assert_eq!(profile.totals(), [20_800, 2_080_020, 10_400, 1_040_010]);
        let live = kind == ProfileKind::Heap;
        assert_eq!(profile.samples[0].weight, if live { 1_000_000 } else { 2_000_000 });
        assert_eq!(profile.samples[1].cut, None, "it never arrived, which is no reason");
    }
    assert_eq!(ProfileKind::of(&report), Some(ProfileKind::Heap));
    let profile = profile(&report, ProfileKind::Heap);
    assert_eq!(
        profile.comments[0],
        "leakscope 0.1.0: bank (PID 4711) since 2026-11-23T03:00:00.887914Z, watched for 10.0 s"
    );
    assert_eq!(profile.comments[2], "malloc: not exact, every call was counted");
    assert!(profile.comments[3].starts_with("lost: 3 x heap.live_full: "), "{:?}", profile.comments);
    assert_eq!((profile.started_ns(), profile.duration_ns()), (1_795_402_800_887_914_000, 10_000_000_000));
}

/// Waits that ended and those that go on.
#[test]
fn waits_are_counted_with_their_threads() {
    let report = samples::attached();
    let waits = report.waits.as_ref().expect("waits");
    let block = profile(&report, ProfileKind::Block);
    let ended: u64 = waits.sites.iter().filter_map(|s| s.waits).sum();
    let ended_ns: u64 = waits.sites.iter().filter_map(|s| s.wait_ns).sum();
    let open_ns: u64 = waits.sites.iter().flat_map(|s| &s.threads).filter_map(|t| t.blocked_ns).sum();
    assert_eq!(block.totals(), [ended + waits.blocked_now, ended_ns + open_ns, 0, 0]);
    let labelled = block.samples.iter().find(|s| s.labels.iter().any(|l| l.0 == "lock")).expect("a lock");
    let labels: Vec<String> = labelled.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(labels.join(" "), "kind=mutex operation=futex thread=req-1 lock=0x55d0c0de1040");
    assert!(block.samples.iter().any(|s| s.idle && s.labels.contains(&("idle", "true".into()))));
    let weight: u64 = block.stacks().map(|stack| stack.weight).sum();
    assert_eq!(weight, waits.blocked_now);
    assert_eq!(block.stacks().count(), waits.sites.len());
    let mutex = profile(&report, ProfileKind::Mutex);
    assert_eq!(mutex.totals()[0], 12);
}

/// The samples of the mutex profile, as `values what`.
fn contention(report: &Report) -> Vec<String> {
    let profile = profile(report, ProfileKind::Mutex);
    let told = profile.samples.iter().map(|sample| {
        let [n, ns, ..] = sample.values;
        let leaf = sample.frames.first().and_then(|frame| frame.function.as_deref());
        let what: Vec<&str> = leaf.into_iter().chain(sample.note.as_deref()).collect();
        format!("{n} {ns} {}", what.join(" "))
    });
    told.collect()
}

/// Waits that ended are charged to who held the lock, and what nobody is known to have held is told as such.
#[test]
fn contention_is_charged_to_holders() {
    let mut report = samples::attached();
    let waits = report.waits.as_mut().expect("waits");
    (waits.sites[0].waits, waits.sites[0].wait_ns) = (Some(100), Some(5_000));
    (waits.sites[0].threads, waits.sites[0].blocked_now) = (Vec::new(), 0);
    let holder = |by, comm: Option<&str>, contentions, wait_ns| LockHolder {
        holder_id: String::new(),
        rank: 0,
        kind: WaitKind::Mutex,
        wait_ns: 0,
        contentions: 0,
        by,
        comm: comm.map(str::to_owned),
        waiters: vec![HeldUp { site_id: waits.sites[0].site_id.clone(), wait_ns, contentions }],
        stack: samples::whole(samples::stack("pthread_mutex_unlock", "append_log", 40)),
    };
    let mut holders = vec![
        holder(WakerKind::Thread, None, 90, 4_000),
        holder(WakerKind::OtherProcess, Some("peer"), 5, 500),
        holder(WakerKind::TimerOrInterrupt, None, 2, 300),
    ];
    holders[1..].iter_mut().for_each(|holder| holder.stack = crate::section::stack::Stack::default());
    holders.iter_mut().for_each(LockHolder::add_up);
    waits.lock_holders = holders;
    let ended = [
        "90 4000 pthread_mutex_unlock",
        "5 500 another process: peer",
        "2 300 holder not known: a timer or an interrupt ended the wait",
        "3 200 holder not known: its release was not seen",
    ];
    assert_eq!(contention(&report), ended);

    let hot = samples::hot_mutex();
    assert!(
        contention(&hot).iter().all(|sample| sample.ends_with(" pthread_mutex_lock")),
        "nothing was traced"
    );
    let mut traced = samples::attached();
    traced.waits.as_mut().expect("waits").lock_holders.clear();
    let open = contention(&traced);
    assert!(open.iter().all(|sample| sample.ends_with(" pthread_mutex_lock still waiting")), "{open:?}");
}

#[test]
fn a_census_counts_all_threads() {
    let mut report = samples::hot_mutex();
    assert_eq!(ProfileKind::of(&report), Some(ProfileKind::Block));
    let waits = report.waits.as_mut().expect("waits");
    waits.threads += 2;
    waits.blocked_now += 1;
    let total = waits.threads;
    let all = profile(&report, ProfileKind::Goroutine);
    assert_eq!(all.totals()[0], total);
    let notes: Vec<&str> = all.samples.iter().filter_map(|s| s.note.as_deref()).collect();
    assert_eq!(notes, ["running, or about to", "blocked, stack not captured"]);
}

/// The runtime's own goroutines are left out; what differs in state alone is one.
#[test]
fn goroutines_are_grouped_as_go_does() {
    let mut report = samples::empty(0);
    report.goroutines = Some(crate::section::goroutines::build::tests::section(&[
        crate::section::goroutines::build::tests::look(0, &[(500, "chan receive"), (600, "IO wait")]),
    ]));
    let all = report.goroutines.as_mut().expect("goroutines");
    all.sites[0].labels = Some([("tenant".to_owned(), "a".to_owned())].into());
    let mut same = all.sites[0].clone();
    (same.state, same.count) = ("runnable".to_owned(), 3);
    all.sites.push(same);
    all.total += 3;
    let total = all.total;
    let profile = profile(&report, ProfileKind::Goroutine);
    assert_eq!(profile.totals()[0], total);
    assert_eq!(profile.samples.len(), 2);
    assert_eq!(profile.samples[0].labels, [("tenant", "a".into())]);
    assert_eq!(ProfileKind::of(&report), Some(ProfileKind::Goroutine));
}

#[test]
fn created_threads_add_up() {
    let report = samples::attached();
    let profile = profile(&report, ProfileKind::Threadcreate);
    assert_eq!(profile.totals()[0], report.threads.as_ref().expect("threads").created);
}

#[test]
fn what_was_not_traced_has_no_profile() {
    let report = samples::idle();
    let refused = Profile::of(&report, ProfileKind::Heap).expect_err("no heap");
    assert_eq!(
        refused.to_string(),
        "the report of bank (PID 4711) has no heap profile: the heap was not traced"
    );
    assert!(Profile::of(&report, ProfileKind::Threadcreate).is_err());
    assert!(Profile::of(&samples::heap(), ProfileKind::Block).is_err());
    assert!(Profile::of(&samples::heap(), ProfileKind::Goroutine).is_err());
    assert_eq!(ProfileKind::of(&samples::empty(0)), None);
}

/// Numbers at their ends make no sum overflow.
#[test]
fn sums_stay_in_range() {
    let mut report = samples::attached();
    for site in &mut report.waits.as_mut().expect("waits").sites {
        (site.waits, site.wait_ns, site.blocked_now) = (Some(u64::MAX), Some(u64::MAX), u64::MAX);
    }
    for kind in [ProfileKind::Block, ProfileKind::Mutex, ProfileKind::Goroutine] {
        let profile = profile(&report, kind);
        assert_eq!(profile.totals()[0], u64::MAX);
        assert_eq!(profile.stacks().map(|stack| stack.weight).max(), Some(u64::MAX));
    }
}

/// Of two reports, what both hold.
#[test]
fn profiles_of_both() {
    let (heap, waits) = (samples::heap(), samples::deadlock());
    assert_eq!(ProfileKind::of_all(&[&heap, &waits]), None);
    let mut both = samples::deadlock();
    both.heap.clone_from(&heap.heap);
    assert_eq!(ProfileKind::of_all(&[&both, &waits]), Some(ProfileKind::Block));
    assert_eq!(ProfileKind::of_all(&[&waits, &both]), Some(ProfileKind::Block));
    assert_eq!(ProfileKind::of_all(&[&heap, &both]), Some(ProfileKind::Heap));
    for report in [&heap, &waits, &both] {
        for kind in ProfileKind::ALL {
            assert_eq!(Profile::of(report, kind).is_ok(), kind.is_in(report), "{}", kind.name());
        }
    }
}

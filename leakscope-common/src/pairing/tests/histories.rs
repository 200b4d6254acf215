//! Random histories of a program: the account is compared with the model after every step.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};

use super::program::{Asked, Program, Step};
use super::stack::Look;
use crate::counter::{Loss, Tally};

/// What is counted by both.
const COUNTED: [u32; 14] = [
    Loss::LiveFull as u32,
    Loss::InflightFull as u32,
    Loss::CallAbandoned as u32,
    Loss::FreeMissed as u32,
    Loss::OutUnreadable as u32,
    Loss::SizeOverflow as u32,
    Loss::FreeFailed as u32,
    Tally::UnknownFrees as u32,
    Tally::NestedCalls as u32,
    Tally::FailedCalls as u32,
    Tally::EarlyReturns as u32,
    Tally::FreedObjects as u32,
    Tally::CallUnwound as u32,
    Loss::NestingUnsure as u32,
];

/// What a program does, and where.
#[derive(Clone, Debug)]
struct History {
    threads: u32,
    room: usize,
    trampolines: bool,
    steps: Vec<(usize, Step)>,
}

/// How far the account was compared.
enum Compared {
    ToTheEnd(Program),
    /// To a call of which it is not sure whose it is, as it has counted.
    ToDoubt(Program),
}

/// Runs a history, all of whose threads end.
fn run(history: &History) -> Result<Compared, TestCaseError> {
    let mut program = Program::new(history.threads, history.room, history.trampolines);
    let threads = program.threads();
    let returns = std::iter::repeat_n(Step::Return { outcome: 3, block: 0 }, 30);
    let ends = (0..threads).flat_map(|t| returns.clone().chain([Step::End]).map(move |step| (t, step)));
    let last = history.steps.iter().copied().chain((0..threads).map(|t| (t, Step::End))).chain(ends);
    for (thread, step) in last {
        program.step(thread, step);
        if program.machine.lost(Loss::NestingUnsure) != 0 {
            return Ok(Compared::ToDoubt(program));
        }
        if program.is_settled() {
            compare(&program)?;
        }
    }
    prop_assert!(program.machine.calls.values().all(|calls| calls.depth == 0));
    compare(&program)?;
    Ok(Compared::ToTheEnd(program))
}

/// The account is what the model says.
fn compare(program: &Program) -> Result<(), TestCaseError> {
    let (books, truth) = (&program.machine.books, &program.truth);
    prop_assert_eq!(&books.live, &truth.live);
    for site in books.sites.keys().chain(truth.sites.keys()) {
        let of = |sites: &std::collections::HashMap<_, _>| sites.get(site).copied().unwrap_or_default();
        prop_assert_eq!(of(&books.sites), of(&truth.sites), "site {}", site);
    }
    for what in COUNTED {
        let expected = truth.counted.get(&what).copied().unwrap_or(0);
        prop_assert_eq!(books.counters[what as usize], expected, "counter {}", what);
    }
    Ok(())
}

fn looks(partial: bool) -> BoxedStrategy<Look> {
    if !partial {
        return Just(Look::WHOLE).boxed();
    }
    let by_rows = (1u8..6).prop_map(|steps| Look { steps: Some(steps), ..Look::WHOLE });
    let frame_pointers = (prop::option::of(1u8..9), 1u8..4, any::<u16>())
        .prop_map(|(steps, from, passed_by)| Look { steps, frame_pointers: Some(from), passed_by });
    prop_oneof![Just(Look::WHOLE), by_rows, frame_pointers].boxed()
}

fn calls(partial: bool) -> impl Strategy<Value = Step> + Clone {
    let size = prop_oneof![8 => 1u16..1000, 1 => Just(0u16), 1 => Just(u16::MAX)];
    let parts = (0usize..8, size, any::<usize>(), 0u64..4, any::<u8>(), any::<bool>(), looks(partial));
    parts.prop_map(|(function, size, block, site, locals, tail, look)| {
        Step::Call(Asked { function, size, block, site, locals, tail, look })
    })
}

/// What a thread does in a row.
fn steps(partial: bool) -> impl Strategy<Value = Vec<Step>> {
    let interrupted = prop::collection::vec(calls(partial), 1..5)
        .prop_map(|calls| calls.into_iter().flat_map(|call| [call, Step::Signal]).collect());
    let one = prop_oneof![
        10 => calls(partial),
        10 => (any::<u8>(), 0u64..14).prop_map(|(outcome, block)| Step::Return { outcome, block }),
        3 => any::<u8>().prop_map(|locals| Step::Function { locals }),
        2 => Just(Step::Signal),
        2 => (0usize..8).prop_map(|to| Step::Jump { to }),
        4 => any::<usize>().prop_map(|block| Step::Free { block }),
        1 => Just(Step::End),
    ];
    prop_oneof![12 => one.prop_map(|step| vec![step]), 1 => interrupted]
}

fn histories(room: std::ops::Range<usize>, partial: bool) -> impl Strategy<Value = History> {
    let steps = prop::collection::vec((0usize..3, steps(partial)), 1..60).prop_map(|rows| {
        rows.into_iter()
            .flat_map(|(thread, steps)| steps.into_iter().map(move |step| (thread, step)))
            .collect()
    });
    (1u32..4, room, any::<bool>(), steps).prop_map(|(threads, room, trampolines, steps)| History {
        threads,
        room,
        trampolines,
        steps,
    })
}

proptest! {
    #![proptest_config(Config { cases: 1500, failure_persistence: None, ..Config::default() })]

    #[test]
    fn the_account_is_the_truth_where_stacks_are_whole(history in histories(100..101, false)) {
        let Compared::ToTheEnd(_) = run(&history)? else {
            return Err(TestCaseError::fail("a whole stack leaves no doubt"));
        };
    }

    #[test]
    fn the_account_is_the_truth_or_says_that_it_is_unsure(history in histories(100..101, true)) {
        run(&history)?;
    }

    #[test]
    fn a_full_map_loses_what_it_counts_and_nothing_else(history in histories(0..5, false)) {
        run(&history)?;
    }
}

#[test]
fn histories_come_to_every_rule() {
    let mut runner = TestRunner::deterministic();
    let mut counted = [0; 64];
    let (mut to_the_end, mut to_doubt) = (0, 0);
    for (room, partial) in [(100, false), (100, true), (2, false)] {
        for _ in 0..300 {
            let history = histories(room..room + 1, partial).new_tree(&mut runner).unwrap().current();
            let program = match run(&history).unwrap() {
                Compared::ToTheEnd(program) => {
                    to_the_end += 1;
                    program
                }
                Compared::ToDoubt(program) => {
                    to_doubt += 1;
                    program
                }
            };
            counted.iter_mut().zip(program.machine.books.counters).for_each(|(sum, n)| *sum += n);
        }
    }
    // No free goes past the allocator, and no map fails to remove.
    let never = [Loss::FreeMissed as u32, Loss::FreeFailed as u32];
    for what in COUNTED.into_iter().filter(|what| !never.contains(what)) {
        assert!(counted[what as usize] >= 10, "counter {what}: {}", counted[what as usize]);
    }
    assert!(to_the_end > 700 && to_doubt > 20, "{to_the_end} to the end, {to_doubt} to a doubt");
}

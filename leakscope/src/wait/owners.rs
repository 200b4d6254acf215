//! Who holds a lock that does not tell.
//!
//! A thread that holds a lock has a reference to it: a guard on its stack, or the argument of the function that took
//! it. So has many an innocent one: who made the lock, who lends it to others, who is done with it. A guess is
//! made only where nobody runs, every stack is whole, and just one stack besides those of the waiters points to the
//! lock: from a frame of the program's, not because the lock lies in that stack itself, and not in a thread that waits
//! for others to end, to which it may have lent the lock.

use std::collections::HashSet;
use std::ops::Range;

use crate::human::{count, counted};

/// How an owner was inferred, for the report.
pub const METHOD: &str = "inferred: nobody runs, and of the threads that do not wait for the lock, only this one's \
                          stack points to it, from the program's own code";
/// The same of an initialisation.
pub const INITIALISES: &str = "inferred: only this thread's stack is in an initialisation that runs once";
/// The same of a readers-writer lock.
pub const READS: &str = "inferred: one reader holds the lock, nobody runs, no other thread's stack points to it, and \
                         this one's stack points to what the lock guards";
/// The same of a lock of the allocator.
pub const INTERRUPTED: &str =
    "inferred: a signal has interrupted it in the allocator, and its handler calls that again";

/// Running threads that are named.
const NAMED: usize = 3;

/// A thread, as far as it may hold a lock.
#[derive(Clone, Debug, Default)]
pub struct Suspect {
    pub tid: u32,
    /// Whether its stack is known to its first function.
    pub whole: bool,
    /// If it runs: who it is, and where it was found.
    pub runs: Option<String>,
    /// Futexes that it points to, and whether from where a guard may be.
    pub points_to: Vec<(u64, bool)>,
    /// The addresses of its live stack.
    pub live: Range<u64>,
    /// Whether it is in an initialisation that runs once.
    pub initialises: bool,
    /// Whether it waits for a thread to end: it has lent that what it owns.
    pub joins: bool,
}

/// What is known of a lock whose owner is not stored.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// Its futexes.
    pub words: &'a [u64],
    /// Who waits for it.
    pub waiters: &'a HashSet<u32>,
    /// Whether it is of an initialisation that runs once.
    pub once: bool,
    /// If one reader holds it: the waiter that is so by its own fault, if it is one.
    pub reads: Option<u32>,
}

/// What the stacks say about a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inference {
    /// This thread holds it, as this method says.
    Holder(u32, &'static str),
    /// It is not known, for this reason.
    Unknown(String),
}

/// Says who holds a lock, or why that is not known.
pub fn holder(suspects: &[Suspect], question: &Question<'_>) -> Inference {
    let others = || suspects.iter().filter(|suspect| !question.waiters.contains(&suspect.tid));
    if question.once {
        return initialiser(suspects);
    }
    if let Some(reason) = cannot_tell(others()) {
        return Inference::Unknown(reason);
    }
    let points =
        |suspect: &&Suspect| suspect.points_to.iter().any(|(futex, _)| question.words.contains(futex));
    let mut pointing = others().filter(points);
    match (pointing.next(), pointing.count()) {
        (None, _) => match question.reads {
            Some(tid) => Inference::Holder(tid, READS),
            None => Inference::Unknown(
                "no other thread's stack points to it; one that waits may hold it itself".to_owned(),
            ),
        },
        (Some(only), 0) if question.reads.is_some() => Inference::Unknown(format!(
            "it may be one of those that wait, or thread {}, whose stack points to it",
            only.tid
        )),
        (Some(only), 0) => one_points(only, question),
        (Some(_), more) => {
            Inference::Unknown(format!("the stacks of {} other threads point to it", more + 1))
        }
    }
}

fn one_points(only: &Suspect, question: &Question<'_>) -> Inference {
    let unknown = |why: String| Inference::Unknown(why);
    if question.words.iter().any(|word| only.live.contains(word)) {
        return unknown(format!("it lies in the stack of thread {}, which need not hold it", only.tid));
    }
    if only.joins {
        let tid = only.tid;
        return unknown(format!(
            "only the stack of thread {tid} points to it, which waits for a thread to end"
        ));
    }
    let holds = only.points_to.iter().any(|(futex, may_hold)| *may_hold && question.words.contains(futex));
    if holds {
        Inference::Holder(only.tid, METHOD)
    } else {
        unknown(format!("only a library's part of the stack of thread {} points to it", only.tid))
    }
}

fn initialiser(suspects: &[Suspect]) -> Inference {
    let mut found = suspects.iter().filter(|suspect| suspect.initialises);
    match (found.next(), found.count()) {
        (Some(only), 0) => Inference::Holder(only.tid, INITIALISES),
        (None, _) => Inference::Unknown("nothing shows who runs it".to_owned()),
        (Some(_), more) => Inference::Unknown(format!("the stacks of {} threads are in such ones", more + 1)),
    }
}

/// Why the stacks cannot tell.
fn cannot_tell<'a>(others: impl Iterator<Item = &'a Suspect> + Clone) -> Option<String> {
    let running: Vec<&str> = others.clone().filter_map(|suspect| suspect.runs.as_deref()).collect();
    if !running.is_empty() {
        let named = running[..running.len().min(NAMED)].join(", ");
        let more = running.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {} more", count(more as u64)) } else { String::new() };
        let (run, it) = if running.len() == 1 { ("runs", "it") } else { ("run", "one of them") };
        let threads = counted(running.len() as u64, "thread");
        return Some(format!("{threads} {run}, and {it} may hold it: {named}{more}"));
    }
    let cut = others.filter(|suspect| !suspect.whole).count() as u64;
    let are = if cut == 1 { "the stack of another thread is" } else { "the stacks of other threads are" };
    (cut > 0).then(|| format!("{are} not whole"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suspect(tid: u32, points_to: &[u64]) -> Suspect {
        let points_to = points_to.iter().map(|&futex| (futex, true)).collect();
        Suspect { tid, whole: true, points_to, ..Suspect::default() }
    }

    fn ask(suspects: &[Suspect], waiters: &[u32]) -> Inference {
        let waiters: HashSet<u32> = waiters.iter().copied().collect();
        holder(suspects, &Question { words: &[0x10], waiters: &waiters, once: false, reads: None })
    }

    #[track_caller]
    fn assert_unknown(inference: &Inference, why: &str) {
        assert!(matches!(inference, Inference::Unknown(text) if text.contains(why)), "{inference:?}");
    }

    #[test]
    fn one_that_does_not_wait() {
        let all = [suspect(1, &[0x10]), suspect(2, &[0x10]), suspect(3, &[0x20])];
        assert_eq!(ask(&all, &[2]), Inference::Holder(1, METHOD));
        assert_unknown(&ask(&all, &[3]), "2 other threads");
        assert_unknown(&ask(&all[2..], &[2]), "no other thread's stack");
    }

    #[test]
    fn who_runs_may_hold_it() {
        let runs = Suspect { runs: Some("4711 \"busy\"".to_owned()), ..suspect(4711, &[]) };
        assert_unknown(
            &ask(&[suspect(1, &[0x10]), runs], &[2]),
            "1 thread runs, and it may hold it: 4711 \"busy\"",
        );
    }

    #[test]
    fn a_stack_that_is_cut_hides_a_holder() {
        let cut = Suspect { whole: false, ..suspect(3, &[]) };
        assert_unknown(&ask(&[suspect(1, &[0x10]), cut.clone()], &[2]), "not whole");
        assert_eq!(ask(&[suspect(1, &[0x10]), cut], &[3]), Inference::Holder(1, METHOD), "a waiter's own");
    }

    #[test]
    fn who_made_the_lock_need_not_hold_it() {
        let owns = Suspect { live: 0x8..0x20, ..suspect(1, &[0x10]) };
        assert_unknown(&ask(&[owns], &[2]), "lies in the stack of thread 1");
        let lends = Suspect { joins: true, ..suspect(1, &[0x10]) };
        assert_unknown(&ask(&[lends], &[2]), "waits for a thread to end");
        let library = Suspect { points_to: vec![(0x10, false)], ..suspect(1, &[]) };
        assert_unknown(&ask(&[library], &[2]), "library");
    }

    #[test]
    fn initialisations_and_readers() {
        let waiters = HashSet::from([1]);
        let question = Question { words: &[0x10], waiters: &waiters, once: true, reads: None };
        let own = Suspect { initialises: true, ..suspect(1, &[]) };
        assert_eq!(holder(std::slice::from_ref(&own), &question), Inference::Holder(1, INITIALISES));
        assert_unknown(
            &holder(&[own, Suspect { initialises: true, ..suspect(2, &[]) }], &question),
            "2 threads",
        );
        assert_unknown(&holder(&[suspect(2, &[])], &question), "nothing shows");
        let question = Question { once: false, reads: Some(1), ..question };
        assert_eq!(holder(&[suspect(1, &[0x10])], &question), Inference::Holder(1, READS));
        assert_unknown(&holder(&[suspect(2, &[0x10])], &question), "or thread 2, whose stack");
        assert_unknown(&holder(&[suspect(2, &[0x10]), suspect(3, &[0x10])], &question), "2 other threads");
    }
}

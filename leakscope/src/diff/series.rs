//! Reports of one series taken as one: the last, with its growth since the first.

use super::model::grow;
use super::program;
use crate::report::Report;
use crate::report::model::Summary;
use crate::report::words::ReportSaid;
use crate::section::finding::{Code, Finding};
use crate::section::{Between, Retold};

/// Puts what `last` has more than `first` into the growth of its totals and sites. Says in its findings
/// since when; or why there is no such growth.
pub fn grow_since(first: &Report, last: &mut Report) {
    if !program::same(first, last) {
        last.summary.last(ReportSaid::OtherProgram {});
        return;
    }
    let separate_windows = program::separate_windows(first, last);
    let between = Between { ns: program::between(first, last), separate_windows };
    for retold in grow(first, last, between) {
        say(&mut last.summary, retold);
    }
    last.summary.last(ReportSaid::GrowthSince {
        pid: first.target.pid,
        started_at: first.window.started_at.clone(),
        duration_ns: first.window.duration_ns,
        heap_apart: separate_windows && last.heap.is_some(),
    });
}

/// Puts new findings in the place of those of the same section: an answer comes before all else, that all is calm
/// where something was told before, the others behind the headline.
///
/// Those that are there are known by their codes. Sentences of reports that have no codes are only compared with
/// what would be told today.
fn say(summary: &mut Summary, retold: Retold) {
    let Retold { replaces, told, answer, calm, more } = retold;
    let replaced = |said: &Finding| match &said.code {
        code if *code == Code::UNNAMED => told.iter().any(|text| alike(text, &said.text)),
        code => replaces(code),
    };
    let was_answer = summary.answer.as_ref().is_some_and(replaced);
    let first = summary.details.iter().position(replaced);
    summary.details.retain(|said| !replaced(said));
    match answer {
        Some(answer) => {
            let second = summary.answer.replace(answer).filter(|_| !was_answer);
            summary.first(more.into_iter().chain(second));
        }
        None if was_answer => summary.answer = Some(calm),
        None => {
            if let Some(at) = first {
                summary.details.insert(at.min(summary.details.len()), calm);
            }
        }
    }
}

/// Whether two sentences say the same but for a word or a number in five, as versions of leakscope differ.
fn alike(a: &str, b: &str) -> bool {
    let (a, b): (Vec<&str>, Vec<&str>) = (a.split(' ').collect(), b.split(' ').collect());
    let mut left = b.clone();
    let common = a.iter().filter(|word| {
        let at = left.iter().position(|other| other == *word);
        at.map(|at| left.swap_remove(at)).is_some()
    });
    common.count() * 5 >= a.len().max(b.len()) * 4
}

//! Two profiles as one: what the new one has more than the old one.

use std::borrow::Cow;

use super::{NoProfile, Profile, ProfileKind, Sample};
use crate::diff;
use crate::report::Report;
use crate::section::key::{Frames, Keys, StackKey};
use crate::section::pairs::{Pair, matched};

/// Labels that differ from run to run: of samples that differ in no other, the sums are compared.
const OF_A_RUN: [&str; 2] = ["thread", "lock"];

/// What tells samples apart, in any build and run.
type Key = (StackKey, Option<String>, Vec<(String, String)>);

impl<'a> Profile<'a> {
    /// The new report's samples with those of the old one as their base: stacks are matched as
    /// [`crate::diff`] does, and what only the old report has is a sample with a base alone.
    pub fn difference(old: &'a Report, new: &'a Report, kind: ProfileKind) -> Result<Self, NoProfile> {
        let mut keys = diff::keys(old, new);
        let mut base = Profile::of(old, kind)?;
        let mut profile = Profile::of(new, kind)?;
        for sample in profile.samples.iter_mut().chain(&mut base.samples) {
            sample.labels.retain(|(key, _)| !OF_A_RUN.contains(key));
        }
        let pairs = matched(&base.samples, &profile.samples, |sample, which| key(sample, &mut keys, which));
        let samples = pairs.iter().map(sum).collect();
        let told = |which: &'static str| move |text: String| format!("{which}: {text}");
        let comments = std::mem::take(&mut profile.comments).into_iter().map(told("new"));
        profile.comments = vec!["values are those of the new report less those of the old one".to_owned()];
        profile.comments.extend(comments);
        profile.comments.extend(base.comments.into_iter().map(told("old")));
        profile.samples = samples;
        profile.compared = true;
        Ok(profile)
    }
}

/// A sample for all samples of a pair.
fn sum<'a>(pair: &Pair<'_, Sample<'a>>) -> Sample<'a> {
    let total = |samples: &[&Sample<'_>]| {
        samples.iter().fold([0u64; 4], |mut sums, sample| {
            sums.iter_mut().zip(sample.values).for_each(|(sum, n)| *sum = sum.saturating_add(n));
            sums
        })
    };
    let weight = pair.new.iter().fold(0u64, |sum, sample| sum.saturating_add(sample.weight));
    Sample { values: total(&pair.new), base: total(&pair.old), weight, ..pair.shown().clone() }
}

fn key<'a>(sample: &Sample<'a>, keys: &mut Keys<'a>, which: Frames) -> Key {
    let labels = sample.labels.iter().map(|(key, value)| ((*key).to_owned(), value.clone().into_owned()));
    let note = sample.note.as_ref().map(|note: &Cow<'_, str>| note.clone().into_owned());
    (keys.frames(sample.frames, which), note, labels.collect())
}

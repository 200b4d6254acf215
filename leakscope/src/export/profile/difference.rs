//! Two profiles as one: what the new one has more than the old one.

use std::borrow::Cow;
use std::collections::HashMap;

use super::{NoProfile, Profile, ProfileKind, Sample};
use crate::diff::key::{Frames, Keys, StackKey};
use crate::report::Report;

/// Labels that differ from run to run: of samples that differ in no other, the sums are compared.
const OF_A_RUN: [&str; 2] = ["thread", "lock"];

/// What tells samples apart, in any build and run.
type Key = (StackKey, Option<String>, Vec<(String, String)>);

impl<'a> Profile<'a> {
    /// The new report's samples with those of the old one as their base: stacks are matched as
    /// [`crate::diff`] does, and what only the old report has is a sample with a base alone.
    pub fn difference(old: &'a Report, new: &'a Report, kind: ProfileKind) -> Result<Self, NoProfile> {
        let mut keys = Keys::new(old, new);
        let mut known: HashMap<Key, usize> = HashMap::new();
        let base = Profile::of(old, kind)?;
        let mut profile = Profile::of(new, kind)?;
        let of_new = profile.samples.len();
        let mut samples: Vec<Sample<'a>> = Vec::new();
        for (i, mut sample) in
            std::mem::take(&mut profile.samples).into_iter().chain(base.samples).enumerate()
        {
            sample.labels.retain(|(key, _)| !OF_A_RUN.contains(key));
            let at = *known.entry(key(&sample, &mut keys)).or_insert_with(|| {
                samples.push(Sample { values: [0; 4], base: [0; 4], weight: 0, ..sample.clone() });
                samples.len() - 1
            });
            let is_new = i < of_new;
            let sums = if is_new { &mut samples[at].values } else { &mut samples[at].base };
            sums.iter_mut().zip(sample.values).for_each(|(sum, n)| *sum = sum.saturating_add(n));
            if is_new {
                samples[at].weight = samples[at].weight.saturating_add(sample.weight);
            }
        }
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

fn key<'a>(sample: &Sample<'a>, keys: &mut Keys<'a>) -> Key {
    let labels = sample.labels.iter().map(|(key, value)| ((*key).to_owned(), value.clone().into_owned()));
    let note = sample.note.as_ref().map(|note: &Cow<'_, str>| note.clone().into_owned());
    (keys.stack(sample.frames, None, Frames::All), note, labels.collect())
}

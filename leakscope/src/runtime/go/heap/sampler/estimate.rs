//! What sites hold, by the samples that were kept.
//!
//! The estimate of a site is the sum of the weights of its live samples. Its variance is that of draws
//! with unequal weights: each batch of a size class is the site's with the share that the site has among
//! the class's batches, and is kept with a chance that is known.

use std::collections::HashMap;

use super::super::QUANTILE;
use super::{FIRST_SMALL, Sampler};

/// What a stack holds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// Bytes in objects that have survived a collection.
    pub live_bytes: u64,
    /// Such objects.
    pub live_objects: u64,
    /// Bounds of `live_bytes` with a confidence of 95 %.
    pub bounds: (u64, u64),
    /// Samples that `live_bytes` is made from.
    pub samples: u64,
    /// Bytes allocated since recording began.
    pub alloc_bytes: u64,
    pub alloc_objects: u64,
    /// Bytes in objects that no collection has looked at yet: live or not.
    pub young_bytes: u64,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Estimates {
    /// By stack; `None`: the stack could not be taken.
    pub sites: Vec<(Option<u32>, Estimate)>,
    /// Half the width of the interval around the sum of live bytes.
    pub error_bytes: u64,
    /// Batches that were seen.
    pub batches: u64,
    /// Collections that were followed.
    pub collections: u64,
    /// Batches that make no sense, or whose first object is not known.
    pub odd: u64,
    /// The most batches that one sample stands for.
    pub one_in: u64,
}

impl Sampler {
    /// What is known now.
    pub fn estimates(&self) -> Estimates {
        let mut sites: HashMap<Option<u32>, Estimate> = HashMap::new();
        let mut strata: HashMap<(Option<u32>, u8), Stratum> = HashMap::new();
        let mut least: HashMap<Option<u32>, u64> = HashMap::new();
        for sample in self.samples.iter().filter(|sample| !sample.dead) {
            let site = sites.entry(sample.stack).or_default();
            let (objects, bytes) = sample.weight();
            site.alloc_bytes = site.alloc_bytes.saturating_add(bytes);
            site.alloc_objects = site.alloc_objects.saturating_add(objects);
            if !sample.is_live() {
                site.young_bytes = site.young_bytes.saturating_add(bytes);
                continue;
            }
            site.live_bytes = site.live_bytes.saturating_add(bytes);
            site.live_objects = site.live_objects.saturating_add(objects);
            site.samples += 1;
            let least = least.entry(sample.stack).or_insert(0u64);
            *least = least.saturating_add(sample.size);
            let square = (bytes as f64).powi(2);
            let stratum = strata.entry((sample.stack, sample.class)).or_default();
            stratum.samples += 1;
            stratum.batches += sample.factor;
            stratum.squares += square;
            stratum.drawn += square / sample.factor as f64;
        }
        for (stack, (bytes, objects)) in &self.allocated {
            let site = sites.entry(*stack).or_default();
            site.alloc_bytes = site.alloc_bytes.saturating_add(*bytes);
            site.alloc_objects = site.alloc_objects.saturating_add(*objects);
        }
        let mut variances: HashMap<Option<u32>, f64> = HashMap::new();
        let mut total = 0.0;
        for ((stack, class), stratum) in strata {
            let of = self.classes.get(&class).copied().unwrap_or(0).max(stratum.batches);
            let variance = stratum.variance(class, of);
            total += variance;
            *variances.entry(stack).or_insert(0.0) += variance;
        }
        let mut sites: Vec<_> = sites.into_iter().collect();
        for (stack, site) in &mut sites {
            let half = QUANTILE * variances.get(stack).copied().unwrap_or(0.0).sqrt();
            let low = site.live_bytes.saturating_sub(half as u64);
            let seen = least.get(stack).copied().unwrap_or(0).min(site.live_bytes);
            site.bounds = (low.max(seen), site.live_bytes.saturating_add(half.ceil() as u64));
        }
        sites.sort_by_key(|(stack, site)| (std::cmp::Reverse(site.live_bytes), *stack));
        Estimates {
            sites,
            error_bytes: (QUANTILE * total.sqrt()) as u64,
            batches: self.batches,
            collections: self.collections,
            odd: self.odd,
            one_in: self.samples.iter().map(|sample| sample.factor).max().unwrap_or(1),
        }
    }
}

/// The live samples of a site in a class.
#[derive(Clone, Copy, Debug, Default)]
struct Stratum {
    samples: u64,
    /// Batches that they stand for.
    batches: u64,
    /// Sum of their squared weights in bytes.
    squares: f64,
    /// The same, each divided by the batches that it stands for.
    drawn: f64,
}

impl Stratum {
    /// Variance of the sum of the weights, where the class has had `of` batches.
    ///
    /// A batch of the weight w whose share of the site's live objects is p is in the sum as w·f with the
    /// chance p/f, where f is the batches that a sample stands for: its variance is w²·p·(f−p), estimated
    /// from those in the sum by (w·f)²·(1−p/f). The shares are estimated by (count+2)/(of+4) (Agresti and
    /// Coull), so that neither 0 nor 1 is ever certain.
    fn variance(&self, class: u8, of: u64) -> f64 {
        if class < FIRST_SMALL {
            // Every large object is seen: only drawing makes it uncertain.
            return self.squares - self.drawn;
        }
        let (samples, of) = (self.samples as f64, of as f64);
        let share = ((self.batches as f64 + 2.0) / (of + 4.0)).min(1.0);
        let correction = (samples + 2.0) / samples * of / (of + 4.0);
        correction * (self.squares - share * self.drawn)
    }
}

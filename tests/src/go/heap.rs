//! The text of Go's `heap` profile.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};

use super::profile::{Frame, frame_of};

/// A record: what was sampled at one stack, of one size.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bucket {
    pub live_objects: f64,
    pub live_bytes: f64,
    /// Objects ever allocated.
    pub alloc_objects: f64,
    pub alloc_bytes: f64,
    /// What the text shows of the stack, innermost first.
    pub frames: Vec<Frame>,
}

/// `pprof.Lookup("heap")` with debug=1, as of the last collection.
#[derive(Clone, Debug, PartialEq)]
pub struct HeapProfile {
    /// Bytes between two samples.
    pub rate: u64,
    /// Estimates of the truth: the samples are scaled up as `go tool pprof` does it.
    pub buckets: Vec<Bucket>,
    /// `runtime.MemStats`, as far as it is plain numbers.
    pub stats: BTreeMap<String, u64>,
}

/// Reads the text.
///
/// # Errors
/// If it is something else.
pub fn parse(text: &str) -> Result<HeapProfile> {
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    let rate = first.strip_prefix("heap profile: ").and_then(|rest| rest.rsplit_once("@ heap/"));
    // The text says the double.
    let rate = rate.context("no heap profile")?.1.parse::<u64>()? / 2;
    let mut profile = HeapProfile { rate, buckets: Vec::new(), stats: BTreeMap::new() };
    for line in lines.filter(|line| !line.is_empty()) {
        profile.enter(line).with_context(|| line.to_owned())?;
    }
    Ok(profile)
}

impl HeapProfile {
    fn enter(&mut self, line: &str) -> Result<()> {
        if let Some(stat) = line.strip_prefix("# ") {
            if let Some((name, Ok(value))) = stat.split_once(" = ").map(|(name, v)| (name, v.parse())) {
                self.stats.insert(name.to_owned(), value);
            }
            return Ok(());
        }
        let Some(comment) = line.strip_prefix('#') else {
            self.buckets.push(Bucket::parse(line, self.rate)?);
            return Ok(());
        };
        let Some(bucket) = self.buckets.last_mut() else { bail!("a frame of no record") };
        bucket.frames.push(frame_of(comment)?);
        Ok(())
    }
}

impl Bucket {
    /// Reads `30: 12032 [41: 21946168] @ 0x4838ac 0x483a45`.
    fn parse(line: &str, rate: u64) -> Result<Self> {
        let (amounts, _) = line.split_once(" @").context("no record")?;
        let (live, allocated) = amounts.split_once(" [").context("no allocations")?;
        let (live_objects, live_bytes) = scaled(live, rate)?;
        let (alloc_objects, alloc_bytes) = scaled(allocated.trim_end_matches(']'), rate)?;
        Ok(Self { live_objects, live_bytes, alloc_objects, alloc_bytes, frames: Vec::new() })
    }
}

/// Reads `objects: bytes` and scales it by the chance that an object of this size is sampled.
fn scaled(amount: &str, rate: u64) -> Result<(f64, f64)> {
    let (objects, bytes) = amount.split_once(": ").context("no amount")?;
    let (objects, bytes): (f64, f64) = (objects.parse()?, bytes.parse()?);
    if objects == 0.0 || rate <= 1 {
        return Ok((objects, bytes));
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate is small")]
    let scale = 1.0 / (1.0 - (-(bytes / objects) / rate as f64).exp());
    Ok((objects * scale, bytes * scale))
}

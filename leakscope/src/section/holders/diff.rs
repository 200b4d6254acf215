//! What is held more or less than before.

use std::io;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::build::growths;
use super::model::{HolderKind, HolderSite, Holders};
use super::table::subject;
use super::words::HoldersSaid;
use crate::human::{bytes, signed_bytes};
use crate::layout::grid::{Grid, Row, number, text};
use crate::layout::page::{Page, Paint};
use crate::section::finding::{Finding, Said as _};
use crate::section::growth::growth;
use crate::section::key::Keys;
use crate::section::{Between, Changed, Compared, Part, Retold, Sides};

/// What a holder holds more differs by less from look to look, as the program goes on meanwhile.
const NOTABLE: i64 = 64 << 10;
/// And by less than one in so many parts.
const NOTABLE_PART: u64 = 100;

/// What holds more or less.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HoldersDiff {
    /// Objects on the heap, new less old; null unless both were read.
    pub growth_bytes: Option<i64>,
    /// Holders by how much more they hold, those first that have grown most.
    pub sites: Vec<HolderGrowth>,
    /// The same of types.
    pub types: Vec<TypeGrowth>,
}

/// A holder in two looks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HolderGrowth {
    /// The holder, in words.
    pub holder: String,
    /// What it held.
    pub old_bytes: u64,
    /// What it holds.
    pub new_bytes: u64,
    /// New less old.
    pub growth_bytes: i64,
}

/// A type in two looks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TypeGrowth {
    /// The type; null: not known.
    pub name: Option<String>,
    /// New less old.
    pub growth_bytes: i64,
}

/// What names a holder in two looks at one process.
type Key<'a> = (HolderKind, Option<&'a str>, Option<u64>, Option<&'a str>, Option<u32>);

fn key(site: &HolderSite) -> Key<'_> {
    let address = site.address.map(|address| address.0);
    (site.kind, site.name.as_deref(), address, site.file.as_deref(), site.line)
}

/// Notes how much more is held than before.
pub(super) fn grown(new: &mut Holders, old: &Holders) {
    let held = |site: &HolderSite| site.held_bytes;
    let sites = growths(
        old.sites.iter().map(|site| (key(site), held(site))),
        new.sites.iter().map(|site| (key(site), held(site))),
    );
    let types = growths(
        old.types.iter().map(|of| ((&of.name, of.pointers), of.bytes)),
        new.types.iter().map(|of| ((&of.name, of.pointers), of.bytes)),
    );
    new.sites.iter_mut().zip(sites).for_each(|(site, growth)| site.growth_bytes = Some(growth));
    new.types.iter_mut().zip(types).for_each(|(of, growth)| of.growth_bytes = Some(growth));
    if let (Some(heap), Some(before)) = (&mut new.heap, &old.heap) {
        heap.growth_bytes = Some(growth(before.live_bytes, heap.live_bytes));
    }
}

impl Compared for Holders {
    type Diff = HoldersDiff;
    const CALLED: Option<&'static str> = None;
    const CODES: &'static [&'static str] = HoldersSaid::CODES;

    fn compare<'a>(
        _: &Sides<'_>,
        old: Option<&'a Self>,
        new: Option<&'a Self>,
        _: &mut Keys<'a>,
    ) -> Option<HoldersDiff> {
        let (old, mut new) = (old?, new?.clone());
        let _ = (old.heap.as_ref()?, new.heap.as_ref()?);
        grown(&mut new, old);
        let grown = |site: &HolderSite| {
            let growth_bytes = site.growth_bytes.unwrap_or(0);
            HolderGrowth {
                holder: subject(site),
                old_bytes: site.held_bytes.saturating_add_signed(-growth_bytes),
                new_bytes: site.held_bytes,
                growth_bytes,
            }
        };
        let mut sites: Vec<HolderGrowth> = new.sites.iter().map(grown).collect();
        sites.extend(gone(old, &new));
        sites.retain(|site| site.growth_bytes != 0);
        sites.sort_by_key(|site| std::cmp::Reverse(site.growth_bytes));
        let mut types: Vec<TypeGrowth> = new
            .types
            .iter()
            .map(|of| TypeGrowth { name: of.name.clone(), growth_bytes: of.growth_bytes.unwrap_or(0) })
            .filter(|of| of.growth_bytes != 0)
            .collect();
        types.sort_by_key(|of| std::cmp::Reverse(of.growth_bytes));
        Some(HoldersDiff { growth_bytes: new.heap.and_then(|heap| heap.growth_bytes), sites, types })
    }

    fn before<'a>(_: &Sides<'_>, _: &'a Self, _: &'a Self, _: &mut Keys<'a>) -> Vec<u64> {
        Vec::new()
    }

    fn grow(&mut self, first: &Self, _: &[u64], _: Between) -> Option<Retold> {
        grown(self, first);
        None
    }
}

/// Those that hold nothing any more.
fn gone<'a>(old: &'a Holders, new: &'a Holders) -> impl Iterator<Item = HolderGrowth> + 'a {
    let still: std::collections::HashSet<Key<'_>> = new.sites.iter().map(key).collect();
    old.sites.iter().filter(move |site| !still.contains(&key(site))).map(|site| HolderGrowth {
        holder: subject(site),
        old_bytes: site.held_bytes,
        new_bytes: 0,
        growth_bytes: growth(site.held_bytes, 0),
    })
}

impl Changed for HoldersDiff {
    fn order(&self, part: Part) -> u8 {
        super::order(part)
    }

    fn print(&self, part: Part, page: &mut Page<'_>) -> io::Result<()> {
        if part != Part::Tables || self.sites.is_empty() {
            return Ok(());
        }
        let shown = page.style.shown(&self.sites);
        let row = |site: &HolderGrowth| Row {
            cells: vec![
                signed_bytes(site.growth_bytes),
                bytes(site.old_bytes),
                bytes(site.new_bytes),
                site.holder.clone(),
            ],
            paint: if site.growth_bytes > 0 { Paint::Plain } else { Paint::Dim },
        };
        let columns = vec![number("growth", 0), number("before", 1), number("now", 1), text("held by", 0)];
        let rows = shown.iter().map(row).collect();
        page.blank()?;
        Grid { columns, rows, parted: None }.draw(page)?;
        page.more(self.sites.len() - shown.len(), "holder", "")
    }

    fn finding(&self) -> Option<Finding> {
        let notable = |site: &&HolderGrowth| {
            let part = site.new_bytes / NOTABLE_PART;
            site.growth_bytes >= NOTABLE && site.growth_bytes.unsigned_abs() >= part
        };
        let most = self.sites.first().filter(notable)?;
        let (holder, growth_bytes) = (most.holder.clone(), most.growth_bytes);
        Some(HoldersSaid::GrewSince { holder, growth_bytes, all_growth_bytes: self.growth_bytes? }.into())
    }

    fn nothing(&self) -> Option<&'static str> {
        Some("no holder of the heap holds notably more")
    }
}

//! Allocations, as the probes on the allocator's functions count them.
//!
//! The kernel side pairs calls and returns (`INFLIGHT`), keeps live blocks (`LIVE`) and totals by site
//! (`SITES`). [`find`] knows which files have allocator functions, [`probes`] where these are probed,
//! [`aggregate`] what the account shows.

pub mod aggregate;
pub mod find;
pub mod probes;

pub use aggregate::{HeapAggregate, HeapSnapshot, Observation, SiteSnapshot, Sort};
pub use probes::FileProbes;

use std::collections::HashMap;
use std::ops::Range;

use leakscope_common::config::state;
use leakscope_common::heap::{LiveBlock, SiteTotals};
use serde::{Deserialize, Serialize};

use self::probes::{FunctionNumbers, sites};
use super::linker::linker_code;
use super::source::Live;
use super::{Collected, Collector, HeapGlance, Log, Moment, Placed, Scene, Source, SourceError, Wishes};
use crate::bpf::BpfError;
use crate::bpf::attach::ProbeSite;
use crate::bpf::growing::{self, Growth};
use crate::bpf::maps::MapSize;
use crate::bpf::object::{Load, Object};
use crate::losses;
use crate::probe::{CostClass, Exit};
use crate::process::{AddressSpace, ModuleId};
use crate::recording::Rows;
use crate::stack::StackId;

/// Fewest sites (distinct allocating stacks) that the map holds. An entry takes memory only once it is made.
const MIN_SITES: u32 = 1 << 16;
/// Most of them.
const MAX_SITES: u32 = 1 << 20;

/// Live blocks.
const LIVE: Growth =
    Growth { first: "LIVE", later: "LATER_LIVE", fill: "LIVE_FILL", newest: state::LIVE_NEWEST };

/// What the section on the heap is made from.
#[derive(Clone, Debug, Default)]
pub struct HeapAccount {
    /// The account.
    pub snapshot: HeapSnapshot,
    /// Blocks younger than this were left out, ns.
    pub min_age_ns: u64,
    /// What the probes can see.
    pub coverage: Coverage,
}

/// What the probes can see of a target, and what they cannot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Attached probes.
    pub probes: usize,
    /// Those whose instruction the kernel single-steps.
    pub slow: usize,
    /// Files in which allocator functions were looked for.
    pub files_searched: usize,
    /// Why there is no allocator's function, if there is none and the files tell.
    pub reason: Option<String>,
    /// Functions that could not be probed.
    pub failed: u64,
    /// Files with an allocator that were loaded while recording: their first calls went unseen.
    pub loaded_late: u64,
    /// Functions that can return where no probe is.
    pub exits_unseen: u64,
    /// The code of the allocator's functions.
    #[serde(default)]
    pub code: Vec<AllocatorCode>,
}

/// The code of an allocator's function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllocatorCode {
    /// The file.
    pub module: ModuleId,
    /// Virtual addresses in it.
    pub code: Range<u64>,
}

/// The collector.
#[derive(Debug)]
pub struct Heap {
    sort: Sort,
    max_live: u32,
    /// Whether freeing functions are probed.
    frees: bool,
    planned: Vec<FileProbes>,
    /// Files with probes among those whose places were asked for last.
    asked: u64,
    numbers: FunctionNumbers,
    coverage: Coverage,
    seen: Observation,
    aggregate: HeapAggregate,
    account: HeapAccount,
}

impl Heap {
    /// As the user wishes.
    pub fn new(wishes: &Wishes) -> Self {
        let min_age_ns = u64::try_from(wishes.min_age.as_nanos()).unwrap_or(u64::MAX);
        Self {
            sort: wishes.sort,
            max_live: wishes.max_live,
            frees: !wishes.break_free_probes,
            planned: Vec::new(),
            asked: 0,
            numbers: FunctionNumbers::default(),
            coverage: Coverage::default(),
            seen: Observation::default(),
            aggregate: HeapAggregate::default(),
            account: HeapAccount { min_age_ns, ..HeapAccount::default() },
        }
    }
}

impl Collector for Heap {
    fn load(&self) -> Load {
        let sites = (self.max_live / 8).clamp(MIN_SITES, MAX_SITES);
        Load {
            maps: vec![
                MapSize { name: "LIVE", entries: growing::sizes(self.max_live)[0] },
                MapSize { name: "SITES", entries: sites },
            ],
            probes: probes::PROGRAMS.to_vec(),
            ..Load::default()
        }
    }

    fn loaded(&mut self, object: &mut Object, space: &AddressSpace) -> Result<(), BpfError> {
        // The site that takes what has no room at its own.
        object.insert("SITES", 0u64, SiteTotals::ZERO)?;
        object.grow::<u64, LiveBlock>(LIVE, self.max_live)?;
        if let Some(code) = linker_code(space) {
            object.set_state(state::LINKER_START, code.start)?;
            object.set_state(state::LINKER_END, code.end)?;
        }
        Ok(())
    }

    fn probes(&self) -> bool {
        true
    }

    fn plan(&mut self, space: &AddressSpace, new: &[ModuleId], log: &mut dyn Log) {
        let (found, warnings) = find::find_probes(space, new);
        warnings.iter().for_each(|warning| log.warn(warning));
        for file in &found {
            tell(space, file, log);
        }
        self.planned.extend(found);
        self.coverage.files_searched += new.len();
    }

    fn sites(&mut self, space: &AddressSpace, log: &mut dyn Log) -> Vec<ProbeSite> {
        let planned = std::mem::take(&mut self.planned);
        self.asked = planned.iter().filter(|file| !file.plan.probes.is_empty()).count() as u64;
        let coverage = &mut self.coverage;
        let mut all = Vec::new();
        for file in &planned {
            let code = file.plan.code.iter().cloned();
            coverage.code.extend(code.map(|code| AllocatorCode { module: file.module, code }));
            for probe in &file.plan.probes {
                coverage.slow += usize::from(matches!(probe.placement.cost, CostClass::SingleStep(_)));
                let unseen = matches!(&probe.placement.exit, Exit::Instructions { complete: Err(_), .. });
                coverage.exits_unseen += u64::from(unseen);
            }
            for skipped in file.plan.skipped.iter().filter(|s| s.reason.loses_events()) {
                log.warn(&format!("{} is not traced: {}", skipped.names.join(", "), skipped.reason));
                coverage.failed += 1;
            }
            match sites(space, file, &mut self.numbers) {
                Some(sites) if self.frees => all.extend(sites),
                Some(sites) => {
                    let (left_out, kept): (Vec<_>, Vec<_>) =
                        sites.into_iter().partition(|site| site.program == probes::FREE_ENTRY);
                    coverage.failed += left_out.len() as u64;
                    all.extend(kept);
                }
                None => coverage.failed += file.plan.probes.len() as u64,
            }
        }
        all
    }

    fn placed(&mut self, placed: Placed) {
        self.coverage.failed += placed.failed as u64;
        self.coverage.probes += placed.attached;
        if placed.recording && placed.attached > 0 {
            self.coverage.loaded_late += self.asked;
        }
    }

    fn started(&mut self, scene: &mut Scene<'_>) -> Result<(), SourceError> {
        self.look(scene)
    }

    fn look(&mut self, scene: &mut Scene<'_>) -> Result<(), SourceError> {
        let none = self.coverage.probes == 0;
        self.coverage.reason = none.then(|| find::why_none(scene.space)).flatten().map(ToOwned::to_owned);
        Ok(())
    }

    fn read(&mut self, source: &mut Source) -> Result<(), SourceError> {
        let Rows(live) = source.get("LIVE", |live| live.object.read_grown(LIVE).map(Rows))?;
        self.seen.live = live;
        self.seen.sites = source.rows("SITES")?;
        self.seen.inflight = source.rows("INFLIGHT")?;
        self.coverage = source.get("heap coverage", |_| Ok(self.coverage.clone()))?;
        Ok(())
    }

    fn glance(&self, live: &Live) -> Result<Option<HeapGlance>, BpfError> {
        let blocks: Vec<(u64, LiveBlock)> = live.object.read_grown(LIVE)?;
        let mut sites: HashMap<u64, u64> = HashMap::new();
        for (_, block) in &blocks {
            let site = sites.entry(block.site).or_default();
            *site = site.saturating_add(block.grown());
        }
        let live_bytes = sites.values().copied().fold(0, u64::saturating_add);
        let most = sites.into_iter().filter(|(site, bytes)| *site != 0 && *bytes > 0);
        let most = most.max_by_key(|(_, bytes)| *bytes).map(|(site, _)| StackId(site));
        Ok(Some(HeapGlance { live_bytes, most }))
    }

    fn settle(&mut self, moment: &Moment<'_>) {
        (self.seen.started_ns, self.seen.at_ns) = (moment.started_ns, moment.at_ns);
        self.seen.counters = moment.counters.to_vec();
        self.account.snapshot = self.aggregate.snapshot(&self.seen, self.sort, self.account.min_age_ns);
        self.account.coverage = self.coverage.clone();
        self.seen = Observation::default();
    }

    fn losses(&self) -> Vec<(&'static str, u64)> {
        vec![
            (losses::PROBES_FAILED, self.coverage.failed),
            (losses::LOADED_LATE, self.coverage.loaded_late),
            (losses::EXITS_UNSEEN, self.coverage.exits_unseen),
        ]
    }

    fn give<'a>(&'a self, to: &mut Collected<'a>) {
        to.heap = Some(&self.account);
    }
}

/// Tells where a file is going to be probed.
fn tell(space: &AddressSpace, file: &FileProbes, log: &mut dyn Log) {
    for probe in &file.plan.probes {
        let place = &probe.placement;
        log.detail(&format!(
            "{}: {} at +{:#x} `{}`",
            space.module(file.module).path.display(),
            probe.name(),
            place.distance,
            place.instruction
        ));
        for warning in &probe.warnings {
            log.detail(warning);
        }
    }
}

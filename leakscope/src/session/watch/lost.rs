//! What was lost on leakscope's own side.

use super::Watch;
use crate::failure::Failure;
use crate::losses;
use crate::session::attach::{Probes, owned, summed};

impl Watch {
    /// What was lost outside of the kernel side, by name.
    pub(super) fn losses(&mut self) -> Result<Vec<(String, u64)>, Failure> {
        let probes = self.ties.as_ref().map(|ties| &ties.probes);
        // Most of it is of other processes: it matters where code is not known, or not for sure.
        let replaced = self.space.replaced();
        let matters = self.unplaced || self.space.is_in_doubt();
        let records_lost = if matters { self.space.records_lost() } else { 0 };
        let own: Vec<(String, u64)> = self.source.get("losses", |live| {
            let own = probes.into_iter().flat_map(Probes::losses);
            let code = [(losses::MAPPED_CODE_LOST, records_lost), (losses::CODE_REPLACED, replaced)];
            let own = own.chain(code);
            Ok(live.unwinding.losses().into_iter().chain(own).map(owned).collect())
        })?;
        let collected = self.collectors.iter().flat_map(|collector| collector.losses()).map(owned);
        Ok(summed(own.into_iter().chain(collected)))
    }
}

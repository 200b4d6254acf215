//! Where everything comes from that collectors and the session learn while recording.
//!
//! A [`Source`] is asked for one fact after another. Live, it asks the kernel side or the target, and may write the
//! answers down; replayed, it reads them back. Who asks does not know which. So whatever could be different the next
//! time has to be asked for: maps, clocks, `/proc`. In which order is the same each time.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Unwinding;
use crate::bpf::object::Object;
use crate::bpf::{BpfError, Pod};
use crate::recording::{Player, Recorder, RecordingError, Rows};

/// The kernel side and the target.
#[derive(Debug)]
pub struct Live {
    /// The loaded programs and maps.
    pub object: Object,
    /// Unwind rows, for walks in userspace.
    pub unwinding: Unwinding,
}

/// Where facts come from.
#[derive(Debug)]
pub enum Source {
    /// The kernel side and the target, as they are now.
    Live {
        /// What is asked.
        live: Box<Live>,
        /// Where the answers are written down, if they are.
        recorder: Option<Recorder>,
        /// Why they are not any more.
        stopped: Option<RecordingError>,
    },
    Recorded(Player),
}

/// Why a fact is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The kernel side has failed.
    #[error(transparent)]
    Bpf(#[from] BpfError),
    /// The recording is not what it should be.
    #[error(transparent)]
    Recording(#[from] RecordingError),
}

impl Source {
    /// The kernel side and the target; answers go to `recorder`, too.
    pub fn live(live: Live, recorder: Option<Recorder>) -> Self {
        Self::Live { live: Box::new(live), recorder, stopped: None }
    }

    /// Whether answers are written down, or read back.
    pub fn is_taped(&self) -> bool {
        matches!(self, Self::Live { recorder: Some(_), .. } | Self::Recorded(_))
    }

    /// Asks for a fact; `what` names it on a tape. A failure is not recorded: it ends the session.
    pub fn get<T: Serialize + DeserializeOwned>(
        &mut self,
        what: &'static str,
        ask: impl FnOnce(&mut Live) -> Result<T, BpfError>,
    ) -> Result<T, SourceError> {
        match self {
            Self::Live { live, .. } => {
                let answer = ask(live)?;
                self.note(what, &answer);
                Ok(answer)
            }
            Self::Recorded(player) => Ok(player.next(what)?),
        }
    }

    /// Asks for all rows of a hash map.
    pub fn rows<K: Pod + Default, V: Pod + Default>(
        &mut self,
        map: &'static str,
    ) -> Result<Vec<(K, V)>, SourceError> {
        self.get(map, |live| live.object.read_map(map).map(Rows)).map(|Rows(rows)| rows)
    }

    /// Writes down what was learnt elsewhere, for [`Self::recorded`]. A recording that cannot be written does not
    /// end the session: it ends there.
    pub fn note<T: Serialize>(&mut self, what: &'static str, value: &T) {
        if let Self::Live { recorder, stopped, .. } = self
            && let Some(writing) = recorder
            && let Err(error) = writing.put(what, value)
        {
            *recorder = None;
            *stopped = Some(error);
        }
    }

    /// What was noted, if this is a recording.
    pub fn recorded<T: DeserializeOwned>(&mut self, what: &'static str) -> Result<Option<T>, SourceError> {
        match self {
            Self::Live { .. } => Ok(None),
            Self::Recorded(player) => Ok(Some(player.next(what)?)),
        }
    }

    /// The same, of what need not have been noted there.
    pub fn recorded_if_any<T: DeserializeOwned>(
        &mut self,
        what: &'static str,
    ) -> Result<Option<T>, SourceError> {
        match self {
            Self::Live { .. } => Ok(None),
            Self::Recorded(player) => Ok(player.next_if_any(what)?),
        }
    }

    /// Memory of the kernel side's maps, where there is one.
    pub fn map_bytes(&self) -> Option<u64> {
        match self {
            Self::Live { live, .. } => Some(live.object.map_bytes()),
            Self::Recorded(_) => None,
        }
    }

    /// Does something to the kernel side that tells nothing; in a replay there is nothing to be done.
    pub fn act<E>(&mut self, act: impl FnOnce(&mut Live) -> Result<(), E>) -> Result<(), E> {
        match self {
            Self::Live { live, .. } => act(live),
            Self::Recorded(_) => Ok(()),
        }
    }

    /// Has what was recorded reach the file. Returns why the recording has ended, the first time.
    pub fn flush(&mut self) -> Option<RecordingError> {
        let Self::Live { recorder, stopped, .. } = self else { return None };
        if let Some(writing) = recorder
            && let Err(error) = writing.flush()
        {
            *recorder = None;
            *stopped = Some(error);
        }
        stopped.take()
    }

    /// Ends the recording, if there is one.
    pub fn finish(&mut self) -> Result<(), RecordingError> {
        match self {
            Self::Live { recorder, .. } => recorder.take().map_or(Ok(()), Recorder::finish),
            Self::Recorded(_) => Ok(()),
        }
    }
}

//! What answers "which locks do goroutines wait for?", and "do they go on?".

use std::sync::Arc;

use super::model::{GoroutineRelease, GoroutineWaitKind, GoroutineWaitSite, GoroutineWaits};
use super::words::{BehindReaders, GoroutineWaitsSaid};
use crate::section::goroutines::answer::{same_line, stayed_at, waiting_crowd};
use crate::section::label::{place_in_list, short};
use crate::section::model::{Frame, Goroutines, Stack};

/// Time waited for locks that is worth a word: so many goroutines on average, in percent.
const NOTABLE_PERCENT: u64 = 5;
/// Where a writer waits for readers, and where a reader lets it go on, as stacks begin in Go's own profiles.
const WRITER: &str = "sync.(*RWMutex).Lock";
const READER: &str = "sync.(*RWMutex).RUnlock";
/// A writer's own waits are worth a word if they are longer on average than one in so many parts of the longest wait for
/// any lock.
const PART: u64 = 2;

/// That goroutines wait for locks; `None` if they hardly do.
pub(crate) fn contention(all: &GoroutineWaits) -> Option<GoroutineWaitsSaid> {
    let watched_ns = all.counted_ns.saturating_add(all.sampled_ns);
    let notable = all.contention_ns > watched_ns / 100 * NOTABLE_PERCENT;
    let most = all.releases.first().filter(|_| notable)?;
    Some(GoroutineWaitsSaid::Contention {
        contentions: all.contentions,
        wait_ns: all.contention_ns,
        exact: all.exact,
        place: most.stack.blamed().and_then(place_in_list),
        place_ns: most.wait_ns,
        readers: readers(all, most),
    })
}

/// Whether goroutines that were told to be many in one place go on from there, as far as waits tell.
pub(crate) fn turnover(all: &GoroutineWaits, goroutines: &Goroutines) -> Option<GoroutineWaitsSaid> {
    let at = waiting_crowd(goroutines)?;
    // Whatever they are charged to: it is asked who came through there.
    let is_here = |site: &&GoroutineWaitSite| site.stack.frames.iter().any(|frame| same_line(frame, &at));
    let here = || all.sites.iter().filter(is_here);
    let sum = |of: fn(&GoroutineWaitSite) -> u64| here().map(of).fold(0, u64::saturating_add);
    let place = place_in_list(&short(&at))?;
    match (sum(|site| site.waits), sum(|site| site.waiting.unwrap_or(0))) {
        (0, 0) => {
            let count = stayed_at(goroutines, &at)?;
            // Who left and came again would have been counted, as long as all are, and of all it is known where.
            let known = all.sites.iter().all(|site| !site.stack.frames.is_empty());
            (all.exact && all.counted_ns > 0 && known).then_some(GoroutineWaitsSaid::AllStay { place, count })
        }
        (0, came) => all.exact.then_some(GoroutineWaitsSaid::NoneGoesOn { place, came }),
        (waits, _) => Some(GoroutineWaitsSaid::GoOn {
            place,
            waits,
            mean_ns: sum(|site| site.wait_ns) / waits,
            still: here().map(|site| site.waiting).sum(),
            exact: all.exact,
        }),
    }
}

fn innermost(stack: &Stack) -> Option<&str> {
    stack.frames.first().map(Arc::as_ref).and_then(|frame: &Frame| frame.function.as_deref())
}

/// Whether those that are charged most had to wait for readers themselves: a writer that is kept waiting keeps all others
/// waiting.
fn readers(all: &GoroutineWaits, most: &GoroutineRelease) -> Option<BehindReaders> {
    let function = most.stack.blamed()?.function.as_deref()?;
    let waited = all.sites.iter().filter(|site| {
        site.kind == GoroutineWaitKind::Semaphore
            && innermost(&site.stack) == Some(WRITER)
            && site.stack.blamed().and_then(|frame| frame.function.as_deref()) == Some(function)
    });
    let (waits, wait_ns) = waited.fold((0_u64, 0_u64), |(waits, ns), site| {
        (waits.saturating_add(site.waits), ns.saturating_add(site.wait_ns))
    });
    let for_locks = all.sites.iter().filter(|site| site.kind == GoroutineWaitKind::Semaphore);
    let longest = for_locks.map(|site| site.max_wait_ns).max().unwrap_or(0);
    let mean_ns = wait_ns.checked_div(waits)?;
    let readers = all.releases.iter().filter(|release| innermost(&release.stack) == Some(READER));
    let mut places: Vec<String> =
        readers.filter_map(|reader| place_in_list(reader.stack.blamed()?)).collect();
    places.sort_unstable();
    places.dedup();
    // Of several it is not known whose lock theirs is.
    let only = places.pop().filter(|_| places.is_empty());
    (mean_ns > longest / PART).then_some(BehindReaders { mean_ns, only })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::go::waits::GoWaits;
    use crate::section::finding::Said as _;
    use crate::section::goroutine_waits::build::build;
    use crate::section::goroutines::build::tests::{look, section};

    const SECOND: u64 = 1_000_000_000;

    fn stack(functions: &[&str]) -> Stack {
        let frame = |name: &&str| Frame { function: Some((*name).into()), ..Frame::default() };
        let frames: Vec<Frame> = functions.iter().map(frame).collect();
        Stack {
            frames: frames.into(),
            blame: Some(functions.len() as u64 - 1),
            end: None,
            ..Stack::default()
        }
    }

    fn waits(kind: GoroutineWaitKind, functions: &[&str], waits: u64, each_ns: u64) -> GoroutineWaitSite {
        GoroutineWaitSite {
            site_id: functions.join(" "),
            rank: 0,
            kind,
            waits,
            waits_error: None,
            wait_ns: waits * each_ns,
            wait_ns_error: None,
            max_wait_ns: each_ns,
            waiting: Some(0),
            longest_waiting_ns: None,
            stack: stack(functions),
        }
    }

    fn release(functions: &[&str], contentions: u64, wait_ns: u64) -> GoroutineRelease {
        let (site_id, stack) = (functions.join(" "), stack(functions));
        GoroutineRelease {
            site_id,
            rank: 0,
            contentions,
            contentions_error: None,
            wait_ns,
            wait_ns_error: None,
            stack,
        }
    }

    /// 60 readers behind a writer, behind a reader.
    fn behind_a_reader() -> GoroutineWaits {
        let mut all = build(&GoWaits { counted_ns: 8 * SECOND, ..GoWaits::default() }, true, &mut |_| None);
        (all.contentions, all.contention_ns) = (122, 280 * SECOND);
        all.sites = vec![
            waits(GoroutineWaitKind::Semaphore, &["sync.(*RWMutex).RLock", "main.get"], 120, 2 * SECOND),
            waits(GoroutineWaitKind::Semaphore, &[WRITER, "main.reload"], 2, 2 * SECOND),
            waits(GoroutineWaitKind::Select, &["main.idle"], 1, 30 * SECOND),
        ];
        all.releases = vec![
            release(&["sync.(*RWMutex).Unlock", "main.reload"], 120, 275 * SECOND),
            release(&[READER, "main.export"], 2, 5 * SECOND),
        ];
        all
    }

    fn readers_of(all: &GoroutineWaits) -> Option<BehindReaders> {
        match contention(all) {
            Some(GoroutineWaitsSaid::Contention { readers, .. }) => readers,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_writer_behind_readers() {
        let mut all = behind_a_reader();
        let only = Some("main.export".to_owned());
        assert_eq!(readers_of(&all), Some(BehindReaders { mean_ns: 2 * SECOND, only }));
        // Another lock may be theirs.
        all.releases.push(release(&[READER, "main.other"], 1, SECOND));
        assert_eq!(readers_of(&all), Some(BehindReaders { mean_ns: 2 * SECOND, only: None }));
        // It holds the lock longer than it waited for it.
        all.sites[1].wait_ns = SECOND;
        assert_eq!(readers_of(&all), None);
    }

    #[test]
    fn whether_they_go_on() {
        let goroutines = section(&[look(0, &[(11_274, "chan receive"), (20, "IO wait")])]);
        let at = waiting_crowd(&goroutines).expect("many in one place");
        let mut all = behind_a_reader();
        assert_eq!(turnover(&all, &goroutines), None, "one look does not tell who was there before");
        let mut stay = goroutines.clone();
        stay.sites.iter_mut().for_each(|site| site.growth_since_first = Some(0));
        let said = turnover(&all, &stay).map(|said| said.text());
        let sentence = "None of the 11,274 goroutines that wait at main.(*WebSocket).notifyFxn (websocket.go:156) has gone on \
                        while leakscope watched.";
        assert_eq!(said.as_deref(), Some(sentence));
        stay.sites[0].growth_since_first = Some(-1);
        assert_eq!(turnover(&all, &stay), None, "one has left");
        let mut here = waits(GoroutineWaitKind::ChanReceive, &["main.here"], 0, SECOND);
        here.stack = Stack { frames: vec![at].into(), blame: Some(0), end: None, ..Stack::default() };
        here.waiting = Some(5);
        all.sites.push(here);
        let place = "main.(*WebSocket).notifyFxn (websocket.go:156)".to_owned();
        let none = GoroutineWaitsSaid::NoneGoesOn { place: place.clone(), came: 5 };
        assert_eq!(format!("{:?}", turnover(&all, &goroutines)), format!("{:?}", Some(none)));
        all.exact = false;
        assert_eq!(turnover(&all, &goroutines), None, "some may have been missed");
        let here = all.sites.last_mut().expect("it");
        (here.waits, here.wait_ns) = (4, 8 * SECOND);
        let on =
            GoroutineWaitsSaid::GoOn { place, waits: 4, mean_ns: 2 * SECOND, still: Some(5), exact: false };
        assert_eq!(format!("{:?}", turnover(&all, &goroutines)), format!("{:?}", Some(on)));
    }
}

//! What goroutines are parked on: the runtime's notes of it (`runtime/runtime2.go`, `sudog`; `runtime/chan.go`,
//! `hchan`; `runtime/time.go`, `timer`).
//!
//! A note that does not name its goroutine, or that changed meanwhile, says nothing.

use std::collections::HashMap;

use super::bytes::u64_at;
use super::goroutine::{GoState, GoroutineSnapshot, Wakes};
use super::memory::Piece;
use super::program::Program;
use super::scheduling::Scheduling;

/// Most goroutines whose notes are read at a look. Those of a stack are read all or not at all, so that they stay
/// one site; rare stacks come first.
const MOST: usize = 1 << 14;
/// Channels of a select that are looked at.
const MOST_CASES: usize = 16;

/// Where a goroutine was found, and as what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parked {
    /// Its `g`.
    pub address: u64,
    pub scheduling: Scheduling,
    /// `g.waiting`: the first of its notes.
    pub waiting: u64,
}

/// Where members of notes lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct NoteLayout {
    pub size: usize,
    pub g: usize,
    /// Address of the semaphore, or of the value that is sent.
    pub elem: usize,
    pub ticket: usize,
    pub next_case: usize,
    pub channel: usize,
}

impl NoteLayout {
    /// `None` where they are not known for this version.
    pub(super) fn of(program: &Program) -> Option<Self> {
        let at = |member| program.offsets.find("sudog", member).filter(|at| *at < 1 << 10);
        // Since Go 1.26 a pointer comes twice, and the second one always counts (`maybeTraceablePtr`).
        let second = |member, next: usize| {
            let first = at(member)?;
            Some(if next.checked_sub(first)? == 16 { first + 8 } else { first })
        };
        let size = at("__size")?;
        let layout = Self {
            size,
            g: at("g")?,
            elem: second("elem", at("acquiretime")?)?,
            ticket: at("ticket")?,
            next_case: at("waitlink")?,
            channel: second("c", size)?,
        };
        let last = layout.elem.max(layout.channel).max(layout.next_case).max(layout.g).max(layout.ticket);
        (program.offsets_known && last + 8 <= size).then_some(layout)
    }
}

/// Chooses whole groups, by stack, of what `wanted` lets through; at most [`MOST`] goroutines.
pub(super) fn choose(snapshot: &GoroutineSnapshot, wanted: impl Fn(usize) -> bool) -> Vec<usize> {
    let mut by_stack: HashMap<usize, Vec<usize>> = HashMap::new();
    for (i, goroutine) in snapshot.goroutines.iter().enumerate() {
        if wanted(i) {
            by_stack.entry(goroutine.stack).or_default().push(i);
        }
    }
    let mut groups: Vec<Vec<usize>> = by_stack.into_values().collect();
    groups.sort_unstable_by_key(|group| (group.len(), group.first().copied()));
    let mut left = MOST;
    let fits = |group: &Vec<usize>| {
        left = left.checked_sub(group.len())?;
        Some(())
    };
    let mut fits = fits;
    groups.into_iter().take_while(|group| fits(group).is_some()).flatten().collect()
}

/// Tells what wakes goroutines that wait for channels.
pub(super) fn tell(program: &Program, parked: &[Parked], snapshot: &mut GoroutineSnapshot) {
    let Some(notes) = NoteLayout::of(program) else { return };
    let is_wanted = |i: usize| {
        let goroutine = &snapshot.goroutines[i];
        goroutine.state == GoState::Waiting
            && !goroutine.system
            && matches!(goroutine.wait_reason.as_deref(), Some("chan receive" | "select"))
            && parked.get(i).is_some_and(|p| p.scheduling.is_parked())
    };
    let chosen = choose(snapshot, is_wanted);
    let is_select = |i: &usize| snapshot.goroutines[*i].wait_reason.as_deref() == Some("select");
    let empty: Vec<usize> =
        chosen.iter().copied().filter(|i| parked[*i].waiting == 0 && is_select(i)).collect();
    let timed = timed(program, &notes, parked, &chosen);
    for i in still_empty(program, parked, &empty) {
        snapshot.goroutines[i].wakes = Wakes::Nothing;
    }
    for (i, wakes) in timed {
        snapshot.goroutines[i].wakes = wakes;
    }
}

/// Of goroutines without a note in a select, those that stay so: `selectgo` notes each channel that is not nil
/// before it parks (`runtime/select.go`).
fn still_empty(program: &Program, parked: &[Parked], chosen: &[usize]) -> Vec<usize> {
    let layout = program.layout;
    let Some(waiting) = layout.waiting else { return Vec::new() };
    let pieces: Vec<Piece> = chosen.iter().map(|i| (parked[*i].address, layout.size)).collect();
    let again = program.memory().read_many(&pieces);
    let is_same = |at: usize, i: usize| {
        let Some(g) = again.get(at) else { return false };
        Scheduling::read(&layout, g) == Some(parked[i].scheduling) && u64_at(g, waiting) == Some(0)
    };
    chosen.iter().enumerate().filter(|(at, i)| is_same(*at, **i)).map(|(_, i)| *i).collect()
}

/// Goroutines that wait for a timer's channel, perhaps among others. Timers are noted in their channels since
/// Go 1.23 (`hchan.timer`), and not under GODEBUG=asynctimerchan=1.
fn timed(
    program: &Program,
    notes: &NoteLayout,
    parked: &[Parked],
    chosen: &[usize],
) -> HashMap<usize, Wakes> {
    let mut timed: HashMap<usize, Wakes> = HashMap::new();
    let Some(timers) = TimerLayout::of(program) else { return timed };
    let mut known: HashMap<u64, Wakes> = HashMap::new();
    let with_note = chosen.iter().map(|i| (*i, parked[*i].waiting));
    let mut cases: Vec<(usize, u64)> = with_note.filter(|(_, note)| *note != 0).collect();
    for _ in 0..MOST_CASES {
        if cases.is_empty() {
            break;
        }
        let pieces: Vec<Piece> = cases.iter().map(|(_, note)| (*note, notes.size)).collect();
        let read = program.memory().read_many(&pieces);
        let of_case = |(at, (i, _)): (usize, &(usize, u64))| {
            let note = read.get(at).filter(|note| u64_at(note, notes.g) == Some(parked[*i].address))?;
            Some((*i, u64_at(note, notes.channel)?, u64_at(note, notes.next_case)?))
        };
        let found: Vec<(usize, u64, u64)> = cases.iter().enumerate().filter_map(of_case).collect();
        timers.learn(program, found.iter().map(|(_, channel, _)| *channel), &mut known);
        cases.clear();
        for (i, channel, next) in found {
            let wakes = known.get(&channel).copied().unwrap_or_default();
            if wakes == Wakes::Ticker || wakes == Wakes::Timer && !timed.contains_key(&i) {
                timed.insert(i, wakes);
            }
            if next != 0 && timed.get(&i) != Some(&Wakes::Ticker) {
                cases.push((i, next));
            }
        }
    }
    timed
}

/// Where a channel keeps its timer, and what a timer says of itself.
#[derive(Clone, Copy, Debug)]
struct TimerLayout {
    of_channel: u64,
    when: u64,
    period: u64,
}

impl TimerLayout {
    fn of(program: &Program) -> Option<Self> {
        let at = |structure, member| program.offsets.find(structure, member).map(|at| at as u64);
        let within = |at: &u64| *at < 1 << 10;
        Some(Self {
            of_channel: at("hchan", "timer").filter(within)?,
            when: at("timer", "when").filter(within)?,
            period: at("timer", "period").filter(within)?,
        })
    }

    /// Looks at channels that are not known yet.
    fn learn(self, program: &Program, channels: impl Iterator<Item = u64>, known: &mut HashMap<u64, Wakes>) {
        let mut new: Vec<u64> = channels.filter(|channel| !known.contains_key(channel)).collect();
        new.sort_unstable();
        new.dedup();
        let word = |address: u64, at: u64| (address.saturating_add(at), 8);
        let pieces: Vec<Piece> = new.iter().map(|channel| word(*channel, self.of_channel)).collect();
        let read = program.memory().read_many(&pieces);
        let mut with_timer = Vec::new();
        for (at, channel) in new.iter().enumerate() {
            known.insert(*channel, Wakes::Unknown);
            let timer = read.get(at).and_then(|word| u64_at(word, 0)).unwrap_or(0);
            if timer != 0 {
                with_timer.push((*channel, timer));
            }
        }
        let both = |timer: u64| [word(timer, self.when), word(timer, self.period)];
        let pieces: Vec<Piece> = with_timer.iter().flat_map(|(_, timer)| both(*timer)).collect();
        let read = program.memory().read_many(&pieces);
        for (at, (channel, _)) in with_timer.iter().enumerate() {
            let signed = |at| read.get(at).and_then(|word| u64_at(word, 0)).unwrap_or(0).cast_signed();
            // `when` is 0 in a timer that was stopped, or that has fired its only time.
            let wakes = match (signed(2 * at) > 0, signed(2 * at + 1) > 0) {
                (false, _) => Wakes::Unknown,
                (true, true) => Wakes::Ticker,
                (true, false) => Wakes::Timer,
            };
            known.insert(*channel, wakes);
        }
    }
}

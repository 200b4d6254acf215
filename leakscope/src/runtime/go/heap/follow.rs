//! Follows the samples of a Go heap on a thread of its own: they come fast, and open batches are worth
//! a look before the next collection, whatever else the session does.

use std::collections::HashMap;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use leakscope_common::go::{GoSample, OBJECT_TAKEN};

use super::counts;
use super::places::Places;
use super::sampler::{Estimates, Fate, Sampler, Stack, TakenSpan};
use super::spans::{Heap, Span, SpanLayout};
use super::windows::WindowsThread;
use crate::bpf::go::{GoSamples, GoWindows};
use crate::runtime::go::memory::{Memory as _, Piece, Remote};

/// Time between two looks while samples come.
const BUSY: Duration = Duration::from_millis(2);
/// Shortest time between two looks at what a collection has made of the samples.
const REST: Duration = Duration::from_millis(20);
/// The longest time between two looks.
const IDLE: Duration = Duration::from_millis(10);
/// Longest wait for an answer of the thread.
const ANSWER: Duration = Duration::from_secs(5);
/// How long what has come is taken in, at most, before an answer.
const CATCH_UP: Duration = Duration::from_secs(1);
/// How long a collection may take to be swept before an answer, and how often that is looked at.
const SWEPT: Duration = Duration::from_millis(500);
const SWEEPING: Duration = Duration::from_millis(5);
/// Samples taken in at once.
const AT_ONCE: usize = 8192;

/// A thread that takes samples in as they come; it ends as this is dropped.
#[derive(Debug)]
pub(in crate::runtime::go) struct GoHeapWatch {
    /// Where it is asked; dropped to end it.
    asks: Option<Sender<Sender<Estimates>>>,
    thread: Option<JoinHandle<()>>,
}

impl GoHeapWatch {
    /// Begins to follow samples.
    pub(in crate::runtime::go) fn start(
        pid: u32,
        heap: Heap,
        samples: GoSamples,
        windows: Option<GoWindows>,
        places: Option<Places>,
    ) -> std::io::Result<Self> {
        let (asks, asked) = mpsc::channel();
        let follower = Follower {
            memory: Remote::of(pid),
            heap,
            layout: heap.layout(),
            generation: heap.sweep_generation_address(),
            samples,
            places,
            windows: windows.map(WindowsThread::start).transpose()?,
            sampler: Sampler::default(),
            checked: Instant::now(),
            rest: REST,
        };
        let thread =
            std::thread::Builder::new().name("go-heap".to_owned()).spawn(move || follower.run(&asked))?;
        Ok(Self { asks: Some(asks), thread: Some(thread) })
    }

    /// What is known now.
    pub(in crate::runtime::go) fn estimates(&self) -> Option<Estimates> {
        let (answer, answered) = mpsc::channel();
        self.asks.as_ref()?.send(answer).ok()?;
        answered.recv_timeout(ANSWER).ok()
    }
}

impl Drop for GoHeapWatch {
    fn drop(&mut self) {
        self.asks = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been told of already.
            let _ = thread.join();
        }
    }
}

struct Follower {
    memory: Remote,
    heap: Heap,
    layout: SpanLayout,
    /// Where the heap's sweep generation lies.
    generation: u64,
    samples: GoSamples,
    places: Option<Places>,
    /// `None` where there can be none.
    windows: Option<WindowsThread>,
    sampler: Sampler,
    /// When samples were last looked at after a collection, and how long to rest then.
    checked: Instant,
    rest: Duration,
}

impl Follower {
    fn run(mut self, asked: &Receiver<Sender<Estimates>>) {
        let mut pause = BUSY;
        // What is taken from now on is seen.
        self.sampler.began_with(counts::taken(&self.memory, &self.heap));
        loop {
            match asked.recv_timeout(pause) {
                Ok(answer) => {
                    self.catch_up();
                    // Nobody waits any more: then it is not needed.
                    let _ = answer.send(self.sampler.estimates());
                }
                Err(RecvTimeoutError::Timeout) => {
                    pause = if self.look() > 0 { BUSY } else { (pause * 2).min(IDLE) };
                    if let Some(windows) = &self.windows {
                        let sampler = &self.sampler;
                        windows.tell(sampler.room_taken(), sampler.lacks_windows(), sampler.classes_seen());
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Takes in all that has come until now, and asks what became of it.
    fn catch_up(&mut self) {
        let until = Instant::now() + CATCH_UP;
        self.rest = Duration::ZERO;
        while self.look() == AT_ONCE && Instant::now() < until {}
        // The last collection may still be swept, or another one may come in between.
        let until = Instant::now() + SWEPT;
        loop {
            let begun = Instant::now();
            if self.sampler.due().is_empty() && self.count() || begun > until {
                return;
            }
            std::thread::sleep(SWEEPING.max(begun.elapsed() * 4));
            self.rest = Duration::ZERO;
            self.look();
        }
    }

    /// Counts what the last collection has left. `false` if it could not be told, or is not what the samples know.
    fn count(&mut self) -> bool {
        let Some(generation) = self.memory.u32(self.generation) else { return true };
        if self.sampler.is_counted(generation) {
            return true;
        }
        let Some(counts) = counts::live(&self.memory, &self.heap, generation) else { return false };
        self.rest = Duration::ZERO;
        self.look();
        self.sampler.counted(generation, counts);
        self.sampler.due().is_empty()
    }

    /// Takes in what came; how many that were.
    fn look(&mut self) -> usize {
        // The generation first: what comes later is at least as young.
        let Some(generation) = self.memory.u32(self.generation) else { return 0 };
        self.sampler.at_generation(generation);
        let mut came = 0;
        while came < AT_ONCE
            && let Some(sample) = self.samples.take()
        {
            if let Some(mut taken) = taken_span(self.layout, &sample) {
                if let (Some(places), Some(site)) = (&mut self.places, &mut taken.site) {
                    *site = places.place(*site);
                }
                self.sampler.take(&taken);
            }
            came += 1;
        }
        self.look_at_open();
        // What is still to come may tell of samples whose place serves others by now.
        if came < AT_ONCE && self.checked.elapsed() >= self.rest {
            self.check(generation);
        }
        came
    }

    fn spans<T>(&self, wanted: &[(T, u64)]) -> Vec<Option<Span>> {
        let mut pieces: Vec<Piece> = Vec::new();
        // Many samples lie in one span.
        let mut known: HashMap<u64, usize> = HashMap::new();
        let mut places = Vec::with_capacity(wanted.len());
        for (_, at) in wanted {
            places.push(*known.entry(*at).or_insert_with(|| {
                pieces.push((*at, self.layout.size));
                pieces.len() - 1
            }));
        }
        let read = self.memory.read_many(&pieces);
        let spans: Vec<Option<Span>> = (0..pieces.len()).map(|i| self.layout.span(read.get(i)?)).collect();
        places.into_iter().map(|place| spans.get(place).copied().flatten()).collect()
    }

    fn look_at_open(&mut self) {
        let open = self.sampler.open();
        let spans = self.spans(&open);
        for ((number, _), span) in open.iter().zip(spans) {
            if let Some(span) = span {
                self.sampler.seen_open(*number, &span);
            }
        }
    }

    /// Asks what the last collection has made of the samples.
    fn check(&mut self, generation: u32) {
        let due = self.sampler.due();
        if due.is_empty() {
            return;
        }
        let begun = Instant::now();
        let spans = self.spans(&due);
        let mut fates = Vec::with_capacity(due.len());
        let mut bits: Vec<(u64, Piece, u32)> = Vec::new();
        for ((number, _), span) in due.iter().zip(spans) {
            // What cannot be read is tried again.
            let Some(span) = span else { continue };
            match self.sampler.bit(*number, &span) {
                Ok(index) => {
                    let at = span.alloc_bits.wrapping_add(index / 8);
                    bits.push((*number, (at, 1), (index % 8) as u32));
                }
                Err(fate) => fates.push((*number, fate)),
            }
        }
        let pieces: Vec<Piece> = bits.iter().map(|(_, piece, _)| *piece).collect();
        let read = self.memory.read_many(&pieces);
        for (i, (number, _, bit)) in bits.iter().enumerate() {
            if let Some(byte) = read.get(i).and_then(<[u8]>::first) {
                fates.push((*number, Fate::Swept(byte >> bit & 1 != 0)));
            }
        }
        // Bits that were read after another collection began may be of that one, or of other memory.
        if self.memory.u32(self.generation) == Some(generation) {
            self.sampler.checked(&fates);
        }
        self.checked = Instant::now();
        self.rest = (begun.elapsed() * 10).max(REST);
    }
}

fn taken_span(layout: SpanLayout, sample: &GoSample) -> Option<TakenSpan> {
    let description = layout.span(&sample.bytes)?;
    let object = sample.event == OBJECT_TAKEN;
    Some(TakenSpan {
        span: sample.span,
        p: sample.p,
        object: object.then_some(u8::try_from(sample.class).ok()?),
        phase: sample.phase,
        site: u32::try_from(sample.stack).ok().map(|number| Stack { number, caller: sample.caller }),
        generation: sample.generation,
        marking: sample.marking != 0,
        bits: sample.bits[..(sample.bits_read as usize).min(sample.bits.len())].to_vec(),
        description,
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn descriptions_fit_the_record() {
        use crate::runtime::go::offsets::{Offsets, VERSIONS};
        for minor in VERSIONS {
            let size = Offsets::of(minor).find("mspan", "__size");
            assert!(size.is_some_and(|size| size <= leakscope_common::go::SPAN_BYTES), "{minor}");
        }
    }
}

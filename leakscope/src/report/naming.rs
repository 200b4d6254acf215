//! Stacks with their names, each made once: of a site that many reports show, of a frame that many stacks have.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

use crate::collect::heap::HeapAccount;
use crate::process::{AddressSpace, Location, ModuleId};
use crate::runtime;
use crate::section::frame::Frame;
use crate::section::model::Stack;
use crate::stack::{FrameId, LocatedStack, StackId, Stacks};
use crate::symbol::{BlameInput, Charging, KnownFrame, Names, RecordedFrame};

/// The code of the allocator's functions, by file.
#[derive(Debug, Default, PartialEq, Eq)]
struct AllocatorsCode(HashMap<ModuleId, Vec<Range<u64>>, RandomState>);

impl AllocatorsCode {
    fn of(heap: &HeapAccount) -> Self {
        let mut by_file: HashMap<ModuleId, Vec<Range<u64>>, RandomState> = HashMap::default();
        for function in &heap.coverage.code {
            by_file.entry(function.module).or_default().push(function.code.clone());
        }
        Self(by_file)
    }

    /// Whether a frame lies in one of them.
    fn holds(&self, frame: &crate::stack::Frame) -> bool {
        let Location::Module(module, address) = frame.location else { return false };
        // A call may be the last instruction of its function.
        let at = if frame.exact { address } else { address.wrapping_sub(1) };
        self.0.get(&module).is_some_and(|functions| functions.iter().any(|code| code.contains(&at)))
    }
}

/// Names stacks of one observation. What was named once stays so: a frame lies in a file that is held open, whatever
/// is mapped there later.
#[derive(Debug)]
pub struct Naming {
    pub names: Names,
    /// How long stacks that can wait are named for a report that others follow; as long as it takes if `None`.
    pub slice: Option<Duration>,
    /// By the handles of frames as they were unwound: what is inlined into one, and itself.
    frames: Vec<Option<Arc<[Arc<Frame>]>>>,
    /// What is known of each of them, in the same order.
    known: Vec<Option<Arc<[KnownFrame]>>>,
    /// Stacks with their names, and by which rules they were charged.
    stacks: HashMap<StackId, (u32, Stack), RandomState>,
    /// Which rules are in force: they become others as more is known.
    rules: u32,
    /// What stands for stacks without names.
    unnamed: Stack,
    /// When stacks that can wait are given no more names, for now.
    until: Option<Instant>,
    /// Stacks that wait.
    waiting: HashSet<StackId>,
    /// How long names were read for stacks that could have waited.
    spent: Duration,
    allocators: AllocatorsCode,
    charging: Charging,
}

impl Naming {
    /// Nothing is named yet.
    pub fn new(names: Names) -> Self {
        Self {
            names,
            slice: None,
            frames: Vec::new(),
            known: Vec::new(),
            stacks: HashMap::default(),
            rules: 0,
            unnamed: Stack::unnamed(),
            until: None,
            waiting: HashSet::new(),
            spent: Duration::ZERO,
            allocators: AllocatorsCode::default(),
            charging: Charging::default(),
        }
    }

    /// A report begins. No other follows the `last`, so all stacks have their names in it.
    pub fn begin(&mut self, last: bool) {
        self.until = self.slice.filter(|_| !last).map(|most| Instant::now() + most);
        self.waiting.clear();
        self.spent = Duration::ZERO;
    }

    /// Stacks that have no names yet, or are not charged by what is known now.
    pub fn waiting(&self) -> u64 {
        self.waiting.len() as u64
    }

    /// How long names were read for stacks that could have waited, since [`Self::begin`].
    pub const fn spent(&self) -> Duration {
        self.spent
    }

    /// Charges stacks by these rules from now on.
    pub fn charge(&mut self, charging: Charging) {
        self.charging = charging;
        self.known.clear();
        self.rules += 1;
    }

    /// Whom stacks are charged to.
    pub const fn charging(&self) -> &Charging {
        &self.charging
    }

    /// Takes functions for wrappers from now on.
    pub fn learn_wrappers<'a>(&mut self, found: impl IntoIterator<Item = &'a String>) {
        let new: Vec<String> =
            found.into_iter().filter(|name| !self.charging.found().contains(*name)).cloned().collect();
        if !new.is_empty() {
            self.charging.learn(new);
            self.rules += 1;
        }
    }

    /// Takes in where the allocator's functions are, which can become more.
    pub fn know_allocators(&mut self, heap: &HeapAccount) {
        let allocators = AllocatorsCode::of(heap);
        if allocators != self.allocators {
            self.allocators = allocators;
            self.rules += 1;
        }
    }

    /// Takes in names of a recording, which may be of what had none before.
    pub fn learn(&mut self, names: Vec<RecordedFrame>) {
        self.names.learn(names);
        self.frames.clear();
        self.known.clear();
        self.stacks.clear();
    }

    /// A stack of `stacks`, which are always the same, with its names; none if its frames never arrived. One that
    /// `can_wait` stands without names where there is no time left.
    pub fn stack(
        &mut self,
        id: StackId,
        (stacks, space): (&Stacks, &AddressSpace),
        can_wait: bool,
    ) -> Option<Stack> {
        if let Some((_, known)) = self.stacks.get(&id).filter(|(rules, _)| *rules == self.rules) {
            return Some(known.clone());
        }
        let located = stacks.get(id)?;
        let begun = Instant::now();
        let until = self.until.filter(|_| can_wait);
        let late = until.is_some_and(|until| begun >= until);
        let named = if late { None } else { self.named(located, (stacks, space), until) };
        if until.is_some() {
            self.spent += begun.elapsed();
        }
        let Some(stack) = named else {
            self.waiting.insert(id);
            return Some(self.stacks.get(&id).map_or(&self.unnamed, |(_, stack)| stack).clone());
        };
        self.stacks.insert(id, (self.rules, stack.clone()));
        Some(stack)
    }

    /// The stack with its names; none if these take longer than `until`. Those that were read are kept.
    fn named(
        &mut self,
        located: &LocatedStack,
        (stacks, space): (&Stacks, &AddressSpace),
        until: Option<Instant>,
    ) -> Option<Stack> {
        let mut frames = Vec::with_capacity(located.frames.len());
        let mut found = Vec::with_capacity(located.frames.len());
        for &frame in &located.frames {
            let known = self.frames.get(frame.index()).is_some_and(Option::is_some);
            if !known && until.is_some_and(|until| Instant::now() >= until) {
                return None;
            }
            frames.extend_from_slice(self.frame(frame, stacks, space));
            let allocator = self.allocators.holds(stacks.frame(frame));
            found.extend(self.known(frame).iter().map(|known| (allocator, *known)));
        }
        let statement = located.created_by.map(|statement| self.frame(statement, stacks, space));
        // Whatever else stands there is none.
        let created_by =
            statement.and_then(|names| names.first().filter(|frame| frame.function.is_some())).cloned();
        let inputs = frames.iter().zip(&found).map(|(frame, &(allocator, known))| BlameInput {
            allocator,
            known: Some(known),
            ..frame.blame_input()
        });
        let inputs: Vec<BlameInput<'_>> = inputs.collect();
        let blame = runtime::rules().owners.charge(&inputs, &self.charging).map(|at| at as u64);
        Some(Stack { frames: frames.into(), blame, end: Some(located.end.into()), created_by })
    }

    /// What is known of a frame that has its names.
    fn known(&mut self, id: FrameId) -> &[KnownFrame] {
        if self.known.len() <= id.index() {
            self.known.resize(id.index() + 1, None);
        }
        let named = self.frames.get(id.index()).and_then(Option::as_ref);
        let (owners, charging) = (&runtime::rules().owners, &self.charging);
        self.known[id.index()].get_or_insert_with(|| {
            let frames = named.into_iter().flat_map(|frames| frames.iter());
            frames.map(|frame| owners.know(&frame.blame_input(), charging)).collect()
        })
    }

    fn frame(&mut self, id: FrameId, stacks: &Stacks, space: &AddressSpace) -> &[Arc<Frame>] {
        if self.frames.len() <= id.index() {
            self.frames.resize(id.index() + 1, None);
        }
        let names = &mut self.names;
        self.frames[id.index()].get_or_insert_with(|| {
            let named = names.frames(space, stacks.frame(id));
            named.into_iter().map(|frame| Arc::new(Frame::from(frame))).collect()
        })
    }
}

//! Proves again and again while a session goes on, in a thread of its own.

use std::fs::File;
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::proof::{Proof, Prover};
use crate::process::ElfFile;
use crate::runtime::go::buildinfo::BuildInfo;
use crate::runtime::go::memory::Remote;
use crate::runtime::go::program::{LayoutSource, Program, ProgramFile};

/// How long to rest after a proof: at least so long, and so many times as long as it took.
const REST: Duration = Duration::from_secs(30);
const RESTS: u32 = 20;

/// What the thread has found, and whether it is to end.
#[derive(Debug, Default)]
struct State {
    proof: Option<Arc<Proof>>,
    refused: Option<String>,
    ending: bool,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits, unless the end comes before; whether to go on.
    fn rest(&self, time: Duration) -> bool {
        let going = |state: &mut State| !state.ending;
        let waited = self.changed.wait_timeout_while(self.lock(), time, going);
        !waited.unwrap_or_else(PoisonError::into_inner).0.ending
    }
}

/// The thread. It ends, and is waited for, as this is dropped.
#[derive(Debug)]
pub struct LeakWatch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// The program, for a thread that opens it for itself.
struct Again {
    info: BuildInfo,
    path: String,
    file: File,
    bias: u64,
    pid: u32,
    layouts: LayoutSource,
}

impl Again {
    fn open(self) -> Result<Program, String> {
        let elf = ElfFile::from_file(self.file).map_err(|error| error.to_string())?;
        let place = ProgramFile {
            path: self.path,
            elf: Rc::new(elf),
            bias: self.bias,
            memory: Box::new(Remote::of(self.pid)),
            layouts: self.layouts,
        };
        Program::open(self.info, place).map_err(|error| error.to_string())
    }
}

impl LeakWatch {
    /// Begins at once. Why not, if it cannot.
    pub fn start(program: &Program, pid: u32, layouts: LayoutSource) -> Result<Self, String> {
        let file = program.file().ok_or("the program's file cannot be read")?;
        let again = Again {
            info: program.info.clone(),
            path: program.path.clone(),
            file: file.try_clone().map_err(|error| error.to_string())?,
            bias: program.bias,
            pid,
            layouts,
        };
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        let thread = thread::Builder::new().name("goroutines".to_owned()).spawn(move || run(again, &own));
        Ok(Self { shared, thread: Some(thread.map_err(|error| error.to_string())?) })
    }

    /// The latest proof, or why there is none.
    pub fn latest(&self) -> Result<Arc<Proof>, String> {
        let state = self.shared.lock();
        let complete = state.proof.clone().filter(|proof| proof.is_complete());
        let why = || state.refused.clone().unwrap_or_else(|| "there was too little time for it".to_owned());
        complete.ok_or_else(why)
    }
}

impl Drop for LeakWatch {
    fn drop(&mut self) {
        self.shared.lock().ending = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A look that is under way stops soon. A panic of the thread's was printed by it.
            let _ = thread.join();
        }
    }
}

fn run(again: Again, shared: &Shared) {
    if let Err(why) = again.open().and_then(|program| watch(&program, shared)) {
        shared.lock().refused = Some(why);
    }
}

fn watch(program: &Program, shared: &Shared) -> Result<(), String> {
    let mut prover = Prover::of(program)?;
    loop {
        let begun = Instant::now();
        let each = |proof: &Proof| {
            let mut state = shared.lock();
            // A proof that has begun anew replaces the one before once it is one.
            if proof.is_complete() {
                state.proof = Some(Arc::new(proof.clone()));
            }
        };
        prover.series(each, &|time| shared.rest(time))?;
        if !shared.rest(REST.max(begun.elapsed() * RESTS)) {
            return Ok(());
        }
    }
}

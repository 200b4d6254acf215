//! Lines of a pipe, read by a thread so that the writer never blocks.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

#[derive(Default)]
struct State {
    lines: Vec<String>,
    ended: bool,
}

/// All lines that came so far, and a way to wait for more.
pub struct Lines {
    shared: Arc<(Mutex<State>, Condvar)>,
    next: usize,
}

impl Lines {
    /// Starts to read; the thread ends with the pipe.
    pub fn drain(pipe: impl Read + Send + 'static) -> Self {
        let shared = Arc::new((Mutex::new(State::default()), Condvar::new()));
        let writer = Arc::clone(&shared);
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                writer.0.lock().expect("no reader panics").lines.push(line);
                writer.1.notify_all();
            }
            writer.0.lock().expect("no reader panics").ended = true;
            writer.1.notify_all();
        });
        Self { shared, next: 0 }
    }

    /// The next line that fulfils the condition; those before it are passed over.
    ///
    /// # Errors
    /// If the pipe ends, or the time runs out, before it comes; with all that came instead.
    pub fn wait_for(
        &mut self,
        what: &str,
        timeout: Duration,
        mut wanted: impl FnMut(&str) -> bool,
    ) -> Result<String> {
        let deadline = Instant::now() + timeout;
        let (state, changed) = &*self.shared;
        let mut state = state.lock().expect("the writer does not panic");
        loop {
            while let Some(line) = state.lines.get(self.next) {
                self.next += 1;
                if wanted(line) {
                    return Ok(line.clone());
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.ended || left.is_zero() {
                let how = if state.ended { "ended" } else { "timed out" };
                bail!("{how} before {what}; it said:\n{}", state.lines.join("\n"));
            }
            state = changed.wait_timeout(state, left).expect("the writer does not panic").0;
        }
    }

    /// Waits for the end of the pipe and returns all that came.
    ///
    /// # Errors
    /// If the time runs out.
    pub fn to_end(&mut self, timeout: Duration) -> Result<String> {
        let (state, changed) = &*self.shared;
        let state = state.lock().expect("the writer does not panic");
        let (state, waited) =
            changed.wait_timeout_while(state, timeout, |state| !state.ended).expect("no writer panics");
        if waited.timed_out() {
            bail!("the pipe stays open; it said:\n{}", state.lines.join("\n"));
        }
        Ok(state.lines.join("\n"))
    }
}

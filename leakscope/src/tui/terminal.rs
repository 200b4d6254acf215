//! Takes the terminal and gives it back: at the end, after a panic, and while suspended.

use std::fs::File;
use std::io::{self, IsTerminal as _, Stdout, Write as _};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::cursor::{Hide, Show};
use crossterm::execute;
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::backend::CrosstermBackend;
use rustix::event::{PollFd, PollFlags, Timespec};

/// Whether the terminal is ours now.
static TAKEN: AtomicBool = AtomicBool::new(false);
/// What a thread that panicked said, other than the one that draws.
static PANICKED: Mutex<Option<String>> = Mutex::new(None);

/// Why there can be no screen here; `None` if there can.
pub(super) fn refusal() -> Option<&'static str> {
    if !io::stdout().is_terminal() {
        return Some("standard output is no terminal");
    }
    let dumb = |term: &std::ffi::OsStr| term.is_empty() || term == "dumb";
    if std::env::var_os("TERM").is_none_or(|term| dumb(&term)) {
        return Some("TERM says that this terminal cannot draw a screen (it is dumb or not set)");
    }
    if !io::stdin().is_terminal() && File::open("/dev/tty").is_err() {
        return Some("there is no terminal to read keys from");
    }
    None
}

/// The terminal, as long as it is ours.
pub(super) struct HeldTerminal {
    /// What draws on it.
    pub(super) terminal: ratatui::Terminal<CrosstermBackend<Stdout>>,
}

impl HeldTerminal {
    pub(super) fn take() -> io::Result<Self> {
        give_back_on_panic();
        enter()?;
        match ratatui::Terminal::new(CrosstermBackend::new(io::stdout())) {
            Ok(terminal) => Ok(Self { terminal }),
            Err(error) => {
                give_back();
                Err(error)
            }
        }
    }

    /// Gives it back, stops this process as the shell's job control wants it, and goes on from there.
    pub(super) fn suspend(&mut self) -> io::Result<()> {
        give_back();
        // SAFETY: takes no pointers. SIGTSTP has a handler by now, so it would not stop. To this very thread, or it might
        // go on before another one has stopped it.
        unsafe { libc::raise(libc::SIGSTOP) };
        self.resume()
    }

    /// Takes it again: somebody else may have changed it.
    pub(super) fn resume(&mut self) -> io::Result<()> {
        enter()?;
        self.terminal.clear()
    }
}

impl Drop for HeldTerminal {
    fn drop(&mut self) {
        give_back();
    }
}

fn enter() -> io::Result<()> {
    enable_raw_mode()?;
    TAKEN.store(true, Ordering::SeqCst);
    execute!(io::stdout(), EnterAlternateScreen, Hide)
}

/// Gives it back if it is ours; errors are those of a terminal that is gone.
pub(super) fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
        let _ = io::stdout().flush();
    }
}

/// A panic of this thread is printed on the terminal as it was; one of another thread is kept for
/// [`panicked`].
fn give_back_on_panic() {
    let drawing = std::thread::current().id();
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().id() == drawing || !TAKEN.load(Ordering::SeqCst) {
            give_back();
            before(panic);
        } else if let Ok(mut kept) = PANICKED.lock() {
            *kept = Some(panic.to_string());
        }
    }));
}

/// What another thread said when it panicked.
pub(super) fn panicked() -> Option<String> {
    PANICKED.lock().ok()?.take()
}

/// Whether the terminal that keys come from has been closed.
pub(super) fn is_closed() -> bool {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        // Keys come from /dev/tty; its end is told by SIGHUP.
        return false;
    }
    let mut polled = [PollFd::new(&stdin, PollFlags::empty())];
    let ready = rustix::event::poll(&mut polled, Some(&Timespec::default())).unwrap_or(0);
    ready > 0 && polled[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL)
}

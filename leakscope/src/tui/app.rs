//! What the screen shows, apart from how. Fed with snapshots, reports and keys.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::list::List;
use super::process::{Phase, ProcessView};
use crate::processes::{Order, Snapshot};
use crate::report::Report;

/// What is to be done besides drawing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Leave.
    Quit,
    /// Stop as a job of the shell.
    Suspend,
    /// Draw everything anew.
    Redraw,
    /// Attach to this process.
    Attach(u32),
    /// Detach from the process that was attached to.
    Detach,
    /// Read these lines of these source files.
    Read(Vec<(String, u32)>),
    /// Write the report to a file.
    Save,
    /// Leave, and look at this process as root.
    Sudo(u32),
}

/// All that is shown.
#[derive(Clone, Debug, Default)]
pub struct App {
    pub list: List,
    /// The process that is looked at.
    pub process: Option<ProcessView>,
    /// Whether the help is shown.
    pub help: bool,
    /// The filter as it is typed.
    pub prompt: Option<String>,
    /// Whether the screen stands still.
    pub paused: bool,
    /// Something to say once.
    pub message: Option<String>,
    /// Seconds between refreshes of the list.
    pub interval_s: f64,
    /// Whether there are more rights to be had.
    pub unprivileged: bool,
    /// Columns and lines of the terminal.
    pub size: (u16, u16),
}

/// Rows that PgUp and PgDn keep in sight.
const OVERLAP: usize = 1;

impl App {
    /// Takes a snapshot in, unless the screen stands still.
    pub fn on_snapshot(&mut self, snapshot: Snapshot) {
        if !self.paused || self.list.snapshot().is_none() {
            self.list.update(snapshot);
        }
    }

    /// The probes are placed.
    pub fn on_attached(&mut self, probes: usize) {
        if let Some(process) = &mut self.process {
            process.phase = Phase::Attached { probes };
        }
    }

    /// Takes a report in, unless the screen stands still.
    pub fn on_report(&mut self, report: Report) {
        if let Some(process) = self.process.as_mut().filter(|p| !self.paused || p.report.is_none()) {
            process.update(report);
        }
    }

    /// A warning about the process.
    pub fn on_warning(&mut self, text: String) {
        if let Some(process) = &mut self.process {
            process.warning = Some(text);
        }
    }

    /// The observation is over.
    pub fn on_ended(&mut self, why: Option<String>) {
        if let Some(process) = &mut self.process {
            let ended = process.report.as_ref().and_then(|r| r.window.ended_by);
            let why = why.unwrap_or_else(|| match ended {
                Some(crate::report::model::EndedBy::Exec) => "it runs another program".to_owned(),
                Some(crate::report::model::EndedBy::TargetExit) => "it has ended".to_owned(),
                _ => "the observation has ended".to_owned(),
            });
            process.phase = Phase::Ended(why);
        }
    }

    /// The process cannot be traced with the rights that there are.
    pub fn on_denied(&mut self, why: String) {
        if let Some(process) = &mut self.process {
            process.phase = Phase::Denied(why);
        }
    }

    /// The process that only root may look at, if that is what is shown and we are not root.
    pub fn wants_root(&self) -> Option<u32> {
        let process = self.process.as_ref().filter(|_| self.unprivileged)?;
        matches!(process.phase, Phase::Denied(_)).then_some(process.pid)
    }

    /// Lines of sources.
    pub fn on_sources(&mut self, lines: Vec<((String, u32), String)>) {
        if let Some(process) = &mut self.process {
            process.sources.extend(lines);
        }
    }

    /// Looks at a process.
    pub fn open(&mut self, pid: u32) -> Action {
        let comm = (0..self.list.len()).find_map(|row| self.list.process(row).filter(|p| p.pid == pid));
        self.process = Some(ProcessView::new(pid, comm.map(|p| p.comm.clone()).unwrap_or_default()));
        self.paused = false;
        Action::Attach(pid)
    }

    pub fn on_key(&mut self, key: KeyEvent) -> Option<Action> {
        if key.kind == KeyEventKind::Release {
            return None;
        }
        self.message = None;
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            match key.code {
                KeyCode::Char('c') => return Some(Action::Quit),
                KeyCode::Char('z') => return Some(Action::Suspend),
                KeyCode::Char('l') => return Some(Action::Redraw),
                KeyCode::Char('f') => return self.movement(KeyCode::PageDown),
                KeyCode::Char('b') => return self.movement(KeyCode::PageUp),
                // What was typed before the screen was there comes as a line feed.
                KeyCode::Char('j') => return self.on_key(KeyEvent::from(KeyCode::Enter)),
                KeyCode::Char(_) => return None,
                _ => {}
            }
        }
        if self.prompt.is_some() {
            self.type_filter(key.code);
            return None;
        }
        if self.help {
            // Any key leaves it.
            self.help = false;
            return None;
        }
        match key.code {
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => {
                self.help = true;
                None
            }
            KeyCode::Char('p' | 'Z') => {
                self.paused = !self.paused;
                None
            }
            _ if self.process.is_some() => self.process_key(key.code),
            _ => self.list_key(key.code),
        }
    }

    fn type_filter(&mut self, code: KeyCode) {
        let Some(text) = &mut self.prompt else { return };
        match code {
            KeyCode::Char(c) => text.push(c),
            KeyCode::Backspace => drop(text.pop()),
            KeyCode::Enter => {
                self.prompt = None;
                return;
            }
            KeyCode::Esc => {
                text.clear();
                self.list.filter.clear();
                self.list.arrange();
                self.prompt = None;
                return;
            }
            _ => return,
        }
        self.list.filter.clone_from(text);
        self.list.arrange();
    }

    fn list_key(&mut self, code: KeyCode) -> Option<Action> {
        match code {
            KeyCode::Char('q') | KeyCode::F(10) => return Some(Action::Quit),
            KeyCode::Char('/' | '\\') | KeyCode::F(3 | 4) => self.prompt = Some(self.list.filter.clone()),
            KeyCode::Esc => {
                self.list.filter.clear();
                self.list.arrange();
            }
            KeyCode::Enter => {
                let pid = self.list.selected()?.pid;
                return Some(self.open(pid));
            }
            KeyCode::Char('s' | '>') | KeyCode::F(6) => self.turn_order(1),
            KeyCode::Char('S' | '<') => self.turn_order(Order::ALL.len() - 1),
            KeyCode::Char('I' | 'r') => {
                self.list.reversed = !self.list.reversed;
                self.list.arrange();
            }
            KeyCode::Char('M') => self.list.sort(Order::Rss),
            KeyCode::Char('N') => self.list.sort(Order::Pid),
            KeyCode::Char(digit @ '1'..='9') => {
                let order = Order::ALL.get(digit as usize - '1' as usize)?;
                self.list.sort(*order);
            }
            _ => return self.movement(code),
        }
        None
    }

    fn turn_order(&mut self, by: usize) {
        let at = Order::ALL.iter().position(|o| *o == self.list.order).unwrap_or(0);
        self.list.reversed = false;
        self.list.order = Order::ALL[(at + by) % Order::ALL.len()];
        self.list.arrange();
    }

    fn process_key(&mut self, code: KeyCode) -> Option<Action> {
        if code == KeyCode::Char('S')
            && let Some(pid) = self.wants_root()
        {
            return Some(Action::Sudo(pid));
        }
        let process = self.process.as_mut()?;
        match code {
            KeyCode::Esc | KeyCode::Backspace | KeyCode::Left | KeyCode::Char('q')
                if process.detail.is_some() =>
            {
                process.detail = None;
            }
            KeyCode::Char('q') | KeyCode::F(10) => return Some(Action::Quit),
            KeyCode::Esc | KeyCode::Backspace => {
                self.process = None;
                self.paused = false;
                return Some(Action::Detach);
            }
            KeyCode::Enter if process.detail.is_none() => {
                if process.open() {
                    let lines = process
                        .stack()?
                        .frames
                        .iter()
                        .filter_map(|f| Some((f.file.as_deref()?.to_owned(), f.line?)));
                    return Some(Action::Read(lines.collect()));
                }
            }
            KeyCode::Tab | KeyCode::Right => process.turn(true),
            KeyCode::BackTab | KeyCode::Left => process.turn(false),
            KeyCode::Char('m') if !process.is_named() => {
                self.message =
                    Some("names are still being read; set the mark when they are there".to_owned());
            }
            KeyCode::Char('m') => {
                process.toggle_mark();
                let tracked = Report::tabs().into_iter().find_map(|tab| tab.tracks).unwrap_or_default();
                self.message = Some(if process.marked() {
                    format!("marked: only sites of {tracked} that grow from now on; m shows all again")
                } else {
                    format!("all sites of {tracked}")
                });
            }
            KeyCode::Char('s' | '>') | KeyCode::F(6) if process.tab.tracks.is_some() => process.next_order(),
            KeyCode::Char('w') => {
                if process.report.is_some() {
                    return Some(Action::Save);
                }
                self.message = Some("there is no report yet".to_owned());
            }
            _ => return self.movement(code),
        }
        None
    }

    fn movement(&mut self, code: KeyCode) -> Option<Action> {
        let height = match &self.process {
            Some(process) => process.height,
            None => self.list.height,
        };
        let page = height.saturating_sub(OVERLAP).max(1).cast_signed();
        let far = isize::MAX / 2;
        let by = match code {
            KeyCode::Down | KeyCode::Char('j') => 1,
            KeyCode::Up | KeyCode::Char('k') => -1,
            KeyCode::PageDown | KeyCode::Char(' ' | 'f') => page,
            KeyCode::PageUp | KeyCode::Char('b') => -page,
            KeyCode::Char('d') => (page / 2).max(1),
            KeyCode::Char('u') => -(page / 2).max(1),
            KeyCode::End | KeyCode::Char('G') => far,
            KeyCode::Home | KeyCode::Char('g') => -far,
            _ => return None,
        };
        match &mut self.process {
            Some(process) => process.step(by),
            None => self.list.step(by),
        }
        None
    }
}

#[cfg(test)]
pub(crate) mod tests;

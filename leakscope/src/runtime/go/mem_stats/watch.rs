//! The account of a program as it is watched: what it was first, and what it is.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::{MemStats, Places, find, read};
use crate::collect::Log;
use crate::runtime::go::program::Program;

/// The account at the first look and at the last one; the same where there was one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemoryAccount {
    pub first: MemStats,
    pub last: MemStats,
    /// Why the last one is not of this moment.
    pub old: Option<String>,
}

/// What is kept of it from look to look.
#[derive(Debug)]
pub struct MemoryWatch {
    pid: u32,
    places: Option<Places>,
    account: Option<MemoryAccount>,
    refused: Option<String>,
}

impl MemoryWatch {
    /// Nothing yet of the program that runs as `pid`.
    pub const fn of(pid: u32) -> Self {
        Self { pid, places: None, account: None, refused: None }
    }

    /// Reads the account. What cannot be read leaves what was read before.
    pub fn read(&mut self, program: &Program, log: &mut dyn Log) {
        let begun = Instant::now();
        let places = match self.places {
            Some(places) => Ok(places),
            None => find(program),
        };
        let stats = places.and_then(|mut places| {
            let stats = read(program, &mut places, self.pid);
            self.places = Some(places);
            stats
        });
        match stats {
            Ok(stats) => {
                let took_ms = begun.elapsed().as_secs_f64() * 1e3;
                log.detail(&format!("the Go runtime's account of its memory in {took_ms:.1} ms"));
                let first = self.account.as_ref().map_or(stats, |account| account.first);
                self.account = Some(MemoryAccount { first, last: stats, old: None });
                self.refused = None;
            }
            Err(error) => {
                let why = error.to_string();
                if let Some(account) = &mut self.account {
                    account.old = Some(why.clone());
                }
                self.refused = Some(why);
            }
        }
    }

    /// What was read last.
    pub const fn account(&self) -> Option<&MemoryAccount> {
        self.account.as_ref()
    }

    /// Why nothing was read.
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref().filter(|_| self.account.is_none())
    }
}

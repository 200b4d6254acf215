//! A server that leaks at two sites, for `cargo xtask demo`.
//!
//! `cache_session` and `remember_request` keep what nobody asks for again; `render_page` frees all
//! it allocates. The program prints `ready PID` and runs until its standard input ends.

use std::{
    hint::black_box,
    io::{self, Read, Write},
    thread,
    time::Duration,
};

/// A session that is cached and never looked up.
#[allow(dead_code, reason = "the program only shows who holds memory")]
struct Session {
    user: u64,
    state: [u8; 4096],
}

/// A request that is remembered and never forgotten.
#[allow(dead_code, reason = "the program only shows who holds memory")]
struct Request {
    number: u64,
    header: [u8; 504],
}

#[inline(never)]
fn cache_session(user: u64) {
    let session = Box::new(Session { user, state: [0; 4096] });
    black_box(Box::leak(session));
}

#[inline(never)]
fn remember_request(number: u64) {
    let request = Box::new(Request { number, header: [0; 504] });
    black_box(Box::leak(request));
}

#[inline(never)]
fn render_page(number: u64) {
    let page = format!("<html><body>page {number}</body></html>").repeat(20);
    black_box(&page);
}

/// Does something over and over on a thread of its own.
fn every(pause: Duration, name: &str, work: fn(u64)) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        for turn in 0.. {
            work(turn);
            thread::sleep(pause);
        }
    })?;
    Ok(())
}

fn main() -> io::Result<()> {
    every(Duration::from_millis(10), "sessions", cache_session)?;
    every(Duration::from_millis(4), "requests", remember_request)?;
    every(Duration::from_millis(1), "pages", render_page)?;
    writeln!(io::stdout(), "ready {}", std::process::id())?;
    // The threads end with the process.
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

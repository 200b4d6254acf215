//! What the BPF programs and userspace agree on: wire layouts, map values, numbered losses, and the pure
//! parts of what the programs do, which are tested on the host.
//!
//! `unwind` holds the row format of the unwind tables and `step`, which both sides run; `heap` the
//! values of the accounting maps, `pairing` what allocator calls do to that account; `go` and `go_wait` what is
//! traced in Go programs, `wait` those of waits and threads, `descriptor` what a wait's descriptor is, `release` who held what
//! was waited for; `probe` the cookie that tells a probe what it stands on; `event` the ring-buffer records; `config` the load-time globals and run
//! states; `counter` the numbered losses. Every type that crosses the boundary is `repr(C)`, has a fixed size
//! without padding, and has that size asserted here. Feature `user` adds aya's `Pod` for userspace.
#![cfg_attr(not(test), no_std)]

pub mod config;
pub mod counter;
pub mod descriptor;
pub mod event;
pub mod go;
pub mod go_wait;
pub mod heap;
pub mod pairing;
pub mod probe;
pub mod release;
pub mod unwind;
pub mod wait;

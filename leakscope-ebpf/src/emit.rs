//! Writes to the ring buffer.

use aya_ebpf::helpers::generated::bpf_ringbuf_output;
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, generated::bpf_ktime_get_ns};
use leakscope_common::config::state;
use leakscope_common::counter::Loss;
use leakscope_common::event::{Header, Kind, StackHeader, ThreadEvent, WaitEvent};

use crate::maps::{self, EVENTS, STATE};
use crate::stack::Scratch;

/// Sends the stack in the slot; whether it was taken.
#[inline(always)]
pub(crate) fn stack(s: &mut Scratch, id: u64) -> bool {
    let count = s.depth & 127;
    s.record.fixed = StackHeader {
        header: Header { kind: Kind::Stack as u32, count: count as u32 },
        id,
        end: s.end as u32,
        reserved: 0,
    };
    let bytes = size_of::<StackHeader>() as u64 + count * 8;
    // SAFETY: the record lies in a map value and is at least that large.
    let sent = unsafe {
        bpf_ringbuf_output((&raw const EVENTS).cast_mut().cast(), (&raw mut s.record).cast(), bytes, 0)
    };
    if sent != 0 {
        maps::lose(Loss::RingFull);
    }
    sent == 0
}

/// Sends a thread event about the current thread.
#[inline(always)]
pub(crate) fn thread(kind: Kind) {
    let id = bpf_get_current_pid_tgid();
    // SAFETY: takes no arguments.
    let at_ns = unsafe { bpf_ktime_get_ns() };
    let event = ThreadEvent {
        header: Header { kind: kind as u32, count: 0 },
        at_ns,
        tgid: (id >> 32) as u32,
        tid: id as u32,
    };
    if EVENTS.output::<ThreadEvent>(&event, 0).is_err() {
        maps::lose(Loss::EventLost);
    }
}

/// Sends a single wait that has ended.
#[inline(always)]
pub(crate) fn wait(tid: u32, site: u64, since_ns: u64, wait_ns: u64) {
    let header = Header { kind: Kind::Wait as u32, count: 0 };
    let event = WaitEvent { header, since_ns, wait_ns, site, tid, reserved: 0 };
    if EVENTS.output::<WaitEvent>(&event, 0).is_err() {
        maps::lose(Loss::LongWaitLost);
    }
}

/// Tells userspace that the list of libraries has changed; whether that was taken.
#[inline(always)]
pub(crate) fn mappings_changed() -> bool {
    let header = Header { kind: Kind::MappingsChanged as u32, count: 0 };
    let sent = EVENTS.output::<Header>(&header, 0).is_ok();
    if !sent {
        maps::lose(Loss::EventLost);
    }
    sent
}

/// Asks userspace to look at the mappings again, because of code in none of them; only once until
/// userspace allows the next.
#[inline(always)]
pub(crate) fn ask_refresh() {
    let Some(asked) = STATE.get_ptr_mut(state::REFRESH_ASKED) else { return };
    // SAFETY: a map value; a lost race only means a second request.
    unsafe {
        if core::ptr::read_volatile(asked) != 0 {
            return;
        }
        core::ptr::write_volatile(asked, 1);
    }
    if !mappings_changed() {
        // SAFETY: as above: the next one may ask again.
        unsafe { core::ptr::write_volatile(asked, 0) };
    }
}

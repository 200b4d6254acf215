//! Writes to the ring buffer.

use aya_ebpf::helpers::generated::bpf_ringbuf_output;
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, generated::bpf_ktime_get_ns};
use aya_ebpf::macros::map;
use aya_ebpf::maps::RingBuf;
use leakscope_common::counter::Loss;
use leakscope_common::event::{Header, Kind, StackHeader, StackRecord, ThreadEvent, WaitEvent};

use crate::counters::lose;
use crate::state;

#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 22, 0);

#[inline(always)]
fn now() -> u64 {
    // SAFETY: takes no arguments.
    unsafe { bpf_ktime_get_ns() }
}

/// Sends a stack of `depth` frames, which stand in the record already; whether it was taken.
#[inline(always)]
pub(crate) fn stack(record: &mut StackRecord, id: u64, depth: u64, (end, created_at): (u64, u64)) -> bool {
    let count = depth & 127;
    record.fixed = StackHeader {
        header: Header { kind: Kind::Stack as u32, count: count as u32 },
        id,
        end: end as u32,
        size: size_of::<StackHeader>() as u32,
        at_ns: now(),
        created_at,
    };
    let bytes = size_of::<StackHeader>() as u64 + count * 8;
    let map = (&raw const EVENTS).cast_mut().cast();
    // SAFETY: the record is at least that large, and the caller's alone; the helper copies it. The map is the
    // kernel's object, which our static only names.
    let sent = unsafe { bpf_ringbuf_output(map, (&raw mut *record).cast(), bytes, 0) };
    if sent != 0 {
        lose(Loss::RingFull);
    }
    sent == 0
}

/// Sends a thread event about the current thread.
#[inline(always)]
pub(crate) fn thread(kind: Kind) {
    let id = bpf_get_current_pid_tgid();
    let event = ThreadEvent {
        header: Header { kind: kind as u32, count: 0 },
        at_ns: now(),
        tgid: (id >> 32) as u32,
        tid: id as u32,
    };
    if EVENTS.output::<ThreadEvent>(&event, 0).is_err() {
        lose(Loss::EventLost);
    }
}

/// Sends a single wait that has ended.
#[inline(always)]
pub(crate) fn wait(tid: u32, site: u64, since_ns: u64, wait_ns: u64) {
    let header = Header { kind: Kind::Wait as u32, count: 0 };
    let event = WaitEvent { header, since_ns, wait_ns, site, tid, reserved: 0 };
    if EVENTS.output::<WaitEvent>(&event, 0).is_err() {
        lose(Loss::LongWaitLost);
    }
}

/// Tells userspace that the list of libraries has changed; whether that was taken.
#[inline(always)]
pub(crate) fn mappings_changed() -> bool {
    let header = Header { kind: Kind::MappingsChanged as u32, count: 0 };
    let sent = EVENTS.output::<Header>(&header, 0).is_ok();
    if !sent {
        lose(Loss::EventLost);
    }
    sent
}

/// Asks userspace to look at the mappings again, because of code in none of them; only once until
/// userspace allows the next.
#[inline(always)]
pub(crate) fn ask_refresh() {
    state::ask_once(mappings_changed);
}

//! How many objects of each span class there are, from the spans themselves: no event is needed, and none is missed.

use super::spans::{CLASSES, Heap, IN_USE, Span};
use crate::runtime::go::memory::{Memory, Piece};

/// Most spans that are read, some gibibytes of the smallest ones: it is done while samples come.
const MOST: u64 = 1 << 20;
/// Bits that are read at once are those of so many spans.
const AT_ONCE: usize = 1 << 14;
/// The most objects of a span: those of 8 bytes in a page.
const MOST_ELEMENTS: u64 = 1024;
/// One in so many spans may not be swept yet.
const TOLERATED: usize = 50;

/// Objects by span class; those of large objects are left out.
pub(super) type Counts = [u64; CLASSES as usize];

/// Objects that are there, garbage included that was not swept.
pub(super) fn taken(memory: &dyn Memory, heap: &Heap) -> Option<Counts> {
    let mut counts = [0; CLASSES as usize];
    for span in small(memory, heap)? {
        add(&mut counts, &span, span.alloc_count);
    }
    Some(counts)
}

/// Objects that the collection found live that led to `generation`. `None` while spans are still swept, or if there was
/// another collection meanwhile.
pub(super) fn live(memory: &dyn Memory, heap: &Heap, generation: u32) -> Option<Counts> {
    let mut counts = [0; CLASSES as usize];
    let spans = small(memory, heap)?;
    let is_swept = |span: &&Span| [generation, generation.wrapping_add(3)].contains(&span.sweep_generation);
    let swept: Vec<&Span> = spans.iter().filter(is_swept).collect();
    if (spans.len() - swept.len()) * TOLERATED > spans.len() {
        return None;
    }
    // As it was swept the span's count was that of its bits; since then it counts what was taken, too.
    let (used, fresh): (Vec<&Span>, Vec<&Span>) = swept.into_iter().partition(|span| span.free_index > 0);
    fresh.iter().for_each(|span| add(&mut counts, span, span.alloc_count));
    let bytes = |span: &Span| span.elements.div_ceil(8) as usize;
    for chunk in used.chunks(AT_ONCE) {
        let pieces: Vec<Piece> = chunk.iter().map(|span| (span.alloc_bits, bytes(span))).collect();
        let read = memory.read_many(&pieces);
        for (i, span) in chunk.iter().enumerate() {
            add(&mut counts, span, ones(read.get(i)?, span.elements));
        }
    }
    // Bits of a collection before are used again for the next one.
    (memory.u32(heap.sweep_generation_address()) == Some(generation)).then_some(counts)
}

/// Spans of small objects.
fn small(memory: &dyn Memory, heap: &Heap) -> Option<Vec<Span>> {
    let spans = heap.spans_in(memory, MOST + 1)?;
    if spans.len() as u64 > MOST {
        return None;
    }
    let is_small = |span: &Span| span.state == IN_USE && span.class > 1 && span.elements <= MOST_ELEMENTS;
    Some(spans.into_iter().filter(is_small).collect())
}

fn add(counts: &mut Counts, span: &Span, objects: u64) {
    if let Some(count) = counts.get_mut(usize::from(span.class)) {
        *count += objects;
    }
}

/// Ones among the first so many bits.
fn ones(bits: &[u8], first: u64) -> u64 {
    let (words, rest) = ((first / 8) as usize, first % 8);
    let whole: u32 = bits.iter().take(words).map(|byte| byte.count_ones()).sum();
    let last = bits.get(words).map_or(0, |byte| (u32::from(*byte) & ((1 << rest) - 1)).count_ones());
    u64::from(whole + last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_past_the_last_object_do_not_count() {
        assert_eq!(ones(&[0xff, 0xff], 12), 12);
        assert_eq!(ones(&[0b101, 0xff], 8), 2);
        assert_eq!(ones(&[0xff], 16), 8);
        assert_eq!(ones(&[], 3), 0);
    }
}

//! How many bytes the heap takes for an object, which tells whether an object can be what a pointer says.

/// Sizes of objects that share a span (`runtime/sizeclasses.go`, `class_to_size`; the same from Go 1.19 to 1.27).
const CLASSES: [u16; 67] = [
    8, 16, 24, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240, 256, 288, 320, 352, 384, 416,
    448, 480, 512, 576, 640, 704, 768, 896, 1024, 1152, 1280, 1408, 1536, 1792, 2048, 2304, 2688, 3072, 3200,
    3456, 4096, 4864, 5120, 5376, 6144, 6528, 6784, 6912, 8192, 9472, 9728, 10240, 10880, 12288, 13568,
    14336, 16384, 18432, 19072, 20480, 21760, 24576, 27264, 28672,
];
/// The last class, which has no room for a type before the object.
const LAST: u64 = 32768;
/// `runtime.pageSize`
const PAGE: u64 = 8192;
/// Objects with pointers that are larger than this have their type before them (`minSizeForMallocHeader`), from Go 1.22
/// on.
const SMALLEST_WITH_TYPE: u64 = 512;
const FIRST_WITH_TYPE: u32 = 22;
/// Bytes of that (`mallocHeaderSize`).
pub(super) const TYPE_WORD: u64 = 8;

/// The size of the object that is made for so many bytes; `pointers` tells whether they hold any.
pub(in super::super) fn taken(bytes: u64, pointers: bool, minor: u32) -> u64 {
    let typed =
        pointers && minor >= FIRST_WITH_TYPE && bytes > SMALLEST_WITH_TYPE && bytes <= LAST - TYPE_WORD;
    let wanted = if typed { bytes + TYPE_WORD } else { bytes };
    match usize::try_from(wanted.div_ceil(8)).ok().and_then(|n| BY_WORDS.get(n)) {
        Some(class) => u64::from(*class),
        None => bytes.div_ceil(PAGE).saturating_mul(PAGE),
    }
}

/// The size of the class for so many words.
static BY_WORDS: [u16; LAST as usize / 8 + 1] = {
    let mut table = [0; LAST as usize / 8 + 1];
    let (mut words, mut class) = (0, 0);
    while words < table.len() {
        while class < CLASSES.len() && (CLASSES[class] as usize) < 8 * words {
            class += 1;
        }
        table[words] = if class < CLASSES.len() { CLASSES[class] } else { LAST as u16 };
        words += 1;
    }
    table
};

/// Bytes before an object of this size that tell its type: those of the word, or none. `large`: it has a span of its
/// own.
pub(super) fn before(size: u64, pointers: bool, large: bool, minor: u32) -> u64 {
    if pointers && !large && minor >= FIRST_WITH_TYPE && size > SMALLEST_WITH_TYPE { TYPE_WORD } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_runtime() {
        assert_eq!([1, 8, 9, 33, 512].map(|n| taken(n, true, 22)), [8, 8, 16, 48, 512]);
        assert_eq!((taken(576, false, 22), taken(576, true, 22), taken(576, true, 21)), (576, 640, 576));
        assert_eq!(
            (taken(28673, true, 22), taken(32760, true, 22), taken(32768, true, 22)),
            (32768, 32768, 32768)
        );
        assert_eq!((taken(32769, true, 22), taken(u64::MAX, true, 22)), (40960, u64::MAX));
        assert_eq!([before(512, true, false, 22), before(576, true, false, 22)], [0, 8]);
        assert_eq!([before(576, false, false, 22), before(576, true, false, 21)], [0, 0]);
        assert!(CLASSES.is_sorted());
    }
}

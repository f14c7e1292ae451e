//! Sizes as the allocator rounds them.
//!
//! jemalloc (5.3.1) serves 8, then multiples of 16 up to 128, then four sizes per doubling up to 32 KiB, then whole
//! pages. By asking for exactly these
//! sizes an entry knows how far it can grow in place, and `MEMORY USAGE` tells the truth.

/// Largest class of the four to a doubling.
const SPACED_MAX: usize = 32 << 10;
const PAGE: usize = 4096;

/// The number of bytes that the allocator hands out for a request of `size`.
#[inline]
pub fn size_class(size: usize) -> usize {
    if size <= 8 {
        return 8;
    }
    if size > SPACED_MAX {
        return size.saturating_add(PAGE - 1) & !(PAGE - 1);
    }
    // Spacing is a quarter of the power of two below, and never less than 16.
    let quarter = ((size - 1) | 127).ilog2() - 2;
    let mask = (1usize << quarter) - 1;
    size.saturating_add(mask) & !mask
}

/// The next larger class after the class `class`.
#[inline]
pub fn next_class(class: usize) -> usize {
    size_class(class + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_jemallocs() {
        let classes = [
            8, 16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768,
            896, 1024, 1280, 1536, 1792, 2048, 2560, 3072, 3584, 4096, 5120, 6144, 7168, 8192,
            10240, 12288, 14336, 16384, 20480, 24576, 28672, 32768, 36864, 40960, 45056,
        ];
        let mut expected = classes.iter();
        let mut class = 0;
        for size in 1..=45056usize {
            if size > class {
                class = *expected.next().unwrap();
            }
            assert_eq!(size_class(size), class, "size {size}");
        }
        assert_eq!(size_class(0), 8);
        assert_eq!(next_class(8), 16);
        assert_eq!(next_class(128), 160);
    }
}

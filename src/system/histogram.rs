//! A log-linear histogram of times, after HdrHistogram: each power of two is cut into equal parts.

/// Bits of precision within a power of two: 2^5 parts, so that a value is right to about 3 %.
const PART_BITS: u32 = 5;
const PARTS: usize = 1 << PART_BITS;
/// Powers of two that are told apart: from 1 ns to beyond an hour.
const POWERS: usize = 42;

/// Counts of times in ns. Recording is O(1), 5 KiB each.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Box<[u32; PARTS * POWERS]>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram {
            counts: Box::new([0; PARTS * POWERS]),
            total: 0,
        }
    }
}

impl Histogram {
    /// Counts one time.
    #[inline]
    pub fn record(&mut self, ns: u64) {
        let index = index_of(ns);
        self.counts[index] = self.counts[index].saturating_add(1);
        self.total += 1;
    }
    /// Counts one time that passed for several at once.
    #[inline]
    pub fn record_many(&mut self, ns: u64, times: u32) {
        let index = index_of(ns);
        self.counts[index] = self.counts[index].saturating_add(times);
        self.total += u64::from(times);
    }
    /// Bytes it holds.
    pub fn memory_bytes(&self) -> usize {
        std::mem::size_of_val(&*self.counts)
    }
    /// Times counted.
    pub fn total(&self) -> u64 {
        self.total
    }
    /// The time that this share (0 to 100) of all times does not exceed, ns.
    pub fn percentile(&self, percent: f64) -> u64 {
        let wanted =
            ((self.total as f64 * percent / 100.0).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= wanted {
                return highest_of(index);
            }
        }
        0
    }
    /// How many times do not exceed `ns`, to the histogram's precision.
    pub fn count_up_to(&self, ns: u64) -> u64 {
        self.counts[..=index_of(ns)]
            .iter()
            .map(|count| u64::from(*count))
            .sum()
    }
    /// The longest time counted, ns, to the histogram's precision.
    pub fn max(&self) -> u64 {
        self.counts
            .iter()
            .rposition(|count| *count > 0)
            .map_or(0, highest_of)
    }
}

#[inline]
fn index_of(ns: u64) -> usize {
    if ns < PARTS as u64 {
        return ns as usize;
    }
    let power = 63 - ns.leading_zeros();
    let part = (ns >> (power - PART_BITS)) as usize - PARTS;
    let row = (power - PART_BITS) as usize + 1;
    (row * PARTS + part).min(PARTS * POWERS - 1)
}

fn highest_of(index: usize) -> u64 {
    let (row, part) = (index / PARTS, index % PARTS);
    if row == 0 {
        return part as u64;
    }
    let width = 1u64 << (row - 1);
    (PARTS + part) as u64 * width + width - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_the_cell_that_is_named_for_it() {
        for ns in (0..5000)
            .chain((0..40).map(|bit| 1u64 << bit))
            .chain((0..40).map(|bit| (1u64 << bit) + 12345))
        {
            let highest = highest_of(index_of(ns));
            assert!(
                highest >= ns && highest - ns <= ns / 32 + 1,
                "{ns} → {highest}"
            );
        }
    }

    #[test]
    fn percentiles_follow_the_counts() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|us| histogram.record(us * 1000));
        let near = |value: u64, wanted: u64| value >= wanted && value <= wanted + wanted / 16;
        assert!(near(histogram.percentile(50.0), 500_000));
        assert!(near(histogram.percentile(99.0), 990_000));
        assert!(near(histogram.percentile(100.0), 1_000_000));
        assert_eq!(histogram.count_up_to(u64::MAX), 1000);
        assert_eq!(histogram.total(), 1000);
    }
}

//! Plain bytes that keys have somewhere within, searched for all at once.
//!
//! In: the plain bytes of patterns that begin with a star (`*:orders:*`), and a key. Out: which of them the key has, in one pass
//! over the key whatever their number. This is the search of agrep (Wu and Manber, 1994), in small.
//!
//! Of each needle one window is looked for, some bytes of it, as many for all. The search lays a frame of that length over the
//! key and looks at the *last two* bytes in it. Where no window has these two, none can begin before the second of them, and the
//! frame moves on by nearly its length; where a window has them further to its left, the frame moves until they stand there. Only
//! where a window ends with them the frame is compared with the windows, by binary search, and a needle whose window it is with
//! the key.
//!
//! ```text
//! windows of 5: "user:" "rder:"            e r : a l i c e : 7
//! the two bytes "ic" are in none:         [e r:a l]i c e : 7       "l" is the end of the frame
//!                                          moves by 4 each time
//! ```

use std::collections::HashMap;

/// The longest window, bytes: it is compared as one number.
const WINDOW_MAX: usize = 8;
/// Two bytes are looked up by a hash of so many bits. Those that share one move the frame by the smaller step.
const HASH_BITS: u32 = 10;

/// A needle, or only a part of it: what is found is to be looked at by whoever asks.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Needle {
    window: u64,
    /// Where in the needle the window begins.
    offset: usize,
    /// What it was given as.
    id: u32,
}

/// Needles that are searched for together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Needles {
    /// Bytes of a window.
    len: usize,
    /// How far the frame moves on, by the hash of its last two bytes; 0 where a window may be found.
    steps: Box<[u8; 1 << HASH_BITS]>,
    /// By their windows.
    sorted: Vec<Needle>,
}

impl Needles {
    /// The shortest needle that can be among them, bytes.
    pub(super) const SHORTEST: usize = 2;

    /// Needles with what they are called by. None if there are none; shorter ones than [`Needles::SHORTEST`] are left out.
    pub(super) fn new(needles: &[(&[u8], u32)]) -> Option<Needles> {
        let long = |(bytes, _): &&(&[u8], u32)| bytes.len() >= Needles::SHORTEST;
        let needles = || needles.iter().filter(long);
        let shortest = needles().map(|(bytes, _)| bytes.len()).min()?;
        let len = shortest.min(WINDOW_MAX);
        // A window that few others have tells more: of `*:1:orders:*`, `*:2:orders:*` not the orders.
        let mut counts: HashMap<u64, usize> = HashMap::new();
        for window in needles().flat_map(|(bytes, _)| bytes.windows(len)) {
            let count = counts.entry(number(window)).or_default();
            *count = count.saturating_add(1);
        }
        let mut found = Needles {
            len,
            // A frame that moves on so far begins with the second of the two.
            steps: Box::new([u8::try_from(len.saturating_sub(1)).unwrap_or(1); 1 << HASH_BITS]),
            sorted: Vec::new(),
        };
        for &(bytes, id) in needles() {
            let windows = bytes.windows(len).enumerate();
            let rarest = windows.min_by_key(|(_, window)| counts.get(&number(window)));
            if let Some((offset, window)) = rarest {
                found.add(window, offset, id);
            }
        }
        found.sorted.sort_by_key(|needle| needle.window);
        Some(found)
    }

    fn add(&mut self, window: &[u8], offset: usize, id: u32) {
        for (at, pair) in window.windows(2).enumerate() {
            let behind = self.len.saturating_sub(at.saturating_add(2));
            if let [first, second] = *pair
                && let Some(step) = self.steps.get_mut(hash(first, second))
            {
                *step = u8::try_from(behind).unwrap_or(u8::MAX).min(*step);
            }
        }
        let window = number(window);
        self.sorted.push(Needle { window, offset, id });
    }

    /// Asks for each needle that the key may have (its window is there), with where the needle would begin in the key, until
    /// one is what is wanted; whether one was.
    #[inline]
    pub(super) fn any(&self, key: &[u8], mut is_wanted: impl FnMut(u32, usize) -> bool) -> bool {
        let mut end = self.len;
        while let Some(&[first, second]) = key.get(end.wrapping_sub(2)..end) {
            let step = self.steps.get(hash(first, second)).map_or(1, |step| *step);
            if step == 0 && self.any_at(key, end, &mut is_wanted) {
                return true;
            }
            end = end.saturating_add(usize::from(step.max(1)));
        }
        false
    }

    /// The same for the frame that ends here.
    fn any_at(
        &self,
        key: &[u8],
        end: usize,
        is_wanted: &mut impl FnMut(u32, usize) -> bool,
    ) -> bool {
        let start = end.saturating_sub(self.len);
        let window = number(key.get(start..end).unwrap_or_default());
        let first = self.sorted.partition_point(|it| it.window < window);
        let found = self.sorted.get(first..).unwrap_or_default();
        let found = found.iter().take_while(|it| it.window == window);
        // A needle that would begin before the key does not stand here.
        let mut begins = found.filter_map(|it| Some((it.id, start.checked_sub(it.offset)?)));
        begins.any(|(id, begin)| is_wanted(id, begin))
    }
}

/// Up to eight bytes as a number.
#[inline]
fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number: u64, byte| number << 8 | u64::from(*byte))
}

#[inline]
fn hash(first: u8, second: u8) -> usize {
    let pair = u16::from_le_bytes([first, second]);
    usize::from(pair.wrapping_mul(0x9E37) >> (16 - HASH_BITS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(needles: &[&[u8]], key: &[u8]) -> Vec<(u32, usize)> {
        let numbered: Vec<(&[u8], u32)> = needles.iter().copied().zip(0..).collect();
        let mut found = Vec::new();
        if let Some(searched) = Needles::new(&numbered) {
            searched.any(key, |id, begin| {
                let rest = &key[begin.min(key.len())..];
                if rest.starts_with(needles[id as usize]) {
                    found.push((id, begin));
                }
                false
            });
        }
        found.sort_unstable();
        found
    }

    fn found_naively(needles: &[&[u8]], key: &[u8]) -> Vec<(u32, usize)> {
        let mut found = Vec::new();
        for (needle, id) in needles.iter().zip(0..) {
            let begins = (0..key.len()).filter(|begin| key[*begin..].starts_with(needle));
            found.extend(begins.map(|begin| (id, begin)));
        }
        found
    }

    fn bytes(
        alphabet: &'static [u8],
        len: std::ops::Range<usize>,
    ) -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(proptest::sample::select(alphabet), len)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn all_needles_are_found_where_they_are(
            needles in proptest::collection::vec(bytes(b"aaabc", 2..14), 0..12),
            key in bytes(b"aaabc", 0..60),
        ) {
            let needles: Vec<&[u8]> = needles.iter().map(|it| &it[..]).collect();
            prop_assert_eq!(found(&needles, &key), found_naively(&needles, &key));
        }
    }

    #[test]
    fn the_frame_moves_on_by_what_it_has_seen() {
        let needles = Needles::new(&[(b"user:", 0), (b"order:", 1)]).unwrap();
        assert_eq!(needles.len, 5);
        let step = |pair: &[u8; 2]| needles.steps[hash(pair[0], pair[1])];
        // The first window of "order:" is as rare as the second, and stands before it.
        assert_eq!(
            [step(b"r:"), step(b"er"), step(b"or"), step(b"xy")],
            [0, 0, 3, 4]
        );
        assert_eq!(Needles::new(&[(b"a", 0)]), None);
        assert_eq!(Needles::new(&[]), None);
    }

    /// Of needles that have much in common those bytes are looked for that they have not.
    #[test]
    fn the_rarest_window_is_looked_for() {
        let needles: Vec<Vec<u8>> = (10..30)
            .map(|tenant| format!(":{tenant}:orders:").into_bytes())
            .collect();
        let numbered: Vec<(&[u8], u32)> = needles.iter().map(|it| &it[..]).zip(0..).collect();
        let mut windows: Vec<u64> = (Needles::new(&numbered).unwrap().sorted.iter())
            .map(|it| it.window)
            .collect();
        windows.dedup();
        assert_eq!(windows.len(), 20);
    }
}

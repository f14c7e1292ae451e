//! The one source of randomness for sampling (RANDOMKEY, SPOP, eviction, skiplist levels): a small generator with a
//! seed. The same seed gives the same sequence, for ever: simulations and replays stand on it.
//!
//! In: a seed. Out: numbers. xoshiro256++, its state filled by splitmix64. Not for secrets: those come from
//! [`super::process::random_bytes`].

/// A generator; whoever owns it decides the order of draws.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// A generator that is determined by `seed`.
    pub fn new(seed: u64) -> Rng {
        let mut weyl = seed;
        let state = std::array::from_fn(|_| {
            weyl = weyl.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = weyl;
            mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ mixed >> 31
        });
        Rng { state }
    }

    /// The next 64 bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let shifted = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= shifted;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A number below `bound`, each equally likely; 0 if `bound` is 0.
    ///
    /// The draw times `bound` has the answer in its upper half. Draws whose lower half falls into the uneven rest are
    /// thrown away, which for small bounds almost never happens, and only then is there a division.
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        let mut product = u128::from(self.next_u64()) * u128::from(bound);
        if (product as u64) < bound {
            let uneven = bound.wrapping_neg() % bound;
            while (product as u64) < uneven {
                product = u128::from(self.next_u64()) * u128::from(bound);
            }
        }
        (product >> 64) as u64
    }

    /// An index into something of `len` items; 0 if it is empty.
    #[inline]
    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// A double in `[0, 1)`, in steps of 2^-53.
    pub fn unit_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// First outputs of splitmix64 and xoshiro256++ for the seed 0, computed independently.
    #[test]
    fn the_sequence_never_changes() {
        let mut rng = Rng::new(0);
        assert_eq!(rng.state[0], 0xe220_a839_7b1d_cdaf);
        assert_eq!(rng.next_u64(), 0x5317_5d61_490b_23df);
        assert_eq!(Rng::new(7), Rng::new(7));
        assert_ne!(Rng::new(7).next_u64(), Rng::new(8).next_u64());
    }

    #[test]
    fn below_is_even_and_in_range() {
        let mut rng = Rng::new(1);
        let mut seen = [0u32; 6];
        for _ in 0..60_000 {
            seen[rng.index(6)] += 1;
        }
        assert!(
            seen.iter().all(|count| (9_500..10_500).contains(count)),
            "{seen:?}"
        );
        assert_eq!(rng.below(0), 0);
        assert_eq!(rng.below(1), 0);
        // A bound just above half the range throws away almost half of the draws.
        let bound = (1 << 63) + 1;
        let upper = (0..4000).filter(|_| rng.below(bound) >= 1 << 62).count();
        assert!((1800..2200).contains(&upper), "{upper}");
    }

    #[test]
    fn fill_reaches_the_end() {
        let mut bytes = [0u8; 21];
        Rng::new(3).fill(&mut bytes);
        assert!(bytes[16..].iter().any(|&byte| byte != 0));
        let unit = Rng::new(3).unit_f64();
        assert!((0.0..1.0).contains(&unit));
    }
}

//! XXH3, 64 bits: the digest of a string that DIGEST answers and IFDEQ compares.
//!
//! In: bytes of any length. Out: the hash that the xxHash library's `XXH3_64bits` gives (seed 0, its own secret), on any
//! machine. Inputs up to 240 bytes take one of the short forms; longer ones go stripe by stripe through eight
//! accumulators. Written from the published specification; the tests hold it against numbers of the library.

/// The specification's secret: 192 arbitrary bytes.
const SECRET: [u8; 192] = [
    0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c,
    0xde, 0xd4, 0x6d, 0xe9, 0x83, 0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f,
    0xcb, 0x79, 0xe6, 0x4e, 0xcc, 0xc0, 0xe5, 0x78, 0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21,
    0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43, 0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6, 0x81, 0x3a, 0x26, 0x4c,
    0x3c, 0x28, 0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb, 0x88, 0xd0, 0x65, 0x8b, 0x1b, 0x53, 0x2e, 0xa3,
    0x71, 0x64, 0x48, 0x97, 0xa2, 0x0d, 0xf9, 0x4e, 0x38, 0x19, 0xef, 0x46, 0xa9, 0xde, 0xac, 0xd8,
    0xa8, 0xfa, 0x76, 0x3f, 0xe3, 0x9c, 0x34, 0x3f, 0xf9, 0xdc, 0xbb, 0xc7, 0xc7, 0x0b, 0x4f, 0x1d,
    0x8a, 0x51, 0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31, 0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78, 0x73, 0x64,
    0xea, 0xc5, 0xac, 0x83, 0x34, 0xd3, 0xeb, 0xc3, 0xc5, 0x81, 0xa0, 0xff, 0xfa, 0x13, 0x63, 0xeb,
    0x17, 0x0d, 0xdd, 0x51, 0xb7, 0xf0, 0xda, 0x49, 0xd3, 0x16, 0x55, 0x26, 0x29, 0xd4, 0x68, 0x9e,
    0x2b, 0x16, 0xbe, 0x58, 0x7d, 0x47, 0xa1, 0xfc, 0x8f, 0xf8, 0xb8, 0xd1, 0x7a, 0xd0, 0x31, 0xce,
    0x45, 0xcb, 0x3a, 0x8f, 0x95, 0x16, 0x04, 0x28, 0xaf, 0xd7, 0xfb, 0xca, 0xbb, 0x4b, 0x40, 0x7e,
];
const PRIME32_1: u64 = 0x9E37_79B1;
const PRIME32_2: u64 = 0x85EB_CA77;
const PRIME32_3: u64 = 0xC2B2_AE3D;
const PRIME64_1: u64 = 0x9E37_79B1_85EB_CA87;
const PRIME64_2: u64 = 0xC2B2_AE3D_27D4_EB4F;
const PRIME64_3: u64 = 0x1656_67B1_9E37_79F9;
const PRIME64_4: u64 = 0x85EB_CA77_C2B2_AE63;
const PRIME64_5: u64 = 0x27D4_EB2F_1656_67C5;
const PRIME_MX1: u64 = 0x1656_6791_9E37_79F9;
const PRIME_MX2: u64 = 0x9FB2_1C65_1E98_DF25;
/// Bytes that go into the accumulators at once.
const STRIPE_LEN: usize = 64;
/// Stripes between two scrambles: the secret moves on by 8 bytes a stripe.
const STRIPES_PER_BLOCK: usize = (SECRET.len() - STRIPE_LEN) / 8;

/// The hash of `input`.
pub fn xxh3_64(input: &[u8]) -> u64 {
    match input.len() {
        0 => avalanche_xxh64(secret64(56) ^ secret64(64)),
        1..=3 => up_to_3(input),
        4..=8 => up_to_8(input),
        9..=16 => up_to_16(input),
        17..=128 => up_to_128(input),
        129..=240 => up_to_240(input),
        _ => long(input),
    }
}

fn read32(bytes: &[u8], at: usize) -> u64 {
    let word = bytes.get(at..).and_then(<[u8]>::first_chunk);
    debug_assert!(word.is_some(), "a word outside the input");
    u64::from(word.map_or(0, |word| u32::from_le_bytes(*word)))
}

#[inline]
fn read64(bytes: &[u8], at: usize) -> u64 {
    let word = bytes.get(at..).and_then(<[u8]>::first_chunk);
    debug_assert!(word.is_some(), "a word outside the input");
    word.map_or(0, |word| u64::from_le_bytes(*word))
}

#[inline]
fn secret64(at: usize) -> u64 {
    read64(&SECRET, at)
}

/// Both halves of the 128-bit product, folded.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

fn avalanche(mut hash: u64) -> u64 {
    hash ^= hash >> 37;
    hash = hash.wrapping_mul(PRIME_MX1);
    hash ^ hash >> 32
}

fn avalanche_xxh64(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(PRIME64_2);
    hash ^= hash >> 29;
    hash = hash.wrapping_mul(PRIME64_3);
    hash ^ hash >> 32
}

fn up_to_3(input: &[u8]) -> u64 {
    let len = input.len();
    let byte = |at: usize| u64::from(input[at]);
    let combined = byte(0) << 16 | byte(len / 2) << 24 | byte(len - 1) | (len as u64) << 8;
    avalanche_xxh64(combined ^ read32(&SECRET, 0) ^ read32(&SECRET, 4))
}

fn up_to_8(input: &[u8]) -> u64 {
    let len = input.len();
    let combined = read32(input, len - 4) + (read32(input, 0) << 32);
    let mut hash = combined ^ secret64(8) ^ secret64(16);
    hash ^= hash.rotate_left(49) ^ hash.rotate_left(24);
    hash = hash.wrapping_mul(PRIME_MX2);
    hash ^= (hash >> 35).wrapping_add(len as u64);
    hash = hash.wrapping_mul(PRIME_MX2);
    hash ^ hash >> 28
}

fn up_to_16(input: &[u8]) -> u64 {
    let len = input.len();
    let low = read64(input, 0) ^ secret64(24) ^ secret64(32);
    let high = read64(input, len - 8) ^ secret64(40) ^ secret64(48);
    let sum = (len as u64)
        .wrapping_add(low.swap_bytes())
        .wrapping_add(high);
    avalanche(sum.wrapping_add(fold(low, high)))
}

/// Sixteen bytes of the input with sixteen of the secret.
#[inline]
fn mix(input: &[u8], at: usize, secret_at: usize) -> u64 {
    fold(
        read64(input, at) ^ secret64(secret_at),
        read64(input, at + 8) ^ secret64(secret_at + 8),
    )
}

fn start(len: usize) -> u64 {
    (len as u64).wrapping_mul(PRIME64_1)
}

/// Pairs of sixteen bytes from both ends towards the middle.
fn up_to_128(input: &[u8]) -> u64 {
    let len = input.len();
    let mut sum = start(len);
    for pair in 0..=(len - 1) / 32 {
        sum = sum.wrapping_add(mix(input, 16 * pair, 32 * pair));
        sum = sum.wrapping_add(mix(input, len - 16 * (pair + 1), 32 * pair + 16));
    }
    avalanche(sum)
}

fn up_to_240(input: &[u8]) -> u64 {
    let len = input.len();
    let mut sum = start(len);
    for round in 0..8 {
        sum = sum.wrapping_add(mix(input, 16 * round, 16 * round));
    }
    sum = avalanche(sum);
    for round in 8..len / 16 {
        sum = sum.wrapping_add(mix(input, 16 * round, 16 * (round - 8) + 3));
    }
    avalanche(sum.wrapping_add(mix(input, len - 16, 136 - 17)))
}

type Accumulators = [u64; 8];

#[inline]
fn accumulate(sums: &mut Accumulators, stripe: &[u8], secret_at: usize) {
    for lane in 0..8 {
        let data = read64(stripe, 8 * lane);
        let key = data ^ secret64(secret_at + 8 * lane);
        sums[lane ^ 1] = sums[lane ^ 1].wrapping_add(data);
        sums[lane] = sums[lane].wrapping_add((key & 0xFFFF_FFFF) * (key >> 32));
    }
}

fn scramble(sums: &mut Accumulators) {
    for (lane, sum) in sums.iter_mut().enumerate() {
        *sum ^= *sum >> 47 ^ secret64(SECRET.len() - STRIPE_LEN + 8 * lane);
        *sum = sum.wrapping_mul(PRIME32_1);
    }
}

fn long(input: &[u8]) -> u64 {
    let mut sums: Accumulators = [
        PRIME32_3, PRIME64_1, PRIME64_2, PRIME64_3, PRIME64_4, PRIME32_2, PRIME64_5, PRIME32_1,
    ];
    // The last byte never completes a stripe: the last 64 bytes are a stripe of their own, overlapping the one before.
    let body = &input[..input.len() - 1];
    for block in body.chunks(STRIPES_PER_BLOCK * STRIPE_LEN) {
        for (index, stripe) in block.chunks_exact(STRIPE_LEN).enumerate() {
            accumulate(&mut sums, stripe, 8 * index);
        }
        if block.len() == STRIPES_PER_BLOCK * STRIPE_LEN {
            scramble(&mut sums);
        }
    }
    let last = &input[input.len() - STRIPE_LEN..];
    accumulate(&mut sums, last, SECRET.len() - STRIPE_LEN - 7);
    let mut hash = start(input.len());
    for pair in 0..4 {
        let at = 11 + 16 * pair;
        hash = hash.wrapping_add(fold(
            sums[2 * pair] ^ secret64(at),
            sums[2 * pair + 1] ^ secret64(at + 8),
        ));
    }
    avalanche(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that repeat with no power of two.
    fn sample(len: usize) -> Vec<u8> {
        (0..len)
            .map(|at| (at * at * 31 + at * 7) as u8 ^ (at % 251) as u8)
            .collect()
    }

    /// What `XXH3_64bits` of libxxhash 0.8 gives, around every border between the forms.
    const EXPECTED: &[(usize, u64)] = &[
        (1, 0xC44B_DFF4_074E_ECDB),
        (2, 0x95B0_B5EC_25B2_B7FD),
        (3, 0x4A23_E2AA_8787_A1B6),
        (4, 0xB3F4_BD63_A5FE_18D9),
        (5, 0x0B03_B7C1_C65D_E64D),
        (8, 0xECCE_6333_D03D_DACD),
        (9, 0x1D30_28E6_1C52_F954),
        (15, 0xB4A7_4131_4252_3618),
        (16, 0x529F_0EE0_3E51_77A1),
        (17, 0x15D7_0915_51F2_66ED),
        (31, 0x5783_69F1_CD0C_7275),
        (32, 0x85C9_60DC_C7DE_C6ED),
        (33, 0xB00D_CA25_16A6_2DD3),
        (64, 0xCBB0_6590_2068_DD5A),
        (65, 0xCA1C_E812_9CC9_6213),
        (96, 0xA084_8159_CB60_5230),
        (97, 0xE45C_AB66_335A_F5AE),
        (127, 0x847A_7493_6C00_2E34),
        (128, 0x34E7_1F7A_B889_42E1),
        (129, 0x5197_05C6_3AE2_E719),
        (143, 0x4500_7C17_EA4D_FCD5),
        (144, 0x5CE0_E514_E84C_D1AC),
        (160, 0x2C9A_0DAF_9343_B0DA),
        (239, 0x8552_8077_30B2_D78C),
        (240, 0x776F_81EA_1B71_8E8B),
        (241, 0x6E7C_E6EF_5C52_063E),
        (255, 0x5EC2_9137_14F5_5EE8),
        (256, 0xFAE5_BB39_9E30_E854),
        (257, 0xB6C9_936C_5E62_65EF),
        (320, 0x0F9F_03F8_5022_A7FE),
        (511, 0x5DB3_E763_4F53_B041),
        (512, 0x1516_709D_BD9A_CE43),
        (1023, 0xE3DC_9D3F_93AE_A4FF),
        (1024, 0x8CED_3085_F1B5_26B7),
        (1025, 0x9AA1_A0F9_2EC7_A081),
        (1087, 0x5AC0_7725_D694_2B23),
        (1088, 0x7193_EC13_AB8F_6635),
        (1089, 0x4213_0A27_B18E_79C3),
        (2048, 0x48C2_F543_87E0_9D68),
        (2049, 0xA17D_AEB1_E6DF_B6A0),
        (5000, 0x6E12_7D54_E34F_152C),
        (70000, 0xF386_AAC6_CD17_C014),
    ];

    #[test]
    fn agrees_with_the_library() {
        for &(len, expected) in EXPECTED {
            assert_eq!(xxh3_64(&sample(len)), expected, "length {len}");
        }
    }

    #[test]
    fn known_words() {
        assert_eq!(xxh3_64(b""), 0x2D06_8005_38D3_94C2);
        assert_eq!(xxh3_64(b"abc"), 0x78AF_5F94_892F_3950);
    }
}

//! Passwords, of which nothing is kept but SHA-256.
//!
//! In: passwords, or their hashes in hex. Out: hashes in hex, and whether a password is one of them. What a password was
//! copied into meanwhile is wiped.

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Digits of a hash.
const HEX_LEN: usize = 64;

/// SHA-256 of a password, in lower-case hex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hash(String);

impl Hash {
    pub(super) fn of(password: &[u8]) -> Hash {
        Hash(hex(&sha256(password)[..]))
    }

    /// A hash that somebody has computed before. `None` if it is not one.
    pub(super) fn parse(text: &[u8]) -> Option<Hash> {
        let is_hash = text.len() == HEX_LEN
            && text
                .iter()
                .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        is_hash.then(|| Hash(text.iter().copied().map(char::from).collect()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Hashes that a password is compared with at least: few users have more.
const COMPARED: usize = 16;

/// Whether the password is that of one of the hashes. The time that this takes says nothing of where they differ, nor of
/// which one it is, nor how many there are: where they are fewer than [`COMPARED`] (none, for a user without passwords or
/// one that there is not), the rest is compared with what no password has.
pub(super) fn is_one_of(password: &[u8], hashes: &[Hash]) -> bool {
    const NOBODYS: &[u8] = &[b'-'; HEX_LEN];
    let digest = sha256(password);
    let candidate = Zeroizing::new(hex(&digest[..]));
    let rest = COMPARED.saturating_sub(hashes.len());
    let hashes = hashes.iter().map(|hash| hash.0.as_bytes());
    let compared = hashes.chain(std::iter::repeat_n(NOBODYS, rest));
    compared.fold(false, |found, hash| {
        #[cfg(test)]
        COMPARISONS.set(COMPARISONS.get() + 1);
        found | same(candidate.as_bytes(), hash)
    })
}

#[cfg(test)]
thread_local! {
    /// Hashes that passwords of this thread's tests were compared with.
    pub(super) static COMPARISONS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Compares all bytes, wherever they differ first.
fn same(a: &[u8], b: &[u8]) -> bool {
    let pairs = a.iter().zip(b);
    let difference = pairs.fold(0, |difference, (a, b)| difference | (a ^ b));
    // Keeps the compiler from seeing that only zero matters, and from stopping early.
    a.len() == b.len() && std::hint::black_box(difference) == 0
}

pub(super) fn sha256(bytes: &[u8]) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(Sha256::digest(bytes).into())
}

/// Bytes in lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or('0');
    let halves = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    // Room for all of it at once: what grew would leave copies behind.
    let mut text = String::with_capacity(HEX_LEN.max(bytes.len().saturating_mul(2)));
    text.extend(halves.map(digit));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "2d9c75273d72b32df726fb545c8a4edc719f0a95a6fd993950b10c474ad9c927";

    #[test]
    fn hashes_as_redis_does() {
        assert_eq!(Hash::of(b"p1pp0").as_str(), HASH);
        assert_eq!(Hash::parse(HASH.as_bytes()), Some(Hash::of(b"p1pp0")));
        assert_eq!(Hash::parse(HASH.to_uppercase().as_bytes()), None);
        assert_eq!(Hash::parse(&HASH.as_bytes()[1..]), None);
        assert_eq!(Hash::parse(HASH.replace('2', "g").as_bytes()), None);
    }

    #[test]
    fn each_hash_is_compared() {
        let hashes = [Hash::of(b"a"), Hash::of(b"b\0c"), Hash::of(b"")];
        for password in [&b"a"[..], b"b\0c", b""] {
            assert!(is_one_of(password, &hashes));
        }
        for password in [&b"A"[..], b"b", b"b\0", HASH.as_bytes()] {
            assert!(!is_one_of(password, &hashes));
        }
        assert!(!is_one_of(b"", &[]));
        let mut other = HASH.to_owned();
        for at in 0..other.len() {
            other.replace_range(at..=at, "x");
            assert!(!same(HASH.as_bytes(), other.as_bytes()));
            other.replace_range(at..=at, &HASH[at..=at]);
        }
        assert!(same(HASH.as_bytes(), other.as_bytes()));
        assert!(!same(b"a", b""));
    }
}

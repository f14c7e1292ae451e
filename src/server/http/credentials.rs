//! Who may ask: whoever knows the server's password, if it has one.
//!
//! `Authorization: Bearer PASSWORD`, or `Basic` with any user's name, which is what a browser asks its user for.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// What came of a look at a request's credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Credential {
    /// There is no password, or it was given.
    Right,
    /// None was given.
    Missing,
    /// Another was given.
    Wrong,
}

/// Compares a request's `Authorization` field with the password.
pub(super) fn check(authorization: Option<&[u8]>, password: Option<&[u8]>) -> Credential {
    let Some(password) = password else {
        return Credential::Right;
    };
    let Some(field) = authorization else {
        return Credential::Missing;
    };
    match given(field) {
        // Of digests: how long it takes tells nothing of where they differ.
        Some(given) if Sha256::digest(&given) == Sha256::digest(password) => Credential::Right,
        _ => Credential::Wrong,
    }
}

/// The password in an `Authorization` field.
fn given(field: &[u8]) -> Option<Vec<u8>> {
    let blank = field.iter().position(|byte| *byte == b' ')?;
    let (scheme, value) = (&field[..blank], field[blank..].trim_ascii());
    if scheme.eq_ignore_ascii_case(b"bearer") {
        return Some(value.to_vec());
    }
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return None;
    }
    let pair = STANDARD.decode(value).ok()?;
    let colon = pair.iter().position(|byte| *byte == b':')?;
    Some(pair[colon + 1..].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_schemes_carry_the_password() {
        let basic = format!("Basic {}", STANDARD.encode("me:se:cret"));
        for (field, expected) in [
            ("Bearer se:cret", Credential::Right),
            ("bearer  se:cret", Credential::Right),
            (basic.as_str(), Credential::Right),
            ("Bearer other", Credential::Wrong),
            ("Basic !!!", Credential::Wrong),
            ("Basic", Credential::Wrong),
            ("Digest se:cret", Credential::Wrong),
        ] {
            let found = check(Some(field.as_bytes()), Some(b"se:cret"));
            assert_eq!(found, expected, "{field}");
        }
        assert_eq!(check(None, Some(b"x")), Credential::Missing);
        assert_eq!(check(None, None), Credential::Right);
        assert_eq!(check(Some(b"Bearer x"), None), Credential::Right);
    }
}

//! Who may ask: users, by their passwords, where the default user has one.
//!
//! `Authorization: Bearer PASSWORD` of the default user, or `Basic` with a user's name, which is what a browser asks for. A name
//! that is nobody's stands for the default user.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

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

/// Whether somebody with this name (none: with a password alone) and password may ask.
pub(super) type IsRight<'a> = &'a dyn Fn(Option<&[u8]>, &[u8]) -> bool;

/// Has a request's `Authorization` field judged. `is_right`: none where nobody needs one.
pub(super) fn check(authorization: Option<&[u8]>, is_right: Option<IsRight<'_>>) -> Credential {
    let Some(is_right) = is_right else {
        return Credential::Right;
    };
    let Some(field) = authorization else {
        return Credential::Missing;
    };
    match given(field) {
        Some((name, password)) if is_right(name.as_deref(), &password) => Credential::Right,
        _ => Credential::Wrong,
    }
}

/// A name, if one was given, and a password.
type Given = (Option<Vec<u8>>, Zeroizing<Vec<u8>>);

/// Name and password in an `Authorization` field.
fn given(field: &[u8]) -> Option<Given> {
    let blank = field.iter().position(|byte| *byte == b' ')?;
    let (scheme, value) = (&field[..blank], field[blank..].trim_ascii());
    if scheme.eq_ignore_ascii_case(b"bearer") {
        return Some((None, Zeroizing::new(value.to_vec())));
    }
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return None;
    }
    let pair = Zeroizing::new(STANDARD.decode(value).ok()?);
    let colon = pair.iter().position(|byte| *byte == b':')?;
    let password = Zeroizing::new(pair[colon + 1..].to_vec());
    Some((Some(pair[..colon].to_vec()), password))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_schemes_carry_the_password() {
        let is_right = |name: Option<&[u8]>, password: &[u8]| {
            name.is_none_or(|name| name == b"me") && password == b"se:cret"
        };
        let others = format!("Basic {}", STANDARD.encode("you:se:cret"));
        let basic = format!("Basic {}", STANDARD.encode("me:se:cret"));
        for (field, expected) in [
            ("Bearer se:cret", Credential::Right),
            ("bearer  se:cret", Credential::Right),
            (basic.as_str(), Credential::Right),
            (others.as_str(), Credential::Wrong),
            ("Bearer other", Credential::Wrong),
            ("Basic !!!", Credential::Wrong),
            ("Basic", Credential::Wrong),
            ("Digest se:cret", Credential::Wrong),
        ] {
            let found = check(Some(field.as_bytes()), Some(&is_right));
            assert_eq!(found, expected, "{field}");
        }
        assert_eq!(check(None, Some(&is_right)), Credential::Missing);
        assert_eq!(check(None, None), Credential::Right);
        assert_eq!(check(Some(b"Bearer x"), None), Credential::Right);
    }
}

//! Patterns of `BY` and `GET`: a key's name with a place for the element, and perhaps a field of the hash there.

use crate::keyspace::Db;
use memchr::memmem;

/// What a pattern says.
pub(super) enum Pattern<'a> {
    /// `#`: the element itself.
    Itself,
    /// A pattern without a place for the element: a key that is the same for all, which is never looked up.
    Constant,
    /// The value at a key.
    Key {
        before: &'a [u8],
        after: &'a [u8],
        /// Behind `->`: a field of the hash at the key.
        field: Option<&'a [u8]>,
    },
}

impl<'a> Pattern<'a> {
    /// A pattern of GET.
    pub(super) fn get(text: &'a [u8]) -> Pattern<'a> {
        if text == b"#" {
            return Pattern::Itself;
        }
        Pattern::by(text)
    }

    /// A pattern of BY: `#` is a constant like any other there.
    pub(super) fn by(text: &'a [u8]) -> Pattern<'a> {
        let Some(star) = memchr::memchr(b'*', text) else {
            return Pattern::Constant;
        };
        let (before, rest) = (&text[..star], &text[star + 1..]);
        // An arrow with nothing behind it is part of the name.
        let arrow = memmem::find(rest, b"->").filter(|at| at + 2 < rest.len());
        let (after, field) = match arrow {
            Some(at) => (&rest[..at], Some(&rest[at + 2..])),
            None => (rest, None),
        };
        Pattern::Key {
            before,
            after,
            field,
        }
    }

    /// Shows what the pattern stands for with this element; `None` if there is no such string or field.
    pub(super) fn look_up<R>(
        &self,
        db: &mut Db<'_>,
        element: &[u8],
        read: impl FnOnce(&[u8]) -> R,
    ) -> Option<R> {
        let (before, after, field) = match self {
            Pattern::Itself => return Some(read(element)),
            Pattern::Constant => return None,
            Pattern::Key {
                before,
                after,
                field,
            } => (before, after, field),
        };
        let now_ms = db.now().expiry_ms();
        let key = [before, element, after].concat();
        let entry = db.read(&key)?;
        match field {
            None => Some(entry.string().ok()?.with_bytes(read)),
            Some(field) => {
                let pair = entry.hash().ok()?.get(field)?;
                if !pair.is_expired(now_ms) {
                    return Some(pair.value.with_bytes(read));
                }
                db.expire_field(&key, field);
                None
            }
        }
    }
}

//! Long strings that a reading of a point in time has given away, and who waits to change one.
//!
//! In: strings as they are shared ([`Deferred::Shared`]), and as those who got them let go of them. Out: whether a change of a
//! string would copy it, and the clients that have waited and need not any more. A string is known by its address: nobody
//! else has that while it is shared, and it stays the same when its key is renamed.

use super::encoded::{Deferred, Encoded};
use super::entry::Entry;
use super::keyspace::Keyspace;
use super::{Stored, Value};
use crate::structures::Blob;
use std::collections::HashMap;
use std::sync::Arc;

/// Where a long string is; nobody else is there while it is shared.
pub(super) type Address = usize;

/// Strings from this length on are waited for, bytes. To copy a shorter one takes less than a tenth of a millisecond.
pub(super) const LONG_STRING: usize = 256 * 1024;

/// Long strings that are shared with those to whom the reading gave them: who changes one before they let go of it makes a
/// copy.
#[derive(Default)]
pub(super) struct LongStrings {
    /// Each with its number and the clients that wait for it.
    pub(super) shared: HashMap<Address, (u64, Vec<u64>)>,
    next: u64,
    /// Those that were copied, because somebody changed them who could not wait.
    pub(super) copied: u64,
    /// The longest of these copies since it was asked for, ns.
    pub(super) slowest_copy_ns: u64,
}

impl LongStrings {
    /// A string has been shared.
    pub(super) fn add(&mut self, string: Address) {
        self.next += 1;
        self.shared.entry(string).or_insert((self.next, Vec::new()));
    }
    /// The address of the string of an entry, where it is one of them.
    pub(super) fn has(&self, entry: &Entry) -> Option<Address> {
        let Stored::String(Value::Blob(blob)) = entry.stored() else {
            return None;
        };
        Some(address_of(blob)).filter(|it| self.shared.contains_key(it))
    }
    /// Whether there are none.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.shared.is_empty()
    }
}

fn address_of(blob: &Blob) -> Address {
    Arc::as_ptr(blob).addr()
}

/// Those of the strings that are waited for.
pub(super) fn long_strings(strings: &[(usize, Deferred)]) -> impl Iterator<Item = Address> + '_ {
    strings.iter().filter_map(|(_, string)| match string {
        Deferred::Shared(blob) => (blob.len() >= LONG_STRING).then(|| address_of(blob)),
        Deferred::Here(_) | Deferred::Part { .. } => None,
    })
}

impl Encoded {
    /// Addresses of the long strings in it, which are shared until it is dropped ([`Keyspace::let_go`]).
    pub fn long_strings(&self) -> impl Iterator<Item = usize> + '_ {
        long_strings(&self.strings)
    }
}

impl Keyspace {
    /// Nobody else has this long string any more, which was given away ([`Encoded::long_strings`]).
    pub fn let_go(&mut self, string: usize) {
        if let Some((_, mut waiting)) = self.shared.long_strings.shared.remove(&string) {
            self.released.append(&mut waiting);
        }
    }
    /// Nobody waits for long strings any more: what was given away is not known, or nobody wants it.
    pub fn let_go_of_all(&mut self) {
        let strings = std::mem::take(&mut self.shared.long_strings.shared);
        let mut strings: Vec<(u64, Vec<u64>)> = strings.into_values().collect();
        strings.sort_unstable();
        self.released
            .extend(strings.into_iter().flat_map(|(_, waiting)| waiting));
    }
}

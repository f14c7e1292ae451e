//! Values that are too large for their entry, or of another type than string: one pointer each, which the entry holds.

use super::{NewValue, Type};
use crate::structures::Blob;
use crate::structures::hash::Hash;
use crate::structures::list::List;
use crate::structures::set::Set;
use crate::structures::sorted_set::SortedSet;
use crate::structures::stream::Stream;
use std::sync::Arc;

/// A value behind one pointer. Each variant is one pointer wide and is told from the others by the entry's type, so a
/// collection is added as a variant here and a line in each `match` on it in `entry.rs`.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub(super) enum Object {
    /// A long string.
    Blob(Blob),
    List(List),
    Set(Set),
    SortedSet(Box<SortedSet>),
    Hash(Box<Hash>),
    Stream(Box<Stream>),
}

const _: () = assert!(size_of::<Blob>() == 8 && align_of::<Blob>() <= 8);
const _: () = assert!(size_of::<List>() == 8 && size_of::<Set>() == 8);

impl Object {
    /// The type of the value.
    pub(super) fn kind(&self) -> Type {
        match self {
            Object::Blob(_) => Type::String,
            Object::List(_) => Type::List,
            Object::Set(_) => Type::Set,
            Object::SortedSet(_) => Type::SortedSet,
            Object::Hash(_) => Type::Hash,
            Object::Stream(_) => Type::Stream,
        }
    }
}

/// The object for a value that is to stand behind a pointer.
pub(super) fn object_of(value: NewValue<'_>) -> Object {
    match value {
        NewValue::Blob(blob) => Object::Blob(blob),
        NewValue::List(it) => Object::List(it),
        NewValue::Set(it) => Object::Set(it),
        NewValue::SortedSet(it) => Object::SortedSet(it),
        NewValue::Hash(it) => Object::Hash(it),
        NewValue::Stream(it) => Object::Stream(it),
        NewValue::String(bytes) | NewValue::Raw(bytes) | NewValue::Text(bytes) => {
            Object::Blob(Arc::new(bytes.to_vec()))
        }
        NewValue::Int(number) => Object::Blob(Arc::new(itoa::Buffer::new().format(number).into())),
    }
}

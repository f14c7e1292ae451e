//! Listpack: elements packed in one buffer, byte-compatible with Redis's (listpack.c).

/// Elements packed in one buffer. Always well-formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listpack {
    bytes: Vec<u8>,
}

/// Where an element stands: the offset of its first byte. Good until the next change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(u32);

/// An element as it is stored: canonical integers are integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Item<'a> {
    Int(i64),
    Bytes(&'a [u8]),
}

impl Item<'_> {
    /// Length as a string, in bytes.
    pub fn len(&self) -> usize {
        todo!()
    }
    /// Whether it is the empty string.
    pub fn is_empty(&self) -> bool {
        todo!()
    }
    /// Calls back with the bytes of the string.
    pub fn with_bytes<R>(&self, _read: impl FnOnce(&[u8]) -> R) -> R {
        todo!()
    }
    /// The string, copied.
    pub fn to_vec(&self) -> Vec<u8> {
        todo!()
    }
    /// Whether it is this string.
    pub fn is(&self, _bytes: &[u8]) -> bool {
        todo!()
    }
    /// The integer, where it is one.
    pub fn as_int(&self) -> Option<i64> {
        todo!()
    }
}

/// Bytes that are no listpack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt;

impl Default for Listpack {
    fn default() -> Listpack {
        Listpack::new()
    }
}

impl Listpack {
    /// An empty one (7 bytes).
    pub fn new() -> Listpack {
        todo!()
    }
    /// Takes bytes from outside: header, end, and with `deep` every element and backward length are checked. Without
    /// `deep` only header and end are, and what is wrong inside must not lead to a panic or a read outside later.
    pub fn from_bytes(_bytes: Vec<u8>, _deep: bool) -> Result<Listpack, Corrupt> {
        todo!()
    }
    /// As DUMP and RDB carry it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
    /// Number of elements. O(1) below 65535, O(n) above.
    pub fn len(&self) -> usize {
        todo!()
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        todo!()
    }
    /// Bytes of the listpack.
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }
    /// Bytes with the allocator's rounding.
    pub fn memory_bytes(&self) -> usize {
        todo!()
    }
    /// Whether `more` bytes can be added without passing 1 GiB.
    pub fn has_room(&self, _more: usize) -> bool {
        todo!()
    }
    /// Appends; numbers are stored as such.
    pub fn push_back(&mut self, _element: &[u8]) {
        todo!()
    }
    /// Prepends. O(bytes).
    pub fn push_front(&mut self, _element: &[u8]) {
        todo!()
    }
    /// Appends an integer.
    pub fn push_back_int(&mut self, _element: i64) {
        todo!()
    }
    /// The first element.
    pub fn first(&self) -> Option<Position> {
        todo!()
    }
    /// The last element.
    pub fn last(&self) -> Option<Position> {
        todo!()
    }
    /// The element behind.
    pub fn next(&self, _at: Position) -> Option<Position> {
        todo!()
    }
    /// The element before.
    pub fn previous(&self, _at: Position) -> Option<Position> {
        todo!()
    }
    /// The element of an index; negative ones count from the end (-1: the last). O(distance to the nearer end).
    pub fn seek(&self, _index: i64) -> Option<Position> {
        todo!()
    }
    /// The element there.
    pub fn get(&self, _at: Position) -> Item<'_> {
        todo!()
    }
    /// Inserts before an element; where it now stands.
    pub fn insert_before(&mut self, _at: Position, _element: &[u8]) -> Position {
        todo!()
    }
    /// Inserts behind an element; where it now stands.
    pub fn insert_after(&mut self, _at: Position, _element: &[u8]) -> Position {
        todo!()
    }
    /// Puts another element in the place of this one; where it stands (the same place).
    pub fn replace(&mut self, _at: Position, _element: &[u8]) -> Position {
        todo!()
    }
    /// The same with an integer; in place where the width is the same.
    pub fn replace_int(&mut self, _at: Position, _element: i64) -> Position {
        todo!()
    }
    /// Removes an element; the one that stood behind it.
    pub fn remove(&mut self, _at: Position) -> Option<Position> {
        todo!()
    }
    /// Removes up to `count` elements from `at` on; the one that stood behind them.
    pub fn remove_many(&mut self, _at: Position, _count: usize) -> Option<Position> {
        todo!()
    }
    /// Finds an element from `from` on, looking at every `1 + skip`-th.
    pub fn find(&self, _from: Position, _element: &[u8], _skip: usize) -> Option<Position> {
        todo!()
    }
    /// All elements, from either end.
    pub fn iter(&self) -> impl Iterator<Item = Item<'_>> {
        std::iter::empty()
    }
    /// Appends all elements of another one.
    pub fn append(&mut self, _other: &Listpack) {
        todo!()
    }
    /// Splits: the elements from `at` on leave and are returned.
    pub fn split_off(&mut self, _at: Position) -> Listpack {
        todo!()
    }
    /// Gives back room that is not used.
    pub fn shrink_to_fit(&mut self) {
        todo!()
    }
}

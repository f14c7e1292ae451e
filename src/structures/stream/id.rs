//! Ids of stream entries: milliseconds and a sequence number, compared in this order.

/// Longest text of an id: two numbers of 20 digits and the dash.
const TEXT_MAX: usize = 41;

/// The id of an entry: a time and a sequence number within it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// Unix ms, by convention.
    pub ms: u64,
    /// Number within the millisecond.
    pub seq: u64,
}

impl StreamId {
    /// `0-0`, which no entry has.
    pub const MIN: StreamId = StreamId { ms: 0, seq: 0 };
    /// The last id that is possible.
    pub const MAX: StreamId = StreamId {
        ms: u64::MAX,
        seq: u64::MAX,
    };

    /// An id of its two parts.
    pub const fn new(ms: u64, seq: u64) -> StreamId {
        StreamId { ms, seq }
    }
    /// Whether it is `0-0`.
    pub fn is_zero(self) -> bool {
        self == StreamId::MIN
    }
    /// The id behind it; none behind the last one.
    pub fn next(self) -> Option<StreamId> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(StreamId { ms: self.ms, seq }),
            None => self.ms.checked_add(1).map(|ms| StreamId { ms, seq: 0 }),
        }
    }
    /// The id before it; none before `0-0`.
    pub fn previous(self) -> Option<StreamId> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(StreamId { ms: self.ms, seq }),
            None => self
                .ms
                .checked_sub(1)
                .map(|ms| StreamId { ms, seq: u64::MAX }),
        }
    }
    /// As DUMP and RDB carry it: 128 bits, big-endian, so that bytes compare like ids.
    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.ms) << 64 | u128::from(self.seq)).to_be_bytes()
    }
    /// The reverse.
    pub fn from_bytes(bytes: [u8; 16]) -> StreamId {
        let number = u128::from_be_bytes(bytes);
        StreamId {
            ms: (number >> 64) as u64,
            seq: number as u64,
        }
    }
    /// The id as clients read it: `ms-seq`.
    #[inline]
    pub fn text(self) -> IdText {
        let mut text = IdText {
            bytes: [0; TEXT_MAX],
            len: 0,
        };
        let mut buffer = itoa::Buffer::new();
        text.push(buffer.format(self.ms).as_bytes());
        text.push(b"-");
        text.push(buffer.format(self.seq).as_bytes());
        text
    }
}

/// An id as text, without an allocation.
#[derive(Clone, Copy, Debug)]
pub struct IdText {
    bytes: [u8; TEXT_MAX],
    len: usize,
}

impl IdText {
    #[inline]
    fn push(&mut self, part: &[u8]) {
        let end = self.len + part.len();
        if let Some(room) = self.bytes.get_mut(self.len..end) {
            room.copy_from_slice(part);
            self.len = end;
        }
    }
}

impl std::ops::Deref for IdText {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl AsRef<[u8]> for IdText {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_neighbours_and_spellings() {
        let id = StreamId::new(1526919030474, 55);
        assert_eq!(&*id.text(), b"1526919030474-55");
        assert_eq!(StreamId::MAX.text().len(), TEXT_MAX);
        assert_eq!(StreamId::from_bytes(id.to_bytes()), id);
        assert!(StreamId::new(1, u64::MAX) < StreamId::new(2, 0));
        assert_eq!(StreamId::new(1, u64::MAX).next(), Some(StreamId::new(2, 0)));
        assert_eq!(
            StreamId::new(2, 0).previous(),
            Some(StreamId::new(1, u64::MAX))
        );
        assert_eq!(StreamId::MAX.next(), None);
        assert_eq!(StreamId::MIN.previous(), None);
        assert!(StreamId::new(1, 0).to_bytes() > StreamId::new(0, u64::MAX).to_bytes());
    }
}

//! Arithmetic of an entry's bytes: the header's word, where things stand, what fits where. [`super::entry`] has the
//! drawing and does the reading and writing.

use super::Type;
use crate::system::size_class::{next_class, size_class};

// Flags.
pub(super) const EXPIRY: u8 = 1;
pub(super) const LONG_KEY: u8 = 2;
/// A string that reports `raw` although it is short.
pub(super) const RAW: u8 = 4;
pub(super) const SLACK_SHIFT: u8 = 3;
pub(super) const SLACK_MASK: u8 = 3 << SLACK_SHIFT;
/// The object has been moved into another entry; dropping this one leaves it alone.
pub(super) const MOVED: u8 = 32;

// Encodings.
pub(super) const INT: u8 = 0;
pub(super) const EMBEDDED: u8 = 1;
pub(super) const OBJECT: u8 = 2;

pub(super) const HEADER: usize = 8;

/// The header's word.
#[derive(Clone, Copy)]
pub(super) struct Head(pub(super) u64);

impl Head {
    pub(super) fn new(
        kind: Type,
        encoding: u8,
        flags: u8,
        access: u32,
        short_key: u8,
        value_len: u16,
    ) -> Head {
        Head(
            u64::from(encoding)
                | (kind as u64) << 4
                | u64::from(flags) << 8
                | u64::from(access & 0xff_ffff) << 16
                | u64::from(short_key) << 40
                | u64::from(value_len) << 48,
        )
    }
    pub(super) fn encoding(self) -> u8 {
        (self.0 & 15) as u8
    }
    /// Whether the value is an object that has not moved into another entry.
    #[inline]
    pub(super) fn holds_object(self) -> bool {
        self.0 & (15 | u64::from(MOVED) << 8) == u64::from(OBJECT)
    }
    pub(super) fn kind(self) -> Type {
        Type::from_bits((self.0 >> 4 & 15) as u8)
    }
    pub(super) fn flags(self) -> u8 {
        (self.0 >> 8) as u8
    }
    pub(super) fn has(self, flag: u8) -> bool {
        self.flags() & flag != 0
    }
    pub(super) fn access(self) -> u32 {
        (self.0 >> 16) as u32 & 0xff_ffff
    }
    pub(super) fn short_key(self) -> u8 {
        (self.0 >> 40) as u8
    }
    pub(super) fn value_len(self) -> usize {
        (self.0 >> 48) as usize
    }
    pub(super) fn with_flags(self, flags: u8) -> Head {
        Head(self.0 & !0xff00 | u64::from(flags) << 8)
    }
    pub(super) fn with_value_len(self, value_len: u16) -> Head {
        Head(self.0 & !(0xffff << 48) | u64::from(value_len) << 48)
    }
    pub(super) fn with_access(self, access: u32) -> Head {
        Head(self.0 & !(0xff_ffff << 16) | u64::from(access & 0xff_ffff) << 16)
    }
}

/// Where things are inside an allocation.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) key_at: usize,
    pub(super) value_at: usize,
    /// Bytes in use.
    pub(super) size: usize,
}

impl Shape {
    #[inline]
    pub(super) fn new(expiry: bool, key_len: usize, encoding: u8, value_len: usize) -> Shape {
        let long = if key_len > 255 { 8 } else { 0 };
        let key_at = HEADER + if expiry { 8 } else { 0 } + long;
        let key_end = key_at + key_len;
        match encoding {
            INT => Shape {
                key_at,
                value_at: key_end,
                size: key_end + 8,
            },
            EMBEDDED => Shape {
                key_at,
                value_at: key_end,
                size: key_end + value_len,
            },
            _ => {
                let value_at = (key_end + 7) & !7;
                Shape {
                    key_at,
                    value_at,
                    size: value_at + 8,
                }
            }
        }
    }
}

/// The slack bits with which `size` bytes can live in an allocation of `capacity`: none when they do not fit, or when
/// more than a quarter would be wasted although a smaller class would do.
#[inline]
pub(super) fn fit(size: usize, capacity: usize) -> Option<u8> {
    let mut class = size_class(size);
    if class == capacity {
        return Some(0);
    }
    if class > capacity || size * 4 < capacity * 3 {
        return None;
    }
    let mut slack = 0u8;
    // Two bits for the slack: three classes, which only pages of a very long key exceed.
    while class < capacity && slack < 3 {
        class = next_class(class);
        slack += 1;
    }
    (class == capacity).then_some(slack << SLACK_SHIFT)
}

//! The frame of DUMP: `type 1 │ value │ version 2 │ CRC64 8`, the numbers little-endian.
//!
//! Mirrors `createDumpPayload` and `verifyDumpPayload` of cluster.c.

use super::load::{self, Loader};
use super::read::{Reader, invalid};
use super::write::Writer;
use super::{FileVersion, LoadError, Reason, VERSION, kind, save};
use crate::keyspace::{NewValue, Stored};
use crate::system::crc64::crc64;

const FOOTER: usize = 10;
const CHECKSUM: usize = 8;

/// A value as DUMP answers it.
pub fn dump(value: Stored<'_>, compress: bool) -> Vec<u8> {
    let mut out = Vec::new();
    out.push(save::kind_of(value, FileVersion::V12));
    save::save(value, &mut Writer::new(&mut out, compress));
    close(&mut out, VERSION);
    out
}

/// The same for another server, whose version is not known: in the form of Redis 7.0, unless that could not hold all of it.
pub fn dump_for_others(value: Stored<'_>, compress: bool) -> Vec<u8> {
    let needs_new = match value {
        Stored::Hash(hash) => hash.earliest_expiry().is_some(),
        // Since when consumers have been idle.
        Stored::Stream(stream) => stream.groups_len() > 0,
        Stored::String(_) | Stored::List(_) | Stored::Set(_) | Stored::SortedSet(_) => false,
    };
    if needs_new {
        return dump(value, compress);
    }
    let mut out = Vec::new();
    let version = FileVersion::V10;
    out.push(save::kind_of(value, version));
    save::save(
        value,
        &mut Writer::new(&mut out, compress).in_version(version),
    );
    close(&mut out, version.number());
    out
}

/// Puts the end of a frame behind what it holds.
pub(super) fn close(out: &mut Vec<u8>, version: u16) {
    out.extend_from_slice(&version.to_le_bytes());
    let checksum = crc64(0, out);
    out.extend_from_slice(&checksum.to_le_bytes());
}

/// What is between the ends of a frame, if it is of a version that is known and its checksum is right (or not asked
/// for).
pub fn verify(payload: &[u8], check_sum: bool) -> Option<&[u8]> {
    let (body, footer) = payload.split_at_checked(payload.len().checked_sub(FOOTER)?)?;
    let (version, checksum) = footer.split_first_chunk::<2>()?;
    if u16::from_le_bytes(*version) > VERSION {
        return None;
    }
    let summed = payload.get(..payload.len().checked_sub(CHECKSUM)?)?;
    if check_sum && *checksum != crc64(0, summed).to_le_bytes() {
        return None;
    }
    Some(body)
}

/// The value in a verified frame. Bytes behind the value are an error too: no server writes any.
pub fn restore(body: &[u8], loader: &Loader<'_>) -> Result<NewValue<'static>, LoadError> {
    let mut reader = Reader::new(body);
    let kind = reader.byte()?;
    if kind == kind::HASH_TTL_VALKEY {
        return Err(reader.error(Reason::UnknownType(kind)));
    }
    let value = load::load(kind, &mut reader, loader)?;
    if !reader.rest().is_empty() {
        return Err(invalid!(reader, "Bytes behind the value"));
    }
    Ok(value)
}

//! Readers of the packed formats of old: ziplist (before 7.0) and zipmap (before 2.6).
//!
//! In: bytes of anyone. Out: their elements, one by one; or [`Corrupt`], perhaps after some of the elements were
//! given. Every length is checked against what is really there. Mirrors the `...ValidateIntegrity` functions of
//! ziplist.c and zipmap.c, always at their deepest.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

/// Bytes that are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt;

/// An element of a ziplist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Element<'a> {
    Int(i64),
    Bytes(&'a [u8]),
}

/// Little-endian header field of a ziplist.
fn word(bytes: &[u8], at: usize) -> Result<usize, Corrupt> {
    let word = bytes.get(at..).and_then(<[u8]>::first_chunk::<4>);
    let word = word.ok_or(Corrupt)?;
    usize::try_from(u32::from_le_bytes(*word)).map_err(|_| Corrupt)
}

/// Takes the first N bytes off.
fn array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Corrupt> {
    let (taken, behind) = rest.split_first_chunk::<N>().ok_or(Corrupt)?;
    *rest = behind;
    Ok(*taken)
}

/// Takes the first `len` bytes off.
fn take<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8], Corrupt> {
    let (taken, behind) = rest.split_at_checked(len).ok_or(Corrupt)?;
    *rest = behind;
    Ok(taken)
}

const ZIPLIST_HEADER: usize = 10;
const END: u8 = 0xff;

/// Reads a ziplist:
///
/// ```text
/// bytes 4 │ offset of the last element 4 │ elements 2 │ element ... │ 0xff
/// element: length of the one before (1, or 0xfe and 4) │ encoding and length │ bytes
/// ```
pub fn ziplist<'a>(
    bytes: &'a [u8],
    each: &mut dyn FnMut(Element<'a>) -> Result<(), Corrupt>,
) -> Result<(), Corrupt> {
    let (body, end) = match bytes.split_last() {
        Some((end, before)) => (before.get(ZIPLIST_HEADER..).ok_or(Corrupt)?, *end),
        None => return Err(Corrupt),
    };
    let tail = word(bytes, 4)?;
    if word(bytes, 0)? != bytes.len() || end != END || tail >= bytes.len() {
        return Err(Corrupt);
    }
    let announced = match bytes.get(8..ZIPLIST_HEADER) {
        Some(&[low, high]) => u16::from_le_bytes([low, high]),
        _ => return Err(Corrupt),
    };
    let (mut rest, mut previous, mut count) = (body, 0usize, 0usize);
    let mut last = None;
    while !rest.is_empty() {
        let (start, before) = (bytes.len().saturating_sub(rest.len()), rest.len());
        // The end mark is one byte behind the body.
        last = Some(start.saturating_sub(1));
        let previous_len = match array(&mut rest)? {
            [END] => return Err(Corrupt),
            [0xfe] => {
                usize::try_from(u32::from_le_bytes(array(&mut rest)?)).map_err(|_| Corrupt)?
            }
            [short] => usize::from(short),
        };
        if previous_len != previous {
            return Err(Corrupt);
        }
        each(ziplist_element(&mut rest)?)?;
        previous = before.saturating_sub(rest.len());
        count = count.saturating_add(1);
    }
    if last.is_some_and(|last| last != tail)
        || announced != u16::MAX && usize::from(announced) != count
    {
        return Err(Corrupt);
    }
    Ok(())
}

fn ziplist_element<'a>(rest: &mut &'a [u8]) -> Result<Element<'a>, Corrupt> {
    let [encoding] = array(rest)?;
    let len = match encoding {
        0..0x40 => usize::from(encoding),
        0x40..0x80 => usize::from(u16::from_be_bytes([encoding & 0x3f, array::<1>(rest)?[0]])),
        0x80..0xc0 => usize::try_from(u32::from_be_bytes(array(rest)?)).map_err(|_| Corrupt)?,
        0xc0 => return Ok(Element::Int(i64::from(i16::from_le_bytes(array(rest)?)))),
        0xd0 => return Ok(Element::Int(i64::from(i32::from_le_bytes(array(rest)?)))),
        0xe0 => return Ok(Element::Int(i64::from_le_bytes(array(rest)?))),
        0xf0 => {
            let [a, b, c] = array(rest)?;
            // The sign is in the highest of three bytes.
            return Ok(Element::Int(i64::from(
                i32::from_le_bytes([0, a, b, c]) >> 8,
            )));
        }
        0xfe => return Ok(Element::Int(i64::from(i8::from_le_bytes(array(rest)?)))),
        0xf1..=0xfd => return Ok(Element::Int(i64::from(encoding.wrapping_sub(0xf1)))),
        _ => return Err(Corrupt),
    };
    Ok(Element::Bytes(take(rest, len)?))
}

/// Reads a zipmap:
///
/// ```text
/// fields 1 (254: more) │ length of a field │ field │ length of its value │ unused bytes 1 │ value │ unused │ ... │ 0xff
/// length: 1, or 0xfe and 4
/// ```
pub fn zipmap<'a>(
    bytes: &'a [u8],
    each: &mut dyn FnMut(&'a [u8], &'a [u8]) -> Result<(), Corrupt>,
) -> Result<(), Corrupt> {
    const MANY: u8 = 254;
    let (announced, mut rest) = bytes.split_first().ok_or(Corrupt)?;
    let mut count = 0usize;
    while rest != [END] {
        let field_len = zipmap_len(&mut rest)?;
        let field = take(&mut rest, field_len)?;
        let value_len = zipmap_len(&mut rest)?;
        let [unused] = array(&mut rest)?;
        let value = take(&mut rest, value_len)?;
        take(&mut rest, usize::from(unused))?;
        each(field, value)?;
        count = count.saturating_add(1);
    }
    if count == 0 || *announced != MANY && usize::from(*announced) != count {
        return Err(Corrupt);
    }
    Ok(())
}

fn zipmap_len(rest: &mut &[u8]) -> Result<usize, Corrupt> {
    match array(rest)? {
        [END] => Err(Corrupt),
        [0xfe] => match u32::from_le_bytes(array(rest)?) {
            // A short length has one spelling only.
            0..0xfe => Err(Corrupt),
            len => usize::try_from(len).map_err(|_| Corrupt),
        },
        [short] => Ok(usize::from(short)),
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn elements(bytes: &[u8]) -> Result<Vec<Element<'_>>, Corrupt> {
        let mut elements = Vec::new();
        ziplist(bytes, &mut |element| {
            elements.push(element);
            Ok(())
        })?;
        Ok(elements)
    }

    /// A ziplist of strings and integers, spelled naively.
    pub fn make_ziplist(elements: &[Result<i64, Vec<u8>>]) -> Vec<u8> {
        let (mut body, mut previous, mut tail) = (Vec::new(), 0usize, ZIPLIST_HEADER);
        for element in elements {
            let start = body.len();
            tail = ZIPLIST_HEADER + start;
            if previous < 254 {
                body.push(previous as u8);
            } else {
                body.push(0xfe);
                body.extend((previous as u32).to_le_bytes());
            }
            match element {
                Ok(number @ 0..=12) => body.push(0xf1 + *number as u8),
                Ok(number) if i8::try_from(*number).is_ok() => body.extend([0xfe, *number as u8]),
                Ok(number) if i16::try_from(*number).is_ok() => {
                    body.push(0xc0);
                    body.extend((*number as i16).to_le_bytes());
                }
                Ok(number) if (-(1 << 23)..1 << 23).contains(number) => {
                    body.push(0xf0);
                    body.extend(&number.to_le_bytes()[..3]);
                }
                Ok(number) if i32::try_from(*number).is_ok() => {
                    body.push(0xd0);
                    body.extend((*number as i32).to_le_bytes());
                }
                Ok(number) => {
                    body.push(0xe0);
                    body.extend(number.to_le_bytes());
                }
                Err(bytes) => {
                    match bytes.len() {
                        len @ 0..64 => body.push(len as u8),
                        len @ 64..16384 => body.extend((0x4000 | len as u16).to_be_bytes()),
                        len => {
                            body.push(0x80);
                            body.extend((len as u32).to_be_bytes());
                        }
                    }
                    body.extend(bytes);
                }
            }
            previous = body.len() - start;
        }
        let mut all = Vec::new();
        all.extend((body.len() as u32 + 11).to_le_bytes());
        all.extend((tail as u32).to_le_bytes());
        all.extend((elements.len() as u16).to_le_bytes());
        all.extend(body);
        all.push(END);
        all
    }

    #[test]
    fn all_encodings_of_a_ziplist() {
        let long = vec![b'x'; 300];
        let huge = vec![b'y'; 20_000];
        let list = make_ziplist(&[
            Ok(0),
            Ok(12),
            Ok(13),
            Ok(-128),
            Ok(-129),
            Ok(40_000),
            Ok(-8_388_608),
            Ok(8_388_608),
            Ok(i64::MIN),
            Err(long.clone()),
            Err(huge.clone()),
            Err(vec![]),
        ]);
        let numbers = [
            0,
            12,
            13,
            -128,
            -129,
            40_000,
            -8_388_608,
            8_388_608,
            i64::MIN,
        ];
        let mut expected: Vec<Element<'_>> = numbers.map(Element::Int).to_vec();
        expected.extend([long.as_slice(), huge.as_slice(), b""].map(Element::Bytes));
        assert_eq!(elements(&list), Ok(expected));
        assert_eq!(elements(&make_ziplist(&[])), Ok(vec![]));
    }

    #[test]
    fn every_cut_and_every_wrong_header_of_a_ziplist_is_found() {
        let list = make_ziplist(&[Ok(5), Err(b"hello".to_vec()), Ok(-300)]);
        for len in 0..list.len() {
            assert_eq!(elements(&list[..len]), Err(Corrupt), "{len} bytes");
        }
        // Everything but the bytes of the string and the integers means something.
        for at in 0..ZIPLIST_HEADER {
            let mut wrong = list.clone();
            wrong[at] ^= 1;
            assert_eq!(elements(&wrong), Err(Corrupt), "byte {at}");
        }
    }

    #[test]
    fn zipmaps_with_unused_bytes() {
        let read = |bytes: &[u8]| {
            let mut pairs = Vec::new();
            zipmap(bytes, &mut |field, value| {
                pairs.push((field.to_vec(), value.to_vec()));
                Ok(())
            })
            .map(|()| pairs)
        };
        let map = b"\x02\x03foo\x03\x00bar\x05hello\x05\x02worldxx\xff";
        let pairs = [("foo", "bar"), ("hello", "world")].map(|(a, b)| (a.into(), b.into()));
        assert_eq!(read(map), Ok(pairs.to_vec()));
        for len in 0..map.len() {
            assert_eq!(read(&map[..len]), Err(Corrupt), "{len} bytes");
        }
        assert_eq!(
            read(b"\x00\xff"),
            Err(Corrupt),
            "an empty one is not stored"
        );
        assert_eq!(
            read(b"\x02\x01k\x01\x00v\xff"),
            Err(Corrupt),
            "a wrong count"
        );
        assert_eq!(
            read(b"\x01\xfe\x01\x00\x00\x00k\x01\x00v\xff"),
            Err(Corrupt),
            "a long spelling of a short length"
        );
    }

    fn ziplist_elements() -> impl Strategy<Value = Vec<Result<i64, Vec<u8>>>> {
        let element = prop_oneof![
            any::<i64>().prop_map(Ok),
            (-300i64..300).prop_map(Ok),
            proptest::collection::vec(any::<u8>(), 0..300).prop_map(Err),
        ];
        proptest::collection::vec(element, 0..20)
    }

    proptest! {
        #[test]
        fn ziplists_are_read(list in ziplist_elements()) {
            let bytes = make_ziplist(&list);
            let read = elements(&bytes).expect("a good ziplist");
            prop_assert_eq!(read.len(), list.len());
            for (read, made) in read.iter().zip(&list) {
                match made {
                    Ok(number) => prop_assert_eq!(*read, Element::Int(*number)),
                    Err(bytes) => prop_assert_eq!(*read, Element::Bytes(bytes)),
                }
            }
        }

        #[test]
        fn changed_bytes_do_no_harm(list in ziplist_elements(), at: prop::sample::Index, to: u8, junk: Vec<u8>) {
            let mut bytes = make_ziplist(&list);
            let at = at.index(bytes.len());
            bytes[at] = to;
            let _ = elements(&bytes);
            let _ = elements(&junk);
            let _ = zipmap(&junk, &mut |_, _| Ok(()));
        }
    }
}

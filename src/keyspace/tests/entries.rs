//! One entry: sizes, encodings, growth in place.

use super::super::entry::Entry;
use super::super::{EMBED_MAX, Expiry, KeyEntry, NewValue, Value};
use super::{at, keyspace, set};
use crate::structures::dict::HashSeed;
use crate::structures::sorted_set::{Limits, SortedSet};
use crate::system::size_class::size_class;
use std::sync::Arc;

fn string(entry: &Entry) -> Vec<u8> {
    entry.string().unwrap().to_vec()
}

#[test]
fn sizes_are_those_promised() {
    let key = [b'k'; 16];
    let bytes = |value: NewValue<'_>, at| Entry::new(&key, value, 0, at).memory_bytes(0);
    assert_eq!(bytes(NewValue::String(&[b'v'; 16]), Some(1)), 48);
    assert_eq!(bytes(NewValue::String(&[b'v'; 64]), None), 96);
    assert_eq!(bytes(NewValue::Int(7), None), 32);
    assert_eq!(bytes(NewValue::String(b"1234567890123456789"), None), 32);
    // Header, key and pointer; counts and vector; the buffer.
    let blob = Arc::new(vec![1; 4096]);
    assert_eq!(bytes(NewValue::Blob(blob), None), 32 + 48 + 4096);
}

#[test]
fn encodings_are_those_of_redis() {
    let encoding = |value: NewValue<'_>| Entry::new(b"k", value, 0, None).encoding();
    assert_eq!(encoding(NewValue::String(b"12")), "int");
    assert_eq!(encoding(NewValue::String(b"-9223372036854775808")), "int");
    assert_eq!(encoding(NewValue::String(b"9223372036854775808")), "embstr");
    assert_eq!(encoding(NewValue::String(b"012")), "embstr");
    assert_eq!(encoding(NewValue::Raw(b"12")), "raw");
    // INCRBYFLOAT keeps its result as text (found by comparing with Redis).
    assert_eq!(encoding(NewValue::Text(b"12")), "embstr");
    assert_eq!(encoding(NewValue::Text(&[b'1'; 45])), "raw");
    assert_eq!(encoding(NewValue::String(&[b'x'; 44])), "embstr");
    assert_eq!(encoding(NewValue::String(&[b'x'; 45])), "raw");
    assert_eq!(encoding(NewValue::String(&[b'x'; 5000])), "raw");
    assert_eq!(encoding(NewValue::Blob(Arc::new(b"77".to_vec()))), "int");
    let mut entry = Entry::new(b"k", NewValue::Int(5), 0, None);
    let (len, new) = entry.append(b"1").unwrap();
    let mut entry = new.unwrap_or(entry);
    assert_eq!(
        (len, entry.encoding(), string(&entry)),
        (2, "raw", b"51".to_vec())
    );
    // A whole new value is encoded anew.
    if let Some(new) = entry.assign(NewValue::String(b"52"), None) {
        entry = new;
    }
    assert_eq!(entry.encoding(), "int");
}

#[test]
fn values_of_the_same_size_stay_where_they_are() {
    let key = [b'k'; 16];
    for len in 0..=EMBED_MAX {
        for at in [None, Some(99)] {
            let mut entry = Entry::new(&key, NewValue::Raw(&vec![b'a'; len]), 7, at);
            let before = entry.key().as_ptr();
            assert!(
                entry.assign(NewValue::Raw(&vec![b'b'; len]), at).is_none(),
                "{len}"
            );
            assert_eq!(entry.key().as_ptr(), before);
            assert_eq!(string(&entry), vec![b'b'; len]);
            assert_eq!((entry.access(), entry.expire_at()), (7, at));
        }
    }
    let mut counter = Entry::new(&key, NewValue::Int(i64::MIN), 0, None);
    assert!(counter.assign(NewValue::Int(i64::MAX), None).is_none());
    assert!(matches!(counter.string(), Ok(Value::Int(i64::MAX))));
}

#[test]
fn much_smaller_values_give_memory_back() {
    for (from, to) in [(1000, 100), (1000, 700), (64, 10), (200, 120)] {
        let mut entry = Entry::new(b"key", NewValue::Raw(&vec![b'a'; from]), 0, None);
        let new = entry.assign(NewValue::Raw(&vec![b'b'; to]), None);
        let entry = new.unwrap_or(entry);
        let size = 8 + 3 + to;
        let bytes = entry.memory_bytes(0);
        assert!(
            bytes == size_class(size) || bytes * 3 <= size * 4,
            "{from} {to} {bytes}"
        );
    }
}

/// A value over one of its own form changes nothing but the value, how it is written, and the expiry's time.
#[test]
fn values_are_written_over_their_like() {
    for key_len in [0, 3, 255, 256, 70_000] {
        let key = vec![b'k'; key_len];
        for expiry in [None, Some(7)] {
            let mut entry = Entry::new(&key, NewValue::String(b"abc"), 0x123456, expiry);
            let steps: [(NewValue<'_>, &[u8], &str); 7] = [
                (NewValue::Raw(b"abd"), b"abd", "raw"),
                (NewValue::String(b"abe"), b"abe", "embstr"),
                (NewValue::Raw(b"123"), b"123", "raw"),
                (NewValue::String(b"123"), b"123", "int"),
                (NewValue::Int(-9_000_000), b"-9000000", "int"),
                (NewValue::Int(5), b"5", "int"),
                (NewValue::String(b""), b"", "embstr"),
            ];
            for (index, (value, text, encoding)) in steps.into_iter().enumerate() {
                let at = expiry.map(|at| at + index as i64);
                if let Some(new) = entry.assign(value, at) {
                    entry = new;
                }
                assert_eq!(
                    (string(&entry), entry.encoding()),
                    (text.to_vec(), encoding)
                );
                assert_eq!((entry.expire_at(), entry.access()), (at, 0x123456));
                assert!(entry.key() == key);
                assert_eq!(entry.size(), entry.counted());
            }
        }
    }
}

#[test]
fn an_expiry_comes_and_goes() {
    for key_len in [0usize, 1, 16, 255, 256, 300, 5000, 32_700, 70_000] {
        let key: Vec<u8> = (0..key_len).map(|i| i as u8).collect();
        for value_len in (0..150).chain([1000, 1023, 1024, 1025, 3000]) {
            let value = vec![b'v'; value_len];
            let mut entry = Entry::new(&key, NewValue::Raw(&value), 3, None);
            for at in [Some(5), Some(i64::MIN), None, None, Some(i64::MAX)] {
                if let Some(new) = entry.set_expiry(at) {
                    entry = new;
                }
                assert_eq!(entry.key(), key);
                assert_eq!(entry.expire_at(), at);
                assert_eq!(string(&entry), value);
                assert_eq!((entry.access(), entry.encoding()), (3, "raw"));
            }
        }
    }
}

#[test]
fn shared_strings_are_copied_before_they_change() {
    let shared = Arc::new(vec![b'a'; 2000]);
    let mut entry = Entry::new(b"k", NewValue::Blob(Arc::clone(&shared)), 0, None);
    let copy = entry.copied(b"l", 9);
    assert_eq!(entry.append(b"b").unwrap().0, 2001);
    assert_eq!(shared.len(), 2000);
    assert_eq!(string(&copy), *shared);
    assert_eq!((copy.key(), copy.access()), (&b"l"[..], 9));
    assert_eq!(string(&entry)[1999..], *b"ab");
    // Alone, it grows with slack and stays where it is.
    let Ok(Value::Blob(blob)) = entry.string() else {
        panic!("a long string")
    };
    let (before, room) = (blob.as_ptr(), blob.capacity() - blob.len());
    for _ in 0..room {
        assert!(entry.append(b"c").unwrap().1.is_none());
    }
    let Ok(Value::Blob(blob)) = entry.string() else {
        panic!("a long string")
    };
    assert_eq!(blob.as_ptr(), before);
    assert!(room > 300);
}

#[test]
fn a_range_beyond_the_end_is_padded() {
    for (old, offset, new) in [
        (0, 5, 3),
        (3, 3, 1),
        (10, 2, 3),
        (10, 8, 10),
        (1020, 1020, 4),
        (1020, 1023, 9),
        (3, 5000, 1),
        (3000, 10, 5),
        (3000, 2999, 50),
    ] {
        let mut entry = Entry::new(b"key", NewValue::Raw(&vec![b'o'; old]), 0, Some(1));
        let mut expected = vec![b'o'; old.max(offset + new)];
        expected[old..].fill(0);
        expected[offset..offset + new].fill(b'n');
        let (len, moved) = entry.set_range(offset, &vec![b'n'; new]).unwrap();
        let entry = moved.unwrap_or(entry);
        assert_eq!((len, string(&entry)), (expected.len(), expected));
        assert_eq!(entry.expire_at(), Some(1));
    }
}

#[test]
fn renamed_entries_keep_everything() {
    for len in [0, 10, 1024, 1025] {
        let entry = Entry::new(b"from", NewValue::Raw(&vec![b'x'; len]), 77, Some(8));
        let entry = entry.renamed(&[b't'; 400]);
        assert_eq!((entry.key().len(), string(&entry).len()), (400, len));
        assert_eq!(
            (entry.access(), entry.expire_at(), entry.encoding()),
            (77, Some(8), "raw")
        );
    }
}

#[test]
fn strings_are_shortened_wherever_they_are() {
    for old in [1, 20, 21, 44, 100, EMBED_MAX, EMBED_MAX + 1, 5000] {
        for new in [0, 1, 19, old / 2, old - 1, old, old + 1] {
            for at in [None, Some(99)] {
                let text: Vec<u8> = (0..old).map(|byte| byte as u8).collect();
                let mut entry = Entry::new(b"key", NewValue::Raw(&text), 7, at);
                let moved = entry.truncate(new).unwrap();
                let entry = moved.unwrap_or(entry);
                assert_eq!(string(&entry), text[..new.min(old)], "{old} to {new}");
                assert_eq!((entry.key(), entry.access()), (b"key".as_slice(), 7));
                assert_eq!(entry.expire_at(), at);
            }
        }
    }
    let mut entry = Entry::new(b"k", NewValue::Int(-1234), 0, None);
    let moved = entry.truncate(3).unwrap();
    assert_eq!(string(&moved.unwrap_or(entry)), b"-12");
}

/// What was left of an entry was asked how large its value is, which another entry owns and may have freed.
#[test]
fn an_entry_whose_value_has_moved_is_not_asked_for_it() {
    let limits = Limits {
        max_entries: 0,
        max_value: 0,
    };
    let mut set = SortedSet::new_large(HashSeed([1, 2, 3, 4]));
    for number in 0..200 {
        set.insert(format!("member {number}").as_bytes(), 1.0, limits);
    }
    let key = [b'k'; 15];
    let mut old = Entry::new(&key, NewValue::SortedSet(Box::new(set)), 0, None);
    let effort = old.free_effort();
    // There is no room for the expiry.
    let new = old.set_expiry(Some(5)).expect("another entry");
    assert_eq!(new.free_effort(), effort);
    assert_eq!(old.free_effort(), 1);
    assert!(old.sorted_set().is_err());
    assert_eq!(old.key(), new.key());
    drop(new);
    assert_eq!(old.free_effort(), 1);
}

/// `RPUSH` of a string, which is refused, had it remembered as a list that may have another size than was counted, and
/// `APPEND` freed it.
#[test]
fn a_string_that_was_taken_for_a_list_is_not_remembered_when_it_is_freed() {
    let changes: [fn(&mut KeyEntry<'_>); 5] = [
        |entry| assert!(occupied(entry).append(&[b'x'; 300]).is_ok()),
        |entry| assert!(occupied(entry).set_range(5, &[b'x'; 300]).is_ok()),
        |entry| assert!(occupied(entry).truncate(2).is_ok()),
        |entry| assert!(occupied(entry).bytes_mut().is_ok()),
        |entry| occupied(entry).set_expiry(Some(5)),
    ];
    fn occupied<'s, 'a>(entry: &'s mut KeyEntry<'a>) -> &'s mut super::super::OccupiedEntry<'a> {
        match entry {
            KeyEntry::Occupied(occupied) => occupied,
            KeyEntry::Vacant(_) => panic!("the key is there"),
        }
    }
    // An integer that has no room for its text, or the expiry; and what has much too much after it was shortened.
    for value in [&b"-9223372036854775808"[..], &[b'v'; 200]] {
        for change in changes {
            let mut keyspace = keyspace();
            let mut db = keyspace.db(0, at(0), false);
            set(&mut db, b"some key: 12", value, Expiry::Clear);
            let mut entry = db.entry(b"some key: 12");
            assert!(occupied(&mut entry).list_mut().is_err());
            change(&mut entry);
            keyspace.databases[0].table.check_uncounted();
        }
    }
}

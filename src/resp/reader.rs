//! A naive reader of RESP2 and RESP3 values: for tests, the simulator and fuzzing, never on the
//! server's own path. It reads one value from the front of some bytes, or says that they are
//! incomplete or no value.
//!
//! Nesting is bounded by [`MAX_DEPTH`] and no announced length sizes an allocation.

/// How deep aggregates may nest.
pub const MAX_DEPTH: usize = 64;

/// A value as it was spelled: `Map` only if it came as a map.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `+`
    Simple(String),
    /// `-`, code and text
    Error(Vec<u8>),
    /// `:`
    Integer(i64),
    /// `$`
    Bulk(Vec<u8>),
    /// `$-1`
    NullBulk,
    /// `*-1`
    NullArray,
    /// `_`
    Null,
    /// `*`
    Array(Vec<Value>),
    /// `%`
    Map(Vec<(Value, Value)>),
    /// `~`
    Set(Vec<Value>),
    /// `>`
    Push(Vec<Value>),
    /// `|`, and the value that it belongs to
    Attribute(Vec<(Value, Value)>, Box<Value>),
    /// `#`
    Boolean(bool),
    /// `,`, as text
    Double(String),
    /// `=`, format and text
    Verbatim(String, Vec<u8>),
    /// `(`, as text
    BigNumber(String),
}

impl Value {
    /// A bulk string, for comparisons.
    pub fn bulk(bytes: impl AsRef<[u8]>) -> Value {
        Value::Bulk(bytes.as_ref().to_vec())
    }

    /// The bytes of a simple, bulk or verbatim string or of an error.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Simple(text) => Some(text.as_bytes()),
            Value::Error(bytes) | Value::Bulk(bytes) | Value::Verbatim(_, bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The elements of an array, set or push.
    pub fn items(&self) -> Option<&[Value]> {
        match self {
            Value::Array(items) | Value::Set(items) | Value::Push(items) => Some(items),
            _ => None,
        }
    }
}

/// Why no value was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// More bytes may make it one.
    Incomplete,
    /// No bytes will make it one.
    Malformed(&'static str),
}

/// The first value in `bytes`, and how many of them it took.
pub fn read_value(bytes: &[u8]) -> Result<(Value, usize), ReadError> {
    let mut reader = Reader { bytes, at: 0 };
    let value = reader.value(0)?;
    Ok((value, reader.at))
}

/// All values; an incomplete one at the end is an error.
pub fn read_all(mut bytes: &[u8]) -> Result<Vec<Value>, ReadError> {
    let mut values = Vec::new();
    while !bytes.is_empty() {
        let (value, used) = read_value(bytes)?;
        values.push(value);
        bytes = bytes.get(used..).unwrap_or_default();
    }
    Ok(values)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Result<Value, ReadError> {
        if depth > MAX_DEPTH {
            return Err(ReadError::Malformed("nested too deep"));
        }
        let depth = depth.saturating_add(1);
        let line = self.line()?;
        let Some((marker, rest)) = line.split_first() else {
            return Err(ReadError::Malformed("empty line"));
        };
        match marker {
            b'+' => Ok(Value::Simple(text(rest)?)),
            b'-' => Ok(Value::Error(rest.to_vec())),
            b':' => Ok(Value::Integer(number(rest)?)),
            b'$' if rest == b"-1" => Ok(Value::NullBulk),
            b'$' => Ok(Value::Bulk(self.payload(rest)?.to_vec())),
            b'*' if rest == b"-1" => Ok(Value::NullArray),
            b'*' => Ok(Value::Array(self.items(rest, depth)?)),
            b'~' => Ok(Value::Set(self.items(rest, depth)?)),
            b'>' => Ok(Value::Push(self.items(rest, depth)?)),
            b'%' => Ok(Value::Map(self.pairs(rest, depth)?)),
            b'|' => {
                let pairs = self.pairs(rest, depth)?;
                Ok(Value::Attribute(pairs, Box::new(self.value(depth)?)))
            }
            b'_' if rest.is_empty() => Ok(Value::Null),
            b'#' if rest == b"t" => Ok(Value::Boolean(true)),
            b'#' if rest == b"f" => Ok(Value::Boolean(false)),
            b',' => Ok(Value::Double(text(rest)?)),
            b'(' => Ok(Value::BigNumber(text(rest)?)),
            b'=' => match self.payload(rest)? {
                [a, b, c, b':', body @ ..] => {
                    Ok(Value::Verbatim(text(&[*a, *b, *c])?, body.to_vec()))
                }
                _ => Err(ReadError::Malformed("verbatim string without a format")),
            },
            _ => Err(ReadError::Malformed("unknown type")),
        }
    }

    fn line(&mut self) -> Result<&'a [u8], ReadError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let end = rest
            .windows(2)
            .position(|w| w == b"\r\n")
            .ok_or(ReadError::Incomplete)?;
        self.at = self.at.saturating_add(end).saturating_add(2);
        Ok(rest.get(..end).unwrap_or_default())
    }

    fn payload(&mut self, len: &[u8]) -> Result<&'a [u8], ReadError> {
        let len = length(len)?;
        let end = self.at.saturating_add(len);
        let bytes = self.bytes.get(self.at..end).ok_or(ReadError::Incomplete)?;
        let after = end.saturating_add(2);
        match self.bytes.get(end..after) {
            Some(b"\r\n") => {}
            Some(_) => return Err(ReadError::Malformed("no line end after a payload")),
            None => return Err(ReadError::Incomplete),
        }
        self.at = after;
        Ok(bytes)
    }

    fn items(&mut self, n: &[u8], depth: usize) -> Result<Vec<Value>, ReadError> {
        let n = length(n)?;
        let mut items = Vec::new();
        for _ in 0..n {
            items.push(self.value(depth)?);
        }
        Ok(items)
    }

    fn pairs(&mut self, n: &[u8], depth: usize) -> Result<Vec<(Value, Value)>, ReadError> {
        let n = length(n)?;
        let mut pairs = Vec::new();
        for _ in 0..n {
            pairs.push((self.value(depth)?, self.value(depth)?));
        }
        Ok(pairs)
    }
}

fn text(bytes: &[u8]) -> Result<String, ReadError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| ReadError::Malformed("not text"))
}

fn number(bytes: &[u8]) -> Result<i64, ReadError> {
    text(bytes)?
        .parse()
        .map_err(|_| ReadError::Malformed("not a number"))
}

fn length(bytes: &[u8]) -> Result<usize, ReadError> {
    usize::try_from(number(bytes)?).map_err(|_| ReadError::Malformed("negative length"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_nested_values_and_knows_what_is_incomplete() {
        let bytes = b"%1\r\n+k\r\n*2\r\n:-3\r\n$2\r\n\r\n\r\n_\r\n";
        let (value, used) = read_value(bytes).unwrap();
        let inner = Value::Array(vec![Value::Integer(-3), Value::bulk("\r\n")]);
        assert_eq!(value, Value::Map(vec![(Value::Simple("k".into()), inner)]));
        assert_eq!(read_value(&bytes[used..]), Ok((Value::Null, 3)));
        for cut in 0..used {
            assert_eq!(
                read_value(&bytes[..cut]),
                Err(ReadError::Incomplete),
                "{cut}"
            );
        }
    }

    #[test]
    fn bounds_nesting_and_does_not_trust_lengths() {
        let deep = b"*1\r\n".repeat(MAX_DEPTH + 2);
        assert_eq!(
            read_value(&deep),
            Err(ReadError::Malformed("nested too deep"))
        );
        assert_eq!(
            read_value(b"*9000000000000\r\n:1\r\n"),
            Err(ReadError::Incomplete)
        );
        assert_eq!(
            read_value(b"$9223372036854775807\r\nx"),
            Err(ReadError::Incomplete)
        );
    }
}

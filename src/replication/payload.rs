//! How a snapshot is framed on a link: `$<length>` or `$EOF:<mark>`, a line, then its bytes.
//!
//! In: bytes of the link. Out: those of the snapshot, and its end. Mirrors `readSyncBulkPayload` of Redis's replication.c.

/// Bytes of the mark behind a snapshot whose length nobody knows before.
pub const MARK_LEN: usize = 40;
/// A line that is longer is no line.
const LINE_MAX: usize = 1024;

/// What is known of the snapshot's end.
#[derive(Debug)]
enum Framing {
    /// The line has not come; so much of it is there.
    Line(Vec<u8>),
    /// So many bytes are left.
    Length(u64),
    /// It ends with these bytes. The last ones that came may be the mark, and are held back.
    Mark { mark: Vec<u8>, held: Vec<u8> },
}

/// A snapshot on its way.
#[derive(Debug)]
pub struct Payload {
    framing: Framing,
    /// Bytes of it so far.
    pub received: u64,
}

/// What the line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    /// So many bytes.
    Length(u64),
    /// A mark behind it.
    Mark,
}

/// What came of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct Fed {
    /// So many were taken; what is behind the end is not.
    pub taken: usize,
    /// The snapshot begins, in this turn of reading.
    pub begins: Option<Begins>,
    /// It is whole.
    pub is_whole: bool,
}

impl Default for Payload {
    fn default() -> Payload {
        Payload {
            framing: Framing::Line(Vec::new()),
            received: 0,
        }
    }
}

impl Payload {
    /// Takes bytes, and gives those of the snapshot to `sink`. Stops behind the line, so that whoever is told that it begins can
    /// make room before the first of them. An error is the line that is none.
    pub fn feed(&mut self, bytes: &[u8], sink: &mut dyn FnMut(&[u8])) -> Result<Fed, String> {
        let mut fed = Fed {
            taken: 0,
            begins: None,
            is_whole: false,
        };
        match &mut self.framing {
            Framing::Line(line) => {
                let end = memchr::memchr(b'\n', bytes);
                fed.taken = end.map_or(bytes.len(), |end| end + 1);
                line.extend_from_slice(bytes.get(..fed.taken).unwrap_or_default());
                if line.len() > LINE_MAX {
                    return Err(shown(line));
                }
                if end.is_some() {
                    let text = line.trim_ascii();
                    if text.is_empty() {
                        // The primary shows that it is there.
                        line.clear();
                        return Ok(fed);
                    }
                    let (framing, begins) = parse(text).ok_or_else(|| shown(text))?;
                    fed.is_whole = matches!(framing, Framing::Length(0));
                    fed.begins = Some(begins);
                    self.framing = framing;
                }
            }
            Framing::Length(left) => {
                let now = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                sink(bytes.get(..now).unwrap_or_default());
                self.received += now as u64;
                *left -= now as u64;
                fed.taken = now;
                fed.is_whole = *left == 0;
            }
            Framing::Mark { mark, held } => {
                fed.taken = bytes.len();
                // Nothing follows the mark before it is acknowledged, so that it can only stand at the end of what came.
                let sure = (held.len() + bytes.len()).saturating_sub(MARK_LEN);
                let of_held = sure.min(held.len());
                sink(held.get(..of_held).unwrap_or_default());
                held.drain(..of_held);
                let of_bytes = sure - of_held;
                sink(bytes.get(..of_bytes).unwrap_or_default());
                held.extend_from_slice(bytes.get(of_bytes..).unwrap_or_default());
                self.received += sure as u64;
                fed.is_whole = held == mark;
            }
        }
        Ok(fed)
    }
    /// Bytes of the snapshot that are still to come, where that is known.
    pub fn left(&self) -> Option<u64> {
        match self.framing {
            Framing::Length(left) => Some(left),
            Framing::Line(_) | Framing::Mark { .. } => None,
        }
    }
}

fn parse(line: &[u8]) -> Option<(Framing, Begins)> {
    let text = line.strip_prefix(b"$")?;
    if let Some(mark) = text.strip_prefix(b"EOF:") {
        let mark = mark.to_vec();
        let held = Vec::new();
        return (mark.len() == MARK_LEN).then_some((Framing::Mark { mark, held }, Begins::Mark));
    }
    if !text.first()?.is_ascii_digit() {
        return None;
    }
    let length = std::str::from_utf8(text).ok()?.parse().ok()?;
    Some((Framing::Length(length), Begins::Length(length)))
}

fn shown(line: &[u8]) -> String {
    String::from_utf8_lossy(line.get(..line.len().min(128)).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds pieces of this length; the snapshot's bytes and how many of all were taken, once it is whole.
    fn feed(all: &[u8], piece: usize) -> Option<(Vec<u8>, usize)> {
        let (mut payload, mut out, mut at) = (Payload::default(), Vec::new(), 0);
        while at < all.len() {
            let end = (at + piece).min(all.len());
            let fed = payload
                .feed(&all[at..end], &mut |bytes| out.extend_from_slice(bytes))
                .expect("a line");
            at += fed.taken;
            if fed.is_whole {
                assert_eq!(payload.received as usize, out.len());
                return Some((out, at));
            }
        }
        None
    }

    #[test]
    fn a_snapshot_of_known_length_ends_where_it_says() {
        for piece in 1..30 {
            let all = b"\n\n$5\r\nabcde*1\r\n";
            assert_eq!(feed(all, piece), Some((b"abcde".to_vec(), 11)), "{piece}");
        }
        assert_eq!(feed(b"$0\r\nrest", 100), Some((Vec::new(), 4)));
    }

    #[test]
    fn a_mark_ends_a_snapshot_however_it_is_cut() {
        let mark = [b'm'; MARK_LEN];
        let all = [&b"$EOF:"[..], &mark, b"\r\nsome mmm bytes m", &mark].concat();
        for piece in 1..all.len() {
            let (bytes, taken) = feed(&all, piece).expect("an end");
            // Where what came ends with the mark by chance it is the mark: nothing but the snapshot's last byte is one here.
            assert!(bytes.starts_with(b"some mmm bytes"), "{piece}");
            assert!(taken <= all.len());
        }
        let whole = feed(&all, all.len()).expect("an end");
        assert_eq!(whole, (b"some mmm bytes m".to_vec(), all.len()));
    }

    #[test]
    fn what_is_no_line_is_an_error() {
        for bad in [
            "-ERR no\r\n",
            "$EOF:short\r\n",
            "$-1\r\n",
            "$x\r\n",
            "+OK\r\n",
        ] {
            let fed = Payload::default().feed(bad.as_bytes(), &mut |_| {});
            assert!(fed.is_err(), "{bad}");
        }
        let endless = [b'a'; LINE_MAX + 1];
        assert!(Payload::default().feed(&endless, &mut |_| {}).is_err());
    }
}

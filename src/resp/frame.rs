//! A message that goes to many clients, encoded once.
//!
//! RESP3 spells a push as RESP2 spells an array, but for the first byte: one encoding serves both. What is long is not
//! copied into each client's output but shared by all of them.

use std::sync::Arc;

use super::output::{OutputBuffer, SHARE_LEN};
use crate::structures::Blob;

/// An encoded push message of bulk strings.
#[derive(Debug, Default)]
pub struct PushFrame {
    /// All of it, as RESP2 has it.
    bytes: Vec<u8>,
    /// All but the first byte, if it is shared.
    shared: Option<Blob>,
}

impl PushFrame {
    /// An empty one, to be filled.
    pub fn new() -> PushFrame {
        PushFrame::default()
    }

    /// Encodes these bulk strings, whatever it held before.
    pub fn encode(&mut self, parts: &[&[u8]]) {
        let len = parts.iter().fold(HEADER_LEN, |sum, part| {
            sum.saturating_add(part.len()).saturating_add(HEADER_LEN)
        });
        self.shared = None;
        self.bytes.clear();
        if len >= SHARE_LEN {
            let mut rest = Vec::with_capacity(len);
            write(&mut rest, parts);
            self.shared = Some(Arc::new(rest));
            // Room that one long message needed is not kept for the short ones.
            self.bytes = Vec::new();
            return;
        }
        self.bytes.push(b'*');
        write(&mut self.bytes, parts);
    }

    /// Lets go of what is shared: it lives on where it waits to be written, and no longer. Small room is kept.
    #[inline]
    pub fn release(&mut self) {
        self.shared = None;
    }

    /// Appends it to a client's output.
    #[inline]
    pub(super) fn append_to(&self, output: &mut OutputBuffer, resp3: bool) {
        let marker = if resp3 { b'>' } else { b'*' };
        if let Some(rest) = &self.shared {
            output.extend(&[marker]);
            output.push_blob(Arc::clone(rest));
            return;
        }
        let tail = output.room(self.bytes.len());
        let start = tail.len();
        tail.extend_from_slice(&self.bytes);
        if let Some(first) = tail.get_mut(start) {
            *first = marker;
        }
    }
}

/// Most that a header takes: a marker, 20 digits, a line end, and the line end of its string.
const HEADER_LEN: usize = 25;

fn write(out: &mut Vec<u8>, parts: &[&[u8]]) {
    let mut digits = itoa::Buffer::new();
    out.extend_from_slice(digits.format(parts.len()).as_bytes());
    out.extend_from_slice(b"\r\n");
    for part in parts {
        out.push(b'$');
        out.extend_from_slice(digits.format(part.len()).as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::{Protocol, Reply};

    /// What the typed calls of the writer say.
    fn spelled(protocol: Protocol, parts: &[&[u8]]) -> Vec<u8> {
        let mut reply = Reply::new(protocol);
        reply.push(parts.len());
        parts.iter().for_each(|part| reply.bulk(part));
        reply.output().to_vec()
    }

    #[test]
    fn a_frame_says_what_the_writer_says() {
        let mut frame = PushFrame::new();
        for len in [
            0,
            9,
            10,
            99,
            100,
            5000,
            SHARE_LEN - 100,
            SHARE_LEN,
            100_000,
            3,
        ] {
            let message = vec![b'x'; len];
            for parts in [
                &[&b"message"[..], b"c", &message][..],
                &[b"pmessage", b"*", b"channel", &message],
            ] {
                frame.encode(parts);
                for protocol in [Protocol::Resp2, Protocol::Resp3] {
                    let mut reply = Reply::new(protocol);
                    reply.simple("before");
                    reply.frame(&frame);
                    reply.frame(&frame);
                    let once = spelled(protocol, parts);
                    let expected = [b"+before\r\n", &once[..], &once[..]].concat();
                    assert!(reply.output().to_vec() == expected, "{len} {protocol:?}");
                }
            }
        }
    }

    #[test]
    fn long_messages_are_shared() {
        let mut frame = PushFrame::new();
        let message = vec![b'x'; 1 << 20];
        frame.encode(&[b"message", b"c", &message]);
        let mut replies: Vec<Reply> = (0..10).map(|_| Reply::default()).collect();
        for reply in &mut replies {
            reply.frame(&frame);
        }
        let shared = frame.shared.as_ref().expect("a long message");
        assert_eq!(Arc::strong_count(shared), 11);
    }
}

//! A request: its arguments as ranges into the query buffer ([`Args`]), or with bytes of its own
//! ([`OwnedRequest`]).
//!
//! No argument is copied until a command stores it. The few arguments that do not lie in the query
//! buffer as they are meant (a large bulk read apart, an inline argument with escapes) are [`Blob`]s
//! beside it.

use crate::structures::Blob;
use std::sync::Arc;
use zeroize::Zeroize;

/// From this length on a bulk argument that has not wholly arrived is received into its own buffer.
pub const LARGE_BULK_LEN: usize = 32 * 1024;

/// Where one argument lies: a range of the request's bytes, or one of its blobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    start: usize,
    len: usize,
}

impl Span {
    /// As `start`: the argument is a blob and `len` is its index.
    const LARGE: usize = usize::MAX;

    /// A range of the request's bytes.
    #[inline]
    pub fn range(start: usize, len: usize) -> Span {
        debug_assert!(start != Span::LARGE);
        Span { start, len }
    }

    /// The blob with this index.
    #[inline]
    pub fn blob(index: usize) -> Span {
        Span {
            start: Span::LARGE,
            len: index,
        }
    }

    /// The index of the blob, if the argument is one.
    #[inline]
    pub fn blob_index(self) -> Option<usize> {
        (self.start == Span::LARGE).then_some(self.len)
    }
}

/// The arguments of one command, the command's name first.
#[derive(Clone, Copy)]
pub struct Args<'a> {
    bytes: &'a [u8],
    spans: &'a [Span],
    blobs: &'a [Blob],
}

impl<'a> Args<'a> {
    /// `spans` are relative to `bytes`; the indexes of blobs count from the first of `blobs`.
    #[inline]
    pub fn new(bytes: &'a [u8], spans: &'a [Span], blobs: &'a [Blob]) -> Args<'a> {
        Args {
            bytes,
            spans,
            blobs,
        }
    }

    /// How many arguments there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// True if there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The argument with this index.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        self.spans.get(index).map(|span| self.resolve(*span))
    }

    /// The argument with this index, or the empty string if there is none: handlers run after the
    /// check of arity, and a mistake there must not end the server.
    #[inline]
    pub fn at(&self, index: usize) -> &'a [u8] {
        self.get(index).unwrap_or_default()
    }

    /// All arguments in order.
    #[inline]
    pub fn iter(
        &self,
    ) -> impl DoubleEndedIterator<Item = &'a [u8]> + ExactSizeIterator + Clone + use<'a> {
        let args = *self;
        args.spans.iter().map(move |span| args.resolve(*span))
    }

    /// The arguments from the `n`th on.
    #[inline]
    pub fn skip(&self, n: usize) -> Args<'a> {
        Args {
            spans: self.spans.get(n..).unwrap_or_default(),
            ..*self
        }
    }

    /// The first `n` arguments (all, if there are fewer).
    #[inline]
    pub fn take(&self, n: usize) -> Args<'a> {
        Args {
            spans: self.spans.get(..n).unwrap_or(self.spans),
            ..*self
        }
    }

    /// The argument as a shared buffer, if it was received as one and is worth keeping as one: a
    /// command that stores it takes a reference instead of a copy.
    #[inline]
    pub fn blob(&self, index: usize) -> Option<&'a Blob> {
        let blob = self.blobs.get(self.spans.get(index)?.blob_index()?)?;
        // Escaped inline arguments are blobs too, but small: those are better copied.
        (blob.len() >= LARGE_BULK_LEN).then_some(blob)
    }

    /// A copy that owns its bytes; blobs are shared, not copied.
    pub fn to_owned(&self) -> OwnedRequest {
        let mut request = OwnedRequest {
            bytes: Vec::with_capacity(self.inline_bytes()),
            spans: Vec::with_capacity(self.spans.len()),
            blobs: Vec::new(),
        };
        for (index, bytes) in self.iter().enumerate() {
            match self.blob(index) {
                Some(blob) => request.push_blob(Arc::clone(blob)),
                None => request.push(bytes),
            }
        }
        request
    }

    /// The sum of the arguments' lengths.
    pub fn total_bytes(&self) -> usize {
        self.iter()
            .fold(0, |sum: usize, arg| sum.saturating_add(arg.len()))
    }

    /// The part of `total_bytes` that [`Args::to_owned`] has to copy.
    fn inline_bytes(&self) -> usize {
        let shared = (0..self.len())
            .filter_map(|index| self.blob(index))
            .fold(0, |sum: usize, blob| sum.saturating_add(blob.len()));
        self.total_bytes().saturating_sub(shared)
    }

    #[inline]
    fn resolve(&self, span: Span) -> &'a [u8] {
        let found = match span.blob_index() {
            None => self
                .bytes
                .get(span.start..)
                .and_then(|tail| tail.get(..span.len)),
            Some(index) => self.blobs.get(index).map(|blob| blob.as_slice()),
        };
        debug_assert!(found.is_some(), "a span outside its request");
        found.unwrap_or_default()
    }
}

impl std::fmt::Debug for Args<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.iter().map(|arg| arg.escape_ascii().to_string()))
            .finish()
    }
}

/// A command that owns its bytes: MULTI's queue, blocked commands, scripts, rewritten effects, tests.
///
/// It can be cleared and filled again without allocating.
#[derive(Clone, Debug, Default)]
pub struct OwnedRequest {
    bytes: Vec<u8>,
    spans: Vec<Span>,
    blobs: Vec<Blob>,
}

impl OwnedRequest {
    /// A request without arguments.
    pub fn new() -> OwnedRequest {
        OwnedRequest::default()
    }

    /// A request with these arguments.
    pub fn from_slices<T: AsRef<[u8]>>(slices: &[T]) -> OwnedRequest {
        let mut request = OwnedRequest::new();
        for slice in slices {
            request.push(slice.as_ref());
        }
        request
    }

    /// Appends an argument, copied.
    pub fn push(&mut self, arg: &[u8]) {
        self.spans.push(Span::range(self.bytes.len(), arg.len()));
        self.bytes.extend_from_slice(arg);
    }

    /// Appends an argument, shared.
    pub fn push_blob(&mut self, blob: Blob) {
        self.spans.push(Span::blob(self.blobs.len()));
        self.blobs.push(blob);
    }

    /// Forgets the arguments, keeps the room.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.spans.clear();
        self.blobs.clear();
    }

    /// Overwrites the arguments that are its own alone: one was a password.
    pub fn wipe(&mut self) {
        self.bytes.zeroize();
        self.clear();
    }

    /// The arguments.
    #[inline]
    pub fn args(&self) -> Args<'_> {
        Args::new(&self.bytes, &self.spans, &self.blobs)
    }

    /// What it holds on the heap, blobs included although they may be shared.
    pub fn memory_bytes(&self) -> usize {
        let blobs = self
            .blobs
            .iter()
            .fold(0, |sum: usize, blob| sum.saturating_add(blob.capacity()));
        self.bytes
            .capacity()
            .saturating_add(
                self.spans
                    .capacity()
                    .saturating_mul(std::mem::size_of::<Span>()),
            )
            .saturating_add(
                self.blobs
                    .capacity()
                    .saturating_mul(std::mem::size_of::<Blob>()),
            )
            .saturating_add(blobs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_seen_in_order_and_out_of_range_is_empty() {
        let request = OwnedRequest::from_slices(&["SET", "", "value"]);
        let args = request.args();
        assert_eq!(args.len(), 3);
        assert_eq!(
            args.iter().collect::<Vec<_>>(),
            [&b"SET"[..], b"", b"value"]
        );
        assert_eq!(args.get(2), Some(&b"value"[..]));
        assert_eq!(args.get(3), None);
        assert_eq!(args.at(3), b"");
        assert_eq!(args.skip(1).at(1), b"value");
        assert!(args.skip(4).is_empty());
        assert_eq!(args.take(1).len(), 1);
        assert_eq!(args.take(9).len(), 3);
        assert_eq!(args.total_bytes(), 8);
    }

    #[test]
    fn owning_shares_large_blobs_and_copies_small_ones() {
        let large: Blob = Arc::new(vec![7; LARGE_BULK_LEN]);
        let small: Blob = Arc::new(b"escaped".to_vec());
        let blobs = [Arc::clone(&small), Arc::clone(&large)];
        let spans = [Span::range(0, 3), Span::blob(1), Span::blob(0)];
        let args = Args::new(b"SETx", &spans, &blobs);
        assert!(args.blob(0).is_none() && args.blob(2).is_none());
        assert!(Arc::ptr_eq(args.blob(1).unwrap(), &large));
        let owned = args.to_owned();
        assert_eq!(
            owned.args().iter().collect::<Vec<_>>(),
            args.iter().collect::<Vec<_>>()
        );
        assert!(Arc::ptr_eq(owned.args().blob(1).unwrap(), &large));
        assert_eq!(Arc::strong_count(&small), 2, "the small one was copied");
        assert!(owned.memory_bytes() >= LARGE_BULK_LEN);
        assert_eq!(args.skip(1).blob(0).map(|b| b.len()), Some(LARGE_BULK_LEN));
    }
}

//! A file of the simulated disk: what processes see of it, and what a crash leaves.

use crate::system::rng::Rng;

/// The unit in which bytes over older ones come to the disk.
pub(super) const PAGE: usize = 4096;

/// What was done to a file after it was synced.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Write { at: usize, bytes: Vec<u8> },
    SetLen(usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Change::Write { at, bytes: written } => put(bytes, *at, written),
            Change::SetLen(len) => bytes.resize(*len, 0),
        }
    }
}

/// Writes over what is there, and behind it; what lies between becomes zeroes.
fn put(bytes: &mut Vec<u8>, at: usize, written: &[u8]) {
    let end = at + written.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[at..end].copy_from_slice(written);
}

#[derive(Clone, Debug, Default)]
pub(super) struct File {
    /// What processes see.
    pub(super) bytes: Vec<u8>,
    /// What is on the disk.
    durable: Vec<u8>,
    /// What was done to the former since the latter was brought up to it, in order.
    pending: Vec<Change>,
    /// A sync that failed has lost bytes that processes still see.
    pub(super) has_lost: bool,
    /// How often it is open.
    pub(super) open: usize,
}

impl File {
    pub(super) fn change(&mut self, change: Change) {
        change.apply(&mut self.bytes);
        self.pending.push(change);
    }
    pub(super) fn sync(&mut self) {
        for change in self.pending.drain(..) {
            change.apply(&mut self.durable);
        }
    }
    /// A sync that fails: each write may have come to the disk, and counts as if it had.
    pub(super) fn fail_sync(&mut self, rng: &mut Rng) {
        for change in self.pending.drain(..) {
            let is_lost = matches!(change, Change::Write { .. }) && rng.below(2) == 0;
            if !is_lost {
                change.apply(&mut self.durable);
            }
            self.has_lost |= is_lost;
        }
    }
    /// Brings to the disk what a crash keeps of what was not synced.
    pub(super) fn crash(&mut self, rng: &mut Rng) {
        let changes = std::mem::take(&mut self.pending);
        let kept = match rng.below(4) {
            0 => 0,
            1 => changes.len(),
            _ => rng.index(changes.len() + 1),
        };
        for change in &changes[..kept] {
            change.apply(&mut self.durable);
        }
        if let Some(Change::Write { at, bytes }) = changes.get(kept)
            && rng.below(2) == 0
        {
            self.keep_part(*at, bytes, rng);
        }
        self.bytes.clone_from(&self.durable);
        self.has_lost = false;
        self.open = 0;
    }
    /// A part of a write: any pages of what lies over older bytes, and the beginning of what lies behind them.
    fn keep_part(&mut self, at: usize, written: &[u8], rng: &mut Rng) {
        if at > self.durable.len() {
            // Behind a write that was lost there is nothing: the length of the file comes to the disk in order.
            return;
        }
        let over = (self.durable.len() - at).min(written.len());
        let mut from = 0;
        while from < over {
            let to = ((at + from) / PAGE * PAGE + PAGE - at).min(over);
            if rng.below(2) == 0 {
                put(&mut self.durable, at + from, &written[from..to]);
            }
            from = to;
        }
        let behind = &written[over..];
        let kept = rng.index(behind.len() + 1);
        put(&mut self.durable, at + over, &behind[..kept]);
    }
}

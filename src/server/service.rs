//! [`Core`]: all that a server has but its loop.
//!
//! What it does stands in the files beside this one, by what happens: a turn, input, output, the coming and going of
//! clients, loading, the end.

use super::cron::Cron;
use super::host::{LoopHost, MemoryGauge};
use super::timing::RunningBatch;
use super::{End, Listeners};
use crate::clients::ClientKey;
use crate::engine::State;
use crate::event_loop::{EventLoop, TimerId};
use crate::net::READ_LEN;

/// Everything but the loop: the state of the commands, and what belongs to connections.
pub struct Core {
    /// The state that commands work on.
    pub state: State,
    /// The listening sockets.
    pub listeners: Listeners,
    /// Why the loop shall end.
    pub ended: Option<End>,
    /// Where the periodic work stands.
    pub(super) cron: Cron,
    /// Timer for the first deadline of a client that waits, with that time, ns.
    pub(super) wait_timer: Option<(u64, TimerId)>,
    /// Timer for the end of CLIENT PAUSE, with that time, Unix ms.
    pub(super) pause_timer: Option<(i64, TimerId)>,
    /// Used memory, which every write asks for.
    pub(super) gauge: MemoryGauge,
    /// The commands that run now, while the recorder is on.
    pub(super) running_batch: RunningBatch,
    /// The client that owns each token, by the token's number.
    pub(super) by_token: Vec<Option<ClientKey>>,
    /// The HTTP pages.
    pub(super) http: super::http::Http,
    /// The read buffer that all clients share: between requests none has one of its own.
    pub(super) scratch: Vec<u8>,
    /// The requests of one batch; reused, so that parsing allocates nothing.
    pub(super) batch: super::input::Batch,
    /// Empty output buffers, for the next clients that are answered.
    pub(super) pool: Vec<Vec<u8>>,
}

impl Core {
    /// A core without listeners.
    pub fn new(state: State) -> Core {
        Core {
            state,
            listeners: Listeners::default(),
            ended: None,
            cron: Cron::default(),
            wait_timer: None,
            pause_timer: None,
            gauge: MemoryGauge::default(),
            running_batch: RunningBatch::default(),
            by_token: Vec::new(),
            http: Default::default(),
            scratch: vec![0; READ_LEN],
            batch: Default::default(),
            pool: Vec::new(),
        }
    }

    /// The two halves that running a command takes, borrowed apart: what it works on, and what it may ask of the loop.
    #[inline]
    pub(super) fn state_and_host<'a>(
        &'a mut self,
        events: &'a mut EventLoop,
    ) -> (&'a mut State, LoopHost<'a>) {
        let host = LoopHost {
            events,
            listeners: &mut self.listeners,
            gauge: &mut self.gauge,
            command_ns: self.state.observe.stats.command_ns,
        };
        (&mut self.state, host)
    }
}

//! [`Core`]: all that a server has but its loop.
//!
//! What it does stands in the files beside this one, by what happens: a turn, input, output, the coming and going of
//! clients, loading, the end.

use super::End;
use super::cron::Cron;
use super::endpoints::{Endpoints, OwnedTimers};
use super::host::{LoopHost, MemoryGauge};
use super::listeners::Listeners;
use super::timing::RunningBatch;
use crate::engine::State;
use crate::event_loop::EventLoop;
use crate::net::READ_LEN;

/// Everything but the loop: the state of the commands, and what belongs to connections.
pub struct Core {
    /// The state that commands work on.
    pub state: State,
    /// The listening sockets.
    pub(super) listeners: Listeners,
    /// Why the loop shall end.
    pub ended: Option<End>,
    /// Where the periodic work stands.
    pub(super) cron: Cron,
    /// Whose each source of the loop is.
    pub(super) endpoints: Endpoints,
    /// What each timer of the loop is for.
    pub(super) timers: OwnedTimers,
    /// Whether commands were held by a pause when that was looked at last.
    pub(super) was_paused: bool,
    /// The time that a save of the loop may have.
    pub(super) save_share: super::saving::SaveShare,
    /// Used memory, which every write asks for.
    pub(super) gauge: MemoryGauge,
    /// The commands that run now, while the recorder is on.
    pub(super) running_batch: RunningBatch,
    /// The connections with the other nodes of the cluster.
    pub(super) bus: super::cluster::Bus,
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
            endpoints: Endpoints::default(),
            timers: OwnedTimers::default(),
            was_paused: false,
            save_share: Default::default(),
            gauge: MemoryGauge::default(),
            running_batch: RunningBatch::default(),
            bus: Default::default(),
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
            endpoints: &mut self.endpoints,
            listeners: &mut self.listeners,
            gauge: &mut self.gauge,
            pool: &mut self.pool,
            command_ns: self.state.observe.stats.command_ns,
        };
        (&mut self.state, host)
    }
}

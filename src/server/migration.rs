//! The sockets of migrations: the loop's side of [`crate::engine::migration`].
//!
//! In: sockets to other servers that are ready. Out: migrations taken further once a turn, and the clients that waited for
//! their keys let go.

use super::endpoints::{Endpoint, Endpoints, TimerOwner};
use super::service::Core;
use crate::clients::HeldBy;
use crate::engine::blocking;
use crate::engine::migration::{self, Wire};
use crate::event_loop::{ConnectAddress, EventLoop, Received, Token};
use std::io::{self, IoSlice};

/// The loop's sockets, as migrations use them.
struct LoopWire<'a> {
    events: &'a mut EventLoop,
    endpoints: &'a mut Endpoints,
}

impl Wire for LoopWire<'_> {
    fn connect(&mut self, to: &ConnectAddress) -> io::Result<Token> {
        let token = self.events.connect(to)?;
        self.endpoints.register(token, Endpoint::Migration);
        Ok(token)
    }
    fn connected(&mut self, token: Token) -> io::Result<()> {
        self.events.connected(token)
    }
    fn read(&mut self, token: Token, buffer: &mut [u8]) -> io::Result<Received> {
        self.events.read(token, buffer)
    }
    fn write(&mut self, token: Token, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.events.write(token, slices)
    }
    fn close(&mut self, token: Token) {
        self.endpoints.close(self.events, token);
    }
}

impl Core {
    /// Takes migrations further, and lets those go on whose keys are on their way no more.
    pub(super) fn migrate_some(&mut self, events: &mut EventLoop) {
        let now_ns = events.turn_ns();
        let mut wire = LoopWire {
            events,
            endpoints: &mut self.endpoints,
        };
        let left = migration::go_on(&mut self.state, &mut wire, now_ns);
        if left.more {
            events.stay_awake();
        }
        self.timers
            .follow(events, TimerOwner::Migrations, left.at_ns, |at_ns| at_ns);
        for id in self.state.migrations.take_released() {
            if let Some(key) = self.state.clients.by_id_or_closing(id) {
                self.resume(events, key, HeldBy::Migration);
                blocking::serve_held(&mut self.state, key);
            }
        }
    }
}

//! What a replica knows of the link to its primary.

use super::handshake::Handshake;
use super::payload::Payload;
use crate::clients::ClientKey;
use crate::event_loop::Token;
use std::collections::VecDeque;

/// How far the link is.
#[derive(Debug, Default)]
pub enum LinkState {
    /// There is none: it is to be made.
    #[default]
    Down,
    /// It is being connected.
    Connecting(Token),
    /// The two introduce themselves.
    Handshake(Token, Box<Handshake>),
    /// A snapshot comes.
    Receiving(Token, Box<Receiving>),
    /// A snapshot has come and is loaded.
    Loading(Token, Box<Receiving>),
    /// The stream comes, from this client.
    Up(ClientKey),
}

/// A snapshot that comes.
#[derive(Debug)]
pub struct Receiving {
    /// Its frame.
    pub payload: Payload,
    /// What the stream behind it is called; none: the primary does not say.
    pub id: Option<String>,
    /// Where that begins.
    pub offset: i64,
    /// Bytes that were read and not taken by whoever loads.
    pub held: Vec<u8>,
}

/// A stream that may be gone on with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Continuation {
    /// Its ID.
    pub id: String,
    /// The database that its next command is for.
    pub db: usize,
}

/// The link to a primary.
#[derive(Debug, Default)]
pub struct Link {
    /// Where it is.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How far the link is.
    pub state: LinkState,
    /// What was read last, or tried, monotonic ns.
    pub io_ns: u64,
    /// When it was tried last, monotonic ns.
    pub tried_ns: u64,
    /// Not to be made before, monotonic ns.
    pub retry_ns: u64,
    /// Attempts that have failed since it was up.
    pub failures: u32,
    /// Since when it is not up, monotonic ns; none: it is, or never was.
    pub down_since_ns: Option<u64>,
    /// Since when it is up, or was up last, monotonic ns.
    pub up_since_ns: u64,
    /// Why it is given up: its client is about to be closed.
    pub breaks: Option<String>,
    /// Why it broke last; also when it is up again.
    pub broke: String,
    /// Its stream, if it can be gone on with from the replication offset.
    pub continuation: Option<Continuation>,
    /// Bytes that came of lines.
    pub input: Vec<u8>,
    /// Bytes that are to be sent.
    pub output: Vec<u8>,
    /// Bytes of the stream that were parsed and not run, or belong to a transaction that is open.
    pub unapplied: Vec<u8>,
    /// Where they begin in `unapplied`: what is before is applied.
    pub unapplied_from: usize,
    /// How long the requests are that have not run, in order.
    pub lengths: VecDeque<usize>,
    /// Bytes of `unapplied` that belong to requests which have run.
    pub applied: usize,
    /// When a sign of life was sent last while a snapshot was loaded, monotonic ns.
    pub newline_ns: u64,
    /// The primary has asked what is applied. It is told at the end of the turn, when all that came is.
    pub owes_ack: bool,
    /// What came was no stream.
    pub is_corrupt: bool,
    /// A change of role waits for this link: PSYNC is asked with FAILOVER.
    pub fails_over: bool,
}

impl Link {
    /// One that is to be made.
    pub fn to(host: &str, port: u16) -> Link {
        Link {
            host: host.to_owned(),
            port,
            ..Link::default()
        }
    }
    /// Whether the stream comes.
    pub fn is_up(&self) -> bool {
        matches!(self.state, LinkState::Up(_))
    }
    /// Whether a snapshot comes or is loaded.
    pub fn syncs(&self) -> bool {
        matches!(
            self.state,
            LinkState::Receiving(..) | LinkState::Loading(..)
        )
    }
    /// The client of the stream.
    pub fn client(&self) -> Option<ClientKey> {
        match self.state {
            LinkState::Up(client) => Some(client),
            _ => None,
        }
    }
    /// The source of the loop, while it is no client's.
    pub fn token(&self) -> Option<Token> {
        match self.state {
            LinkState::Connecting(token)
            | LinkState::Handshake(token, _)
            | LinkState::Receiving(token, _)
            | LinkState::Loading(token, _) => Some(token),
            LinkState::Down | LinkState::Up(_) => None,
        }
    }
    /// As ROLE names its state.
    pub fn state_name(&self) -> &'static str {
        match self.state {
            LinkState::Down => "connect",
            LinkState::Connecting(_) => "connecting",
            LinkState::Handshake(..) => "handshake",
            LinkState::Receiving(..) | LinkState::Loading(..) => "sync",
            LinkState::Up(_) => "connected",
        }
    }
    /// Forgets what had come of a stream and was not applied.
    pub fn drop_unapplied(&mut self) {
        self.unapplied.clear();
        self.unapplied_from = 0;
        self.lengths.clear();
        self.applied = 0;
    }
}

//! One server of a tree: how it is set up, starts, dies and comes back.

use super::checks::Before;
use super::clients::{Asker, Writer};
use gyre::config::Config;
use gyre::event_loop::{SimulatedPeer, Simulator, SimulatorHandle};
use gyre::persistence::rdb::save::PartSize;
use gyre::server::{End, Server};
use gyre::system::rng::Rng;
use std::collections::BTreeMap;
use std::time::Duration;

const PORT: u16 = 6379;

pub struct Member {
    pub handle: SimulatorHandle,
    /// The server, while its process lives.
    pub server: Option<Server>,
    pub directives: Vec<String>,
    /// Values are saved in parts.
    reads_parts: bool,
    /// Whom it was told to follow last; none: it is a primary.
    pub follows: Option<usize>,
    /// A connection for orders.
    admin: Option<SimulatedPeer>,
    pub writers: Vec<Writer>,
    pub asker: Option<Asker>,
    /// Steps till it comes back.
    pub down: u64,
    /// It has loaded what its disk holds.
    pub has_loaded: bool,
    /// How it was at the end of its last turn.
    pub before: Option<Before>,
    /// The greatest offset that it ever had.
    pub highest: i64,
    /// How far the offset went on in one turn at most: so large a block of the stream may be, which goes as a whole.
    pub written: u64,
    /// What is to be there after a crash, by the answers of WAITAOF.
    pub promised: BTreeMap<Vec<u8>, Vec<u8>>,
    pub turns: u64,
}

fn pick<'a>(rng: &mut Rng, from: &[&'a str]) -> &'a str {
    from[rng.index(from.len())]
}

/// How a server is set up, and whether it saves values in parts.
fn directives(rng: &mut Rng) -> (Vec<String>, bool) {
    let reads_parts = rng.below(4) == 0;
    let has_file = rng.below(3) > 0;
    let pairs = [
        ("bind", "0.0.0.0"),
        ("protected-mode", "no"),
        ("enable-debug-command", "yes"),
        ("appendonly", if has_file { "yes" } else { "no" }),
        (
            "appendfsync",
            pick(rng, &["always", "everysec", "everysec", "no"]),
        ),
        ("aof-use-rdb-preamble", pick(rng, &["yes", "yes", "no"])),
        ("auto-aof-rewrite-percentage", pick(rng, &["0", "1", "100"])),
        ("auto-aof-rewrite-min-size", "500"),
        ("save", pick(rng, &["", "", "1 1"])),
        ("stop-writes-on-bgsave-error", "no"),
        (
            "bgsave-default-method",
            pick(rng, &["fork", "forkless", "forkless"]),
        ),
        ("rdb-key-save-delay", if reads_parts { "50" } else { "0" }),
        ("repl-diskless-sync", pick(rng, &["yes", "yes", "no"])),
        ("repl-diskless-sync-delay", pick(rng, &["0", "0", "1", "3"])),
        (
            "repl-diskless-sync-max-replicas",
            pick(rng, &["0", "1", "2"]),
        ),
        (
            "repl-diskless-load",
            pick(rng, &["disabled", "on-empty-db", "swapdb", "flushdb"]),
        ),
        (
            "repl-backlog-size",
            pick(rng, &["1", "1000", "20000", "1000000", "1000000"]),
        ),
        ("repl-backlog-ttl", pick(rng, &["0", "2", "3600"])),
        ("repl-timeout", pick(rng, &["3", "10", "20"])),
        ("repl-ping-replica-period", pick(rng, &["1", "2"])),
        ("replica-serve-stale-data", pick(rng, &["yes", "no"])),
        ("replica-lazy-flush", pick(rng, &["yes", "no"])),
        ("rdb-del-sync-files", pick(rng, &["yes", "no"])),
        (
            "client-output-buffer-limit",
            pick(
                rng,
                &[
                    "replica 30000 0 0",
                    "replica 300000 2000 2",
                    "replica 10000000 0 0",
                ],
            ),
        ),
    ];
    let mut all = Vec::new();
    for (name, value) in pairs {
        all.push(format!("--{name}"));
        match name {
            "client-output-buffer-limit" => all.extend(value.split(' ').map(str::to_owned)),
            _ => all.push(value.to_owned()),
        }
    }
    (all, reads_parts)
}

impl Member {
    pub fn new(rng: &mut Rng, handle: SimulatorHandle) -> Member {
        let (directives, reads_parts) = directives(rng);
        Member {
            handle,
            server: None,
            directives,
            reads_parts,
            follows: None,
            admin: None,
            writers: Vec::new(),
            asker: None,
            down: 0,
            has_loaded: false,
            before: None,
            highest: 0,
            written: 0,
            promised: BTreeMap::new(),
            turns: 0,
        }
    }

    /// Whether it keeps an append-only file.
    pub fn has_file(&self) -> bool {
        self.directives.iter().any(|it| it == "--appendonly")
            && self
                .directives
                .windows(2)
                .any(|it| it[0] == "--appendonly" && it[1] == "yes")
    }

    /// Starts the process, which follows this server from the beginning.
    pub fn start(&mut self, simulator: Simulator, primary: Option<&SimulatorHandle>) {
        let mut args: Vec<std::ffi::OsString> = self.directives.iter().map(Into::into).collect();
        if let Some(primary) = primary {
            let (ip, port) = (primary.address().to_string(), PORT.to_string());
            args.extend(["--replicaof".into(), ip.into(), port.into()]);
        }
        let config = Config::load_in(std::path::Path::new("/"), &args, &mut || Ok(Vec::new()));
        let config = config.unwrap_or_else(|error| panic!("{error}"));
        let mut server =
            Server::new(config, Box::new(simulator)).unwrap_or_else(|error| panic!("{error}"));
        if self.reads_parts {
            server.state().persistence.part_size = PartSize {
                elements: 1,
                bytes: 4000,
            };
        }
        server.start().expect("a listener");
        assert!(server.load(), "the data cannot be loaded");
        self.has_loaded = false;
        self.before = None;
        self.server = Some(server);
    }

    /// Its process ends, with the machine or without.
    pub fn die(&mut self, with_machine: bool) {
        match with_machine {
            true => self.handle.disk().crash(),
            false => self.handle.disk().end_process(),
        }
        self.server = None;
        self.admin = None;
        self.writers.clear();
        self.asker = None;
        self.before = None;
    }

    /// One turn; whether the server goes on.
    pub fn turn(&mut self, most: Duration) -> bool {
        let Some(server) = &mut self.server else {
            return false;
        };
        self.turns += 1;
        let _ = server.turn(Some(most));
        match server.ended() {
            None => true,
            Some(End::Shutdown) => {
                // As the process does before it ends.
                server.state().persistence.end_helpers();
                false
            }
            Some(End::Failed) => panic!("a server has failed"),
        }
    }

    /// Gives it an order.
    pub fn tell(&mut self, line: &str) {
        let is_closed = |peer: SimulatedPeer| self.handle.is_closed(peer);
        if self.admin.is_none_or(is_closed) {
            self.admin = Some(self.handle.connect());
        }
        if let Some(peer) = self.admin {
            self.handle.send(peer, format!("{line}\r\n").as_bytes());
        }
    }

    /// Tells it whom to follow.
    pub fn tell_to_follow(&mut self, primary: Option<&SimulatorHandle>) {
        let line = match primary {
            Some(primary) => format!("REPLICAOF {} {PORT}", primary.address()),
            None => "REPLICAOF NO ONE".to_owned(),
        };
        self.tell(&line);
    }

    /// Takes what its orders are answered.
    pub fn forget_answers(&mut self) {
        if let Some(peer) = self.admin {
            self.handle.take(peer, usize::MAX);
        }
    }

    /// Nobody talks to it any more.
    pub fn fall_silent(&mut self) {
        for writer in self.writers.drain(..) {
            writer.leave(&self.handle);
        }
        if let Some(asker) = self.asker.take() {
            asker.leave(&self.handle);
        }
    }
}

//! A replica whose link to its primary breaks, in a simulation of both.

use super::Server;
use crate::config::Config;
use crate::event_loop::{Faults, SimulatedPeer, Simulator, SimulatorHandle};
use crate::replication::LinkState;
use std::time::Duration;

struct Pair {
    primary: Server,
    replica: Server,
    /// The sides of the two that are no server's.
    handles: [SimulatorHandle; 2],
}

fn start(simulator: Simulator, directives: &[&str]) -> Server {
    let always = ["--bind", "0.0.0.0", "--protected-mode", "no", "--save", ""];
    let args: Vec<std::ffi::OsString> = always.iter().chain(directives).map(Into::into).collect();
    let config = Config::load_in(std::path::Path::new("/"), &args, &mut || Ok(Vec::new()));
    let config = config.unwrap_or_else(|error| panic!("{error}"));
    let mut server = Server::new(config, Box::new(simulator)).unwrap_or_else(|it| panic!("{it}"));
    server.start().expect("a listener");
    server
}

impl Pair {
    /// A primary, and a replica of it that is set up like this.
    fn new(directives: &[&str]) -> Pair {
        let (first, primary) = Simulator::new(1, Faults::NONE);
        let (second, replica) = primary.another(2);
        let address = primary.address().to_string();
        let follows = ["--replicaof", &address, "6379"];
        let directives: Vec<&str> = directives.iter().copied().chain(follows).collect();
        Pair {
            primary: start(first, &["--repl-diskless-sync-delay", "0"]),
            replica: start(second, &directives),
            handles: [primary, replica],
        }
    }

    fn turn(&mut self) {
        for server in [&mut self.primary, &mut self.replica] {
            server.turn(Some(Duration::from_millis(1))).expect("a turn");
        }
    }

    fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Pair) -> bool) {
        for _ in 0..20_000 {
            if holds(self) {
                return;
            }
            self.turn();
        }
        panic!("{what} does not happen");
    }

    /// What a server answers to a line.
    fn ask(&mut self, of: usize, line: &str) -> String {
        let peer: SimulatedPeer = self.handles[of].connect();
        self.handles[of].send(peer, format!("{line}\r\n").as_bytes());
        let mut answer = Vec::new();
        self.until("an answer", |pair| {
            answer.extend(pair.handles[of].take(peer, usize::MAX));
            answer.ends_with(b"\n")
        });
        self.handles[of].close(peer);
        String::from_utf8(answer).expect("text")
    }
}

/// A replica tells its primary every second that it still loads. When that cannot be sent, it gave the link up, and with it a
/// snapshot that had come whole: it was empty till the next one.
#[test]
fn a_snapshot_that_has_come_is_loaded_also_when_its_link_is_broken_meanwhile() {
    let mut pair = Pair::new(&["--repl-diskless-load", "disabled"]);
    assert_eq!(pair.ask(0, "SET key value"), "+OK\r\n");
    pair.until("loading", |pair| {
        let link = pair.replica.state().replication.link.as_ref();
        link.is_some_and(|link| matches!(link.state, LinkState::Loading(..)))
    });
    pair.handles[1].reset_links();
    pair.handles[1].advance(Duration::from_secs(2));
    assert_eq!(pair.ask(0, "SET later 1"), "+OK\r\n");
    pair.until("the stream", |pair| {
        let offset = pair.primary.state().journal.offset();
        let state = pair.replica.state();
        let link = state.replication.link.as_ref();
        link.is_some_and(|link| link.is_up()) && state.journal.offset() == offset
    });
    assert_eq!(pair.ask(1, "GET key"), "$5\r\nvalue\r\n");
    assert_eq!(pair.ask(1, "GET later"), "$1\r\n1\r\n");
    let replication = &pair.primary.state().replication;
    assert_eq!((replication.full_syncs, replication.partial_syncs), (1, 1));
}

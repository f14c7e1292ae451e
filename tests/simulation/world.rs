//! One seed: a server, its clients and the model, from the first connection to the last answer.

use crate::answers::{Compared, compare};
use crate::commands::{Item, ItemKind, Vocabulary, script};
use crate::model::{Answer, Caller, Model};
use gyre::config::Config;
use gyre::event_loop::{Faults, SimulatedPeer, Simulator, SimulatorHandle};
use gyre::keyspace::Keyspace;
use gyre::server::Server;
use gyre::system::rng::Rng;
use std::collections::VecDeque;
use std::time::Duration;

/// Turns without any progress of a client that has something to be answered.
const STARVED_TURNS: u64 = 400;
/// Turns of one seed; far more than any needs.
const TURNS: u64 = 200_000;

/// What a seed did.
pub struct Ran {
    pub trace: (u64, u64),
    pub text: Option<String>,
    pub commands: u64,
    pub turns: u64,
}

/// Builds a server on a simulator and opens its listener.
pub fn server(directives: &[&str], seed: u64, faults: Faults) -> (Server, SimulatorHandle) {
    let mut args: Vec<std::ffi::OsString> = ["--bind", "127.0.0.1"].map(Into::into).into();
    args.extend(directives.iter().map(Into::into));
    let config = Config::load_in(std::path::Path::new("/"), &args, &mut || Ok(Vec::new()))
        .unwrap_or_else(|error| panic!("{error}"));
    let (simulator, handle) = Simulator::new(seed, faults);
    let mut server = Server::new(config, Box::new(simulator)).unwrap_or_else(|e| panic!("{e}"));
    let state = server.state();
    let databases = state.config.settings().databases;
    let mut rng = Rng::new(seed ^ 0x6b65_7973);
    let hash_seed = std::array::from_fn(|_| rng.next_u64());
    state.keyspace = Keyspace::new(databases, hash_seed).without_threads();
    state.apply_settings();
    state.observe.executed = Some(Vec::new());
    server.start().expect("a listener");
    (server, handle)
}

/// How a client ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Leaving {
    /// When all is answered.
    Afterwards,
    /// Ends its side right behind the last request.
    Finish,
    /// Closes after so many bytes.
    Close(usize),
    /// Resets after so many bytes.
    Reset(usize),
}

struct Client {
    peer: SimulatedPeer,
    caller: Caller,
    /// Sent or still to be sent, and not yet answered.
    script: VecDeque<Item>,
    bytes: Vec<u8>,
    sent: usize,
    leaving: Leaving,
    left: bool,
    /// Bytes sent in one go at most.
    piece: usize,
    /// Chance in 100 of sending something in a turn.
    eager_to_send: u64,
    /// Bytes taken in one go at most, and the chance in 100 of taking some.
    gulp: usize,
    eager_to_take: u64,
    /// Takes nothing before this turn.
    deaf_until: u64,
    expected: VecDeque<(Answer, bool)>,
    received: Vec<u8>,
    /// The turn of the last progress, and what it was judged by.
    progress: (u64, [usize; 4]),
    closed: bool,
}

impl Client {
    fn new(rng: &mut Rng, handle: &SimulatorHandle, may: Vocabulary) -> Client {
        let peer = handle.connect();
        let len = match rng.below(4) {
            0 => rng.index(3),
            1 => rng.index(150),
            _ => rng.index(30),
        };
        let script = script(rng, may, len, handle.unix_us() / 1000);
        let bytes: Vec<u8> = script.iter().flat_map(|item| item.bytes.clone()).collect();
        let leaving = match rng.below(12) {
            0 | 1 => Leaving::Finish,
            2 => Leaving::Close(rng.index(bytes.len() + 1)),
            3 => Leaving::Reset(rng.index(bytes.len() + 1)),
            _ => Leaving::Afterwards,
        };
        let piece = [1, 7, 100, 5000, 100_000, usize::MAX][rng.index(6)];
        let slow = rng.below(5) == 0;
        handle.set_capacity(peer, [64, 1000, 20_000, 1 << 20][rng.index(4)]);
        Client {
            peer,
            caller: Caller::default(),
            script: script.into(),
            // One byte at a time is for short streams.
            piece: piece.max(bytes.len() / 200),
            bytes,
            sent: 0,
            leaving,
            left: false,
            eager_to_send: 5 + rng.below(96),
            gulp: if slow { 1 + rng.index(500) } else { usize::MAX },
            eager_to_take: if slow { 5 } else { 20 + rng.below(81) },
            deaf_until: if rng.below(8) == 0 { rng.below(300) } else { 0 },
            expected: VecDeque::new(),
            received: Vec::new(),
            progress: (0, [0; 4]),
            closed: false,
        }
    }

    /// Sends, takes, leaves, as chance will have it. `patient`: reads all from now on.
    fn act(&mut self, rng: &mut Rng, handle: &SimulatorHandle, turn: u64, hurry: bool) {
        if self.left {
            return;
        }
        if self.sent < self.bytes.len() && (hurry || rng.below(100) < self.eager_to_send) {
            let most = self.piece.min(self.bytes.len() - self.sent);
            let n = if hurry { most } else { 1 + rng.index(most) };
            handle.send(self.peer, &self.bytes[self.sent..self.sent + n]);
            self.sent += n;
        }
        let everything = self.sent == self.bytes.len();
        match self.leaving {
            Leaving::Finish if everything => {
                // It goes on taking what is answered; whether it gets all is the server's choice.
                handle.finish(self.peer);
                self.leaving = Leaving::Close(usize::MAX);
            }
            Leaving::Close(after) if self.sent >= after => {
                handle.close(self.peer);
                self.left = true;
            }
            Leaving::Reset(after) if self.sent >= after => {
                handle.reset(self.peer);
                self.left = true;
            }
            _ => {}
        }
        if hurry {
            handle.set_capacity(self.peer, 1 << 20);
            self.received.extend(handle.take(self.peer, usize::MAX));
        } else if turn >= self.deaf_until && rng.below(100) < self.eager_to_take {
            self.received.extend(handle.take(self.peer, self.gulp));
        }
    }

    /// Checks what was received against what the model said.
    fn check(&mut self) {
        let mut at = 0;
        while at < self.received.len() {
            let Some((answer, resp3)) = self.expected.front() else {
                panic!(
                    "client {}: nothing was to be answered, but {:?} was",
                    self.caller.id,
                    lossy(&self.received[at..])
                );
            };
            match compare(answer, *resp3, &self.received[at..]) {
                Compared::Same(n) => {
                    at += n;
                    self.expected.pop_front();
                }
                Compared::Incomplete => break,
                Compared::Different => panic!(
                    "client {}: {answer:?} was to be answered, but {:?} was",
                    self.caller.id,
                    lossy(&self.received[at..])
                ),
            }
        }
        self.received.drain(..at);
    }

    /// What comes after the last command that was run: a protocol error is answered by itself.
    fn expect_error(&mut self) {
        while let Some(item) = self.script.front() {
            match item.kind {
                ItemKind::Empty => drop(self.script.pop_front()),
                ItemKind::ProtocolError(text) => {
                    if !self.caller.off && !self.caller.skip {
                        let error = Answer::Error(format!("ERR Protocol error: {text}"));
                        self.expected.push_back((error, self.caller.resp3));
                    }
                    self.script.clear();
                    self.caller.quit = true;
                }
                ItemKind::Command(_) => return,
            }
        }
    }

    fn is_done(&self) -> bool {
        self.left || self.closed || (self.script.is_empty() && self.expected.is_empty())
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned()
}

struct World {
    server: Server,
    handle: SimulatorHandle,
    rng: Rng,
    model: Model,
    clients: Vec<Client>,
    /// Indexes of clients by the order in which they were accepted.
    commands: u64,
    turn: u64,
}

/// Runs one seed.
pub fn run(seed: u64, keep_trace: bool) -> Ran {
    let mut rng = Rng::new(seed);
    let jumps = rng.below(3) == 0;
    let mut faults = Faults::any(&mut rng);
    if jumps {
        faults.clock_jump = rng.below(100) as u32;
        faults.longest_jump_ms = 5000;
    }
    let (mut server, handle) = server(&[], rng.next_u64(), faults);
    if keep_trace {
        handle.keep_trace();
    }
    if jumps {
        // What expires while nobody looks would come back when the clock does; the model cannot know what was seen.
        server.state().active_expire = false;
        server.state().apply_settings();
    }
    let may = Vocabulary {
        whole_database: !jumps,
    };
    let mut world = World {
        server,
        handle,
        rng,
        model: Model::default(),
        clients: Vec::new(),
        commands: 0,
        turn: 0,
    };
    let clients = 1 + world.rng.index(20);
    world.live(clients, may);
    world.compare_keyspaces();
    world.leave();
    Ran {
        trace: world.handle.trace_sum(),
        text: world.handle.trace(),
        commands: world.commands,
        turns: world.turn,
    }
}

impl World {
    fn live(&mut self, clients: usize, may: Vocabulary) {
        let calm_after = 300 + self.rng.below(1500);
        loop {
            if self.clients.len() < clients && self.rng.below(3) == 0 {
                let client = Client::new(&mut self.rng, &self.handle, may);
                self.clients.push(client);
            }
            // In the end everybody sends and takes all, and whoever is not served then is starved.
            let hurry = self.turn > calm_after;
            for client in &mut self.clients {
                client.act(&mut self.rng, &self.handle, self.turn, hurry);
            }
            if self.rng.below(20) == 0 {
                let ms = self.rng.below(700);
                self.handle.advance(Duration::from_millis(ms));
            }
            let most_ms = self.rng.below(50);
            self.step(Duration::from_millis(most_ms));
            self.check();
            if hurry {
                self.see_progress();
            }
            if self.clients.len() == clients && self.clients.iter().all(Client::is_done) {
                return;
            }
            assert!(self.turn < TURNS, "the clients never get done");
        }
    }

    fn step(&mut self, most: Duration) {
        self.turn += 1;
        self.server.turn(Some(most)).expect("a turn");
        let executed = self.server.state().observe.executed.as_mut();
        let executed = std::mem::take(executed.expect("a record is kept"));
        let accepted = self.handle.accepted();
        for command in executed {
            let peer = accepted[command.client as usize - 1];
            let client = self.clients.iter_mut().find(|client| client.peer == peer);
            let client = client.expect("a client that connected");
            client.caller.id = command.client as i64;
            client.expect_error();
            assert!(!client.caller.quit, "client {} had quit", command.client);
            let sent = client.script.pop_front().map(|item| item.kind);
            let Some(ItemKind::Command(args)) = sent else {
                panic!("{command:?} was run, but {sent:?} was sent");
            };
            assert!(
                args == command.args,
                "{command:?} was run, but {args:?} was sent"
            );
            let now_ms = command.unix_us / 1000;
            if let Some(answer) = self.model.run(&mut client.caller, now_ms, &args) {
                client.expected.push_back((answer, client.caller.resp3));
            }
            if client.caller.quit {
                client.script.clear();
            }
            self.commands += 1;
        }
    }

    fn check(&mut self) {
        for client in &mut self.clients {
            if !client.caller.quit {
                client.expect_error();
            }
            client.check();
            if self.handle.is_closed(client.peer) && !client.closed {
                client
                    .received
                    .extend(self.handle.take(client.peer, usize::MAX));
                client.check();
                client.closed = true;
                let asked_for = client.caller.quit
                    || client.left
                    || matches!(client.leaving, Leaving::Close(usize::MAX));
                assert!(asked_for, "client {} was closed unasked", client.caller.id);
                if client.caller.quit && !client.left && client.leaving == Leaving::Afterwards {
                    assert!(
                        client.expected.is_empty(),
                        "client {} was closed before {:?}",
                        client.caller.id,
                        client.expected
                    );
                }
            }
        }
    }

    /// Everybody who is owed something gets on.
    fn see_progress(&mut self) {
        let turn = self.turn;
        for client in &mut self.clients {
            let unread = self.handle.unread(client.peer) + client.bytes.len() - client.sent;
            let (requests, answers) = (client.script.len(), client.expected.len());
            let now = [unread, requests, answers, client.received.len()];
            let (since, before) = client.progress;
            if client.is_done() || now != before || since == 0 {
                client.progress = (turn, now);
            }
            assert!(
                turn - client.progress.0 < STARVED_TURNS,
                "client {} (peer {:?}, {:?}) starves: {} bytes unread, {} requests and {} answers to come, the first \
                 {:?}, received {:?}",
                client.caller.id,
                client.peer,
                client.leaving,
                unread,
                requests,
                answers,
                client.expected.front(),
                lossy(&client.received)
            );
        }
    }

    fn compare_keyspaces(&mut self) {
        let state = self.server.state();
        let now = state.now;
        let contents = self.model.contents(now.unix_ms());
        for (index, expected) in contents.iter().enumerate() {
            let mut found = std::collections::BTreeMap::new();
            state.keyspace.db(index, now, true).for_each(&mut |entry| {
                let value = entry.string().expect("a string").to_vec();
                found.insert(entry.key().to_vec(), (value, entry.expire_at()));
            });
            if found != *expected {
                for (key, value) in expected {
                    if found.get(key) != Some(value) {
                        eprintln!(
                            "{:?}: {:?}",
                            lossy(key),
                            found.get(key).map(|f| (lossy(&f.0), f.1))
                        );
                    }
                }
                panic!("database {index} is not what the model says");
            }
        }
    }

    /// Everybody leaves, and nothing stays behind.
    fn leave(&mut self) {
        self.handle.set_faults(Faults::NONE);
        for client in &self.clients {
            self.handle.close(client.peer);
        }
        for _ in 0..100 {
            self.step(Duration::from_millis(10));
        }
        assert_eq!(self.server.state().clients.len(), 0, "clients stay behind");
        assert_eq!(self.server.state().clients.connected, 0);
        assert_eq!(
            self.server.events().source_count(),
            1,
            "sources stay behind"
        );
    }
}
